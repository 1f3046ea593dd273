// SPDX-License-Identifier: MIT OR Apache-2.0
//! What comes out of the walk: the address and its attributes, or the fault and what to change.

use super::lines;
use crate::walk::fault::FaultWords;
use crate::walk::report::{Found, Report, WalkOutcome, bytes};
use crate::walk::text::rights;
use vambrace_svg::{Anchor, Font, Rect, Svg};

/// A line of the box: class, text, and the space it takes.
struct Line {
    class: &'static str,
    text: String,
    step: f64,
}

/// Draws the box from `(x, y)`; returns its bottom edge.
pub(super) fn draw(svg: &mut Svg, report: &Report, (x, y): (f64, f64), width: f64) -> f64 {
    // The estimate of a text's width errs on the wide side, over a whole line by more than this.
    let inner = (width - 36.0) * 1.08;
    let (class, lines) = match &report.outcome {
        WalkOutcome::Translated(found) => ("good-box", translated(found, inner)),
        WalkOutcome::Fault(fault) => ("bad-box", faulted(fault, inner)),
    };
    let height: f64 = lines.iter().map(|line| line.step).sum::<f64>() + 26.0;
    svg.rect(Rect { x, y, width, height }, class);
    let mut baseline = y + 6.0;
    for line in &lines {
        baseline += line.step;
        // Renderers draw several spaces as one.
        let text = if line.class == "mono" { line.text.replace(' ', "\u{a0}") } else { line.text.clone() };
        svg.text((x + 18.0, baseline), Anchor::Start, line.class, &text);
    }
    y + height
}

fn line(class: &'static str, text: impl Into<String>, step: f64) -> Line {
    Line { class, text: text.into(), step }
}

/// A heading and wrapped words below it.
fn paragraph(heading: &str, words: &str, limit: f64) -> Vec<Line> {
    let mut all = vec![line("label", heading, 27.0)];
    all.extend(lines(words, limit, Font::Normal).into_iter().map(|words| line("note", words, 18.0)));
    all
}

fn translated(found: &Found, limit: f64) -> Vec<Line> {
    let mut all = vec![line("result", format!("PA {}", found.pa), 26.0)];
    let size = format!("{} around it are translated alike", bytes(found.size));
    all.push(line("note", size, 20.0));
    let both = format!("{}, {}", found.memory, found.shareability);
    all.extend(paragraph("attributes", &both, limit));
    all.extend(
        lines(
            &format!("stage 1: {}, {}", found.stage1_memory, found.stage1_shareability),
            limit,
            Font::Small,
        )
        .into_iter()
        .map(|words| line("tiny", words, 17.0)),
    );
    if let (Some(memory), Some(shareability)) = (&found.stage2_memory, &found.stage2_shareability) {
        let words = lines(&format!("stage 2: {memory}, {shareability}"), limit, Font::Small);
        all.extend(words.into_iter().map(|words| line("tiny", words, 17.0)));
    }
    let rules = format!("{}; {}", found.memory_rule, found.shareability_rule);
    all.extend(lines(&rules, limit, Font::Small).into_iter().map(|words| line("tiny", words, 17.0)));
    all.push(line("label", "permissions", 27.0));
    let mut permissions =
        vec![("both", Some(found.permissions)), ("stage 1", Some(found.stage1_permissions))];
    permissions.push(("stage 2", found.stage2_permissions));
    for (name, permissions) in permissions {
        if let Some(permissions) = permissions {
            let (el1, el0) = (rights(permissions.el1), rights(permissions.el0));
            all.push(line("mono", format!("{name:<8} EL1 {el1}  EL0 {el0}"), 18.0));
        }
    }
    all
}

fn faulted(fault: &FaultWords, limit: f64) -> Vec<Line> {
    let stage = if fault.stage1_walk { "2, on a stage 1 table".to_owned() } else { fault.stage.to_string() };
    let heading = format!("{}, level {} of stage {stage}", fault.kind, fault.level);
    let heading = lines(&heading, limit, Font::Bold).into_iter();
    let mut all: Vec<Line> = heading.map(|words| line("alarm", words, 20.0)).collect();
    all.extend(paragraph("why", &fault.why, limit));
    if let Some(hint) = fault.fix_hints.first() {
        all.extend(paragraph("what to change", hint, limit));
    }
    all.push(line("label", format!("what {} sees", fault.taken_to), 27.0));
    let level = fault.taken_to;
    all.push(line("mono", format!("ESR_{level}   {:#010x}", fault.esr.0), 18.0));
    all.extend(
        lines(&fault.esr_words, limit, Font::Small).into_iter().map(|words| line("tiny", words, 16.0)),
    );
    all.push(line("mono", format!("FAR_{level}   {}", fault.far), 19.0));
    if let Some(hpfar) = fault.hpfar {
        all.push(line("mono", format!("HPFAR_EL2 {hpfar}"), 18.0));
    }
    if let Some(par) = fault.par {
        all.push(line("mono", format!("PAR_EL1   {par} (after AT)"), 18.0));
    }
    all
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A walk as a picture for a slide.
//!
//! Above, stage 1: the VA cut into its fields, each over the table that it indexes ([`columns`]). Below, the grid of
//! textbooks: stage 1 downward, stage 2 to the right, every memory read in order ([`grid`]). Beside it what comes
//! out ([`verdict`]). All places are computed from the steps, so any granule and any number of levels fits.

mod columns;
mod grid;
mod verdict;

use super::report::{Report, StageWords, bytes, el_name, verb};
use vambrace_svg::{Anchor, Font, Svg, width};

/// Left and right of everything.
const MARGIN: f64 = 36.0;
/// The width of what comes out.
const VERDICT: f64 = 410.0;
const WIDEST_VERDICT: f64 = 620.0;

const STYLE: &str = "\
.title { font-size: 22px; font-weight: bold; }
.note { font-size: 13px; fill: #4a5665; }
.mono { font-family: 'DejaVu Sans Mono', Menlo, Consolas, monospace; font-size: 12px; }
.value { font-family: 'DejaVu Sans Mono', Menlo, Consolas, monospace; font-size: 15px; font-weight: bold; }
.tiny { font-size: 11.5px; fill: #4a5665; }
.order { font-size: 12px; font-weight: bold; fill: #8a4b08; }
.order1 { font-size: 12px; font-weight: bold; fill: #174a8c; }
.alarm { font-weight: bold; fill: #a3120a; }
.result { font-size: 17px; font-weight: bold; fill: #14532d; }
.table { fill: #f4f7fb; stroke: #8fa3bb; }
.row { fill: #cfe2fb; stroke: #2f6fb7; stroke-width: 1.5; }
.field { fill: #e6effb; stroke: #2f6fb7; }
.rest { fill: #f0f1f3; stroke: #9aa5b1; }
.page { fill: #dff3df; stroke: #2e7d32; stroke-width: 1.5; }
.hit { fill: #b7e1b8; stroke: #2e7d32; }
.ipa { fill: #ffffff; stroke: #2f6fb7; }
.second { fill: #fdebd3; stroke: #c77817; }
.bad { fill: #fbd9d5; stroke: #c0261a; stroke-width: 2.5; }
.good-box { fill: #f2faf2; stroke: #2e7d32; stroke-width: 1.5; }
.bad-box { fill: #fdf2f1; stroke: #c0261a; stroke-width: 1.5; }
.flow { stroke: #44566b; stroke-width: 1.6; }
.flow.head { fill: #44566b; }
.index { stroke: #2f6fb7; stroke-width: 1.4; stroke-dasharray: 4 3; }
.index.head { fill: #2f6fb7; stroke: none; }
";

/// Draws the walk.
pub(super) fn draw(report: &Report) -> String {
    let heading = format!("VA {}: {} {}", report.va, el_name(report.el), verb(report.access));
    let mut svg = Svg::new(&heading, STYLE);
    svg.text((MARGIN, 42.0), Anchor::Start, "title", &heading);
    svg.text((MARGIN, 66.0), Anchor::Start, "note", &shape(report));
    let (columns_right, columns_bottom) = columns::draw(&mut svg, report, (MARGIN, 92.0));
    let top = columns_bottom + 34.0;
    let (grid_right, grid_bottom) = grid::draw(&mut svg, report, (MARGIN, top));
    let left = grid_right + 44.0;
    let box_width = VERDICT.max(columns_right - left).min(WIDEST_VERDICT);
    let verdict_bottom = verdict::draw(&mut svg, report, (left, top), box_width);
    let right = columns_right.max(left + box_width).max(MARGIN + width(&shape(report), Font::Normal));
    svg.finish(right + MARGIN, grid_bottom.max(verdict_bottom) + 30.0)
}

/// The shape of both stages in one line.
fn shape(report: &Report) -> String {
    let of = |stage: &StageWords, name: &str, space: &str, id: &str| {
        format!(
            "{name}: {} granule, {} bits of {space}, from level {}, {id} {}",
            bytes(stage.granule),
            stage.input_bits,
            stage.start_level,
            stage.id
        )
    };
    let first = report.stage1.as_ref().map_or_else(
        || "stage 1: off or no walk".to_owned(),
        |stage| of(stage, &format!("stage 1 from {}", stage.register), "VA", "ASID"),
    );
    let second = report.stage2.as_ref().map_or_else(
        || "stage 2: off, not reached or no walk".to_owned(),
        |stage| of(stage, "stage 2 from VTTBR_EL2", "IPA", "VMID"),
    );
    format!("{first}   |   {second}")
}

/// `words` in lines of at most `limit` pixels.
fn lines(words: &str, limit: f64, font: Font) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), font) <= limit => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A walk for a terminal.
//!
//! What belongs to stage 1 starts at the left; the stage-2 walk that finds a descriptor stands indented above it. There
//! each descriptor is a line and its fields a paragraph, or a walk would fill ten screens; the stage-2 walk of the
//! address itself is told field by field, like stage 1.

use std::fmt::Write as _;

use clap::builder::styling::{AnsiColor, Style};
use vambrace_memory::access::{Permissions, Rights};
use vambrace_memory::walk::DescriptorKind;

use super::fault::FaultWords;
use super::report::{
    DescriptorWords, Found, Hex, Report, Stage2Walk, StageWords, WalkLevel, WalkOutcome, bytes, el_name, verb,
};
use crate::register::wrap;

const HEADING: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const ADDRESS: Style = AnsiColor::Cyan.on_default();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// The whole walk.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    let (va, access, el) = (report.va, verb(report.access), el_name(report.el));
    let _ = writeln!(text, "{HEADING}VA {va}, {el}, {access}{HEADING:#}\n");
    stage(&mut text, "stage 1", report.stage1.as_ref());
    stage(&mut text, "stage 2", report.stage2.as_ref());
    for note in &report.notes {
        let _ = writeln!(text, "{DIM}note     {note}{DIM:#}");
    }
    for level in &report.levels {
        stage1_level(&mut text, level);
    }
    if let Some(walk) = &report.output {
        let _ = writeln!(text, "\n{HEADING}Stage 2 of IPA {}{HEADING:#}", walk.ipa);
        for descriptor in &walk.descriptors {
            found(&mut text, "IPA", "PA", descriptor, 2);
            fields(&mut text, descriptor);
        }
    }
    match &report.outcome {
        WalkOutcome::Translated(found) => translated(&mut text, found),
        WalkOutcome::Fault(fault) => faulted(&mut text, fault),
    }
    text
}

fn stage(text: &mut String, name: &str, stage: Option<&StageWords>) {
    let Some(stage) = stage else {
        let _ = writeln!(text, "{name}  off, not reached, or not walked");
        return;
    };
    let StageWords { register, root, granule, input_bits, output_bits, start_level, root_tables, id } = stage;
    let (space, output, what) = if name == "stage 1" { ("VA", "IPA", "ASID") } else { ("IPA", "PA", "VMID") };
    let granule = bytes(*granule);
    let tables =
        if *root_tables > 1 { format!(", {root_tables} tables side by side") } else { String::new() };
    let _ = writeln!(
        text,
        "{name}  {register}: root at {output} {ADDRESS}{root}{ADDRESS:#}, level {start_level}{tables}; {granule} \
         granule, {input_bits} bits of {space}, {output_bits} of {output}; {what} {id}"
    );
}

fn stage1_level(text: &mut String, level: &WalkLevel) {
    let _ = writeln!(text, "\n{HEADING}Stage 1, level {}{HEADING:#}", level.level);
    if let Some(walk) = &level.stage2 {
        nested(text, walk);
    }
    if let Some(descriptor) = &level.descriptor {
        found(text, "VA", "IPA", descriptor, 2);
        fields(text, descriptor);
    }
}

/// The stage-2 walk of a table's address.
fn nested(text: &mut String, walk: &Stage2Walk) {
    let _ = writeln!(text, "    {DIM}stage 2 of the descriptor's IPA {}:{DIM:#}", walk.ipa);
    for descriptor in &walk.descriptors {
        found(text, "IPA", "PA", descriptor, 6);
        if descriptor.kind == DescriptorKind::Table {
            // A table's descriptor says no more than the line above.
            continue;
        }
        let words = descriptor.fields.iter().filter(|field| field.name != "address");
        let words: Vec<String> = words
            .map(|field| format!("{} = {}", field.name, number(field.value, field.high - field.low)))
            .collect();
        let _ = write!(text, "{DIM}{}{DIM:#}", wrap(&words.join(", "), 10));
    }
    match walk.pa {
        Some(pa) => {
            let _ = writeln!(text, "      = PA {ADDRESS}{pa}{ADDRESS:#}");
        }
        None => {
            let _ = writeln!(text, "      {BAD}refused, see below{BAD:#}");
        }
    }
}

/// How a descriptor is found, and what it is.
fn found(text: &mut String, from: &str, space: &str, descriptor: &DescriptorWords, indent: usize) {
    let DescriptorWords { level, table, input_bits: (high, low), index, address, value, .. } = descriptor;
    let _ = writeln!(
        text,
        "{:indent$}level {level}: {from}[{high}:{low}] = {index:#x}: {space} {table} + 8 x {index:#x} = \
         {ADDRESS}{address}{ADDRESS:#} holds {:#018x}",
        "", value.0
    );
    let what = match (descriptor.kind, descriptor.output, descriptor.size) {
        (DescriptorKind::Table, Some(output), _) => {
            format!("table of level {} at {space} {output}", level + 1)
        }
        (DescriptorKind::Block, Some(output), Some(size)) => {
            format!("block of {} at {space} {output}", bytes(size))
        }
        (_, Some(output), Some(size)) => format!("page of {} at {space} {output}", bytes(size)),
        _ => format!("{BAD}invalid{BAD:#}"),
    };
    let _ = writeln!(text, "{:indent$}  -> {what}", "");
}

/// The fields, one a line.
fn fields(text: &mut String, descriptor: &DescriptorWords) {
    for field in &descriptor.fields {
        let bits = if field.high == field.low {
            field.high.to_string()
        } else {
            format!("{}:{}", field.high, field.low)
        };
        let value = number(field.value, field.high - field.low);
        let line = format!("{bits:>9}  {:<10} {value:>14}  {}", field.name, field.words);
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

/// Short fields in binary.
fn number(value: u64, width: u32) -> String {
    match width {
        0 => value.to_string(),
        1..=3 => format!("{value:#0width$b}", width = width as usize + 3),
        _ => format!("{value:#x}"),
    }
}

fn translated(text: &mut String, found: &Found) {
    let Found { pa, ipa, memory, shareability, .. } = found;
    let size = bytes(found.size);
    let _ =
        writeln!(text, "\n{GOOD}PA {pa}{GOOD:#}, by way of IPA {ipa}; {size} around it are translated alike");
    let _ = writeln!(text, "\n  attributes   {HEADING}{memory}, {shareability}{HEADING:#}");
    let _ = writeln!(text, "    stage 1    {}, {}", found.stage1_memory, found.stage1_shareability);
    if let (Some(memory), Some(shareability)) = (&found.stage2_memory, &found.stage2_shareability) {
        let _ = writeln!(text, "    stage 2    {memory}, {shareability}");
    }
    let _ = writeln!(text, "    rules      {}; {}", found.memory_rule, found.shareability_rule);
    let _ = writeln!(
        text,
        "  permissions  EL1 {}   EL0 {}",
        rights(found.permissions.el1),
        rights(found.permissions.el0)
    );
    permissions(text, "stage 1", Some(found.stage1_permissions));
    permissions(text, "stage 2", found.stage2_permissions);
    let scope = if found.global { "every ASID" } else { "this ASID alone" };
    let _ = writeln!(text, "  TLB          may keep it for {scope}");
    let _ = writeln!(text, "  PAR_EL1      {}", found.par);
}

fn permissions(text: &mut String, name: &str, permissions: Option<Permissions>) {
    if let Some(Permissions { el1, el0 }) = permissions {
        let _ = writeln!(text, "    {name}    EL1 {}   EL0 {}", rights(el1), rights(el0));
    }
}

/// `rwx`.
pub(super) fn rights(rights: Rights) -> String {
    let letter = |allowed, letter| if allowed { letter } else { '-' };
    [letter(rights.read, 'r'), letter(rights.write, 'w'), letter(rights.execute, 'x')].iter().collect()
}

fn faulted(text: &mut String, fault: &FaultWords) {
    let summary = &fault.summary;
    let _ = writeln!(text, "\n{BAD}{summary}{BAD:#}");
    let _ = write!(text, "  why       {}", wrap(&fault.why, 12).trim_start());
    for hint in &fault.fix_hints {
        let _ = write!(text, "  {GOOD}mend{GOOD:#}      {}", wrap(hint, 12).trim_start());
    }
    for (name, permissions) in [("stage 1", fault.stage1_permissions), ("stage 2", fault.stage2_permissions)]
    {
        if let Some(Permissions { el1, el0 }) = permissions {
            let _ = writeln!(text, "  {name}   allows EL1 {}, EL0 {}", rights(el1), rights(el0));
        }
    }
    let level = fault.taken_to;
    let _ = writeln!(text, "  taken to  {level}");
    let _ = writeln!(text, "  ESR_{level}   {:#010x}  {}", fault.esr.0, fault.esr_words);
    let _ = writeln!(text, "            {DIM}(but for ISV, and what it makes valid){DIM:#}");
    let _ = writeln!(text, "  FAR_{level}   {}", fault.far);
    if fault.stage == 2 {
        let hpfar = fault.hpfar.map_or_else(
            || "not valid: a permission fault of the access itself".to_owned(),
            |hpfar| format!("{hpfar}  the page at IPA {:#x}", (hpfar.0 >> 4) << 12),
        );
        let _ = writeln!(text, "  HPFAR_EL2 {hpfar}");
    }
    if let Some(Hex(par)) = fault.par {
        let ptw = u8::from(fault.stage1_walk);
        let s = fault.stage - 1;
        let _ = writeln!(
            text,
            "  PAR_EL1   {par:#x}  F = 1, FST = {:#04x}, PTW = {ptw}, S = {s}",
            par >> 1 & 0x3f
        );
    }
}

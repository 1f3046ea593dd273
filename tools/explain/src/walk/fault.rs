// SPDX-License-Identifier: MIT OR Apache-2.0
//! A fault in words: where, why, what the registers say of it, and what to change.

use serde::Serialize;
use vambrace_cpu::syndrome::describe;
use vambrace_memory::access::{Access, El, Permissions};
use vambrace_memory::fault::{Fault, FaultKind, Origin, Taken};
use vambrace_memory::par::Report as Par;
use vambrace_memory::stage2::PhysicalMemory;
use vambrace_memory::translation::Registers;
use vambrace_memory::walk::{DescriptorKind, Start, WalkEntry};

use super::fix_hint::fix_hints;
use super::report::{Hex, Question, el_name, verb};
use super::trace::{Row, Trace, Walk2};

/// A fault.
#[derive(Clone, Debug, Serialize)]
pub struct FaultWords {
    /// What goes wrong.
    pub kind: String,
    /// At which level.
    pub level: i8,
    /// Which stage refuses: 1 or 2.
    pub stage: u8,
    /// Whether stage 2 refuses a stage-1 table (S1PTW).
    pub stage1_walk: bool,
    /// The IPA that stage 2 refuses; null for stage 1.
    pub ipa: Option<Hex>,
    /// The fault in one line.
    pub summary: String,
    /// The reason.
    pub why: String,
    /// The exception level that takes the exception.
    pub taken_to: &'static str,
    /// `ESR_ELx`, without what describes the instruction (ISV and the fields that it makes valid).
    pub esr: Hex,
    /// The same in words.
    pub esr_words: String,
    /// `FAR_ELx`.
    pub far: Hex,
    /// `HPFAR_EL2`; null where it is not valid.
    pub hpfar: Option<Hex>,
    /// `PAR_EL1` after an AT instruction; null for execution, about which none asks.
    pub par: Option<Hex>,
    /// What stage 1 allows, if it came to a block or page.
    pub stage1_permissions: Option<Permissions>,
    /// What the walk of stage 2 that refuses allows, if it came to a block or page.
    pub stage2_permissions: Option<Permissions>,
    /// What to change.
    pub fix_hints: Vec<String>,
}

impl FaultWords {
    pub(super) fn new(
        memory: &impl PhysicalMemory,
        registers: &Registers,
        question: Question,
        trace: &Trace,
        fault: Fault,
    ) -> Self {
        let ipa = match fault.origin {
            Origin::Stage1 => None,
            Origin::Stage2 { ipa } | Origin::Stage1Walk { ipa } => Some(Hex(ipa.0)),
        };
        let taken = match (fault.is_stage2(), question.el) {
            (false, El::El1) => Taken::FromSameEl,
            (true, _) | (false, El::El0) => Taken::FromLowerEl,
        };
        let esr = fault.syndrome(question.access, taken);
        Self {
            kind: fault.kind.to_string(),
            level: fault.level,
            stage: if fault.is_stage2() { 2 } else { 1 },
            stage1_walk: matches!(fault.origin, Origin::Stage1Walk { .. }),
            ipa,
            summary: fault.to_string(),
            why: why(registers, question, trace, fault),
            taken_to: if fault.is_stage2() { "EL2" } else { "EL1" },
            esr: Hex(esr),
            esr_words: describe(esr).to_string(),
            far: Hex(fault.va.0),
            hpfar: fault.hpfar().map(Hex),
            par: par(question.access, fault),
            stage1_permissions: trace.allows,
            stage2_permissions: refused_walk(trace, fault).and_then(|walk| walk.allows),
            fix_hints: fix_hints(memory, registers, question, trace, fault),
        }
    }
}

/// F, RES1 and what the model reports.
fn par(access: Access, fault: Fault) -> Option<Hex> {
    match Par::from(fault) {
        Par::Fault { status, stage2, stage1_walk } if access != Access::Execute => {
            let (stage2, stage1_walk) = (u64::from(stage2) << 9, u64::from(stage1_walk) << 8);
            Some(Hex(1 << 11 | stage2 | stage1_walk | u64::from(status) << 1 | 1))
        }
        Par::Fault { .. } | Par::Success { .. } => None,
    }
}

/// The walk of stage 2 that a fault of stage 2 ends.
pub(super) fn refused_walk(trace: &Trace, fault: Fault) -> Option<&Walk2> {
    match fault.origin {
        Origin::Stage1 => None,
        Origin::Stage2 { .. } => trace.output.as_ref(),
        Origin::Stage1Walk { .. } => trace.rows.last().and_then(|row| row.stage2.as_ref()),
    }
}

/// The descriptor that a fault is about, and how its table is read.
fn culprit(trace: &Trace, fault: Fault) -> Option<(WalkEntry, Start)> {
    match fault.origin {
        Origin::Stage1 => trace.rows.last().and_then(|row| row.entry).zip(trace.start),
        Origin::Stage2 { .. } | Origin::Stage1Walk { .. } => {
            let walk = refused_walk(trace, fault)?;
            walk.entries.last().copied().zip(walk.start)
        }
    }
}

fn why(registers: &Registers, question: Question, trace: &Trace, fault: Fault) -> String {
    let Some((entry, start)) = culprit(trace, fault) else {
        return why_no_walk(registers, question, trace, fault);
    };
    let (stage, space) = if fault.is_stage2() { (2, "PA") } else { (1, "IPA") };
    let this =
        format!("the level {} descriptor of stage {stage} at {space} {:#x}", entry.level, entry.address());
    match fault.kind {
        FaultKind::Translation if entry.raw & 1 == 0 => format!("{this} is invalid: its bit 0 is clear"),
        FaultKind::Translation => {
            format!("{this} has an encoding that is reserved at level {}: bits 1:0 = 0b01", entry.level)
        }
        FaultKind::AddressSize => format!(
            "{this} holds the address {:#x}, and no more than {} bits are allowed",
            entry.output, start.output_bits
        ),
        FaultKind::AccessFlag => {
            format!("{this} has AF = 0 (bit 10), and hardware does not set the access flag here")
        }
        FaultKind::Permission => format!("{this} {}", denial(registers, question, trace, fault, &entry)),
        FaultKind::ExternalAbortOnWalk => format!("there is no memory where {this} leads"),
    }
}

/// What a leaf forbids.
fn denial(
    registers: &Registers,
    question: Question,
    trace: &Trace,
    fault: Fault,
    entry: &WalkEntry,
) -> String {
    let size = if entry.kind == DescriptorKind::Page { "page" } else { "block" };
    let (el, verb) = (el_name(question.el), verb(question.access));
    match fault.origin {
        Origin::Stage1 => format!("does not let {el} {verb} this {size}"),
        Origin::Stage2 { .. } => format!("does not let {el} {verb} this {size}, whatever stage 1 says"),
        Origin::Stage1Walk { .. } if updates(trace) => {
            format!("forbids writes, and hardware has to write the stage 1 descriptor in this {size} back")
        }
        Origin::Stage1Walk { .. } => {
            let allows = refused_walk(trace, fault).and_then(|walk| walk.allows);
            if allows.is_some_and(|allows| allows.el1.read) {
                let hcr = registers.hcr;
                format!(
                    "maps this {size} as Device memory, where HCR_EL2.PTW forbids stage 1 tables (HCR_EL2 = {hcr:#x})"
                )
            } else {
                format!("does not let stage 1's table in this {size} be read")
            }
        }
    }
}

/// Whether the last descriptor of stage 1 was read, so that what failed was to write it back.
pub(super) fn updates(trace: &Trace) -> bool {
    matches!(trace.rows.last(), Some(Row { entry: Some(_), .. }))
}

/// Faults before the first descriptor.
fn why_no_walk(registers: &Registers, question: Question, trace: &Trace, fault: Fault) -> String {
    if fault.is_stage2() {
        let walk = refused_walk(trace, fault);
        let regime = registers.stage2();
        return match (regime.start(), walk) {
            (Err(bad), _) => format!("VTCR_EL2 allows no walk: {bad}"),
            (Ok(_), Some(walk)) if walk.ipa.0 >> regime.ipa_bits() != 0 => format!(
                "IPA {} is outside the IPA space of {} bits (VTCR_EL2.T0SZ)",
                walk.ipa,
                regime.ipa_bits()
            ),
            (Ok(start), _) => wide_root("VTTBR_EL2", &start),
        };
    }
    let regime = registers.stage1();
    if !regime.enabled() {
        let bits = registers.features.pa_bits();
        return format!("stage 1 is off, and the address has more than the {bits} bits of this CPU");
    }
    match regime.start(question.va, question.access, question.el) {
        Err(no_walk) => no_walk.to_string(),
        Ok(start) => wide_root("the TTBR", &start),
    }
}

fn wide_root(register: &str, start: &Start) -> String {
    format!(
        "the root's address {:#x} in {register} is wider than the {} bits allowed",
        start.root, start.output_bits
    )
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A translation in words: what text, JSON and pictures are made from.
//!
//! The names and nesting here are the JSON's, and stay. Addresses and descriptors are strings of hexadecimal digits
//! there, since many readers of JSON keep no more than 53 bits of a number.

use std::fmt;

use serde::{Serialize, Serializer};
use vambrace_memory::access::{Access, El, Permissions};
use vambrace_memory::granule::Stage;
use vambrace_memory::stage2::PhysicalMemory;
use vambrace_memory::translation::{Registers, TranslationOutcome, translate};
use vambrace_memory::walk::{DescriptorKind, Start, WalkEntry};
use vambrace_memory::{Va, stage1};

use super::fault::FaultWords;
use super::fields::fields;
use super::trace::{Row, Trace, Walk2};
use crate::register::FieldWords;

/// A number that is written in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hex(pub u64);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:#x}", self.0))
    }
}

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// The address.
    pub va: Va,
    /// What the access does.
    pub access: Access,
    /// For which exception level.
    pub el: El,
}

/// A translation, explained.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The address, with its tag.
    pub va: Hex,
    /// What the access does.
    pub access: Access,
    /// For which exception level.
    pub el: El,
    /// What was assumed, and what is odd about the registers.
    pub notes: Vec<String>,
    /// Where stage 1 starts; null if it is off or its registers allow no walk.
    pub stage1: Option<StageWords>,
    /// Where stage 2 starts; null if it is off, never reached, or its registers allow no walk.
    pub stage2: Option<StageWords>,
    /// The levels of stage 1, from the root down.
    pub levels: Vec<WalkLevel>,
    /// Stage 2 of the IPA that stage 1 leads to; null if it is off or never reached.
    pub output: Option<Stage2Walk>,
    /// Where it all leads.
    pub outcome: WalkOutcome,
}

/// The shape of a stage's tables.
#[derive(Clone, Debug, Serialize)]
pub struct StageWords {
    /// The register that holds the root's address.
    pub register: &'static str,
    /// The root's address: an IPA for stage 1, a PA for stage 2.
    pub root: Hex,
    /// The size of a page, in bytes.
    pub granule: u64,
    /// Bits of the addresses it translates.
    pub input_bits: u32,
    /// Bits that its output addresses may have.
    pub output_bits: u32,
    /// The level of the root.
    pub start_level: i8,
    /// Tables that lie side by side as the root.
    pub root_tables: u64,
    /// The ASID (stage 1) or VMID (stage 2).
    pub id: u16,
}

/// One level of stage 1.
#[derive(Clone, Debug, Serialize)]
pub struct WalkLevel {
    /// The level.
    pub level: i8,
    /// How stage 2 finds the descriptor; null if stage 2 is off.
    pub stage2: Option<Stage2Walk>,
    /// The descriptor; null if stage 2 refuses to lead there.
    pub descriptor: Option<DescriptorWords>,
}

/// One walk of stage 2.
#[derive(Clone, Debug, Serialize)]
pub struct Stage2Walk {
    /// The address that it translates.
    pub ipa: Hex,
    /// The descriptors that it reads.
    pub descriptors: Vec<DescriptorWords>,
    /// What it allows; null if no block or page is found.
    pub permissions: Option<Permissions>,
    /// Where it leads; null if it faults.
    pub pa: Option<Hex>,
}

/// A descriptor and how it was found.
#[derive(Clone, Debug, Serialize)]
pub struct DescriptorWords {
    /// The level of its table.
    pub level: i8,
    /// Its table's address.
    pub table: Hex,
    /// The bits of the input address that select it, highest and lowest.
    pub input_bits: (u32, u32),
    /// Its number in the table.
    pub index: u64,
    /// Its own address: an IPA in stage 1, a PA in stage 2.
    pub address: Hex,
    /// The descriptor.
    pub value: Hex,
    /// What it is.
    pub kind: DescriptorKind,
    /// The next table's address, or the block's or page's; null for an invalid descriptor.
    pub output: Option<Hex>,
    /// The bytes that it maps; null for a table.
    pub size: Option<u64>,
    /// Its fields, from the highest bit down.
    pub fields: Vec<FieldWords>,
}

/// Where a translation ends.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum WalkOutcome {
    /// At an address.
    Translated(Box<Found>),
    /// In a fault.
    Fault(Box<FaultWords>),
}

/// Where an access leads, in words.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The IPA between the stages.
    pub ipa: Hex,
    /// The physical address.
    pub pa: Hex,
    /// The bytes around it that are translated alike.
    pub size: u64,
    /// What stage 1 asks for.
    pub stage1_memory: String,
    /// Its shareability.
    pub stage1_shareability: String,
    /// What stage 2 asks for; null if it is off.
    pub stage2_memory: Option<String>,
    /// Its shareability.
    pub stage2_shareability: Option<String>,
    /// The memory type of both together.
    pub memory: String,
    /// Why.
    pub memory_rule: String,
    /// The shareability of both together.
    pub shareability: String,
    /// Why.
    pub shareability_rule: String,
    /// What stage 1 allows.
    pub stage1_permissions: Permissions,
    /// What stage 2 allows; null if it is off.
    pub stage2_permissions: Option<Permissions>,
    /// What both allow.
    pub permissions: Permissions,
    /// Whether the TLB may use it for every ASID.
    pub global: bool,
    /// `PAR_EL1` in words.
    pub par: String,
}

impl Report {
    /// Translates and explains. `notes` is what was assumed about the registers.
    pub fn new(
        memory: &impl PhysicalMemory,
        registers: &Registers,
        question: Question,
        notes: &[String],
    ) -> Self {
        let Question { va, access, el } = question;
        let mut trace = Trace::default();
        let result = translate(memory, registers, va, access, el, &mut trace);
        let outcome = match result {
            Ok(outcome) => WalkOutcome::Translated(Box::new(Found::new(&outcome, access))),
            Err(fault) => {
                WalkOutcome::Fault(Box::new(FaultWords::new(memory, registers, question, &trace, fault)))
            }
        };
        let mut notes = notes.to_vec();
        if registers.stage2().enabled() {
            notes.extend(registers.stage2().doubts().map(|doubt| format!("VTCR_EL2: {doubt}")));
        }
        if let Some(untagged) = trace.va.filter(|untagged| *untagged != va) {
            notes.push(format!("bits 63:56 of the VA are a tag: {untagged} is translated"));
        }
        let levels = trace.rows.iter().map(|row| WalkLevel::new(row, &trace, registers)).collect();
        let output = trace.output.as_ref().map(|walk| Stage2Walk::new(walk, registers));
        Self {
            va: Hex(va.0),
            access,
            el,
            notes,
            stage1: trace.start.map(|start| StageWords::stage1(&start, registers, va)),
            stage2: trace
                .walks2()
                .find_map(|walk| walk.start)
                .map(|start| StageWords::stage2(&start, registers)),
            levels,
            output,
            outcome,
        }
    }
}

impl Report {
    /// Which descriptor was wanted last, in words: where a dump is too short.
    pub(super) fn reached(&self) -> String {
        let WalkOutcome::Fault(fault) = &self.outcome else { return "the last of all".to_owned() };
        match (fault.stage, self.levels.last(), fault.stage1_walk) {
            (1, _, _) => format!("of level {} of stage 1", fault.level),
            (_, Some(level), true) => {
                format!(
                    "of level {} of stage 2, on the way to stage 1's of level {}",
                    fault.level, level.level
                )
            }
            _ => format!("of level {} of stage 2", fault.level),
        }
    }
}

impl StageWords {
    fn new(register: &'static str, start: &Start, id: u16) -> Self {
        let Start { granule, level, root_index_bits, output_bits, .. } = *start;
        Self {
            register,
            root: Hex(start.root),
            granule: 1 << granule.page_shift(),
            input_bits: granule.shift(level) + root_index_bits,
            output_bits,
            start_level: level,
            root_tables: 1 << root_index_bits.saturating_sub(granule.index_bits()),
            id,
        }
    }

    fn stage1(start: &Start, registers: &Registers, va: Va) -> Self {
        let register = match stage1::Half::of(va) {
            stage1::Half::Lower => "TTBR0_EL1",
            stage1::Half::Upper => "TTBR1_EL1",
        };
        Self::new(register, start, registers.stage1().asid())
    }

    fn stage2(start: &Start, registers: &Registers) -> Self {
        Self::new("VTTBR_EL2", start, registers.stage2().vmid())
    }
}

impl WalkLevel {
    fn new(row: &Row, trace: &Trace, registers: &Registers) -> Self {
        let descriptor = row
            .entry
            .zip(trace.start)
            .map(|(entry, start)| DescriptorWords::new(Stage::One, &entry, &start, registers));
        let stage2 = row.stage2.as_ref().map(|walk| Stage2Walk::new(walk, registers));
        Self { level: row.level, stage2, descriptor }
    }
}

impl Stage2Walk {
    fn new(walk: &Walk2, registers: &Registers) -> Self {
        let describe = |start: &Start| {
            let describe = |entry| DescriptorWords::new(Stage::Two, entry, start, registers);
            walk.entries.iter().map(describe).collect()
        };
        Self {
            ipa: Hex(walk.ipa.0),
            descriptors: walk.start.as_ref().map(describe).unwrap_or_default(),
            permissions: walk.allows,
            pa: walk.pa.map(|pa| Hex(pa.0)),
        }
    }
}

impl DescriptorWords {
    fn new(stage: Stage, entry: &WalkEntry, start: &Start, registers: &Registers) -> Self {
        let low = start.granule.shift(entry.level);
        let bits =
            if entry.level == start.level { start.root_index_bits } else { start.granule.index_bits() };
        let maps = matches!(entry.kind, DescriptorKind::Block | DescriptorKind::Page);
        Self {
            level: entry.level,
            table: Hex(entry.table),
            input_bits: (low + bits - 1, low),
            index: entry.index,
            address: Hex(entry.address()),
            value: Hex(entry.raw),
            kind: entry.kind,
            output: (entry.kind != DescriptorKind::Invalid).then_some(Hex(entry.output)),
            size: maps.then_some(1 << low),
            fields: fields(stage, entry, start, registers),
        }
    }
}

impl Found {
    fn new(outcome: &TranslationOutcome, access: Access) -> Self {
        let TranslationOutcome { stage1, stage2, attributes, .. } = outcome;
        let par = match access {
            Access::Read | Access::Write => format!(
                "F = 0, PA = {:#x}, {}, {}",
                outcome.pa.0 >> 12 << 12,
                attributes.memory,
                attributes.shareability
            ),
            Access::Execute => "no AT instruction asks about execution".to_owned(),
        };
        Self {
            ipa: Hex(stage1.ipa.0),
            pa: Hex(outcome.pa.0),
            size: outcome.size(),
            stage1_memory: stage1.memory.to_string(),
            stage1_shareability: stage1.shareability.to_string(),
            stage2_memory: stage2.map(|stage2| stage2.memory.to_string()),
            stage2_shareability: stage2.map(|stage2| stage2.shareability.to_string()),
            memory: attributes.memory.to_string(),
            memory_rule: attributes.memory_rule.to_string(),
            shareability: attributes.shareability.to_string(),
            shareability_rule: attributes.shareability_rule.to_string(),
            stage1_permissions: stage1.permissions,
            stage2_permissions: stage2.map(|stage2| stage2.permissions),
            permissions: outcome.permissions,
            global: stage1.global,
            par,
        }
    }
}

/// What an access does.
pub(super) const fn verb(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Execute => "execute",
    }
}

/// The exception level's name.
pub(super) const fn el_name(el: El) -> &'static str {
    match el {
        El::El0 => "EL0",
        El::El1 => "EL1",
    }
}

/// A number of bytes as people say it: `2 MiB`.
pub(super) fn bytes(size: u64) -> String {
    let size = vambrace_manifest::Size(size).to_string();
    match size.find(|letter: char| !letter.is_ascii_digit()) {
        Some(unit) if !size.contains(' ') => format!("{} {}", &size[..unit], &size[unit..]),
        _ => size,
    }
}

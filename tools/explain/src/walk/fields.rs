// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptors, bit by bit.
//!
//! What the fields do is the model's to decide; here they have names and words. Source: Arm ARM, "VMSAv8-64 descriptor
//! formats".

use vambrace_memory::attributes::{Shareability, Stage2Type};
use vambrace_memory::granule::{AddressFormat, Stage};
use vambrace_memory::stage2::memory_type;
use vambrace_memory::translation::Registers;
use vambrace_memory::walk::{DescriptorKind, Start, WalkEntry};

use crate::register::FieldWords;
use crate::registers::memory_attribute;

/// The fields of a descriptor from the highest bit down.
pub(super) fn fields(
    stage: Stage,
    entry: &WalkEntry,
    start: &Start,
    registers: &Registers,
) -> Vec<FieldWords> {
    let raw = Raw(entry.raw);
    let mut fields = match (stage, entry.kind) {
        // Nobody looks at the rest.
        (_, DescriptorKind::Invalid) => Vec::new(),
        (Stage::One, DescriptorKind::Table) => {
            let mut fields = table_permissions(raw);
            fields.extend(addresses(raw, start, start.granule.page_shift(), "the next table's address"));
            fields
        }
        (Stage::Two, DescriptorKind::Table) => {
            addresses(raw, start, start.granule.page_shift(), "the next table's address")
        }
        (Stage::One, _) => stage1_leaf(raw, entry, start, registers),
        (Stage::Two, _) => stage2_leaf(raw, entry, start, registers),
    };
    fields.push(raw.field(1, 1, "type", kind(entry).to_owned()));
    fields.push(raw.field(0, 0, "valid", flag(raw.bit(0), "valid", "invalid: translates nothing")));
    fields
}

#[derive(Clone, Copy)]
struct Raw(u64);

impl Raw {
    const fn bits(self, high: u32, low: u32) -> u64 {
        self.0 >> low & u64::MAX >> (63 - (high - low))
    }

    const fn bit(self, bit: u32) -> bool {
        self.0 >> bit & 1 != 0
    }

    const fn field(self, high: u32, low: u32, name: &'static str, words: String) -> FieldWords {
        FieldWords { high, low, name, value: self.bits(high, low), words }
    }

    fn flag(self, bit: u32, name: &'static str, set: &str, clear: &str) -> FieldWords {
        self.field(bit, bit, name, flag(self.bit(bit), set, clear))
    }
}

fn flag(is_set: bool, set: &str, clear: &str) -> String {
    if is_set { set } else { clear }.to_owned()
}

const fn kind(entry: &WalkEntry) -> &'static str {
    match (entry.kind, entry.raw & 1 != 0) {
        (DescriptorKind::Table, _) => "a table of the next level",
        (DescriptorKind::Block, _) => "a block",
        (DescriptorKind::Page, _) => "a page",
        (DescriptorKind::Invalid, true) => "reserved at this level: translates nothing",
        (DescriptorKind::Invalid, false) => "",
    }
}

/// Where an address is spelled, by the format.
fn addresses(raw: Raw, start: &Start, shift: u32, what: &str) -> Vec<FieldWords> {
    let upper = |high: u32, low: u32, words: &str| raw.field(high, low, "address", words.to_owned());
    let lowest = shift.max(start.granule.page_shift());
    match start.format {
        AddressFormat::Plain => vec![raw.field(47, lowest, "address", format!("bits 47:{lowest} of {what}"))],
        AddressFormat::Lpa => vec![
            raw.field(47, lowest, "address", format!("bits 47:{lowest} of {what}")),
            upper(15, 12, "bits 51:48 of it"),
        ],
        AddressFormat::Lpa2 => vec![
            raw.field(49, lowest, "address", format!("bits 49:{lowest} of {what}")),
            upper(9, 8, "bits 51:50 of it"),
        ],
    }
}

fn table_permissions(raw: Raw) -> Vec<FieldWords> {
    let access = match raw.bits(62, 61) {
        0b00 => "takes nothing away",
        0b01 => "below, EL0 may not access",
        0b10 => "below, nobody may write",
        _ => "below, nobody may write and EL0 may not access",
    };
    vec![
        raw.flag(63, "NSTable", "Non-secure; ignored in Non-secure state", ""),
        raw.field(62, 61, "APTable", access.to_owned()),
        raw.flag(60, "UXNTable", "below, EL0 never executes", "takes nothing away"),
        raw.flag(59, "PXNTable", "below, EL1 never executes", "takes nothing away"),
    ]
}

/// Fields that leaves of both stages have at the top.
fn upper(raw: Raw) -> [FieldWords; 2] {
    [
        raw.flag(52, "Contiguous", "neighbours continue it: the TLB may keep them as one", "stands alone"),
        raw.flag(
            51,
            "DBM",
            "hardware may make it writable (if it manages dirty state)",
            "no dirty state here",
        ),
    ]
}

fn access_flag(raw: Raw) -> FieldWords {
    raw.flag(10, "AF", "accessed before", "not accessed yet")
}

/// SH, where the format has it.
fn shareability(raw: Raw, start: &Start) -> Option<FieldWords> {
    let words = match raw.bits(9, 8) {
        0b01 => "reserved, taken as Outer Shareable".to_owned(),
        bits => Shareability::from_bits(bits).to_string(),
    };
    (start.format != AddressFormat::Lpa2).then(|| raw.field(9, 8, "SH", words))
}

/// The address comes in one or two pieces, the second of which is lower than some of the other fields.
fn sorted(mut fields: Vec<FieldWords>) -> Vec<FieldWords> {
    fields.sort_by_key(|field| std::cmp::Reverse(field.low));
    fields
}

fn stage1_leaf(raw: Raw, entry: &WalkEntry, start: &Start, registers: &Registers) -> Vec<FieldWords> {
    let access = match raw.bits(7, 6) {
        0b00 => "EL1 reads and writes, EL0 does neither",
        0b01 => "EL1 and EL0 read and write",
        0b10 => "EL1 reads, EL0 does not",
        _ => "EL1 and EL0 read",
    };
    let index = raw.bits(4, 2);
    let byte = registers.mair >> (index * 8) & 0xff;
    let memory = format!("MAIR_EL1.Attr{index} = {byte:#04x}: {}", memory_attribute(byte));
    let mut fields = vec![
        raw.flag(54, "UXN", "EL0 never executes", "EL0 may execute"),
        raw.flag(53, "PXN", "EL1 never executes", "EL1 may execute"),
        raw.flag(11, "nG", "for the current ASID only", "global: for every ASID"),
        access_flag(raw),
        raw.field(7, 6, "AP", access.to_owned()),
        raw.flag(5, "NS", "Non-secure; ignored in Non-secure state", ""),
        raw.field(4, 2, "AttrIndx", memory),
    ];
    fields.extend(upper(raw));
    fields.extend(shareability(raw, start));
    fields.extend(addresses(raw, start, start.granule.shift(entry.level), "the output address"));
    sorted(fields)
}

fn stage2_leaf(raw: Raw, entry: &WalkEntry, start: &Start, registers: &Registers) -> Vec<FieldWords> {
    let access = match raw.bits(7, 6) {
        0b00 => "no reads, no writes",
        0b01 => "reads, no writes",
        0b10 => "writes, no reads",
        _ => "reads and writes",
    };
    let encoding = registers.stage2().encoding();
    let memory = memory_type(raw.bits(5, 2), encoding);
    let memory = match Stage2Type::from_mem_attr(raw.bits(5, 2), encoding) {
        Some(_) => memory.to_string(),
        None => format!("reserved, taken as {memory}"),
    };
    let mut fields = vec![
        execute_never(raw, registers),
        access_flag(raw),
        raw.field(7, 6, "S2AP", access.to_owned()),
        raw.field(5, 2, "MemAttr", memory),
    ];
    fields.extend(upper(raw));
    fields.extend(shareability(raw, start));
    fields.extend(addresses(raw, start, start.granule.shift(entry.level), "the output address"));
    sorted(fields)
}

fn execute_never(raw: Raw, registers: &Registers) -> FieldWords {
    let words = match (raw.bits(54, 53), registers.features.has_xnx()) {
        (0b00, _) => "EL1 and EL0 may execute",
        (0b01, true) => "EL0 may execute, EL1 never",
        (0b10, _) => "nobody executes",
        (0b11, true) => "EL1 may execute, EL0 never",
        (0b01, false) => "EL1 and EL0 may execute (bit 53 is ignored without FEAT_XNX)",
        _ => "nobody executes (bit 53 is ignored without FEAT_XNX)",
    };
    raw.field(54, 53, "XN", words.to_owned())
}

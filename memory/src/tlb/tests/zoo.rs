// SPDX-License-Identifier: MIT OR Apache-2.0
//! One entry of each sort, by name: those that a TLBI could mean, and beside each one that it could take for it.

use super::*;

/// The VA that the instructions are given, in VMID 1 and ASID 5.
pub(super) const HERE: u64 = 0x1_4020_3000;
/// The IPA that they are given.
pub(super) const IPA: u64 = 0x2_8060_5000;
pub(super) const GIB1: u64 = 0x4000_0000;

pub(super) const fn el1(vmid: u16, asid: u16) -> Tag {
    Tag::El1 { vmid, asid: Some(asid) }
}

pub(super) const fn global(vmid: u16) -> Tag {
    Tag::El1 { vmid, asid: None }
}

pub(super) const fn source(level: i8, address: u64) -> Source {
    Source::new(Granule::Kib4, level, address)
}

fn combined(tag: Tag, source: Source, page: u64) -> TlbEntry {
    let extent = Extent { size: PAGE, first: page };
    TlbEntry { kind: TlbEntryKind::Combined, tag, extent, source, output: 0x9000_0000, stage2: 0x9000_07ff }
}

fn stage1_of_vm_1() -> Vec<(&'static str, TlbEntry)> {
    let leaf = |tag, source| TlbEntry::new(TlbEntryKind::Stage1Leaf, tag, source, 0x8000_0000);
    let table = |tag, source| TlbEntry::new(TlbEntryKind::Stage1Table, tag, source, 0x8000_0000);
    let (five, six, next) = (el1(1, 5), el1(1, 6), HERE + PAGE);
    vec![
        ("leaf 5", leaf(five, source(3, HERE))),
        ("block 5", leaf(five, source(2, HERE))),
        ("run 5", leaf(five, Source::contiguous(Granule::Kib4, 3, HERE))),
        ("64 KiB leaf 5", leaf(five, Source::new(Granule::Kib64, 3, HERE))),
        ("next leaf 5", leaf(five, source(3, next))),
        ("table 5", table(five, source(2, HERE))),
        ("root table 5", table(five, source(0, HERE))),
        ("far table 5", table(five, source(2, HERE + GIB1))),
        ("combined 5", combined(five, source(3, HERE), HERE)),
        ("piece of block 5", combined(five, source(2, HERE), HERE + 9 * PAGE)),
        ("next combined 5", combined(five, source(3, next), next)),
        ("leaf 6", leaf(six, source(3, HERE))),
        ("table 6", table(six, source(2, HERE))),
        ("combined 6", combined(six, source(3, HERE), HERE)),
        ("global leaf", leaf(global(1), source(3, HERE))),
        ("global combined", combined(global(1), source(3, HERE), HERE)),
        ("next global leaf", leaf(global(1), source(3, next))),
    ]
}

fn stage2_of_vm_1() -> Vec<(&'static str, TlbEntry)> {
    let leaf = |source| TlbEntry::new(TlbEntryKind::Stage2Leaf, global(1), source, 0x9000_07ff);
    let table = |source| TlbEntry::new(TlbEntryKind::Stage2Table, global(1), source, 0x9000_0000);
    vec![
        ("stage-2 leaf", leaf(source(3, IPA))),
        ("stage-2 block", leaf(source(2, IPA))),
        ("stage-2 run", leaf(Source::contiguous(Granule::Kib4, 3, IPA))),
        ("64 KiB stage-2 leaf", leaf(Source::new(Granule::Kib64, 3, IPA))),
        ("next stage-2 leaf", leaf(source(3, IPA + PAGE))),
        // Where a confusion of VA and IPA would find it.
        ("stage-2 leaf at the VA", leaf(source(3, HERE))),
        ("stage-2 table", table(source(2, IPA))),
        ("root stage-2 table", table(source(0, IPA))),
        ("far stage-2 table", table(source(2, IPA + GIB1))),
    ]
}

fn others() -> Vec<(&'static str, TlbEntry)> {
    let at = |kind, tag, level, address| TlbEntry::new(kind, tag, source(level, address), 0x9000_0000);
    vec![
        ("leaf 5 of VM 2", at(TlbEntryKind::Stage1Leaf, el1(2, 5), 3, HERE)),
        ("global leaf of VM 2", at(TlbEntryKind::Stage1Leaf, global(2), 3, HERE)),
        ("table 5 of VM 2", at(TlbEntryKind::Stage1Table, el1(2, 5), 2, HERE)),
        ("combined 5 of VM 2", combined(el1(2, 5), source(3, HERE), HERE)),
        ("stage-2 leaf of VM 2", at(TlbEntryKind::Stage2Leaf, global(2), 3, IPA)),
        ("stage-2 table of VM 2", at(TlbEntryKind::Stage2Table, global(2), 2, IPA)),
        ("EL2 leaf", at(TlbEntryKind::Stage1Leaf, Tag::El2, 3, HERE)),
        ("EL2 block", at(TlbEntryKind::Stage1Leaf, Tag::El2, 2, HERE)),
        ("next EL2 leaf", at(TlbEntryKind::Stage1Leaf, Tag::El2, 3, HERE + PAGE)),
        ("EL2 table", at(TlbEntryKind::Stage1Table, Tag::El2, 2, HERE)),
        ("far EL2 table", at(TlbEntryKind::Stage1Table, Tag::El2, 2, HERE + GIB1)),
    ]
}

pub(super) fn zoo() -> Vec<(&'static str, TlbEntry)> {
    [stage1_of_vm_1(), stage2_of_vm_1(), others()].concat()
}

/// The names of what `op` takes out of the zoo while VMID 1 is current.
pub(super) fn taken(op: Tlbi) -> Vec<&'static str> {
    let mut entries = Entries::new();
    for (name, entry) in zoo() {
        assert!(entries.insert(entry), "{name} twice");
    }
    entries.forget(op, 1);
    let gone = |entry: &TlbEntry| !entries.iter().any(|left| left == entry);
    for (name, entry) in zoo() {
        assert_eq!(op.forgets(1, &entry), gone(&entry), "{name}: what is said and what is done");
    }
    zoo().iter().filter(|(_, entry)| gone(entry)).map(|(name, _)| *name).collect()
}

/// The operand of the instructions for one VA or IPA.
pub(super) const fn one(address: u64, asid: u16) -> u64 {
    (asid as u64) << 48 | address >> 12 & ((1 << 44) - 1)
}

/// The operand of the range instructions, from its fields.
#[derive(Clone, Copy)]
pub(super) struct RangeOperand {
    pub(super) asid: u16,
    pub(super) tg: u64,
    pub(super) scale: u64,
    pub(super) num: u64,
    pub(super) ttl: u64,
    pub(super) base: u64,
}

impl RangeOperand {
    /// Two pages of 4 KiB from `address`.
    pub(super) const fn two_pages(address: u64, asid: u16) -> Self {
        Self { asid, tg: 1, scale: 0, num: 0, ttl: 0, base: address >> 12 }
    }

    pub(super) const fn bits(self) -> u64 {
        (self.asid as u64) << 48
            | self.tg << 46
            | self.scale << 44
            | self.num << 39
            | self.ttl << 37
            | self.base & ((1 << 37) - 1)
    }
}

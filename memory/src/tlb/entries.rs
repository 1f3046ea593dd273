// SPDX-License-Identifier: MIT OR Apache-2.0
//! All that one CPU's TLB holds: entries go in, a TLBI takes out exactly what it must, nothing else ever goes.
//!
//! An ordered set, by kind, tag, size and first address, so that whoever knows three of them finds the rest quickly.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use super::operand::canonical;
use super::{Addresses, Extent, Source, Tag, TlbEntry, TlbEntryKind, Tlbi};
use crate::granule::Granule;
use crate::{Ipa, Va};

/// The stage an invalidation works on. Combined entries count as stage 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Stage1,
    Stage2,
}

/// The content of a TLB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries(BTreeSet<TlbEntry>);

impl Entries {
    /// An empty TLB.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeSet::new())
    }

    /// Caches `entry`; returns whether it is new.
    pub fn insert(&mut self, entry: TlbEntry) -> bool {
        self.0.insert(entry)
    }

    /// Everything in it.
    pub fn iter(&self) -> impl Iterator<Item = &TlbEntry> {
        self.0.iter()
    }

    /// Forgets what `op` must drop when it is executed with `vmid` current.
    pub fn forget(&mut self, op: Tlbi, vmid: u16) {
        self.forget_part(op, vmid, Part::Stage1);
        self.forget_part(op, vmid, Part::Stage2);
    }

    pub(super) fn forget_part(&mut self, op: Tlbi, vmid: u16, part: Part) {
        match (op, part) {
            (Tlbi::Ipa { addresses, .. }, Part::Stage2) => self.forget_ipas(op, addresses, vmid),
            (Tlbi::Ipa { .. }, Part::Stage1) => {}
            (
                Tlbi::Stage1 | Tlbi::Asid { .. } | Tlbi::Va { .. } | Tlbi::AllEl2 | Tlbi::VaEl2 { .. },
                Part::Stage2,
            ) => {}
            (_, part) => self.0.retain(|entry| {
                entry.kind.has_stage1() != (part == Part::Stage1) || !op.forgets(vmid, entry)
            }),
        }
    }

    /// By IPA: looks only where something may be, for this is what a hypervisor does over and over.
    fn forget_ipas(&mut self, op: Tlbi, addresses: Addresses, vmid: u16) {
        let (first, last) = match addresses {
            Addresses::One { address, .. } => (address, address),
            Addresses::Range { first, last, .. } => (first, last),
            Addresses::Nothing => return,
        };
        for kind in [TlbEntryKind::Stage2Table, TlbEntryKind::Stage2Leaf] {
            for entry in self.meeting(kind, Tag::El1 { vmid, asid: None }, first, last) {
                if op.forgets(vmid, &entry) {
                    self.0.remove(&entry);
                }
            }
        }
    }

    /// What an access to `va` under `current` could use: entries of stage 1, and combined ones. `current` holds the
    /// current VMID and ASID.
    #[must_use]
    pub fn lookup(&self, current: Tag, va: Va) -> Vec<TlbEntry> {
        let va = canonical(va.0);
        let usable = |entry: &&TlbEntry| {
            entry.kind.has_stage1() && entry.tag.serves(current) && entry.extent.contains(va)
        };
        self.0.iter().filter(usable).copied().collect()
    }

    /// What an access to `ipa` of the VM `vmid` could use: entries of stage 2.
    #[must_use]
    pub fn lookup_ipa(&self, vmid: u16, ipa: Ipa) -> Vec<TlbEntry> {
        let tag = Tag::El1 { vmid, asid: None };
        let of = |kind| self.meeting(kind, tag, ipa.0, ipa.0);
        [of(TlbEntryKind::Stage2Table), of(TlbEntryKind::Stage2Leaf)].concat()
    }

    /// The entries of one kind of a VM, of all ASIDs.
    pub(super) fn of_vm(&self, kind: TlbEntryKind, vmid: u16) -> impl Iterator<Item = &TlbEntry> {
        let first = Tag::El1 { vmid, asid: None };
        let last = Tag::El1 { vmid, asid: Some(u16::MAX) };
        self.0.range(bounds(kind, first..=last, Extent { size: 0, first: 0 }..=LAST_EXTENT))
    }

    /// The ASIDs, `None` for global, of the entries of one kind of a VM.
    pub(super) fn asids(&self, kind: TlbEntryKind, vmid: u16) -> Vec<Option<u16>> {
        let mut found = Vec::new();
        let mut from = Some(None);
        let last = Tag::El1 { vmid, asid: Some(u16::MAX) };
        while let Some(asid) = from {
            let rest = Tag::El1 { vmid, asid }..=last;
            let next = self.0.range(bounds(kind, rest, Extent { size: 0, first: 0 }..=LAST_EXTENT)).next();
            let Some(TlbEntry { tag: Tag::El1 { asid, .. }, .. }) = next else { break };
            found.push(*asid);
            from = asid.map_or(Some(0), |asid| asid.checked_add(1)).map(Some);
        }
        found
    }

    /// The entries of one kind with one tag and of exactly this extent.
    pub(super) fn at(&self, kind: TlbEntryKind, tag: Tag, extent: Extent) -> impl Iterator<Item = &TlbEntry> {
        self.0.range(bounds(kind, tag..=tag, extent..=extent))
    }

    /// The entries of one kind and one tag that serve any address from `first` to `last`.
    pub(super) fn meeting(&self, kind: TlbEntryKind, tag: Tag, first: u64, last: u64) -> Vec<TlbEntry> {
        let mut found = Vec::new();
        let mut smallest = 0;
        loop {
            let larger = bounds(kind, tag..=tag, Extent { size: smallest, first: 0 }..=LAST_EXTENT);
            let Some(next) = self.0.range(larger).next() else { return found };
            // All of one size that could reach into the range start here:
            let size = next.extent.size;
            let earliest = first.saturating_sub(size - 1);
            let near = Extent { size, first: earliest }..=Extent { size, first: last };
            found.extend(self.0.range(bounds(kind, tag..=tag, near)));
            smallest = size + 1;
        }
    }
}

const LAST_EXTENT: Extent = Extent { size: u64::MAX, first: u64::MAX };

/// All entries of a kind between two tags and, where the tags are equal, between two extents.
fn bounds(
    kind: TlbEntryKind,
    tags: RangeInclusive<Tag>,
    extents: RangeInclusive<Extent>,
) -> RangeInclusive<TlbEntry> {
    let least = Source { granule: Granule::Kib4, level: i8::MIN, extent: Extent { size: 0, first: 0 } };
    let greatest = Source { granule: Granule::Kib64, level: i8::MAX, extent: LAST_EXTENT };
    let (first, last) = (*extents.start(), *extents.end());
    TlbEntry { kind, tag: *tags.start(), extent: first, source: least, output: 0, stage2: 0 }..=TlbEntry {
        kind,
        tag: *tags.end(),
        extent: last,
        source: greatest,
        output: u64::MAX,
        stage2: u64::MAX,
    }
}

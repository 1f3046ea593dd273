// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest's stage-1 tables as the model's walkers read them: each table at an IPA, through whatever of stage 2 is cached.
//!
//! Tables are remembered under the current ASID; leaves under it or, with nG clear, as global. A leaf with the
//! Contiguous bit is remembered twice, as itself and as its run.
//!
//! Read here is the lower half of the address space, in the 4 KiB granule, with 48-bit output addresses; on purpose not
//! by the code under test.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use super::context::stage2_entry;
use super::machine::{Cpu, TlbMachine};
use super::stage2::{Decoded, align_down, decode, output, span};
use super::{Context, Entries, Source, Tag, TlbEntry, TlbEntryKind};
use crate::Pa;
use crate::addr::PAGE_SIZE;
use crate::granule::Granule;

const NOT_GLOBAL: u64 = 1 << 11;
const CONTIGUOUS: u64 = 1 << 52;

/// A table of stage 1, and where in the walk it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stage1Table {
    /// Its IPA.
    pub(super) ipa: u64,
    /// The level of its entries.
    pub(super) level: u8,
    /// The VA of the first.
    pub(super) va: u64,
    /// How many there are.
    pub(super) entries: u64,
}

impl Stage1Table {
    /// The root, from `TCR_EL1.T0SZ` and `TTBR0_EL1`.
    pub(super) const fn root(tcr: u64, ttbr: u64) -> Self {
        let bits = 64 - (tcr & 0x3f) as u32;
        let level = 4 - (bits - 12).div_ceil(9) as u8;
        let entries = 1 << (bits - span(level).trailing_zeros());
        Self { ipa: ttbr & 0x0000_ffff_ffff_fffe, level, va: 0, entries }
    }

    /// The table that a cached entry is a copy of the way to.
    fn below(entry: &TlbEntry) -> Self {
        let level = entry.source.level as u8 + 1;
        Self { ipa: entry.output, level, va: entry.extent.first, entries: 512 }
    }

    /// The VA that the descriptor at `offset` of the table's frame is for.
    const fn va_at(&self, offset: u64) -> Option<u64> {
        match offset.checked_sub(self.ipa % PAGE_SIZE) {
            Some(offset) if offset / 8 < self.entries => Some(self.va + offset / 8 * span(self.level)),
            _ => None,
        }
    }
}

/// What a TLB makes of a descriptor: nothing, one entry, or one and its run.
fn entries_of(current: Tag, level: u8, va: u64, descriptor: u64) -> Vec<TlbEntry> {
    let Tag::El1 { vmid, .. } = current else { return vec![] };
    let source = Source::new(Granule::Kib4, level as i8, va);
    match decode(descriptor, level) {
        Decoded::Fault => vec![],
        Decoded::Table(table) => vec![TlbEntry::new(TlbEntryKind::Stage1Table, current, source, table.0)],
        Decoded::Leaf => {
            let global = Tag::El1 { vmid, asid: None };
            let tag = if descriptor & NOT_GLOBAL == 0 { global } else { current };
            let ipa = output(descriptor, level, 0).0;
            let mut found = vec![TlbEntry::new(TlbEntryKind::Stage1Leaf, tag, source, ipa)];
            if descriptor & CONTIGUOUS != 0 {
                let run = Source::contiguous(Granule::Kib4, level as i8, va);
                let ipa = align_down(ipa, run.extent.size);
                found.push(TlbEntry::new(TlbEntryKind::Stage1Leaf, tag, run, ipa));
            }
            found
        }
    }
}

/// The frames in which a walker may look for a table.
fn frames_of(entries: &Entries, vmid: u16, table: &Stage1Table) -> Vec<Pa> {
    let ipa = align_down(table.ipa, PAGE_SIZE);
    let leaves = entries.meeting(TlbEntryKind::Stage2Leaf, Tag::El1 { vmid, asid: None }, ipa, ipa);
    leaves.iter().map(|leaf| output(leaf.output, leaf.source.level as u8, ipa - leaf.extent.first)).collect()
}

impl TlbMachine {
    /// `cpu` walks stage 1 wherever it can: from TTBR0 and from each table cached for the current ASID.
    pub(super) fn walk_stage1(&mut self, cpu: usize) {
        let Cpu { entries, context: Some(context), .. } = &mut self.cpus[cpu] else { return };
        let Some((root, current)) = context.stage1_root() else { return };
        let cached =
            entries.of_vm(TlbEntryKind::Stage1Table, context.vmid()).filter(|table| table.tag == current);
        let mut tables: Vec<Stage1Table> = cached.map(Stage1Table::below).collect();
        tables.push(root);
        while let Some(table) = tables.pop() {
            for frame in frames_of(entries, context.vmid(), &table) {
                for (pa, descriptor) in self.memory.visible_in(frame) {
                    let Some(va) = table.va_at(pa.0 - frame.0) else { continue };
                    for entry in entries_of(current, table.level, va, descriptor) {
                        if entries.insert(entry) && entry.kind == TlbEntryKind::Stage1Table {
                            tables.push(Stage1Table::below(&entry));
                        }
                    }
                }
            }
        }
    }

    /// All entries of stage 1 that walks give rise to now, where nothing is pending.
    pub(super) fn settled_stage1(&self, context: &Context) -> Vec<TlbEntry> {
        let mut found: Vec<TlbEntry> = context.stage1_leaves().collect();
        let Some((root, current)) = context.stage1_root() else { return found };
        let mut counts: BTreeMap<TlbEntry, u64> = BTreeMap::new();
        let mut tables = vec![root];
        while let Some(table) = tables.pop() {
            let Some(frame) = self.settled_frame(context, &table) else { continue };
            for pa in (frame.0..frame.0 + PAGE_SIZE).step_by(8).map(Pa) {
                let Some(va) = table.va_at(pa.0 - frame.0) else { continue };
                for entry in entries_of(current, table.level, va, self.memory.settled(pa)) {
                    *counts.entry(entry).or_default() += 1;
                    if entry.kind == TlbEntryKind::Stage1Table {
                        tables.push(Stage1Table::below(&entry));
                    }
                }
            }
        }
        // A run holds good if each of its descriptors says so.
        let whole =
            |(entry, count): &(TlbEntry, u64)| entry.extent.size == span(entry.source.level as u8) * count;
        found.extend(counts.into_iter().filter(whole).map(|(entry, _)| entry));
        found
    }

    fn settled_frame(&self, context: &Context, table: &Stage1Table) -> Option<Pa> {
        let ipa = align_down(table.ipa, PAGE_SIZE);
        let (level, descriptor) = self.walk(context, ipa, 3)?;
        let leaf = stage2_entry(TlbEntryKind::Stage2Leaf, context.vmid(), level, ipa, descriptor);
        let is_leaf = decode(descriptor, level) == Decoded::Leaf;
        is_leaf.then(|| output(descriptor, level, ipa - leaf.extent.first))
    }
}

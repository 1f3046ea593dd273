// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stage-2 tables stand on: memory to write descriptors in, frames to put tables in, and the arithmetic of slots.

use core::ops::ControlFlow;

use super::descriptor::{Descriptor, DescriptorUse};
use super::geometry::{Geometry, TableLevel};
use crate::Pa;
use crate::addr::PAGE_SIZE;

/// Descriptors in a table.
pub(super) const ENTRIES: u64 = 512;

/// Access to descriptors by physical address.
///
/// Each access is one single-copy atomic 64-bit access, since other CPUs' table walkers read at the same time. Nothing
/// orders it: that is [`Maintenance`](super::Maintenance)'s work.
pub trait TableMemory {
    /// Reads the descriptor at `pa`, a multiple of 8.
    fn read(&self, pa: Pa) -> u64;

    /// Writes the descriptor at `pa`, a multiple of 8.
    fn write(&mut self, pa: Pa, value: u64);
}

/// Where the frames for tables come from. Asked when a VM is made and its map changed, never on a guest's exit.
pub trait FrameSource {
    /// A zeroed 4 KiB frame, or `None` when there are no more.
    fn allocate(&mut self) -> Option<Pa>;

    /// `frames` (1 to 16, a power of two) adjoining zeroed 4 KiB frames, aligned to their total size.
    fn allocate_root(&mut self, frames: usize) -> Option<Pa>;

    /// Takes back one frame, of either origin and with any content. A root comes back frame by frame.
    fn free(&mut self, frame: Pa);
}

/// A range of IPAs, on page boundaries, not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Extent {
    pub(super) const fn covers(self, slot: DescriptorSlot) -> bool {
        self.start <= slot.ipa && slot.end() <= self.end
    }
}

/// One descriptor's place in the tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct DescriptorSlot {
    /// The first IPA it translates.
    pub(super) ipa: u64,
    pub(super) level: TableLevel,
    index: u64,
}

impl DescriptorSlot {
    pub(super) const fn end(self) -> u64 {
        self.ipa + self.level.span()
    }
}

/// A table's place in the tree. The root, concatenated or not, is one table with more entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) pa: Pa,
    pub(super) level: TableLevel,
    base: u64,
    entries: u64,
}

impl Table {
    pub(super) const fn root(pa: Pa, geometry: Geometry) -> Self {
        let entries = geometry.root_tables() as u64 * ENTRIES;
        Self { pa, level: geometry.start(), base: 0, entries }
    }

    /// The table at `pa` that a descriptor in `slot` points to; `None` under level 3, where there are none.
    pub(super) fn below(slot: DescriptorSlot, pa: Pa) -> Option<Self> {
        Some(Self { pa, level: slot.level.next()?, base: slot.ipa, entries: ENTRIES })
    }

    /// All the IPAs this table translates.
    pub(super) const fn extent(self) -> Extent {
        Extent { start: self.base, end: self.base + self.entries * self.level.span() }
    }

    /// The slots that overlap `extent`, in ascending order.
    pub(super) fn slots(self, extent: Extent) -> impl Iterator<Item = DescriptorSlot> {
        let own = self.extent();
        let shift = self.level.shift();
        let first = (extent.start.max(own.start) - self.base) >> shift;
        let end = extent.end.min(own.end).saturating_sub(self.base).div_ceil(self.level.span());
        let Self { base, level, .. } = self;
        (first..end).map(move |index| DescriptorSlot { ipa: base + (index << shift), level, index })
    }

    /// All slots of the table.
    pub(super) fn all_slots(self) -> impl Iterator<Item = DescriptorSlot> {
        self.slots(self.extent())
    }

    pub(super) fn read<M: TableMemory>(self, memory: &M, slot: DescriptorSlot) -> Descriptor {
        Descriptor(memory.read(Pa(self.pa.0 + slot.index * 8)))
    }

    pub(super) fn write<M: TableMemory>(self, memory: &mut M, slot: DescriptorSlot, descriptor: Descriptor) {
        memory.write(Pa(self.pa.0 + slot.index * 8), descriptor.0);
    }
}

/// Frees `table` and every table under it. No walker may be able to reach them any more.
pub(super) fn free_tree<M: TableMemory, F: FrameSource>(memory: &M, frames: &mut F, table: Table) {
    for slot in table.all_slots() {
        if let DescriptorUse::Table(pa) = table.read(memory, slot).kind(slot.level)
            && let Some(below) = Table::below(slot, pa)
        {
            free_tree(memory, frames, below);
        }
    }
    for frame in 0..table.entries / ENTRIES {
        frames.free(Pa(table.pa.0 + frame * PAGE_SIZE));
    }
}

/// The number of frames that `table` and every table under it take.
pub(super) fn count_frames<M: TableMemory>(memory: &M, table: Table) -> u64 {
    let below: u64 = table
        .all_slots()
        .filter_map(|slot| match table.read(memory, slot).kind(slot.level) {
            DescriptorUse::Table(pa) => Table::below(slot, pa),
            DescriptorUse::Leaf | DescriptorUse::Invalid => None,
        })
        .map(|below| count_frames(memory, below))
        .sum();
    table.entries / ENTRIES + below
}

/// Shows `visit_slot` each leaf and each hole of `table` that overlaps `extent`, in ascending order, until it breaks.
///
/// Recursion is at most four levels deep.
pub(super) fn visit<M: TableMemory, B>(
    memory: &M,
    table: Table,
    extent: Extent,
    visit_slot: &mut impl FnMut(DescriptorSlot, Descriptor) -> ControlFlow<B>,
) -> ControlFlow<B> {
    for slot in table.slots(extent) {
        let descriptor = table.read(memory, slot);
        match descriptor.kind(slot.level) {
            DescriptorUse::Table(pa) => {
                if let Some(below) = Table::below(slot, pa) {
                    visit(memory, below, extent, visit_slot)?;
                }
            }
            DescriptorUse::Leaf | DescriptorUse::Invalid => visit_slot(slot, descriptor)?,
        }
    }
    ControlFlow::Continue(())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an edit makes of each descriptor it meets.
//!
//! Planning, breaking and making all ask the same question of the same descriptor and so cannot disagree: planning
//! counts exactly the frames that committing will use.

use super::descriptor::{Attributes, Descriptor, DescriptorUse};
use super::tables::{DescriptorSlot, Extent, Table, TableMemory};
use crate::Pa;
use crate::attributes::Stage2Encoding;

/// What becomes of the range.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// It maps the memory at `pa`, in one piece, whatever it mapped before.
    Map { pa: Pa, attributes: Attributes },
    /// It maps nothing.
    Unmap,
    /// It maps what it did, with other attributes.
    Protect { attributes: Attributes },
}

/// A change, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edit {
    pub(super) extent: Extent,
    pub(super) change: Change,
    pub(super) encoding: Stage2Encoding,
}

/// What to do with one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EditStep {
    /// Nothing.
    Keep,
    /// Go on in the table it points to.
    Descend(Pa),
    /// Replace it; if it points to a table, that and all under it go.
    Set(Descriptor),
    /// Put a new table in its place that maps what it maps, and go on in there.
    Grow,
}

impl Edit {
    /// What to do in `slot`, which overlaps the extent and holds `was`.
    pub(super) fn step<M: TableMemory>(&self, memory: &M, slot: DescriptorSlot, was: Descriptor) -> EditStep {
        let covered = self.extent.covers(slot);
        let kind = was.kind(slot.level);
        match (self.change, kind) {
            (Change::Map { pa, attributes }, _) => self.step_of_map(pa, attributes, slot, was),
            (Change::Unmap | Change::Protect { .. }, DescriptorUse::Invalid) => EditStep::Keep,
            (Change::Unmap, DescriptorUse::Leaf) if covered => EditStep::Set(Descriptor::INVALID),
            (Change::Unmap, DescriptorUse::Leaf) => EditStep::Grow,
            (Change::Unmap, DescriptorUse::Table(pa)) if covered || self.empties(memory, slot, pa) => {
                EditStep::Set(Descriptor::INVALID)
            }
            (Change::Unmap | Change::Protect { .. }, DescriptorUse::Table(pa)) => EditStep::Descend(pa),
            (Change::Protect { attributes }, DescriptorUse::Leaf) => {
                let new = was.with_attributes(slot.level, attributes, self.encoding);
                match (new == was, covered) {
                    (true, _) => EditStep::Keep,
                    (false, true) => EditStep::Set(new),
                    (false, false) => EditStep::Grow,
                }
            }
        }
    }

    fn step_of_map(&self, pa: Pa, attributes: Attributes, slot: DescriptorSlot, was: Descriptor) -> EditStep {
        let first = slot.ipa.max(self.extent.start);
        let pa_of_first = pa.0 + (first - self.extent.start);
        if was.kind(slot.level) == DescriptorUse::Leaf
            && was.address().0 + (first - slot.ipa) == pa_of_first
            && was.with_attributes(slot.level, attributes, self.encoding) == was
        {
            return EditStep::Keep;
        }
        let fits = self.extent.covers(slot) && slot.level.has_leaves();
        if fits && pa_of_first.is_multiple_of(slot.level.span()) {
            return EditStep::Set(Descriptor::leaf(Pa(pa_of_first), slot.level, attributes, self.encoding));
        }
        match was.kind(slot.level) {
            DescriptorUse::Table(table) => EditStep::Descend(table),
            DescriptorUse::Leaf | DescriptorUse::Invalid => EditStep::Grow,
        }
    }

    /// Whether the table at `pa` maps nothing outside the extent, so that unmapping the extent leaves it empty.
    fn empties<M: TableMemory>(&self, memory: &M, slot: DescriptorSlot, pa: Pa) -> bool {
        let Some(table) = Table::below(slot, pa) else { return false };
        let own = table.extent();
        let before = Extent { start: own.start, end: self.extent.start };
        let after = Extent { start: self.extent.end, end: own.end };
        [before, after]
            .into_iter()
            .filter(|rest| rest.start < rest.end)
            .all(|rest| is_empty(memory, table, rest))
    }
}

/// Whether `table` mapped nothing in `extent` before the commit, if one is under way, broke anything.
fn is_empty<M: TableMemory>(memory: &M, table: Table, extent: Extent) -> bool {
    table.slots(extent).all(|slot| match table.read(memory, slot).restored().kind(slot.level) {
        DescriptorUse::Invalid => true,
        DescriptorUse::Leaf => false,
        DescriptorUse::Table(pa) => {
            Table::below(slot, pa).is_none_or(|below| is_empty(memory, below, extent))
        }
    })
}

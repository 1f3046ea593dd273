// SPDX-License-Identifier: MIT OR Apache-2.0
//! Planning: everything that can fail, before anything is changed.
//!
//! A plan holds the tables exclusively, so nothing changes between planning and committing, and it holds the frames the
//! commit will use. They form a chain through their own first words: a plan is a few words whatever its size, and
//! needs no allocator. Dropping a plan gives the frames back.

use core::fmt;

use super::edit::{Edit, EditStep};
use super::tables::{DescriptorSlot, FrameSource, Table, TableMemory};
use super::{Descriptor, DescriptorUse, MapError, Stage2};
use crate::Pa;

/// A change to a VM's stage-2 map that has passed every check and owns all it needs.
///
/// [`Plan::commit`] carries it out and cannot fail; dropping it changes nothing.
#[must_use = "a plan changes nothing until it is committed"]
pub struct Plan<'a, M: TableMemory, F: FrameSource> {
    pub(super) root: Table,
    pub(super) edit: Edit,
    pub(super) memory: &'a mut M,
    pub(super) frames: &'a mut F,
    /// The first of the reserved frames; each one's first word leads to the next.
    reserve: Option<Pa>,
    reserved: usize,
}

impl<'a, M: TableMemory, F: FrameSource> Plan<'a, M, F> {
    /// Reserves the frames for `edit`, whose other checks have passed.
    pub(super) fn new(
        stage2: &'a mut Stage2,
        memory: &'a mut M,
        frames: &'a mut F,
        edit: Edit,
    ) -> Result<Self, MapError> {
        let root = stage2.root_table();
        let needed = frames_for_table(memory, &edit, root);
        let mut plan = Self { root, edit, memory, frames, reserve: None, reserved: 0 };
        while plan.reserved < needed {
            // On failure the drop of `plan` gives back those reserved so far.
            let frame = plan.frames.allocate().ok_or(MapError::OutOfFrames { needed })?;
            plan.put_aside(frame);
        }
        Ok(plan)
    }

    /// The number of table frames the commit will use.
    #[must_use]
    pub const fn frames(&self) -> usize {
        self.reserved
    }

    fn put_aside(&mut self, frame: Pa) {
        // Bit 0 tells "no more" from a frame at address 0.
        self.memory.write(frame, self.reserve.map_or(0, |next| next.0 | 1));
        self.reserve = Some(frame);
        self.reserved = self.reserved.saturating_add(1);
    }

    /// Takes a zeroed frame from the reserve.
    pub(super) fn take_frame(&mut self) -> Option<Pa> {
        let frame = self.reserve?;
        let link = self.memory.read(frame);
        self.memory.write(frame, 0);
        self.reserve = (link & 1 != 0).then_some(Pa(link & !1));
        self.reserved = self.reserved.saturating_sub(1);
        Some(frame)
    }
}

impl<M: TableMemory, F: FrameSource> fmt::Debug for Plan<'_, M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("edit", &self.edit)
            .field("frames", &self.reserved)
            .finish_non_exhaustive()
    }
}

impl<M: TableMemory, F: FrameSource> Drop for Plan<'_, M, F> {
    fn drop(&mut self) {
        while let Some(frame) = self.take_frame() {
            self.frames.free(frame);
        }
    }
}

/// The number of new tables that `edit` needs in and under an existing table.
fn frames_for_table<M: TableMemory>(memory: &M, edit: &Edit, table: Table) -> usize {
    table
        .slots(edit.extent)
        .map(|slot| {
            let was = table.read(memory, slot);
            match edit.step(memory, slot, was) {
                EditStep::Keep | EditStep::Set(_) => 0,
                EditStep::Descend(pa) => {
                    Table::below(slot, pa).map_or(0, |below| frames_for_table(memory, edit, below))
                }
                EditStep::Grow => frames_for_growth(memory, edit, slot, was),
            }
        })
        .sum()
}

/// The number of new tables for growing one in `slot` that maps what `was` maps, before the edit goes on in there.
fn frames_for_growth<M: TableMemory>(
    memory: &M,
    edit: &Edit,
    slot: DescriptorSlot,
    was: Descriptor,
) -> usize {
    let Some(table) = Table::below(slot, Pa(0)) else { return 0 };
    let below: usize = table
        .slots(edit.extent)
        .map(|inner| {
            let piece = content_of_growth(slot, was, inner);
            match edit.step(memory, inner, piece) {
                EditStep::Keep | EditStep::Set(_) | EditStep::Descend(_) => 0,
                EditStep::Grow => frames_for_growth(memory, edit, inner, piece),
            }
        })
        .sum();
    1 + below
}

/// What the new table that replaces `was` in `slot` holds in its slot `inner`, before the edit goes on in there.
pub(super) fn content_of_growth(slot: DescriptorSlot, was: Descriptor, inner: DescriptorSlot) -> Descriptor {
    match was.kind(slot.level) {
        DescriptorUse::Leaf => was.piece(inner.ipa - slot.ipa, inner.level),
        DescriptorUse::Invalid | DescriptorUse::Table(_) => Descriptor::INVALID,
    }
}

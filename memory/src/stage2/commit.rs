// SPDX-License-Identifier: MIT OR Apache-2.0
//! Committing: break, invalidate, make.
//!
//! A descriptor that is valid and changes is first made invalid (*break*); then every TLB forgets what it could know
//! of it; then the new one is written (*make*). All of an edit's descriptors are broken together, so an edit pays for
//! one round of barriers whatever its size. What was invalid before needs no TLB maintenance at all: no TLB holds a
//! translation that faults.
//!
//! A change of permissions alone would need no break, only the invalidation. It takes the same way as the others: one way
//! is easier to get right, and nothing here is on a guest's path.
//!
//! VMs may run while this happens. Another CPU of the VM translates by the old map or by the new one, and by no third;
//! between break and make it takes a translation fault on a broken page, or on a walk of the guest's stage 1 that passes
//! there. A block that is split is broken whole, so the fault may be for a page that the edit leaves as it is. Whoever
//! serves the fault takes the lock that the commit holds, so it looks when the commit is over, and finds the page
//! translated again: the guest tries once more. Only what it does not find then is not mapped. For the same reason
//! nobody may look a guest's address up in these tables without the lock.
//!
//! Source: Arm ARM, "Using break-before-make when updating translation table entries", "TLB maintenance
//! instructions", "Ordering and completion of TLB maintenance instructions".

use super::edit::EditStep;
use super::geometry::TableLevel;
use super::plan::{Plan, content_of_growth};
use super::tables::{DescriptorSlot, FrameSource, Table, TableMemory, free_tree};
use super::{Descriptor, DescriptorUse};
use crate::Ipa;

/// The most invalidations by address in one commit. An edit that needs more empties the VM's TLB entries at once: that
/// costs the guest a refill, but a commit then takes bounded time.
pub const MAX_BY_ADDRESS: usize = 64;

/// What an invalidation by IPA must reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The leaf alone, as no table on the way to it changes: `TLBI IPAS2LE1IS`.
    LastLevel,
    /// The leaf and each table on the way to it: `TLBI IPAS2E1IS`.
    AllLevels,
}

/// The operand of `TLBI IPAS2E1IS` and `IPAS2LE1IS` for `ipa`, with the 4 KiB granule.
///
/// `leaf` fills in the TTL hint of FEAT_TTL; pass `None` where the CPUs do not have it.
#[must_use]
pub const fn tlbi_ipa_operand(ipa: Ipa, leaf: Option<TableLevel>) -> u64 {
    const IPA_FIELD: u64 = (1 << 36) - 1;
    const TTL_4KIB: u64 = 0b01 << 46;
    let ttl = match leaf {
        Some(level) => TTL_4KIB | (level.number() as u64) << 44,
        None => 0,
    };
    ttl | (ipa.0 >> 12) & IPA_FIELD
}

/// The maintenance instructions a commit issues. Each method is one instruction (or a fixed pair), in program order.
///
/// The VM's VMID must be in `VTTBR_EL2` all the while: invalidation by IPA and of stage 1 acts on the current VMID.
pub trait Maintenance {
    /// `DSB ISHST`: every table walker sees the descriptors written so far.
    fn publish(&mut self);

    /// `TLBI IPAS2E1IS` or `IPAS2LE1IS`, by `reach`: forget stage 2 of `ipa`. The cached leaf, if any, is of level
    /// `leaf` (for the TTL hint of FEAT_TTL); `None` says that there is no leaf or its level is unknown.
    ///
    /// This does not reach entries that combine stage 1 and stage 2.
    fn invalidate_ipa(&mut self, ipa: Ipa, leaf: Option<TableLevel>, reach: Reach);

    /// `TLBI VMALLE1IS`: forget stage 1, and stage 1 and 2 combined, of the VM.
    fn invalidate_stage1(&mut self);

    /// `TLBI VMALLS12E1IS`: forget all of the VM.
    fn invalidate_vm(&mut self);

    /// `DSB ISH`: the invalidations so far have been done on every CPU.
    fn complete(&mut self);

    /// `ISB`: the instructions that follow on this CPU see it too.
    fn synchronize(&mut self);
}

/// Whether a hardware walker can already reach a table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Linkage {
    Reachable,
    Unlinked,
}

impl<M: TableMemory, F: FrameSource> Plan<'_, M, F> {
    /// Carries out the plan. When it returns, every CPU translates by the new map and by no other.
    pub fn commit(mut self, maintenance: &mut impl Maintenance) {
        let broken = self.break_live(self.root);
        if broken > 0 {
            self.invalidate(broken, maintenance);
        }
        self.make(self.root, Linkage::Reachable, maintenance);
        maintenance.publish();
    }

    /// Breaks each valid descriptor that the edit changes; returns how many invalidations by address that calls for.
    fn break_live(&mut self, table: Table) -> usize {
        let mut invalidations = 0;
        for slot in table.slots(self.edit.extent) {
            let was = table.read(self.memory, slot);
            match self.edit.step(self.memory, slot, was) {
                EditStep::Descend(pa) => {
                    if let Some(below) = Table::below(slot, pa) {
                        invalidations += self.break_live(below);
                    }
                }
                EditStep::Set(_) | EditStep::Grow if was.is_valid() => {
                    each_reached(self.memory, slot, was, &mut |_, _, _| invalidations += 1);
                    table.write(self.memory, slot, was.broken());
                }
                EditStep::Keep | EditStep::Set(_) | EditStep::Grow => {}
            }
        }
        invalidations
    }

    /// Makes every TLB forget what the broken descriptors led to.
    fn invalidate(&self, broken: usize, maintenance: &mut impl Maintenance) {
        // Before any TLBI: a walk that still saw the old descriptor afterwards could cache it anew.
        maintenance.publish();
        if broken > MAX_BY_ADDRESS {
            maintenance.invalidate_vm();
        } else {
            self.invalidate_broken(self.root, maintenance);
            // Stage 2 must be gone everywhere before the combined entries go, or they could be built again from it.
            maintenance.complete();
            maintenance.invalidate_stage1();
        }
        maintenance.complete();
        maintenance.synchronize();
    }

    fn invalidate_broken(&self, table: Table, maintenance: &mut impl Maintenance) {
        for slot in table.slots(self.edit.extent) {
            let descriptor = table.read(self.memory, slot);
            if descriptor.is_broken() {
                each_reached(self.memory, slot, descriptor.restored(), &mut |ipa, leaf, reach| {
                    maintenance.invalidate_ipa(ipa, leaf, reach);
                });
            } else if let DescriptorUse::Table(pa) = descriptor.kind(slot.level)
                && let Some(below) = Table::below(slot, pa)
            {
                self.invalidate_broken(below, maintenance);
            }
        }
    }

    /// Writes the new descriptors, and frees the tables that are no more.
    fn make(&mut self, table: Table, linkage: Linkage, maintenance: &mut impl Maintenance) {
        for slot in table.slots(self.edit.extent) {
            let was = table.read(self.memory, slot).restored();
            match self.edit.step(self.memory, slot, was) {
                EditStep::Keep => {}
                EditStep::Descend(pa) => {
                    if let Some(below) = Table::below(slot, pa) {
                        self.make(below, linkage, maintenance);
                    }
                }
                EditStep::Set(new) => {
                    table.write(self.memory, slot, new);
                    if let DescriptorUse::Table(pa) = was.kind(slot.level)
                        && let Some(below) = Table::below(slot, pa)
                    {
                        free_tree(self.memory, self.frames, below);
                    }
                }
                EditStep::Grow => {
                    let Some(new) = self.grow(slot, was, maintenance) else { return };
                    if linkage == Linkage::Reachable {
                        // A walker must not find the table before its content.
                        maintenance.publish();
                    }
                    table.write(self.memory, slot, Descriptor::table(new.pa));
                }
            }
        }
    }

    /// Builds the table that replaces `was` in `slot`, the edit carried out in it, and links it nowhere yet.
    fn grow(
        &mut self,
        slot: DescriptorSlot,
        was: Descriptor,
        maintenance: &mut impl Maintenance,
    ) -> Option<Table> {
        let frame = self.take_frame();
        debug_assert!(frame.is_some(), "planning counts what committing uses");
        let new = Table::below(slot, frame?)?;
        if was.kind(slot.level) == DescriptorUse::Leaf {
            for inner in new.all_slots() {
                new.write(self.memory, inner, content_of_growth(slot, was, inner));
            }
        }
        self.make(new, Linkage::Unlinked, maintenance);
        Some(new)
    }
}

/// Tells `tell` each invalidation by address that breaking `was` in `slot` calls for.
///
/// A leaf needs its own. A table needs one for each leaf under it, which takes the tables on the way with it, and one
/// for each table without leaves.
fn each_reached<M: TableMemory>(
    memory: &M,
    slot: DescriptorSlot,
    was: Descriptor,
    tell: &mut dyn FnMut(Ipa, Option<TableLevel>, Reach),
) {
    match was.kind(slot.level) {
        DescriptorUse::Invalid => {}
        DescriptorUse::Leaf => tell(Ipa(slot.ipa), Some(slot.level), Reach::LastLevel),
        DescriptorUse::Table(pa) => {
            let Some(below) = Table::below(slot, pa) else { return };
            let mut told = false;
            for inner in below.all_slots() {
                each_reached(memory, inner, below.read(memory, inner), &mut |ipa, leaf, _| {
                    told = true;
                    tell(ipa, leaf, Reach::AllLevels);
                });
            }
            if !told {
                tell(Ipa(slot.ipa), None, Reach::AllLevels);
            }
        }
    }
}

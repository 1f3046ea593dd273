// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an access can meet at a moment: each translation and each fault that a CPU's TLB and walkers could give it.
//!
//! [`TlbMachine::verify`] judges when a change claims to be complete. This answers before that too, between any two
//! steps of a change, for whoever changes tables that a guest is using. It assumes neither that the CPU uses an entry
//! it holds nor that it does not.
//!
//! The guest's own faults are left out: where its stage 1 leads nowhere there is no outcome.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::machine::{Cpu, TlbMachine};
use super::operand::canonical;
use super::stage2::{ADDRESS, Decoded, decode, output, span};
use super::{Context, Entries, Extent, Tag, TlbEntry, TlbEntryKind};
use crate::addr::PAGE_SIZE;
use crate::{Pa, Va};

/// One way in which stage 2 may answer an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It translates.
    Memory {
        /// Where the access goes.
        pa: Pa,
        /// The other bits of the block or page descriptor, those of its type left out.
        attributes: u64,
    },
    /// A translation fault of stage 2.
    TranslationFault,
    /// An address size fault of stage 2: a table or an output address that `VTCR_EL2.PS` does not reach.
    AddressSizeFault,
    /// The walker reads a table where none ever was, so anything may follow.
    Astray {
        /// Where it takes one to be.
        table: Pa,
    },
}

impl Outcome {
    /// By a leaf with this descriptor, that leads to `pa`.
    const fn by_leaf(context: &Context, pa: Pa, descriptor: u64) -> Self {
        const TYPE: u64 = 0b11;
        if context.reaches(pa) {
            Self::Memory { pa, attributes: descriptor & !ADDRESS & !TYPE }
        } else {
            Self::AddressSizeFault
        }
    }
}

impl TlbMachine {
    /// What an access to `va` in `asid` on `cpu` can meet now: by each combined entry held; by each leaf of stage 2 held;
    /// by a walk of stage 2 from the root and from each table held, which may find each descriptor on its way old or
    /// new if it is not published.
    ///
    /// Of a stage 1 that is in tables, only what is held counts.
    #[must_use]
    pub fn possible(&self, cpu: usize, va: Va, asid: u16) -> BTreeSet<Outcome> {
        let mut found = BTreeSet::new();
        let Cpu { entries, context: Some(context), .. } = &self.cpus[cpu] else { return found };
        let (va, current) = (canonical(va.0), context.tag(asid));
        let global = Tag::El1 { vmid: context.vmid(), asid: None };
        let held = |kind| [global, current].map(|tag| entries.meeting(kind, tag, va, va)).concat();
        let output_at = |entry: &TlbEntry| entry.output + (va - entry.extent.first);
        for entry in held(TlbEntryKind::Combined) {
            found.insert(Outcome::by_leaf(context, Pa(output_at(&entry)), entry.stage2));
        }
        let mut ipas: BTreeSet<u64> = held(TlbEntryKind::Stage1Leaf).iter().map(output_at).collect();
        let usable = |leaf: &TlbEntry| leaf.tag.serves(current) && leaf.extent.contains(va);
        ipas.extend(context.stage1_leaves().filter(usable).map(|leaf| output_at(&leaf)));
        for ipa in ipas {
            self.possible_at(context, entries, ipa, &mut found);
        }
        found
    }

    /// The same for an access of stage 2.
    fn possible_at(&self, context: &Context, entries: &Entries, ipa: u64, found: &mut BTreeSet<Outcome>) {
        let tag = Tag::El1 { vmid: context.vmid(), asid: None };
        for leaf in entries.meeting(TlbEntryKind::Stage2Leaf, tag, ipa, ipa) {
            let pa = output(leaf.output, leaf.source.level as u8, ipa - leaf.extent.first);
            found.insert(Outcome::by_leaf(context, pa, leaf.output));
        }
        for table in entries.meeting(TlbEntryKind::Stage2Table, tag, ipa, ipa) {
            self.walk_on(context, Pa(table.output), table.source.level as u8 + 1, ipa, found);
        }
        let index = ipa / span(context.start);
        if index < context.root_entries() {
            let table = Pa(context.root.0 + index / 512 * PAGE_SIZE);
            self.walk_on(context, table, context.start, ipa, found);
        } else {
            found.insert(Outcome::TranslationFault);
        }
    }

    /// Walks to `ipa` from the table of `level` in `table`, every way it may go.
    fn walk_on(&self, context: &Context, table: Pa, level: u8, ipa: u64, found: &mut BTreeSet<Outcome>) {
        if !context.reaches(table) {
            found.insert(Outcome::AddressSizeFault);
            return;
        }
        let descriptors = self.memory.visible(Pa(table.0 + ipa / span(level) % 512 * 8));
        if descriptors.is_empty() {
            found.insert(Outcome::Astray { table });
        }
        for descriptor in descriptors {
            match decode(descriptor, level) {
                Decoded::Fault => {
                    found.insert(Outcome::TranslationFault);
                }
                Decoded::Table(below) => self.walk_on(context, below, level + 1, ipa, found),
                Decoded::Leaf => {
                    let pa = output(descriptor, level, ipa % span(level));
                    found.insert(Outcome::by_leaf(context, pa, descriptor));
                }
            }
        }
    }

    /// The entries, with their CPUs, by which a guest (of any VMID, now or when it is loaded next) could use the page at
    /// `frame`, or a walker take it for a table of stage 2. With none left the page may serve another purpose.
    #[must_use]
    pub fn holders(&self, frame: Pa) -> Vec<(usize, TlbEntry)> {
        let reaches = |entry: &TlbEntry| {
            let first = match entry.kind {
                TlbEntryKind::Stage2Table => return entry.output == frame.0,
                TlbEntryKind::Stage2Leaf => output(entry.output, entry.source.level as u8, 0).0,
                TlbEntryKind::Combined => entry.output,
                TlbEntryKind::Stage1Table | TlbEntryKind::Stage1Leaf => return false,
            };
            Extent { size: entry.extent.size, first }.meets(frame.0, frame.0 + (PAGE_SIZE - 1))
        };
        let of = |(cpu, state): (usize, &Cpu)| {
            let held: Vec<_> = state.entries.iter().filter(|entry| reaches(entry)).collect();
            held.into_iter().map(move |entry| (cpu, *entry)).collect::<Vec<_>>()
        };
        self.cpus.iter().enumerate().flat_map(of).collect()
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The judgement: could any CPU now translate otherwise than its tables say?
//!
//! Judged is what the CPU could use as it is. An entry of another VMID waits for its day, and is judged when it comes.

use alloc::vec::Vec;

use super::context::{combine, stage2_entry};
use super::machine::{Cpu, TlbMachine};
use super::stage2::{Decoded, decode};
use super::{Context, TlbEntry, TlbEntryKind, Violation};
use crate::{Ipa, Pa, Va};

impl TlbMachine {
    /// Everything wrong so far, and every way in which a CPU could now translate otherwise than its tables say. To be
    /// called when a change claims to be complete.
    #[must_use]
    pub fn verify(&self) -> Vec<Violation> {
        let mut found = self.violations.clone();
        for cpu in 0..self.cpus.len() {
            self.verify_cpu(cpu, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn verify_cpu(&self, cpu: usize, found: &mut Vec<Violation>) {
        let Cpu { entries, context, unsynchronized } = &self.cpus[cpu];
        if *unsynchronized {
            found.push(Violation::NotSynchronized { cpu });
        }
        let Some(context) = context else { return };
        for frame in self.memory.unpublished() {
            if !self.places_of(cpu, frame).is_empty() {
                found.push(Violation::Unpublished { pa: frame });
            }
        }
        let vmid = context.vmid();
        let of = |kind| entries.of_vm(kind, vmid);
        for entry in of(TlbEntryKind::Stage2Table).chain(of(TlbEntryKind::Stage2Leaf)) {
            if !self.stage2_bears_out(context, entry) {
                let ipa = Ipa(entry.extent.first);
                found.push(Violation::Stale { cpu, ipa, descriptor: entry.output });
            }
        }
        let stage1 = self.settled_stage1(context);
        // Of stage-1 tables only those of the current ASID are known.
        let judged = |entry: &&TlbEntry| match context.stage1_root() {
            Some((_, current)) => entry.tag.serves(current),
            None => entry.kind != TlbEntryKind::Stage1Table,
        };
        let of_stage1 = of(TlbEntryKind::Stage1Table).chain(of(TlbEntryKind::Stage1Leaf)).filter(judged);
        for entry in of_stage1.filter(|entry| !stage1.contains(entry)) {
            let (va, ipa) = (Va(entry.extent.first), Ipa(entry.output));
            found.push(Violation::StaleStage1 { cpu, va, ipa });
        }
        for entry in of(TlbEntryKind::Combined)
            .filter(judged)
            .filter(|entry| !self.both_bear_out(context, &stage1, entry))
        {
            let (va, pa) = (Va(entry.extent.first), Pa(entry.output));
            found.push(Violation::StaleCombined { cpu, va, pa });
        }
    }

    /// Whether the tables, as they are now, give rise to an entry of stage 2.
    fn stage2_bears_out(&self, context: &Context, entry: &TlbEntry) -> bool {
        let level = entry.source.level as u8;
        let now = self.walk(context, entry.extent.first, level);
        now.is_some_and(|(at, found)| {
            let alike = match decode(found, at) {
                Decoded::Table(table) => entry.kind == TlbEntryKind::Stage2Table && table.0 == entry.output,
                Decoded::Leaf => entry.kind == TlbEntryKind::Stage2Leaf && found == entry.output,
                Decoded::Fault => false,
            };
            at == level && alike
        })
    }

    /// Whether the tables and the guest's stage 1, as they are now, give rise to a combined entry.
    fn both_bear_out(&self, context: &Context, stage1: &[TlbEntry], entry: &TlbEntry) -> bool {
        let mut leaves =
            stage1.iter().filter(|leaf| leaf.kind == TlbEntryKind::Stage1Leaf && leaf.tag == entry.tag);
        leaves.any(|stage1| {
            let Some(offset) = entry.extent.first.checked_sub(stage1.extent.first) else { return false };
            let ipa = stage1.output + offset;
            let Some((level, descriptor)) = self.walk(context, ipa, 3) else { return false };
            let leaf = stage2_entry(TlbEntryKind::Stage2Leaf, context.vmid(), level, ipa, descriptor);
            decode(descriptor, level) == Decoded::Leaf && combine(stage1, &leaf) == Some(*entry)
        })
    }
}

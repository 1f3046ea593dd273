// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPUs of the model, their walkers, and what instructions make them forget.

use alloc::vec;
use alloc::vec::Vec;

use super::context::{combine, ipa_of, stage2_entry};
use super::entries::Part;
use super::memory::Memory;
use super::stage2::{Decoded, align_down, decode, insert_combined, insert_stage2, span};
use super::{
    Context, Entries, Extent, Instruction, Issuer, RangeUnit, Refused, Scope, Tag, TlbEntry, TlbEntryKind,
    Tlbi, Violation,
};
use crate::addr::PAGE_SIZE;
use crate::{Ipa, Pa, Va};

#[derive(Debug, Default)]
pub(super) struct Cpu {
    pub(super) entries: Entries,
    pub(super) context: Option<Context>,
    /// An invalidation has completed and no `ISB` followed.
    pub(super) unsynchronized: bool,
}

/// A TLBI that no `DSB` has completed.
#[derive(Clone, Copy, Debug)]
struct Issued {
    cpu: usize,
    vmid: u16,
    op: Tlbi,
    scope: Scope,
}

/// CPUs with adversarial TLBs, and the memory their tables lie in.
#[derive(Debug)]
pub struct TlbMachine {
    pub(super) memory: Memory,
    pub(super) cpus: Vec<Cpu>,
    issued: Vec<Issued>,
    pub(super) violations: Vec<Violation>,
}

impl TlbMachine {
    /// A machine with `cpus` CPUs, empty TLBs and zeroed memory.
    #[must_use]
    pub fn new(cpus: usize) -> Self {
        let cpus = (0..cpus).map(|_| Cpu::default()).collect();
        Self { memory: Memory::default(), cpus, issued: vec![], violations: vec![] }
    }

    /// What the CPU that edits the tables reads at `pa`.
    #[must_use]
    pub fn read(&self, pa: Pa) -> u64 {
        self.memory.read(pa)
    }

    /// Writes a descriptor. Every walker that can reach it sees it, as well as what was there, until it is published.
    pub fn write(&mut self, pa: Pa, value: u64) {
        if self.memory.write(pa, value) {
            for cpu in 0..self.cpus.len() {
                for (level, ipa) in self.places_of(cpu, pa) {
                    self.see(cpu, level, ipa, value);
                }
                self.catch_up_with_stage1(cpu);
            }
        }
    }

    /// Takes back a frame: whoever gets it next fills it with what looks like descriptors but is not.
    pub fn free(&mut self, frame: Pa) {
        for cpu in 0..self.cpus.len() {
            if !self.places_of(cpu, frame).is_empty() {
                self.violations.push(Violation::FreedTable { cpu, frame });
            }
        }
        const POISON: u64 = 0x0000_dead_0000_0000 | 1 << 10 | 0b11 << 6;
        self.memory.overwrite(frame, |word| {
            POISON | (word as u64) << 21 | if word.is_multiple_of(2) { 0b11 } else { 0b01 }
        });
    }

    /// `MSR VTTBR_EL2` and the guest's registers, with an `ISB`: `cpu` translates by `context` from now on.
    pub fn load(&mut self, cpu: usize, context: Context) {
        self.cpus[cpu].context = Some(context);
        self.refill_vm(cpu);
    }

    /// `cpu` translates for no VM any more.
    pub fn unload(&mut self, cpu: usize) {
        self.cpus[cpu].context = None;
    }

    /// `DSB ISHST` by the CPU that writes the tables.
    pub fn publish(&mut self) {
        self.memory.publish();
    }

    /// `cpu` fetches an entry, for instance of EL2, that the machine's own walkers would not.
    pub fn fetch(&mut self, cpu: usize, entry: TlbEntry) {
        self.cpus[cpu].entries.insert(entry);
    }

    /// What `cpu` holds.
    #[must_use]
    pub fn entries(&self, cpu: usize) -> &Entries {
        &self.cpus[cpu].entries
    }

    /// `issuer` executes a TLBI on `cpu`, with `operand` in its register.
    ///
    /// # Errors
    /// [`Refused`] if it has no effect.
    pub fn execute(
        &mut self,
        cpu: usize,
        instruction: Instruction,
        operand: u64,
        issuer: Issuer,
    ) -> Result<(), Refused> {
        let Instruction { operation, scope } = instruction.executed_by(issuer)?;
        let op = match &self.cpus[cpu].context {
            Some(context) => Tlbi::in_context(operation, operand, context),
            None => Tlbi::new(operation, operand, RangeUnit::Granule),
        };
        self.issue(cpu, op, scope);
        Ok(())
    }

    /// Issues a TLBI on `cpu`, for the VMID loaded there (0 if none is).
    pub fn issue(&mut self, cpu: usize, op: Tlbi, scope: Scope) {
        let vmid = self.cpus[cpu].context.as_ref().map_or(0, Context::vmid);
        self.issued.push(Issued { cpu, vmid, op, scope });
    }

    /// `DSB ISH` on `cpu`: completes its TLBIs, and publishes.
    pub fn complete(&mut self, cpu: usize) {
        let (done, rest) = self.issued.iter().partition(|issued| issued.cpu == cpu);
        self.issued = rest;
        let done: Vec<Issued> = done;
        for target in 0..self.cpus.len() {
            let reached = |issued: &&Issued| target == cpu || issued.scope != Scope::Local;
            let ops: Vec<Issued> = done.iter().filter(reached).copied().collect();
            self.invalidate(target, &ops);
        }
        self.cpus[cpu].unsynchronized |= !done.is_empty();
        self.memory.publish();
    }

    /// `ISB` on `cpu`.
    pub fn synchronize(&mut self, cpu: usize) {
        self.cpus[cpu].unsynchronized = false;
    }

    /// Does `ops` on one CPU in the order, and with the refills in between, that serve the hypervisor worst.
    fn invalidate(&mut self, cpu: usize, ops: &[Issued]) {
        if ops.is_empty() {
            return;
        }
        // Stage 1 and combined entries first, so that those of this VM can be made again from stage 2...
        for issued in ops {
            self.cpus[cpu].entries.forget_part(issued.op, issued.vmid, Part::Stage1);
        }
        self.refill_stage1(cpu);
        // ...unless one instruction drops both.
        let entries = &mut self.cpus[cpu].entries;
        for issued in ops {
            entries.forget_part(issued.op, issued.vmid, Part::Stage2);
            if matches!(issued.op, Tlbi::Vm | Tlbi::All) {
                entries.forget_part(issued.op, issued.vmid, Part::Stage1);
            }
        }
        // The walkers have not stopped. What is not published yet, they may still see the old way.
        for issued in ops {
            match issued.op {
                Tlbi::Ipa { .. } if let Some(ipa) = ipa_of(issued.op) => self.refill_ipa(cpu, ipa),
                Tlbi::Ipa { .. } | Tlbi::Vm | Tlbi::All => self.refill_vm(cpu),
                _ => {}
            }
        }
    }

    /// The places (level and first IPA of the entry) in `cpu`'s walks where the descriptor at `pa` is found: under the
    /// root in its VTTBR, and under each cached table of its VMID.
    pub(super) fn places_of(&self, cpu: usize, pa: Pa) -> Vec<(u8, u64)> {
        let Cpu { entries, context: Some(context), .. } = &self.cpus[cpu] else { return vec![] };
        let mut places = vec![];
        if let Some(offset) = pa.0.checked_sub(context.root.0)
            && offset / 8 < context.root_entries()
        {
            places.push((context.start, offset / 8 * span(context.start)));
        }
        let frame = pa.align_down(PAGE_SIZE);
        for table in entries.of_vm(TlbEntryKind::Stage2Table, context.vmid()) {
            if table.output == frame.0 {
                let below = table.source.level as u8 + 1;
                places.push((below, table.extent.first + (pa.0 - frame.0) / 8 * span(below)));
            }
        }
        places
    }

    /// The walker of `cpu` finds `descriptor` at `level` for `ipa`: it caches it, and goes on in the table.
    fn see(&mut self, cpu: usize, level: u8, ipa: u64, descriptor: u64) {
        let Cpu { entries, context: Some(context), .. } = &mut self.cpus[cpu] else { return };
        let vmid = context.vmid();
        match decode(descriptor, level) {
            Decoded::Fault => {}
            Decoded::Table(table) => {
                let entry = stage2_entry(TlbEntryKind::Stage2Table, vmid, level, ipa, table.0);
                if insert_stage2(entries, entry, &mut self.violations) {
                    self.explore(cpu, table, level + 1, ipa);
                }
            }
            Decoded::Leaf => {
                let leaf = stage2_entry(TlbEntryKind::Stage2Leaf, vmid, level, ipa, descriptor);
                if insert_stage2(entries, leaf, &mut self.violations) {
                    let stage1: Vec<TlbEntry> =
                        entries.of_vm(TlbEntryKind::Stage1Leaf, vmid).copied().collect();
                    for entry in stage1.iter().filter_map(|stage1| combine(stage1, &leaf)) {
                        insert_combined(entries, entry, &mut self.violations);
                    }
                }
            }
        }
    }

    /// Sees all of the table in `frame`, whose entries are of `level` and start at `ipa`.
    fn explore(&mut self, cpu: usize, frame: Pa, level: u8, ipa: u64) {
        for (pa, value) in self.memory.visible_in(frame) {
            self.see(cpu, level, ipa + (pa.0 - frame.0) / 8 * span(level), value);
        }
    }

    /// Sees all there is to see of the VM loaded on `cpu`.
    fn refill_vm(&mut self, cpu: usize) {
        let Some(context) = &self.cpus[cpu].context else { return };
        let (root, start, entries) = (context.root, context.start, context.root_entries());
        for table in 0..entries.div_ceil(512) {
            let frame = Pa(root.align_down(PAGE_SIZE).0 + table * PAGE_SIZE);
            self.explore(cpu, frame, start, table * 512 * span(start));
        }
        self.refill_stage1(cpu);
    }

    /// Walks to `ipa` again on `cpu`, from the root and from each table still cached.
    fn refill_ipa(&mut self, cpu: usize, ipa: Ipa) {
        let Some(context) = &self.cpus[cpu].context else { return };
        let (vmid, root, start) = (context.vmid(), context.root, context.start);
        for level in start..=3 {
            let slot = align_down(ipa.0, span(level));
            let mut tables = vec![];
            if level == start {
                tables.push(Pa(root.0 + slot / span(level) * 8));
            } else {
                let above = align_down(ipa.0, span(level - 1));
                let extent = Extent { size: span(level - 1), first: above };
                let tag = Tag::El1 { vmid, asid: None };
                let cached = self.cpus[cpu].entries.at(TlbEntryKind::Stage2Table, tag, extent);
                let index = (slot - above) / span(level);
                tables.extend(cached.map(|table| Pa(table.output + index * 8)));
            }
            for pa in tables {
                for value in self.memory.visible(pa) {
                    self.see(cpu, level, slot, value);
                }
            }
        }
    }

    /// Walks the guest's stage 1 on `cpu`, and combines each stage-1 leaf cached with each of stage 2.
    fn refill_stage1(&mut self, cpu: usize) {
        self.walk_stage1(cpu);
        let Cpu { entries, context: Some(context), .. } = &mut self.cpus[cpu] else { return };
        let vmid = context.vmid();
        for leaf in context.stage1_leaves() {
            entries.insert(leaf);
        }
        let mut found = vec![];
        for stage1 in entries.of_vm(TlbEntryKind::Stage1Leaf, vmid) {
            let stage2 = entries.of_vm(TlbEntryKind::Stage2Leaf, vmid);
            found.extend(stage2.filter_map(|stage2| combine(stage1, stage2)));
        }
        for entry in found {
            insert_combined(entries, entry, &mut self.violations);
        }
    }

    /// The same, if there are tables of stage 1 that a change of memory or of stage 2 may have opened.
    fn catch_up_with_stage1(&mut self, cpu: usize) {
        let context = self.cpus[cpu].context.as_ref();
        if context.is_some_and(|context| context.stage1_root().is_some()) {
            self.refill_stage1(cpu);
        }
    }

    /// Where an access to `va` in `asid` on `cpu` could go: each translation that the TLB could use.
    #[must_use]
    pub fn outcomes(&self, cpu: usize, va: Va, asid: u16) -> Vec<Pa> {
        let Cpu { entries, context: Some(context), .. } = &self.cpus[cpu] else { return vec![] };
        let usable = entries.lookup(context.tag(asid), va);
        let combined = usable.iter().filter(|entry| entry.kind == TlbEntryKind::Combined);
        let mut outputs: Vec<Pa> = combined.map(|entry| entry.output_at(va)).collect();
        outputs.sort_unstable();
        outputs.dedup();
        outputs
    }

    /// The descriptor that settles a walk for `ipa` that goes no deeper than `last`, and its level.
    pub(super) fn walk(&self, context: &Context, ipa: u64, last: u8) -> Option<(u8, u64)> {
        let mut at = Pa(context.root.0 + ipa / span(context.start) * 8);
        for level in context.start..=3 {
            let descriptor = self.memory.settled(at);
            match decode(descriptor, level) {
                Decoded::Table(table) if level < last => {
                    at = Pa(table.0 + ipa / span(level + 1) % 512 * 8);
                }
                Decoded::Fault => return None,
                Decoded::Table(_) | Decoded::Leaf => return Some((level, descriptor)),
            }
        }
        None
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPUs of the model, their walkers, and what instructions make them forget.

use alloc::vec;
use alloc::vec::Vec;

use super::cache::{Cache, Combined, CombinedKey, Decoded, align_down, decode, output, span};
use super::memory::Memory;
use super::{Scope, Tlbi, Violation};
use crate::addr::PAGE_SIZE;
use crate::{Ipa, Pa, Va};

/// A piece of a guest's stage 1: `size` bytes at `va` lead to `ipa`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first virtual address.
    pub va: Va,
    /// Where it leads.
    pub ipa: Ipa,
    /// The size in bytes.
    pub size: u64,
    /// The ASID it belongs to; `None` if global.
    pub asid: Option<u16>,
}

impl Window {
    /// Every address is its own IPA: stage 1 off, or a kernel's linear map.
    pub const IDENTITY: Self = Self { va: Va(0), ipa: Ipa(0), size: 1 << 48, asid: None };
}

/// What a CPU translates by: `VTTBR_EL2`, `VTCR_EL2`, and the guest's stage 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    vmid: u16,
    root: Pa,
    start: u8,
    ipa_bits: u32,
    windows: Vec<Window>,
}

impl Context {
    /// Decodes the two registers (4 KiB granule).
    #[must_use]
    pub fn from_registers(vtcr: u64, vttbr: u64, windows: Vec<Window>) -> Self {
        Self {
            vmid: (vttbr >> 48) as u16,
            root: Pa(vttbr & 0x0000_ffff_ffff_fffe),
            start: (2_u64.saturating_sub(vtcr >> 6 & 0b11)) as u8,
            ipa_bits: 64 - (vtcr & 0x3f) as u32,
            windows,
        }
    }

    /// The entries of the root, all concatenated tables together.
    const fn root_entries(&self) -> u64 {
        1 << self.ipa_bits.saturating_sub(39 - 9 * self.start as u32)
    }
}

#[derive(Debug, Default)]
struct Cpu {
    cache: Cache,
    context: Option<Context>,
    /// An invalidation has completed and no `ISB` followed.
    unsynchronized: bool,
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
pub struct Machine {
    memory: Memory,
    cpus: Vec<Cpu>,
    issued: Vec<Issued>,
    violations: Vec<Violation>,
}

impl Machine {
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

    /// Issues a TLBI on `cpu`, for the VMID loaded there (0 if none is).
    pub fn issue(&mut self, cpu: usize, op: Tlbi, scope: Scope) {
        let vmid = self.cpus[cpu].context.as_ref().map_or(0, |context| context.vmid);
        self.issued.push(Issued { cpu, vmid, op, scope });
    }

    /// `DSB ISH` on `cpu`: completes its TLBIs, and publishes.
    pub fn complete(&mut self, cpu: usize) {
        let (done, rest) = self.issued.iter().partition(|issued| issued.cpu == cpu);
        self.issued = rest;
        let done: Vec<Issued> = done;
        for target in 0..self.cpus.len() {
            let reached = |issued: &&Issued| target == cpu || issued.scope == Scope::InnerShareable;
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
        let cache = &mut self.cpus[cpu].cache;
        // Combined entries first, so that those of this VM can be made again from the stage-2 entries still there...
        for issued in ops {
            cache.forget_combined(issued.vmid, issued.op);
        }
        self.recombine(cpu);
        // ...unless one instruction drops both.
        let cache = &mut self.cpus[cpu].cache;
        for issued in ops {
            cache.forget_stage2(issued.vmid, issued.op);
            if matches!(issued.op, Tlbi::Vm | Tlbi::All) {
                cache.forget_combined(issued.vmid, issued.op);
            }
        }
        // The walkers have not stopped. What is not published yet, they may still see the old way.
        for issued in ops {
            match issued.op {
                Tlbi::Ipa { ipa, .. } => self.refill_ipa(cpu, ipa),
                Tlbi::Vm | Tlbi::All => self.refill_vm(cpu),
                _ => {}
            }
        }
    }

    /// The places (level and first IPA of the entry) in `cpu`'s walks where the descriptor at `pa` is found: under the
    /// root in its VTTBR, and under each cached table of its VMID.
    fn places_of(&self, cpu: usize, pa: Pa) -> Vec<(u8, u64)> {
        let Cpu { cache, context: Some(context), .. } = &self.cpus[cpu] else { return vec![] };
        let mut places = vec![];
        if let Some(offset) = pa.0.checked_sub(context.root.0)
            && offset / 8 < context.root_entries()
        {
            places.push((context.start, offset / 8 * span(context.start)));
        }
        let frame = pa.align_down(PAGE_SIZE);
        let of_vm = cache.tables.range((context.vmid, 0, 0)..=(context.vmid, u8::MAX, u64::MAX));
        for (&(_, level, ipa), tables) in of_vm {
            if tables.contains(&frame) {
                places.push((level + 1, ipa + (pa.0 - frame.0) / 8 * span(level + 1)));
            }
        }
        places
    }

    /// The walker of `cpu` finds `descriptor` at `level` for `ipa`: it caches it, and goes on in the table.
    fn see(&mut self, cpu: usize, level: u8, ipa: u64, descriptor: u64) {
        let Cpu { cache, context: Some(context), .. } = &mut self.cpus[cpu] else { return };
        let vmid = context.vmid;
        match decode(descriptor, level) {
            Decoded::Fault => {}
            Decoded::Table(table) => {
                if cache.insert_table((vmid, level, ipa), table, &mut self.violations) {
                    self.explore(cpu, table, level + 1, ipa);
                }
            }
            Decoded::Leaf => {
                if cache.insert_leaf((vmid, ipa, level), descriptor, &mut self.violations) {
                    for window in &context.windows {
                        if let Some((key, entry)) = combine(vmid, window, ipa, level, descriptor) {
                            cache.insert_combined(key, entry, &mut self.violations);
                        }
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
        self.recombine(cpu);
    }

    /// Walks to `ipa` again on `cpu`, from the root and from each table still cached.
    fn refill_ipa(&mut self, cpu: usize, ipa: Ipa) {
        let Some(context) = &self.cpus[cpu].context else { return };
        let (vmid, root, start) = (context.vmid, context.root, context.start);
        for level in start..=3 {
            let slot = align_down(ipa.0, span(level));
            let mut tables = vec![];
            if level == start {
                tables.push(Pa(root.0 + slot / span(level) * 8));
            } else {
                let above = align_down(ipa.0, span(level - 1));
                let cached = self.cpus[cpu].cache.tables.get(&(vmid, level - 1, above));
                let index = (slot - above) / span(level);
                tables.extend(cached.into_iter().flatten().map(|table| Pa(table.0 + index * 8)));
            }
            for pa in tables {
                for value in self.memory.visible(pa) {
                    self.see(cpu, level, slot, value);
                }
            }
        }
    }

    /// Combines each stage-2 entry of the VM loaded on `cpu` with the guest's stage 1 again.
    fn recombine(&mut self, cpu: usize) {
        let Cpu { cache, context: Some(context), .. } = &mut self.cpus[cpu] else { return };
        let vmid = context.vmid;
        let mut found = vec![];
        for (&(_, ipa, level), known) in cache.leaves.range((vmid, 0, 0)..=(vmid, u64::MAX, u8::MAX)) {
            for window in &context.windows {
                found.extend(known.iter().filter_map(|&leaf| combine(vmid, window, ipa, level, leaf)));
            }
        }
        for (key, entry) in found {
            cache.insert_combined(key, entry, &mut self.violations);
        }
    }

    /// Where an access to `va` in `asid` on `cpu` could go: each translation that the TLB could use.
    #[must_use]
    pub fn outcomes(&self, cpu: usize, va: Va, asid: u16) -> Vec<Pa> {
        let Cpu { cache, context: Some(context), .. } = &self.cpus[cpu] else { return vec![] };
        let usable = cache.combined.iter().filter(|(key, _)| {
            key.vmid == context.vmid
                && (key.va..key.va + key.size).contains(&va.0)
                && key.asid.is_none_or(|own| own == asid)
        });
        let outputs =
            usable.flat_map(|(key, known)| known.iter().map(move |entry| Pa(entry.pa.0 + (va.0 - key.va))));
        let mut outputs: Vec<Pa> = outputs.collect();
        outputs.sort_unstable();
        outputs.dedup();
        outputs
    }

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
        let Cpu { cache, context, unsynchronized } = &self.cpus[cpu];
        if *unsynchronized {
            found.push(Violation::NotSynchronized { cpu });
        }
        let Some(context) = context else { return };
        let vmid = context.vmid;
        for frame in self.memory.unpublished() {
            if !self.places_of(cpu, frame).is_empty() {
                found.push(Violation::Unpublished { pa: frame });
            }
        }
        for (&(_, level, ipa), tables) in cache.tables.range((vmid, 0, 0)..=(vmid, u8::MAX, u64::MAX)) {
            for table in tables {
                let now = self.walk(context, ipa, level);
                if now.is_none_or(|(at, found)| at != level || decode(found, at) != Decoded::Table(*table)) {
                    found.push(Violation::Stale { cpu, ipa: Ipa(ipa), descriptor: table.0 });
                }
            }
        }
        for (&(_, ipa, level), known) in cache.leaves.range((vmid, 0, 0)..=(vmid, u64::MAX, u8::MAX)) {
            for &descriptor in known {
                if self.walk(context, ipa, level) != Some((level, descriptor)) {
                    found.push(Violation::Stale { cpu, ipa: Ipa(ipa), descriptor });
                }
            }
        }
        for (key, known) in cache.combined.iter().filter(|(key, _)| key.vmid == vmid) {
            for entry in known {
                if !self.bears_out(context, key, entry) {
                    found.push(Violation::StaleCombined { cpu, va: Va(key.va), pa: entry.pa });
                }
            }
        }
    }

    /// Whether the tables and the guest's stage 1, as they are now, give rise to a combined entry.
    fn bears_out(&self, context: &Context, key: &CombinedKey, entry: &Combined) -> bool {
        context.windows.iter().filter(|window| window.asid == key.asid).any(|window| {
            let Some(offset) = key.va.checked_sub(window.va.0) else { return false };
            let ipa = window.ipa.0 + offset;
            let Some((level, descriptor)) = self.walk(context, ipa, 3) else { return false };
            let base = align_down(ipa, span(level));
            decode(descriptor, level) == Decoded::Leaf
                && combine(context.vmid, window, base, level, descriptor) == Some((*key, *entry))
        })
    }

    /// The descriptor that settles a walk for `ipa` that goes no deeper than `last`, and its level.
    fn walk(&self, context: &Context, ipa: u64, last: u8) -> Option<(u8, u64)> {
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

/// The combined entry that a stage-2 leaf at `ipa` gives rise to in a window, if they meet.
fn combine(
    vmid: u16,
    window: &Window,
    ipa: u64,
    level: u8,
    descriptor: u64,
) -> Option<(CombinedKey, Combined)> {
    let first = ipa.max(window.ipa.0);
    let end = (ipa + span(level)).min(window.ipa.0 + window.size);
    let size = end.checked_sub(first).filter(|&size| size > 0)?;
    let key = CombinedKey { vmid, va: window.va.0 + (first - window.ipa.0), size, asid: window.asid };
    Some((key, Combined { pa: output(descriptor, level, first - ipa), descriptor }))
}

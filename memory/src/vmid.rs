// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMIDs: which number a VM's TLB entries are tagged with, and when a CPU must forget entries before using one.
//!
//! There may be more VMs than VMIDs (255 or 65535; 0 is the host's). VMIDs are handed out in order until they run out;
//! then a new *generation* begins, in which every VM needs a new one, except that a VM running on some CPU at that
//! moment keeps its number ("reserved"): it is in use and cannot change under the guest. VMIDs are never given back one
//! by one. A dead VM's entries just fade away until its number comes round again.
//!
//! A number that had an earlier holder may still tag that one's entries in some CPU's TLB. We flush them on each CPU
//! when, and only when, the new holder first enters it: `TLBI VMALLS12E1`, of this CPU alone. Flushing all VMIDs at
//! the start of a generation (as is common) would also empty what the running VMs need. It follows that `TLBI
//! ALLE1` is needed exactly once: on each CPU before its first VM, because reset leaves a TLB's content unknown.
//!
//! Two vCPUs of one VM on one CPU share a VMID but may use one ASID for different things, which on two CPUs would be
//! theirs to do. When one follows the other, the stage-1 entries go: `TLBI VMALLE1`. A vCPU that leaves a CPU and
//! comes back needs nothing, provided `HCR_EL2.FB` is set: the guest's own TLBIs then reach every CPU.
//!
//! Pure bookkeeping: the caller locks it and issues the instructions.

use core::num::NonZeroU16;

use vambrace_ids::{PcpuId, VcpuId};

#[cfg(test)]
mod tests;

/// How many bits of VMID the CPUs have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmidWidth {
    /// 8 bits, on every CPU.
    Eight,
    /// 16 bits: `ID_AA64MMFR1_EL1.VMIDBits` on every CPU, and `VTCR_EL2.VS` set.
    Sixteen,
}

impl VmidWidth {
    /// The last number; `None` is 255.
    const fn last(self) -> Option<NonZeroU16> {
        match self {
            Self::Eight => None,
            Self::Sixteen => Some(NonZeroU16::MAX),
        }
    }
}

/// What a CPU must forget after loading the VMID and before running the guest. Each is followed by `DSB NSH; ISB`.
///
/// On a CPU whose instruction cache is tagged with the VMID too (VPIPT in `CTR_EL0.L1Ip`, which Arm has withdrawn from the
/// architecture) [`Flush::Vm`] would also need `IC IALLU`. EL2 does not do that: it is not for such a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flush {
    /// Nothing.
    None,
    /// Stage 1 of this VMID, on this CPU: `TLBI VMALLE1`.
    Stage1,
    /// All of this VMID, on this CPU: `TLBI VMALLS12E1`.
    Vm,
}

/// What to run a VM under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct VmidEntry {
    /// The VMID for `VTTBR_EL2`; never 0.
    pub vmid: u16,
    /// What to forget first.
    pub flush: Flush,
}

/// A VMID in a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tag {
    generation: u64,
    vmid: u16,
}

/// What the allocator keeps of one VM; belongs to that VM. `CPUS` is the board's number of CPUs.
#[derive(Clone, Debug)]
pub struct VmidHolder<const CPUS: usize> {
    tag: Option<Tag>,
    /// Whether `tag`'s number had a holder before, so that CPUs may hold entries that are not ours.
    inherited: bool,
    /// The vCPU that last ran on each CPU under the present number.
    last_vcpu: [Option<VcpuId>; CPUS],
}

impl<const CPUS: usize> VmidHolder<CPUS> {
    /// A VM that has not run.
    #[must_use]
    pub const fn new() -> Self {
        Self { tag: None, inherited: false, last_vcpu: [None; CPUS] }
    }
}

impl<const CPUS: usize> VmidHolder<CPUS> {
    /// `cpu`, which runs this VM, goes on with its vCPU `vcpu`: the number stays. As [`Vmids::enter`] would say, which is
    /// needed when another VM was there meanwhile, or none.
    pub fn switch(&mut self, cpu: PcpuId, vcpu: VcpuId) -> Flush {
        match self.last_vcpu.get_mut(cpu.index()).map(|last| last.replace(vcpu)) {
            Some(Some(last)) if last != vcpu => Flush::Stage1,
            _ => Flush::None,
        }
    }
}

impl<const CPUS: usize> Default for VmidHolder<CPUS> {
    fn default() -> Self {
        Self::new()
    }
}

/// The allocator of VMIDs of a board with `CPUS` CPUs (fewer than there are VMIDs).
#[derive(Debug)]
pub struct Vmids<const CPUS: usize> {
    generation: u64,
    /// The last number looked at in this generation: handed out, unless some CPU has it reserved.
    before: u32,
    /// The last number there is; `None` is 255, so that a new value is all zeros, and takes no room in an image.
    last: Option<NonZeroU16>,
    /// The tag each CPU runs under.
    running: [Option<Tag>; CPUS],
    /// The tags carried over into this generation, by the CPU that ran under them when it began.
    reserved: [Option<Tag>; CPUS],
}

impl<const CPUS: usize> Vmids<CPUS> {
    /// The first generation. Each CPU must do `TLBI ALLE1` once before it runs a VM.
    #[must_use]
    pub const fn new(width: VmidWidth) -> Self {
        Self::with_last(width.last())
    }

    const fn with_last(last: Option<NonZeroU16>) -> Self {
        const { assert!(CPUS < u8::MAX as usize, "each CPU may reserve a VMID, and one must be left") };
        Self { generation: 0, before: 0, last, running: [None; CPUS], reserved: [None; CPUS] }
    }

    /// What [`Vmids::new`] takes, known later: for a value that is large, and stays in its place. Before any VM runs.
    pub const fn set_width(&mut self, width: VmidWidth) {
        self.last = width.last();
    }

    /// `cpu` is about to run (or to do TLB maintenance for) vCPU `vcpu` of `holder`'s VM, instead of what it ran before.
    ///
    /// The number stays the VM's until `cpu` enters another VM or leaves, through any rollover. Not needed on each
    /// exit: only when a CPU changes to another vCPU.
    ///
    /// # Panics
    /// If `cpu` is not below `CPUS`, which is a bug of ours and no guest's doing.
    pub fn enter(&mut self, cpu: PcpuId, holder: &mut VmidHolder<CPUS>, vcpu: VcpuId) -> VmidEntry {
        // What this CPU ran is over: it must not be carried over by a rollover now.
        self.running[cpu.index()] = None;
        let tag = self.current_tag(holder);
        self.running[cpu.index()] = Some(tag);
        let flush = match holder.last_vcpu[cpu.index()].replace(vcpu) {
            Some(last) if last == vcpu => Flush::None,
            Some(_) => Flush::Stage1,
            None if holder.inherited => Flush::Vm,
            None => Flush::None,
        };
        VmidEntry { vmid: tag.vmid, flush }
    }

    /// `cpu` runs no VM any more: its `VTTBR_EL2` holds none of theirs.
    ///
    /// # Panics
    /// If `cpu` is not below `CPUS`, which is a bug of ours and no guest's doing.
    pub fn leave(&mut self, cpu: PcpuId) {
        self.running[cpu.index()] = None;
    }

    /// `holder`'s tag in this generation, kept, carried over or new.
    fn current_tag(&mut self, holder: &mut VmidHolder<CPUS>) -> Tag {
        match holder.tag {
            Some(tag) if tag.generation == self.generation => return tag,
            Some(tag) if self.reserved.contains(&Some(tag)) => {
                let carried = Tag { generation: self.generation, vmid: tag.vmid };
                for slot in self.reserved.iter_mut().chain(&mut self.running) {
                    if *slot == Some(tag) {
                        *slot = Some(carried);
                    }
                }
                holder.tag = Some(carried);
                return carried;
            }
            _ => {}
        }
        let tag = self.new_tag();
        *holder = VmidHolder { tag: Some(tag), inherited: tag.generation > 0, last_vcpu: [None; CPUS] };
        tag
    }

    fn new_tag(&mut self) -> Tag {
        let last = self.last.map_or(u16::from(u8::MAX), NonZeroU16::get);
        loop {
            if self.before >= u32::from(last) {
                // A generation that came again would give one number to two VMs.
                self.generation = self.generation.strict_add(1);
                self.before = 0;
                self.reserved = self.running;
            }
            self.before = self.before.saturating_add(1);
            // At most `last`, so it fits.
            let vmid = self.before as u16;
            if !self.reserved.iter().flatten().any(|tag| tag.vmid == vmid) {
                return Tag { generation: self.generation, vmid };
            }
        }
    }
}

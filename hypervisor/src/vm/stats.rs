// SPDX-License-Identifier: MIT OR Apache-2.0
//! What EL2 itself costs: when the parts of a VM's boot epochs began, and the memory that EL2 takes.
//!
//! It is noted as things happen and told when a boot epoch is over, so that telling it delays nobody's start.

use core::sync::atomic::{AtomicU64, Ordering};

use vambrace_hypervisor::console::serial::Source;
use vambrace_ids::VmId;
use vambrace_wire::message::{BootEpoch, FromHypervisor, MemoryUse};

use crate::arch::sysreg::{CntpctEl0, Read};
use crate::boot::layout;
use crate::vm::gone;
use crate::{console, memory, system};

/// Memory that was given out before there was a heap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed {
    /// Frames of EL2's own map.
    pub(crate) map: u64,
    /// The other CPUs' stacks.
    pub(crate) stacks: u64,
    /// Bundle and device tree.
    pub(crate) loaded: u64,
}

/// The memory that EL2 takes without a VM.
#[derive(Debug)]
pub(crate) struct BootMemory {
    /// What does not change after boot.
    fixed: Fixed,
    /// All of it before the first VM.
    at_boot: MemoryUse,
}

impl BootMemory {
    /// As it is now: the first VM comes next.
    pub(crate) fn measure(fixed: Fixed) -> Self {
        Self { fixed, at_boot: fixed.and_now() }
    }
}

impl Fixed {
    /// With what EL2 has besides at the moment.
    fn and_now(self) -> MemoryUse {
        let Self { map, stacks, loaded } = self;
        MemoryUse { image: layout::image().len(), map, stacks, loaded, ..memory::in_use() }
    }
}

fn in_use() -> MemoryUse {
    system::get().map_or_else(memory::in_use, |system| system.memory.fixed.and_now())
}

/// Tells what memory EL2 took before the first VM.
pub(crate) fn tell_boot() {
    if let Some(system) = system::get() {
        console::say(&FromHypervisor::Memory { vms: 0, memory: system.memory.at_boot });
    }
}

/// A VM's part.
#[derive(Debug)]
pub(crate) struct VmStats {
    vm: VmId,
    began: AtomicU64,
    copied: AtomicU64,
    started: AtomicU64,
}

impl VmStats {
    /// For a VM that is about to be made.
    pub(crate) fn new(vm: VmId) -> Self {
        Self { vm, began: AtomicU64::new(now()), copied: AtomicU64::new(0), started: AtomicU64::new(0) }
    }

    /// A boot epoch begins.
    pub(crate) fn begin(&self) {
        note(&self.began);
    }

    /// The images are to be copied next.
    pub(crate) fn copy(&self) {
        note(&self.copied);
    }

    /// The first vCPU is switched on at this count.
    pub(crate) fn start(&self, count: u64) {
        self.started.store(count, Ordering::Relaxed);
    }

    /// A boot epoch is over.
    pub(crate) fn tell(&self) {
        let at = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let epoch = BootEpoch {
            began: at(&self.began),
            copied: at(&self.copied),
            started: at(&self.started),
            ended: now(),
        };
        console::tell_of(self.vm, |vm| FromHypervisor::BootEpoch { vm, epoch });
        let memory = FromHypervisor::Memory { vms: gone::count(), memory: in_use() };
        console::say_of(Source::Affairs(self.vm), &memory);
    }
}

/// One CPU notes, perhaps another tells: the VM's own locks and mail lie between them.
fn note(count: &AtomicU64) {
    count.store(now(), Ordering::Relaxed);
}

fn now() -> u64 {
    CntpctEl0.read()
}

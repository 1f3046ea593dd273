// SPDX-License-Identifier: MIT OR Apache-2.0
//! When a VM is gone: nobody has a reference to it, and all that it had is given back.

use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use vambrace_ids::VmId;
use vambrace_wire::message::FromHypervisor;

use crate::arch::sysreg::{CntpctEl0, Read};
use crate::console;
use crate::vm::registry;

/// VMs that exist, or have memory still.
static VMS: AtomicU16 = AtomicU16::new(0);

/// How many VMs exist, or have memory still.
pub(crate) fn count() -> u16 {
    VMS.load(Ordering::Relaxed)
}

/// As long as it lives the VM is not gone. When it is dropped the VM is, and those that waited for that, or for the VM's
/// memory, are told: so it is dropped after all that the VM has.
#[derive(Debug)]
pub(crate) struct GoneGuard {
    vm: VmId,
    /// The physical count when the VM's memory was last clear; 0 before it has run.
    cleared: AtomicU64,
}

impl GoneGuard {
    /// For a VM that is about to be made: before it takes anything.
    pub(crate) fn new(vm: VmId) -> Self {
        VMS.fetch_add(1, Ordering::Relaxed);
        Self { vm, cleared: AtomicU64::new(0) }
    }

    /// The VM's memory is clear.
    pub(crate) fn note_clear(&self) {
        self.cleared.store(CntpctEl0.read(), Ordering::Relaxed);
    }
}

impl Drop for GoneGuard {
    fn drop(&mut self) {
        VMS.fetch_sub(1, Ordering::Relaxed);
        let cleared = self.cleared.load(Ordering::Relaxed);
        // A VM that could not be made never ran.
        if cleared != 0 {
            console::tell_of(self.vm, |vm| FromHypervisor::Gone { vm, cleared, at: CntpctEl0.read() });
        }
        registry::note_gone(self.vm);
    }
}

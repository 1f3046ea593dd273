// SPDX-License-Identifier: MIT OR Apache-2.0
//! Work that takes long: filling a VM's memory, clearing it.
//!
//! EL2 does not preempt itself, so such work is cut into steps of bounded length, and the guests of the same CPU
//! run in between.

use vambrace_interrupts::VcpuRunState;
use vambrace_machine::{Lifecycle, StopReason, Vm};
use vambrace_wire::message::{FromHypervisor, VmState};

use crate::arch::sysreg::{CntpctEl0, Read};
use crate::console;
use crate::devices::disk::Progress;
use crate::devices::{assigned, channels};
use crate::host_io::random;
use crate::vm::registry;
use crate::vm::shared::VmHandle;

/// The most bytes that one step touches.
const STEP: u64 = 2 << 20;

/// A piece of long work.
#[derive(Debug)]
pub(crate) enum BackgroundTask {
    /// Clear the memory and erase the flash that the VM has been given, then load it.
    Clear {
        /// The VM.
        handle: VmHandle,
        /// How much is done.
        done: u64,
    },
    /// Prepare the disks, then load the images.
    Prepare {
        /// The VM.
        handle: VmHandle,
    },
    /// Copy the images in, then start the VM.
    Load {
        /// The VM.
        handle: VmHandle,
        /// Which of its images is next.
        image: usize,
        /// How much of it is there.
        done: u64,
    },
    /// Clear the memory; then start the VM again, or let it go.
    Zero {
        /// The VM, all of whose CPUs are halted.
        handle: VmHandle,
        /// How much is cleared.
        done: u64,
        /// What comes then.
        then: StopReason,
    },
    /// Clear what was written to the disks, then let the VM go.
    ClearDisks {
        /// The VM, which is over.
        handle: VmHandle,
    },
}

impl BackgroundTask {
    /// The work of starting a VM that has just been made.
    pub(crate) fn first(handle: VmHandle) -> Self {
        Self::Clear { handle, done: 0 }
    }

    /// The work of starting a VM, its memory clear.
    fn load(handle: VmHandle) -> Self {
        Self::Load { handle, image: 0, done: 0 }
    }

    /// Does one step. Gives back what is left to do.
    pub(crate) fn step(self) -> Option<Self> {
        match self {
            Self::Clear { handle, .. } | Self::Prepare { handle } | Self::Load { handle, .. }
                if handle.lifecycle.get() != Lifecycle::Created =>
            {
                // It is to stop before it has begun.
                None
            }
            Self::Clear { handle, done } => match handle.memory.prepare(done, STEP) {
                Some(done) => Some(Self::Clear { handle, done }),
                None => Some(Self::Prepare { handle }),
            },
            Self::Prepare { handle } => match handle.devices.prepare(STEP) {
                Progress::More => Some(Self::Prepare { handle }),
                Progress::Over => Some(Self::load(handle)),
            },
            Self::Load { handle, image, done } => load_step(handle, image, done),
            Self::Zero { handle, done, then } => match handle.memory.zero(done, STEP, then) {
                Some(done) => Some(Self::Zero { handle, done, then }),
                None => after_zero(handle, then),
            },
            Self::ClearDisks { handle } => match handle.devices.clear(STEP) {
                Progress::More => Some(Self::ClearDisks { handle }),
                Progress::Over => {
                    handle.gone.note_clear();
                    // The memory is free again when the last CPU has forgotten the VM.
                    None
                }
            },
        }
    }
}

fn load_step(handle: VmHandle, image: usize, done: u64) -> Option<BackgroundTask> {
    if image == 0 && done == 0 {
        handle.memory.note_used();
        handle.stats.copy();
    }
    let Some((ipa, bytes)) = registry::image(handle.id, image) else {
        start(&handle);
        return None;
    };
    let rest = bytes.get(done as usize..).unwrap_or_default();
    let part = rest.get(..STEP as usize).unwrap_or(rest);
    if let Some(ipa) = ipa.checked_add(done) {
        handle.memory.place(ipa, part);
    }
    if part.len() == rest.len() {
        Some(BackgroundTask::Load { handle, image: image + 1, done: 0 })
    } else {
        Some(BackgroundTask::Load { handle, image, done: done + STEP })
    }
}

/// The images are in place: fresh seeds, a fresh clock, and off it goes.
fn start(handle: &VmHandle) {
    for seed in registry::seeds(handle.id) {
        let mut bytes = [0; 64];
        let bytes = bytes.get_mut(..usize::from(seed.len)).unwrap_or_default();
        if random::fill(bytes).is_ok() {
            handle.memory.place(vambrace_memory::Ipa(seed.ipa), bytes);
        }
    }
    // Text was written as data: no CPU may execute what its instruction cache remembers of that memory.
    crate::arch::barrier::ic_ialluis();
    crate::arch::barrier::dsb_ish();
    assigned::connect(handle);
    let now = CntpctEl0.read();
    handle.stats.start(now);
    let (resets, reset) = {
        let mut vm = handle.vm.lock();
        for vcpu in vm.gic.vcpu_ids() {
            vm.gic.set_run_state(vcpu, VcpuRunState::Runnable);
        }
        if handle.change(&mut vm, |vm| vm.start(now)).is_err() {
            // It is to stop before it has begun.
            return;
        }
        (vm.resets, vm.reset_cause)
    };
    channels::join(handle);
    if !handle.devices.is_empty() {
        // What the boot epoch before has left to its disks is seen to.
        handle.devices.set_due();
    }
    let state = reset.map_or(VmState::Running, |cause| VmState::Reset(resets, cause));
    console::tell_of(handle.id, |vm| FromHypervisor::State { vm, state });
    handle.notify_all();
}

fn after_zero(handle: VmHandle, then: StopReason) -> Option<BackgroundTask> {
    let StopReason::Reset(cause) = then else {
        return Some(BackgroundTask::ClearDisks { handle });
    };
    handle.gone.note_clear();
    {
        let mut vm = handle.vm.lock();
        handle.change(&mut vm, Vm::reset);
        vm.resets = vm.resets.saturating_add(1);
        vm.reset_cause = Some(cause);
    }
    handle.begin_boot_epoch();
    Some(BackgroundTask::load(handle))
}

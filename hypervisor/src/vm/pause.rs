// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pause and resume of a VM.
//!
//! A VM pauses like it stops: its lifecycle changes, its vCPUs are notified, and each is unloaded when its affine CPU next
//! looks at it. It is *paused* then: blocked, without a deadline, its floating-point registers saved. The last one
//! to be paused completes the pause. So nothing waits for anything, and each vCPU is paused in its own time.
//!
//! Meanwhile the VM's devices do nothing ([`Vm::serve_virtio`] sees to that). What comes for it from outside stays where it
//! came: keys in its inbox, frames in its cards' queues as long as there is room, what the board's disks have read in the
//! request slots, physical interrupts of assigned devices active.
//!
//! A device of the board that masters DMA and is assigned to the VM is out of reach: it goes on with what the guest has told it,
//! and its interrupt is taken when the VM goes on.
//!
//! The guest's virtual counter stands still from the time at which the last vCPU was paused: a vCPU that was paused before has
//! not seen a later count, since it did not run. The physical counter, which a guest reads untrapped, runs on, and with it the physical
//! timer and the wall clock: they fire when the VM goes on if their time has come.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};

use vambrace_machine::lifecycle::WrongState;
use vambrace_machine::{StopReason, Vm};
use vambrace_wire::message::{FromHypervisor, VmControl, VmState};

use crate::arch::sysreg::{CntpctEl0, Read};
use crate::console;
use crate::vm::registry;
use crate::vm::shared::VmShared;

/// Which of a VM's pauses: a vCPU is paused once in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PauseNumber(u32);

/// How far a VM's pause is. All of it changes under the VM's lock only.
#[derive(Debug)]
pub(crate) struct Pause {
    number: AtomicU32,
    /// vCPUs that are paused in it.
    paused: AtomicUsize,
}

impl Pause {
    /// That of a VM that was never paused.
    pub(crate) const fn new() -> Self {
        Self { number: AtomicU32::new(0), paused: AtomicUsize::new(0) }
    }
}

impl VmShared {
    /// Has the VM pause.
    ///
    /// # Errors
    /// [`WrongState`] unless it runs.
    pub(crate) fn pause(&self) -> Result<(), WrongState> {
        {
            let mut vm = self.vm.lock();
            self.change(&mut vm, Vm::pause)?;
            self.pause.number.fetch_add(1, Ordering::Relaxed);
            self.pause.paused.store(0, Ordering::Relaxed);
        }
        self.notify_all();
        Ok(())
    }

    /// A vCPU of the VM, last paused in the pause `paused_in`, is unloaded, and is to be paused. Says in which pause it
    /// is now; `None` if the VM goes on by now.
    pub(crate) fn note_vcpu_paused(&self, paused_in: Option<PauseNumber>) -> Option<PauseNumber> {
        let mut vm = self.vm.lock();
        if !vm.lifecycle().is_paused() {
            return None;
        }
        let number = PauseNumber(self.pause.number.load(Ordering::Relaxed));
        if paused_in == Some(number) {
            return Some(number);
        }
        if self.pause.paused.fetch_add(1, Ordering::Relaxed) + 1 == self.vcpus.len()
            && self.change(&mut vm, |vm| vm.note_paused(CntpctEl0.read())).is_ok()
        {
            drop(vm);
            console::tell_of(self.id, |vm| FromHypervisor::State { vm, state: VmState::Paused });
        }
        Some(number)
    }

    /// Has the VM go on, whether all its vCPUs are paused by now or not.
    ///
    /// # Errors
    /// [`WrongState`] unless it is paused, or about to be.
    pub(crate) fn resume(&self) -> Result<(), WrongState> {
        {
            let mut vm = self.vm.lock();
            self.change(&mut vm, |vm| vm.resume(CntpctEl0.read()))?;
        }
        console::tell_of(self.id, |vm| FromHypervisor::State { vm, state: VmState::Resumed });
        // What has come meanwhile is seen to.
        self.devices.set_due();
        self.notify_all();
        Ok(())
    }
}

/// What others have asked to be done to a VM, a bit each, until one of its vCPUs does it.
///
/// Whoever asks takes no lock of the VM's, and waits for nothing.
#[derive(Debug)]
pub(crate) struct Controls(AtomicU8);

/// The VM is to be paused.
const PAUSE: u8 = 1;
/// The VM is to go on.
const RESUME: u8 = 2;
/// The VM is to be switched off.
const DESTROY: u8 = 4;

impl Controls {
    /// Nothing is asked.
    pub(crate) const fn new() -> Self {
        Self(AtomicU8::new(0))
    }
}

impl VmShared {
    /// Asks for something to be done to the VM. Of a pause and a resume that it has not seen yet the last stands.
    pub(crate) fn control(&self, control: VmControl) {
        let (set, clear) = match control {
            VmControl::Pause => (PAUSE, RESUME),
            VmControl::Resume => (RESUME, PAUSE),
            VmControl::Destroy => (DESTROY, PAUSE | RESUME),
            // It exists. A vCPU moves by a message to its CPU.
            VmControl::Create | VmControl::Migrate { .. } | VmControl::ReplacePage { .. } => return,
        };
        let _ = self
            .controls
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |asked| Some(asked & !clear | set));
        self.kick_worker();
    }

    /// Does what was asked, in the VM's own time.
    #[inline]
    pub(crate) fn apply_controls(&self) {
        if self.controls.0.load(Ordering::Relaxed) != 0 {
            self.apply_each();
        }
    }

    #[cold]
    fn apply_each(&self) {
        let asked = self.controls.0.swap(0, Ordering::AcqRel);
        let done = if asked & DESTROY != 0 {
            self.destroy();
            Ok(())
        } else if asked & PAUSE != 0 {
            self.pause()
        } else if asked & RESUME != 0 {
            self.resume()
        } else {
            // Another of its vCPUs has done it.
            Ok(())
        };
        if let Err(error) = done {
            console::warn_of(self.id, format_args!("{}: {error}", registry::name(self.id)));
        }
    }

    /// Switches the VM off.
    fn destroy(&self) {
        {
            let mut vm = self.vm.lock();
            self.change(&mut vm, |vm| vm.stop(StopReason::Off));
        }
        self.notify_all();
    }
}

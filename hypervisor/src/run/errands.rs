// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done for a vCPU that is not in the machine, in its own time: looking whether it is to start, to stop or to wake;
//! its VM's long work; its console's unfinished line.
//!
//! A call for a vCPU only puts it in the queue. So the vCPU in the machine loses no time by it, and waits for no lock of
//! another VM.

use core::sync::atomic::Ordering;

use vambrace_hypervisor::attention::{Gone, Home, Mail as Read};
use vambrace_interrupts::Activity;

use super::slots::State;
use super::{NEVER, Pcpu, now};
use crate::cell::{Cell, VmCell};
use crate::console;
use crate::percpu::{self, Mail};
use crate::registry::{self, Advance};

/// What an errand has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// The vCPU goes into the machine now.
    ThenEnter,
    /// It does not.
    IsAll,
}

/// A CPU that looks at who called it.
struct Attending<'a> {
    cpu: &'a mut Pcpu,
    /// The slot of the vCPU that is in the machine.
    resident: Option<u16>,
    /// It was called.
    is_called: bool,
}

impl Home for Attending<'_> {
    fn look(&mut self, slot: u16) {
        if Some(slot) == self.resident {
            self.is_called = true;
        } else {
            self.cpu.note_call(slot);
        }
    }

    fn read_mail(&mut self) -> Read {
        match self.cpu.shared.take_mail() {
            // The room is given back when all of it is in its place.
            Some(Mail::Adopt { cell, vcpu, slot, room: _room }) => {
                self.cpu.adopt(cell, vcpu, slot);
                Read::Vcpu(slot)
            }
            Some(Mail::Job { slot, job }) => {
                self.cpu.give_job(slot, job);
                Read::Other
            }
            None => {
                self.cpu.is_asked |= self.cpu.shared.take_question();
                Read::None
            }
        }
    }
}

impl Pcpu {
    /// Sees who called. Says whether the resident vCPU is among them.
    pub(super) fn attend(&mut self, resident: Option<u16>) -> bool {
        let shared = self.shared;
        let mut attending = Attending { cpu: self, resident, is_called: false };
        let gone = shared.attention.attend(&mut attending);
        let is_called = attending.is_called;
        if gone == Gone::Some {
            self.make_next();
        }
        is_called
    }

    /// VMs may wait for one that is gone: makes one of them. What else there is to do here comes before the one after it, and
    /// nobody who runs here pays.
    #[cold]
    #[inline(never)]
    fn make_next(&mut self) {
        let began = now();
        if registry::advance() == Advance::More {
            percpu::tell_of_gone();
        }
        self.account.leave_out(began);
    }

    /// Somebody calls a vCPU that is not in the machine: it is looked at when it is its turn.
    fn note_call(&mut self, id: u16) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        // One that is ready finds out when it is put in.
        if slot.state != State::Ready {
            slot.is_called = true;
            self.queue.wake(id, slot.claim(self.translation));
        }
    }

    /// Does a vCPU's errands.
    #[inline(always)]
    pub(super) fn see_to(&mut self, id: u16, cell: &Cell) -> Errand {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return Errand::IsAll };
        slot.is_called = false;
        if slot.job.is_none()
            && !slot.is_flush_due
            && cell.ending.get().is_none()
            && slot.state == State::Waiting
        {
            let index = slot.vcpu.into();
            return self.look_at_waiting(id, cell, index);
        }
        self.see_to_seldom(id, cell)
    }

    /// Does errands that are not a look at a vCPU that waits.
    #[cold]
    #[inline(never)]
    fn see_to_seldom(&mut self, id: u16, cell: &Cell) -> Errand {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return Errand::IsAll };
        let index = slot.vcpu.into();
        if let Some(job) = slot.job.take() {
            slot.job = job.step();
            // When it is over, the vCPU is looked at.
            slot.is_called = true;
            return Errand::IsAll;
        }
        if core::mem::take(&mut slot.is_flush_due) {
            flush(cell);
        }
        if cell.has_ended.load(Ordering::Acquire) {
            self.forget(id);
            return Errand::IsAll;
        }
        if cell.ending.get().is_some() {
            self.park(id);
            return Errand::IsAll;
        }
        match slot.state {
            State::Ready => Errand::ThenEnter,
            State::Waiting => self.look_at_waiting(id, cell, index),
            State::Off => self.look_at_off(id, cell, index),
        }
    }

    /// A vCPU that waits is called: is what it waits for there?
    fn look_at_waiting(&mut self, id: u16, cell: &Cell, index: usize) -> Errand {
        if cell.devices.is_due() {
            self.work(id, cell);
        }
        let mut vm = cell.vm.lock();
        let moved = vm.gic.fold_stale(index);
        let is_awake = vm.gic.has_deliverable(index);
        if !is_awake {
            vm.gic.set_activity(index, Activity::Waiting);
        }
        drop(vm);
        cell.notify(&moved);
        if !is_awake {
            self.queue.block(id);
            return Errand::IsAll;
        }
        self.make_ready(id);
        Errand::ThenEnter
    }

    /// A vCPU that is off is called: is it to start?
    fn look_at_off(&mut self, id: u16, cell: &Cell, index: usize) -> Errand {
        let entry = cell.vm.lock().power.take_pending(index);
        let Some(entry) = entry else {
            cell.hand_call_on(index);
            self.queue.block(id);
            return Errand::IsAll;
        };
        self.start(id, cell, index, entry);
        Errand::ThenEnter
    }

    /// A console line of the VM of the vCPU in slot `id` has waited for its end for long enough: it is passed on in that
    /// vCPU's time.
    pub(super) fn flush_now(&mut self, id: u16, resident: Option<u16>) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        slot.flush_at = NEVER;
        if resident == Some(id) {
            flush(&slot.cell);
            return;
        }
        slot.is_flush_due = true;
        slot.is_called = true;
        self.queue_up(id);
    }
}

fn flush(cell: &VmCell) {
    cell.vm.lock().flush_console(|bytes| console::print(cell.id, bytes));
}

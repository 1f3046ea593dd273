// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vCPUs that live on a CPU: who runs, who waits, who is off, and what wakes them.

use alloc::sync::Arc;
use core::num::NonZeroU32;
use core::sync::atomic::Ordering;

use vambrace_cpu::power::Entry;
use vambrace_cpu::timer;
use vambrace_hypervisor::attention::Mail as HasMail;
use vambrace_interrupts::Activity;
use vambrace_machine::Vcpu;

use super::{NEVER, Pcpu, now};
use crate::cell::{Cell, Parked, VmCell};
use crate::percpu::Mail;
use crate::{clock, registry};

/// A vCPU that lives here.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) cell: Cell,
    pub(super) vcpu: u16,
    pub(super) state: State,
    /// When its own timer will wake it, as a physical count.
    pub(super) wake_at: u64,
    /// When its VM's unfinished console line is to be passed on.
    pub(super) flush_at: u64,
    /// It starts anew when it wakes (CPU_SUSPEND, power-down).
    pub(super) suspended: Option<Entry>,
    /// The VM's life in which it was parked last.
    pub(super) parked_in: Option<u32>,
}

/// What a vCPU is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Powered off, or parked for good.
    Off,
    /// Waits for an interrupt.
    Waiting,
    /// Runs when it is its turn.
    Ready,
}

/// Why a vCPU leaves the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Others' turn.
    Preempted,
    /// It waits; until this virtual count at most.
    Waits(Option<u64>),
    /// It waits and then starts anew.
    Suspends(Entry),
    /// It is off.
    Off,
    /// Its VM has come to an end.
    Stopped,
}

/// Whether a vCPU is in the machine while others are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    /// None is.
    Free,
    /// One is, and its VM's tables are loaded.
    Taken,
}

/// Makes a vCPU one that has just been switched on. It is not in the machine.
fn start_vcpu(cell: &VmCell, vcpu: &mut Vcpu, entry: Entry) {
    vcpu.start(entry);
    let index = usize::from(vcpu.index);
    let notify = cell.vm.lock().gic.reset_interface(index);
    cell.notify(&notify);
}

impl Pcpu {
    /// The vCPU is out: notes what it does now.
    pub(super) fn leave(&mut self, id: u16, cell: &Cell, vcpu: &mut Vcpu, leave: Leave) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        match leave {
            Leave::Preempted => {}
            Leave::Off => {
                slot.state = State::Off;
                self.queue.block(id);
            }
            Leave::Stopped => self.park(id, Machine::Free),
            Leave::Waits(until) => self.wait(id, cell, vcpu, until),
            Leave::Suspends(entry) => {
                slot.suspended = Some(entry);
                self.wait(id, cell, vcpu, None);
            }
        }
    }

    /// Lets a vCPU wait, unless what it would wait for is there already.
    pub(super) fn wait(&mut self, id: u16, cell: &VmCell, vcpu: &mut Vcpu, until: Option<u64>) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        let (el1, now) = (&vcpu.registers.el1, now());
        let offset = cell.time_offset.load(Ordering::Relaxed);
        let virtual_timer = timer::virtual_deadline(el1.cntv_ctl, el1.cntv_cval, offset, now);
        let timeout = until.map(|count| count.saturating_add(offset));
        let mut vm = cell.vm.lock();
        let alarm = vm.clock_deadline().map(clock::count_at);
        let deadlines = [virtual_timer, vcpu.physical_timer.deadline(), timeout, alarm];
        slot.wake_at = deadlines.into_iter().flatten().min().unwrap_or(NEVER);
        let index = usize::from(vcpu.index);
        let ready = slot.wake_at <= now || vm.gic.has_deliverable(index);
        if ready {
            drop(vm);
            if let Some(entry) = slot.suspended.take() {
                start_vcpu(cell, vcpu, entry);
            }
            return;
        }
        vm.gic.set_activity(index, Activity::Waiting);
        drop(vm);
        slot.state = State::Waiting;
        self.queue.block(id);
    }

    /// A vCPU that waited has something to do.
    pub(super) fn wake(&mut self, id: u16) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        slot.state = State::Ready;
        slot.wake_at = NEVER;
        if let Some(entry) = slot.suspended.take()
            && let Some(vcpu) = slot.cell.vcpus.get(usize::from(slot.vcpu))
        {
            start_vcpu(&slot.cell, &mut vcpu.lock(), entry);
        }
        self.queue.wake(id);
    }

    /// A vCPU's VM has come to an end: it never enters the guest again in this life.
    pub(super) fn park(&mut self, id: u16, machine: Machine) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        let life = slot.cell.life.load(Ordering::Acquire);
        let Some(ending) = slot.cell.ending() else { return };
        if slot.parked_in.replace(life) == Some(life) {
            return;
        }
        slot.state = State::Off;
        slot.wake_at = NEVER;
        slot.suspended = None;
        self.queue.block(id);
        if self.fp_owner == Some(id) {
            self.fp_owner = None;
        }
        let cell = Arc::clone(&slot.cell);
        // Else what is loaded is the resident vCPU's. If that is of the same VM, it is parked yet, and last.
        if machine == Machine::Free {
            self.leave_translation();
        }
        if cell.park_one() == Parked::Last {
            self.jobs.push_back(registry::end(&cell, ending));
        }
    }

    pub(super) fn read_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Adopt { cell, vcpu, slot } => {
                let at = usize::from(slot);
                if self.slots.len() <= at {
                    self.slots.resize_with(at + 1, || None);
                }
                let weight = NonZeroU32::new(registry::weight(cell.id)).unwrap_or(NonZeroU32::MIN);
                if let Some(place) = self.slots.get_mut(at)
                    && self.queue.add(slot, weight).is_ok()
                {
                    // Each VM has one job at most: what a guest asks for later finds room.
                    self.jobs.reserve(at + 1);
                    *place = Some(Slot {
                        cell,
                        vcpu,
                        state: State::Off,
                        wake_at: NEVER,
                        flush_at: NEVER,
                        suspended: None,
                        parked_in: None,
                    });
                }
            }
            Mail::Job(job) => self.jobs.push_back(job),
        }
    }

    /// The VM of the vCPU in this slot is no more.
    fn forget(&mut self, id: u16) {
        self.queue.remove(id);
        if self.fp_owner == Some(id) {
            self.fp_owner = None;
        }
        if let Some(place) = self.slots.get_mut(usize::from(id)) {
            *place = None;
        }
    }

    /// Looks at a vCPU that is not in the machine: is it to start, to stop, to wake?
    pub(super) fn look_at(&mut self, id: u16, machine: Machine) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        let cell = Arc::clone(&slot.cell);
        let index = usize::from(slot.vcpu);
        if cell.has_ended.load(Ordering::Acquire) {
            self.forget(id);
            return;
        }
        if cell.ending().is_some() {
            self.park(id, machine);
            return;
        }
        match slot.state {
            State::Ready => {}
            State::Waiting => {
                if cell.vm.lock().gic.has_deliverable(index) {
                    self.wake(id);
                }
            }
            State::Off => {
                let Some(entry) = cell.vm.lock().power.take_pending(index) else { return };
                if let Some(vcpu) = cell.vcpus.get(index) {
                    start_vcpu(&cell, &mut vcpu.lock(), entry);
                }
                // Its old floating-point registers are nobody's.
                if self.fp_owner == Some(id) {
                    self.fp_owner = None;
                }
                self.wake(id);
            }
        }
    }

    /// Looks at all who called. Says whether the resident vCPU is among them.
    pub(super) fn attend(&mut self, resident: Option<u16>) -> bool {
        let mut called = false;
        let machine = if resident.is_some() { Machine::Taken } else { Machine::Free };
        let shared = self.shared;
        let mail = shared.attention.take(|slot| {
            if Some(slot) == resident {
                called = true;
            } else {
                self.look_at(slot, machine);
            }
        });
        if mail == HasMail::Waiting {
            for mail in shared.take_mail() {
                self.read_mail(mail);
            }
        }
        called
    }
}

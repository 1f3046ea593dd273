// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vCPUs that live on a CPU: who runs, who waits, who is off, and what wakes them.

use alloc::sync::Arc;
use alloc::vec;
use core::num::NonZeroU32;
use core::sync::atomic::Ordering;

use vambrace_cpu::power::Entry;
use vambrace_cpu::timer;
use vambrace_hypervisor::attention::Mail as HasMail;
use vambrace_interrupts::{Activity, Passage};
use vambrace_machine::Vcpu;

use super::switch::Unloaded;
use super::{NEVER, Pcpu, now};
use crate::cell::{Cell, Parked, VmCell};
use crate::percpu::Mail;
use crate::{clock, devices, registry};

/// A vCPU that lives here.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) cell: Cell,
    pub(super) vcpu: u16,
    pub(super) state: State,
    /// When its own timer will wake it, as a physical count; [`NEVER`] unless it waits.
    pub(super) wake_at: u64,
    /// When its VM's unfinished console line is to be passed on.
    pub(super) flush_at: u64,
    /// When its VM's devices have their next turn.
    pub(super) work_at: u64,
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

/// Whether a vCPU waits, as it would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Yes,
    /// What it would wait for is there.
    No,
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
    let mut vm = cell.vm.lock();
    let mut notify = vm.gic.reset_interface(index);
    // Its physical timer is off, whatever the one before did.
    notify.extend(&vm.settle_physical_timer(vcpu, now()));
    drop(vm);
    cell.notify(&notify);
}

impl Pcpu {
    /// The vCPU is out: notes what it does now.
    pub(super) fn leave(
        &mut self,
        id: u16,
        cell: &Cell,
        vcpu: &mut Vcpu,
        unloaded: Unloaded<'_>,
        leave: Leave,
    ) {
        match leave {
            Leave::Preempted => {}
            Leave::Off => self.set_state(id, State::Off),
            Leave::Stopped => {
                drop(unloaded);
                self.park(id, Machine::Free);
            }
            Leave::Waits(until) => {
                let _ = self.wait(id, cell, vcpu, unloaded, until);
            }
            Leave::Suspends(entry) => {
                self.suspend(id, cell, vcpu, unloaded, entry);
            }
        }
    }

    /// Lets a vCPU wait, and then start anew. Seldom, and apart: the usual wait is worth its place.
    #[cold]
    #[inline(never)]
    fn suspend(&mut self, id: u16, cell: &Cell, vcpu: &mut Vcpu, unloaded: Unloaded<'_>, entry: Entry) {
        if self.wait(id, cell, vcpu, unloaded, None) == Waits::No {
            start_vcpu(cell, vcpu, entry);
        } else if let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) {
            slot.suspended = Some(entry);
        }
    }

    /// Lets a vCPU wait, unless what it would wait for is there already.
    #[inline(always)]
    fn wait(
        &mut self,
        id: u16,
        cell: &VmCell,
        vcpu: &Vcpu,
        Unloaded { mut vm, passage }: Unloaded<'_>,
        until: Option<u64>,
    ) -> Waits {
        let (el1, now) = (&vcpu.registers.el1, now());
        let offset = cell.time_offset.load(Ordering::Relaxed);
        let virtual_timer = timer::virtual_deadline(el1.cntv_ctl, el1.cntv_cval, offset, now);
        let mut wake_at = virtual_timer.unwrap_or(NEVER);
        if let Some(at) = vcpu.physical_timer.deadline() {
            wake_at = wake_at.min(at);
        }
        if let Some(count) = until {
            wake_at = wake_at.min(count.saturating_add(offset));
        }
        if let Some(seconds) = vm.clock_deadline() {
            wake_at = wake_at.min(clock::count_at(seconds));
        }
        let index = usize::from(vcpu.index);
        if wake_at <= now || passage != Passage::Quiet && vm.gic.has_deliverable(index) {
            return Waits::No;
        }
        vm.gic.set_activity(index, Activity::Waiting);
        drop(vm);
        if let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) {
            slot.state = State::Waiting;
            slot.wake_at = wake_at;
            self.deadlines.set(id, wake_at.min(slot.flush_at).min(slot.work_at));
        }
        self.queue.block(id);
        Waits::Yes
    }

    /// A vCPU does something else from now on.
    fn set_state(&mut self, id: u16, state: State) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        slot.state = state;
        if state == State::Ready {
            self.queue.wake(id);
        } else {
            self.queue.block(id);
        }
    }

    /// The next time at which something is due for a vCPU may have changed.
    pub(super) fn note_deadline(&mut self, id: u16) {
        if let Some(Some(slot)) = self.slots.get(usize::from(id)) {
            self.deadlines.set(id, slot.wake_at.min(slot.flush_at).min(slot.work_at));
        }
    }

    /// A vCPU that waited has something to do.
    pub(super) fn wake(&mut self, id: u16) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        slot.wake_at = NEVER;
        if let Some(entry) = slot.suspended.take()
            && let Some(vcpu) = slot.cell.vcpus.get(usize::from(slot.vcpu))
        {
            start_vcpu(&slot.cell, &mut vcpu.lock(), entry);
        }
        self.note_deadline(id);
        self.set_state(id, State::Ready);
    }

    /// A vCPU's VM has come to an end: it never enters the guest again in this life.
    pub(super) fn park(&mut self, id: u16, machine: Machine) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        let life = slot.cell.life.load(Ordering::Acquire);
        let Some(ending) = slot.cell.ending() else { return };
        if slot.parked_in.replace(life) == Some(life) {
            return;
        }
        slot.wake_at = NEVER;
        slot.suspended = None;
        let cell = Arc::clone(&slot.cell);
        self.note_deadline(id);
        self.set_state(id, State::Off);
        if self.fp_owner == Some(id) {
            self.fp_owner = None;
        }
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
                    if !cell.devices.is_empty() && self.buffer.is_empty() {
                        self.buffer = vec![0; devices::BUFFER];
                    }
                    // Each VM has one job at most: what a guest asks for later finds room.
                    self.jobs.reserve(at + 1);
                    self.deadlines.add(slot);
                    *place = Some(Slot {
                        cell,
                        vcpu,
                        state: State::Off,
                        wake_at: NEVER,
                        flush_at: NEVER,
                        work_at: NEVER,
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
        self.set_state(id, State::Off);
        self.queue.remove(id);
        self.deadlines.set(id, NEVER);
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
                let mut vm = cell.vm.lock();
                let moved = vm.gic.fold_stale(index);
                let is_awake = vm.gic.has_deliverable(index);
                drop(vm);
                cell.notify(&moved);
                // Devices work in the time of a vCPU: it gets on, and finds that it waits still.
                if is_awake || cell.devices.is_due() {
                    self.wake(id);
                }
            }
            State::Off => {
                let Some(entry) = cell.vm.lock().power.take_pending(index) else {
                    cell.hand_call_on(index);
                    return;
                };
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
            self.is_asked |= shared.take_question();
        }
        called
    }
}

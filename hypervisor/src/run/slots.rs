// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vCPUs that live on a CPU: who runs, who waits, who is off, and what wakes them.

use alloc::sync::Arc;
use alloc::vec;
use core::num::NonZeroU32;
use core::sync::atomic::Ordering;

use vambrace_cpu::power::Entry;
use vambrace_cpu::scheduler::Claim;
use vambrace_cpu::timer;
use vambrace_hypervisor::room;
use vambrace_interrupts::{Activity, Passage};
use vambrace_machine::Vcpu;

use super::account::Payer;
use super::switch::Unloaded;
use super::{NEVER, Pcpu, now};
use crate::cell::{Cell, Parked, VmCell};
use crate::job::Job;
use crate::{clock, devices, registry};

/// A vCPU that lives here.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) cell: Cell,
    pub(super) vcpu: u16,
    pub(super) state: State,
    /// There is something to do for it, in its own time, before it is put into the machine.
    pub(super) is_called: bool,
    /// Its VM's unfinished console line is to be passed on.
    pub(super) is_flush_due: bool,
    /// Long work for its VM, which it does while it is off.
    pub(super) job: Option<Job>,
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

impl Slot {
    /// When it may take the place of a vCPU of the VM whose stage 2 is loaded. A VM may take the machine from itself whenever it
    /// likes.
    pub(super) fn claim(&self, loaded: Option<u16>) -> Claim {
        if loaded == Some(self.cell.id) { Claim::AtOnce } else { Claim::AfterMinimum }
    }
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
    /// It lets others go first.
    Yields,
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
pub(super) enum Waits {
    Yes,
    /// What it would wait for is there.
    No,
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

/// How much of the heap a CPU takes for what it keeps of vCPUs in its first `slots` slots.
pub(crate) fn room_for_slots(slots: usize) -> usize {
    room::list(slots, size_of::<Option<Slot>>()) + room::of_queues(slots)
}

impl Pcpu {
    /// The vCPU is out, and neither waits nor was taken out: notes what it does now.
    #[cold]
    #[inline(never)]
    pub(super) fn leave(
        &mut self,
        id: u16,
        cell: &Cell,
        vcpu: &mut Vcpu,
        unloaded: Unloaded<'_>,
        leave: Leave,
    ) {
        self.account.payer = Payer::Left(id);
        match leave {
            Leave::Preempted | Leave::Waits(_) => {}
            Leave::Yields => {
                drop(unloaded);
                self.account.close(&mut self.queue);
                self.queue.give_way();
            }
            Leave::Off => self.switch_off(id),
            Leave::Stopped => {
                drop(unloaded);
                self.park(id);
            }
            Leave::Suspends(entry) => self.suspend(id, cell, vcpu, unloaded, entry),
        }
    }

    /// Lets a vCPU wait, and then start anew.
    fn suspend(&mut self, id: u16, cell: &Cell, vcpu: &mut Vcpu, unloaded: Unloaded<'_>, entry: Entry) {
        if self.wait(id, cell, vcpu, unloaded, None) == Waits::No {
            start_vcpu(cell, vcpu, entry);
        } else if let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) {
            slot.suspended = Some(entry);
        }
    }

    /// Lets a vCPU wait, unless what it would wait for is there already.
    #[inline(always)]
    pub(super) fn wait(
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

    /// A vCPU is off from now on, or parked.
    fn switch_off(&mut self, id: u16) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        slot.state = State::Off;
        self.queue.block(id);
    }

    /// There is something to do in the time of the vCPU in slot `id`.
    pub(super) fn queue_up(&mut self, id: u16) {
        let Some(Some(slot)) = self.slots.get(usize::from(id)) else { return };
        self.queue.wake(id, slot.claim(self.translation));
    }

    /// The vCPU number `index` of a VM, in slot `id`, which was off, starts.
    pub(super) fn start(&mut self, id: u16, cell: &VmCell, index: usize, entry: Entry) {
        if let Some(vcpu) = cell.vcpus.get(index) {
            start_vcpu(cell, &mut vcpu.lock(), entry);
        }
        // Its old floating-point registers are nobody's.
        if self.fp_owner == Some(id) {
            self.fp_owner = None;
        }
        self.wake(id);
    }

    /// The next time at which something is due for a vCPU may have changed.
    pub(super) fn note_deadline(&mut self, id: u16) {
        if let Some(Some(slot)) = self.slots.get(usize::from(id)) {
            self.deadlines.set(id, slot.wake_at.min(slot.flush_at).min(slot.work_at));
        }
    }

    /// A vCPU that waited has something to do.
    pub(super) fn wake(&mut self, id: u16) {
        self.make_ready(id);
        self.queue_up(id);
    }

    /// A vCPU that waited, and that is in the queue, waits no longer.
    pub(super) fn make_ready(&mut self, id: u16) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        slot.state = State::Ready;
        slot.wake_at = NEVER;
        self.deadlines.set(id, slot.flush_at.min(slot.work_at));
        if let Some(entry) = slot.suspended.take()
            && let Some(vcpu) = slot.cell.vcpus.get(usize::from(slot.vcpu))
        {
            start_vcpu(&slot.cell, &mut vcpu.lock(), entry);
        }
    }

    /// A vCPU's VM has come to an end: it never enters the guest again in this life. No vCPU is in the machine.
    pub(super) fn park(&mut self, id: u16) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        let life = slot.cell.life.load(Ordering::Acquire);
        let Some(ending) = slot.cell.ending.get() else { return };
        if slot.parked_in.replace(life) == Some(life) {
            self.queue.block(id);
            return;
        }
        slot.wake_at = NEVER;
        slot.suspended = None;
        let cell = Arc::clone(&slot.cell);
        self.note_deadline(id);
        self.switch_off(id);
        if self.fp_owner == Some(id) {
            self.fp_owner = None;
        }
        if self.translation == Some(cell.id) {
            self.leave_translation();
        }
        if cell.park_one() == Parked::Last {
            let job = registry::end(&cell, ending);
            self.give_job(id, job);
        }
    }

    /// A vCPU lives here from now on.
    pub(super) fn adopt(&mut self, cell: Cell, vcpu: u16, id: u16) {
        let at = usize::from(id);
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, || None);
        }
        let weight = NonZeroU32::new(registry::weight(cell.id)).unwrap_or(NonZeroU32::MIN);
        if let Some(place) = self.slots.get_mut(at)
            && self.queue.add(id, weight).is_ok()
        {
            if !cell.devices.is_empty() && self.buffer.is_empty() {
                self.buffer = vec![0; devices::BUFFER];
                self.shared.has_buffer.store(true, Ordering::Release);
            }
            self.deadlines.add(id);
            *place = Some(Slot {
                cell,
                vcpu,
                state: State::Off,
                is_called: false,
                is_flush_due: false,
                job: None,
                wake_at: NEVER,
                flush_at: NEVER,
                work_at: NEVER,
                suspended: None,
                parked_in: None,
            });
        }
    }

    /// Long work for the VM of the vCPU in slot `id`, which is off: done in that vCPU's turns.
    pub(super) fn give_job(&mut self, id: u16, job: Job) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) else { return };
        slot.job = Some(job);
        slot.is_called = true;
        self.queue_up(id);
    }

    /// The VM of the vCPU in this slot is no more.
    pub(super) fn forget(&mut self, id: u16) {
        self.switch_off(id);
        self.queue.remove(id);
        self.deadlines.set(id, NEVER);
        if self.fp_owner == Some(id) {
            self.fp_owner = None;
        }
        if let Some(place) = self.slots.get_mut(usize::from(id)) {
            *place = None;
        }
    }
}

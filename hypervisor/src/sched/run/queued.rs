// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vCPUs that are affine to a CPU: who runs, who waits, who is off, and what wakes them.

use alloc::sync::Arc;
use alloc::vec;
use core::num::NonZeroU32;
use core::sync::atomic::Ordering;

use vambrace_cpu::power::CpuEntry;
use vambrace_cpu::scheduler::{Claim, RunQueueIndex};
use vambrace_cpu::timer;
use vambrace_hypervisor::invariant;
use vambrace_hypervisor::memory::room;
use vambrace_ids::{PcpuId, VcpuId, VmId};
use vambrace_interrupts::{Put, VcpuRunState};
use vambrace_machine::Vcpu;

use super::account::Payer;
use super::switch::Unloaded;
use super::{NEVER, Pcpu, now};
use crate::devices;
use crate::vm::background::BackgroundTask;
use crate::vm::pause::PauseNumber;
use crate::vm::registry;
use crate::vm::shared::{Halted, VmHandle, VmShared, device_deadline};

/// A vCPU of this CPU.
#[derive(Debug)]
pub(crate) struct QueuedVcpu {
    pub(super) handle: VmHandle,
    pub(super) vcpu: VcpuId,
    pub(super) state: VcpuState,
    /// There is something to do for it, in its own time, before it is loaded.
    pub(super) is_requested: bool,
    /// Its VM's unfinished console line is to be passed on.
    pub(super) is_flush_due: bool,
    /// Long work for its VM, which it does while it is off.
    pub(super) task: Option<BackgroundTask>,
    /// When its own timer will wake it, as a physical count; [`NEVER`] unless it waits.
    pub(super) wake_at: u64,
    /// When its VM's unfinished console line is to be passed on.
    pub(super) flush_at: u64,
    /// When its VM's devices are polled next.
    pub(super) work_at: u64,
    /// It starts anew when it wakes (CPU_SUSPEND, power-down).
    pub(super) suspended: Option<CpuEntry>,
    /// The boot epoch of the VM in which it was halted last.
    pub(super) halted_in: Option<u32>,
    /// Whether it may move.
    pub(super) affinity: Affinity,
    /// The CPU that it is asked to move to, until it is there.
    pub(super) wanted: Option<PcpuId>,
}

impl QueuedVcpu {
    /// When it may take the place of a vCPU of the VM whose stage 2 is loaded. A VM may take the CPU from itself whenever it
    /// likes.
    pub(super) fn claim(&self, loaded: Option<VmId>) -> Claim {
        if loaded == Some(self.handle.id) { Claim::AtOnce } else { Claim::AfterMinimum }
    }
}

/// Whether a vCPU may move to another physical CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Affinity {
    /// It is pinned where it is.
    Pinned,
    /// It may, and has last come to a CPU at this physical count.
    FreeSince(u64),
}

/// What a vCPU is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VcpuState {
    /// Powered off, or halted for good.
    Off,
    /// Waits for an interrupt.
    Waiting,
    /// Runs when the scheduler picks it.
    Ready,
    /// Its VM is paused.
    Paused {
        /// In which of its pauses. What it does when the VM goes on, it knows itself ([`Vcpu::mp_state`]).
        number: PauseNumber,
    },
}

/// Why a vCPU is unloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Others run.
    Preempted,
    /// It lets others go first.
    Yields,
    /// It waits; until this virtual count at most.
    Waits(Option<u64>),
    /// It waits and then starts anew.
    Suspends(CpuEntry),
    /// It is off.
    Off,
    /// Its VM has come to an end.
    Stopped,
    /// Its VM pauses.
    Paused,
}

/// Whether a vCPU waits, as it would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    Yes,
    /// What it would wait for is there.
    No,
}

/// Makes a vCPU one that has just been switched on. It is not loaded.
fn start_vcpu(handle: &VmShared, vcpu: &mut Vcpu, entry: CpuEntry) {
    vcpu.start(entry);
    let mut vm = handle.vm.lock();
    let mut notify = vm.gic.reset_interface(vcpu.id);
    // Its physical timer is off, whatever the one before did.
    notify.extend(&vm.update_physical_timer_line(vcpu, now()));
    drop(vm);
    handle.notify(&notify);
}

/// How much of the heap a CPU takes for what it keeps of vCPUs with its first `count` run-queue indices.
pub(crate) fn room_for_vcpus(count: usize) -> usize {
    room::list(count, size_of::<Option<QueuedVcpu>>()) + room::of_queues(count)
}

impl Pcpu {
    /// The vCPU is out, and neither waits nor was taken out: notes what it does now.
    #[cold]
    #[inline(never)]
    pub(super) fn leave(
        &mut self,
        id: RunQueueIndex,
        handle: &VmHandle,
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
                self.halt(id);
            }
            Leave::Paused => {
                drop(unloaded);
                // If the VM goes on by now, so does this vCPU when it is picked next.
                let _ = self.pause_vcpu(id, vcpu);
            }
            Leave::Suspends(entry) => self.suspend(id, handle, vcpu, unloaded, entry),
        }
    }

    /// Lets a vCPU wait, and then start anew.
    fn suspend(
        &mut self,
        id: RunQueueIndex,
        handle: &VmHandle,
        vcpu: &mut Vcpu,
        unloaded: Unloaded<'_>,
        entry: CpuEntry,
    ) {
        if self.wait(id, vcpu, unloaded, None) == Waits::No {
            start_vcpu(handle, vcpu, entry);
        } else if let Some(Some(queued)) = self.queued.get_mut(id.index()) {
            queued.suspended = Some(entry);
        }
    }

    /// Lets a vCPU wait, unless what it would wait for is there already.
    #[inline(always)]
    pub(super) fn wait(
        &mut self,
        id: RunQueueIndex,
        vcpu: &Vcpu,
        Unloaded { mut vm, put }: Unloaded<'_>,
        until: Option<u64>,
    ) -> Waits {
        let (el1, now) = (&vcpu.registers.el1, now());
        let offset = vm.time_offset();
        let virtual_timer = timer::virtual_deadline(el1.cntv_ctl, el1.cntv_cval, offset, now);
        let mut wake_at = virtual_timer.unwrap_or(NEVER);
        if let Some(at) = vcpu.physical_timer.deadline() {
            wake_at = wake_at.min(at);
        }
        if let Some(count) = until {
            wake_at = wake_at.min(count.saturating_add(offset));
        }
        if let Some(at) = device_deadline(&vm) {
            wake_at = wake_at.min(at);
        }
        if wake_at <= now || put != Put::Idle && vm.gic.has_deliverable(vcpu.id) {
            return Waits::No;
        }
        vm.gic.set_run_state(vcpu.id, VcpuRunState::Blocked);
        drop(vm);
        if let Some(Some(queued)) = self.queued.get_mut(id.index()) {
            queued.state = VcpuState::Waiting;
            queued.wake_at = wake_at;
            self.deadlines.set(id, wake_at.min(queued.flush_at).min(queued.work_at));
        }
        self.queue.block(id);
        Waits::Yes
    }

    /// A vCPU is off from now on, or halted.
    fn switch_off(&mut self, id: RunQueueIndex) {
        let Some(Some(queued)) = self.queued.get_mut(id.index()) else { invariant!("only vCPUs are queued") };
        queued.state = VcpuState::Off;
        self.queue.block(id);
    }

    /// There is something to do in the time of the vCPU with run-queue index `id`.
    pub(super) fn queue_up(&mut self, id: RunQueueIndex) {
        let Some(Some(queued)) = self.queued.get(id.index()) else { invariant!("only vCPUs are queued") };
        self.queue.wake(id, queued.claim(self.translation));
    }

    /// The vCPU `vcpu` of a VM, with run-queue index `id`, which was off, starts.
    pub(super) fn start(&mut self, id: RunQueueIndex, handle: &VmShared, vcpu: VcpuId, entry: CpuEntry) {
        if let Some(vcpu) = handle.vcpus.get(vcpu.index()) {
            start_vcpu(handle, &mut vcpu.lock(), entry);
        }
        // Its old floating-point registers are nobody's.
        if self.fp_owner == Some(id) {
            self.fp_owner = None;
        }
        self.wake(id);
    }

    /// The next time at which something is due for a vCPU may have changed.
    pub(super) fn note_deadline(&mut self, id: RunQueueIndex) {
        if let Some(Some(queued)) = self.queued.get(id.index()) {
            self.deadlines.set(id, queued.wake_at.min(queued.flush_at).min(queued.work_at));
        }
    }

    /// A vCPU that waited has something to do.
    pub(super) fn wake(&mut self, id: RunQueueIndex) {
        self.make_ready(id);
        self.queue_up(id);
    }

    /// A vCPU that waited, and that is in the queue, waits no longer.
    pub(super) fn make_ready(&mut self, id: RunQueueIndex) {
        let Some(Some(queued)) = self.queued.get_mut(id.index()) else { invariant!("only vCPUs are queued") };
        queued.state = VcpuState::Ready;
        queued.wake_at = NEVER;
        self.deadlines.set(id, queued.flush_at.min(queued.work_at));
        if let Some(entry) = queued.suspended.take()
            && let Some(vcpu) = queued.handle.vcpus.get(queued.vcpu.index())
        {
            start_vcpu(&queued.handle, &mut vcpu.lock(), entry);
        }
    }

    /// A vCPU's VM has come to an end: it never enters the guest again in this boot epoch. No vCPU is loaded.
    pub(super) fn halt(&mut self, id: RunQueueIndex) {
        let Some(Some(queued)) = self.queued.get_mut(id.index()) else { invariant!("only vCPUs are queued") };
        let epoch = queued.handle.boot_epoch.load(Ordering::Acquire);
        let Some(reason) = queued.handle.lifecycle.get().stop_reason() else {
            invariant!("who halts knows why")
        };
        if queued.halted_in.replace(epoch) == Some(epoch) {
            self.queue.block(id);
            return;
        }
        queued.wake_at = NEVER;
        queued.suspended = None;
        let handle = Arc::clone(&queued.handle);
        self.note_deadline(id);
        self.switch_off(id);
        if self.fp_owner == Some(id) {
            self.fp_owner = None;
        }
        if self.translation == Some(handle.id) {
            self.leave_translation();
        }
        if handle.halt_one() == Halted::Last {
            let task = registry::end(&handle, reason);
            self.give_task(id, task);
        }
    }

    /// A vCPU is affine to this CPU from now on.
    pub(super) fn add_vcpu(&mut self, handle: VmHandle, vcpu: VcpuId, id: RunQueueIndex) {
        let is_pinned = registry::pin(handle.id, vcpu).is_some();
        let affinity = if is_pinned { Affinity::Pinned } else { Affinity::FreeSince(now()) };
        let queued = QueuedVcpu {
            handle,
            vcpu,
            state: VcpuState::Off,
            is_requested: false,
            is_flush_due: false,
            task: None,
            wake_at: NEVER,
            flush_at: NEVER,
            work_at: NEVER,
            suspended: None,
            halted_in: None,
            affinity,
            wanted: None,
        };
        self.take_in(queued, id);
    }

    /// What is known of a vCPU that is affine to this CPU from now on is kept here. It is not runnable yet.
    pub(super) fn take_in(&mut self, queued: QueuedVcpu, id: RunQueueIndex) {
        let at = id.index();
        if self.queued.len() <= at {
            self.queued.resize_with(at + 1, || None);
        }
        let weight = NonZeroU32::new(registry::weight(queued.handle.id)).unwrap_or(NonZeroU32::MIN);
        let Some(place) = self.queued.get_mut(at) else { invariant!("there is room for the index") };
        invariant!(self.queue.add(id, weight).is_ok(), "an index is of one vCPU at a time");
        if !queued.handle.devices.is_empty() && self.buffer.is_empty() {
            self.buffer = vec![0; devices::BUFFER];
            self.shared.has_buffer.store(true, Ordering::Release);
        }
        self.deadlines.add(id);
        self.balance.count_in(queued.affinity);
        *place = Some(queued);
    }

    /// Long work for the VM of the vCPU with run-queue index `id`, which is off: done when the scheduler picks that vCPU.
    pub(super) fn give_task(&mut self, id: RunQueueIndex, task: BackgroundTask) {
        let Some(Some(queued)) = self.queued.get_mut(id.index()) else { invariant!("only vCPUs are queued") };
        queued.task = Some(task);
        queued.is_requested = true;
        self.queue_up(id);
    }

    /// The VM of this vCPU is no more.
    pub(super) fn forget(&mut self, id: RunQueueIndex) {
        drop(self.remove(id));
    }

    /// A vCPU, which is not loaded, is affine to this CPU no more. Gives back what was known of it.
    pub(super) fn remove(&mut self, id: RunQueueIndex) -> QueuedVcpu {
        self.queue.remove(id);
        self.deadlines.set(id, NEVER);
        if self.fp_owner == Some(id) {
            self.fp_owner = None;
        }
        let Some(queued) = self.queued.get_mut(id.index()).and_then(Option::take) else {
            invariant!("only vCPUs are queued")
        };
        self.balance.count_out(queued.affinity);
        queued
    }
}

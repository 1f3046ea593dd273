// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done for a vCPU that is not loaded, in its own time: looking whether it is to start, to stop or to wake;
//! its VM's long work; its console's unfinished line.
//!
//! A request for a vCPU only makes it runnable. So the loaded vCPU loses no time by it, and waits for no lock of
//! another VM.

use vambrace_cpu::scheduler::RunQueueIndex;
use vambrace_hypervisor::invariant;
use vambrace_hypervisor::sched::requests::{Gone, Handler, Received};
use vambrace_ids::VcpuId;
use vambrace_interrupts::VcpuRunState;
use vambrace_machine::Lifecycle;

use super::migrate::Migrated;
use super::pause::IsPaused;
use super::queued::VcpuState;
use super::{NEVER, Pcpu, now};
use crate::console;
use crate::sched::percpu::{self, Message};
use crate::vm::registry::{self, Advance};
use crate::vm::shared::{VmHandle, VmShared, device_deadline};

/// What an errand has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// The vCPU is loaded now.
    ThenEnter,
    /// It does not.
    IsAll,
}

/// A CPU that handles its requests.
struct Handling<'a> {
    cpu: &'a mut Pcpu,
    /// The run-queue index of the loaded vCPU.
    loaded: Option<RunQueueIndex>,
    /// It was requested.
    is_requested: bool,
}

impl Handler for Handling<'_> {
    fn look(&mut self, index: RunQueueIndex) {
        if Some(index) == self.loaded {
            self.is_requested = true;
        } else {
            self.cpu.note_request(index);
        }
    }

    fn receive_message(&mut self) -> Received {
        match self.cpu.shared.take_message() {
            // The room is given back when all of it is in its place.
            Some(Message::AddVcpu { handle, vcpu, index, task, room: _room }) => {
                self.cpu.add_vcpu(handle, vcpu, index);
                if let Some(task) = task {
                    self.cpu.give_task(index, task);
                }
                Received::Vcpu(index)
            }
            Some(Message::Migrated { vcpu, index, cost, room: _room }) => {
                self.cpu.receive_vcpu(*vcpu, index, cost);
                Received::Vcpu(index)
            }
            Some(Message::Migrate { vm, vcpu, index, to }) => {
                self.cpu.note_wanted(vm, vcpu, index, to);
                Received::Other
            }
            None => {
                self.cpu.is_asked |= self.cpu.shared.take_question();
                Received::None
            }
        }
    }
}

impl Pcpu {
    /// Handles what was requested. Says whether the loaded vCPU is among them.
    pub(super) fn handle_requests(&mut self, loaded: Option<RunQueueIndex>) -> bool {
        let shared = self.shared;
        let mut handling = Handling { cpu: self, loaded, is_requested: false };
        let gone = shared.requests.handle(&mut handling);
        let is_requested = handling.is_requested;
        if gone == Gone::Some {
            self.make_next();
        }
        is_requested
    }

    /// VMs may wait for one that is gone: makes one of them. What else there is to do here comes before the one after it, and
    /// nobody who runs here pays.
    #[cold]
    #[inline(never)]
    fn make_next(&mut self) {
        let began = now();
        if registry::advance() == Advance::More {
            percpu::request_after_gone();
        }
        self.account.leave_out(began);
    }

    /// A vCPU that is not loaded is requested: it is looked at when the scheduler picks it.
    fn note_request(&mut self, id: RunQueueIndex) {
        // It may be gone by now.
        let Some(Some(queued)) = self.queued.get_mut(id.index()) else { return };
        // One that is ready finds out when it is put in.
        if queued.state != VcpuState::Ready {
            queued.is_requested = true;
            self.queue.wake(id, queued.claim(self.translation));
        }
    }

    /// Does a vCPU's errands.
    #[inline(always)]
    pub(super) fn see_to(&mut self, id: RunQueueIndex, handle: &VmHandle) -> Errand {
        let Some(Some(queued)) = self.queued.get_mut(id.index()) else { invariant!("errands are for vCPUs") };
        queued.is_requested = false;
        if queued.task.is_none()
            && !queued.is_flush_due
            && queued.wanted.is_none()
            && handle.lifecycle.is_running()
            && queued.state == VcpuState::Waiting
        {
            let vcpu = queued.vcpu;
            return self.look_at_waiting(id, handle, vcpu);
        }
        self.see_to_seldom(id, handle)
    }

    /// Does errands that are not a look at a vCPU that waits.
    #[cold]
    #[inline(never)]
    fn see_to_seldom(&mut self, id: RunQueueIndex, handle: &VmHandle) -> Errand {
        let Some(Some(queued)) = self.queued.get_mut(id.index()) else { invariant!("errands are for vCPUs") };
        let vcpu = queued.vcpu;
        handle.apply_controls();
        if let Some(task) = queued.task.take() {
            queued.task = task.step();
            // When it is over, the vCPU is looked at.
            queued.is_requested = true;
            return Errand::IsAll;
        }
        if core::mem::take(&mut queued.is_flush_due) {
            flush(handle);
        }
        if let Some(to) = queued.wanted
            && handle.lifecycle.get().is_live()
            && self.migrate_as_wanted(id, handle, to) == Migrated::Yes
        {
            return Errand::IsAll;
        }
        match handle.lifecycle.get() {
            Lifecycle::Created | Lifecycle::Running => {}
            Lifecycle::Pausing | Lifecycle::Paused => {
                let Some(mutex) = handle.vcpus.get(vcpu.index()) else {
                    invariant!("a queued vCPU is its VM's")
                };
                if self.pause_vcpu(id, &mut mutex.lock()) == IsPaused::Yes {
                    return Errand::IsAll;
                }
            }
            Lifecycle::Stopping(_) => {
                self.halt(id);
                return Errand::IsAll;
            }
            Lifecycle::Stopped(_) => {
                self.forget(id);
                return Errand::IsAll;
            }
        }
        let Some(Some(queued)) = self.queued.get(id.index()) else { invariant!("errands are for vCPUs") };
        match queued.state {
            VcpuState::Ready => Errand::ThenEnter,
            VcpuState::Waiting => self.look_at_waiting(id, handle, vcpu),
            VcpuState::Off => self.look_at_off(id, handle, vcpu),
            VcpuState::Paused { .. } => self.resume_vcpu(id, handle, vcpu),
        }
    }

    /// A vCPU that waits is requested: is what it waits for there?
    fn look_at_waiting(&mut self, id: RunQueueIndex, handle: &VmHandle, vcpu: VcpuId) -> Errand {
        if handle.devices.is_due() {
            self.work(id, handle);
        }
        let mut vm = handle.vm.lock();
        let moved = vm.gic.sync_put_if_changed(vcpu);
        let is_awake = vm.gic.has_deliverable(vcpu);
        let mut deadline = None;
        if !is_awake {
            vm.gic.set_run_state(vcpu, VcpuRunState::Blocked);
            deadline = device_deadline(&vm);
        }
        drop(vm);
        handle.notify(&moved);
        if !is_awake {
            if let Some(at) = deadline {
                self.wake_for_devices(id, at);
            }
            self.queue.block(id);
            return Errand::IsAll;
        }
        self.make_ready(id);
        Errand::ThenEnter
    }

    /// A vCPU that waits on wakes when a device of its VM is to be told the time, too: that may be sooner than it was.
    #[cold]
    fn wake_for_devices(&mut self, id: RunQueueIndex, at: u64) {
        let Some(Some(queued)) = self.queued.get_mut(id.index()) else { invariant!("errands are for vCPUs") };
        queued.wake_at = queued.wake_at.min(at);
        self.note_deadline(id);
    }

    /// A vCPU that is off is requested: is it to start?
    pub(super) fn look_at_off(&mut self, id: RunQueueIndex, handle: &VmHandle, vcpu: VcpuId) -> Errand {
        let entry = handle.vm.lock().power.take_pending(vcpu);
        let Some(entry) = entry else {
            handle.pass_kick_on(vcpu);
            self.queue.block(id);
            return Errand::IsAll;
        };
        self.start(id, handle, vcpu, entry);
        Errand::ThenEnter
    }

    /// A console line of the VM of the vCPU with run-queue index `id` has waited for its end for long enough: it is passed on in that
    /// vCPU's time.
    pub(super) fn flush_now(&mut self, id: RunQueueIndex, loaded: Option<RunQueueIndex>) {
        let Some(Some(queued)) = self.queued.get_mut(id.index()) else {
            invariant!("deadlines are of vCPUs")
        };
        queued.flush_at = NEVER;
        if loaded == Some(id) {
            flush(&queued.handle);
            return;
        }
        queued.is_flush_due = true;
        queued.is_requested = true;
        self.queue_up(id);
    }
}

fn flush(handle: &VmShared) {
    handle.vm.lock().flush_console(|bytes| console::print(handle.id, bytes));
}

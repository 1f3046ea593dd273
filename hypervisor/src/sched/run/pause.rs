// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU of a VM that pauses is blocked, and goes on as it was when the VM does.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use vambrace_cpu::scheduler::RunQueueIndex;
use vambrace_hypervisor::invariant;
use vambrace_ids::VcpuId;
use vambrace_interrupts::Put;
use vambrace_machine::Vcpu;
use vambrace_machine::vcpu::MpState;

use super::errands::Errand;
use super::queued::{VcpuState, Waits};
use super::switch::Unloaded;
use super::{NEVER, Pcpu, now};
use crate::vm::shared::{VmHandle, VmShared};

/// Whether a vCPU is paused, as it was to be.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IsPaused {
    Yes,
    /// Its VM goes on by now.
    No,
}

impl Pcpu {
    /// The VM of this vCPU, which is not loaded, is to pause: blocks it.
    #[cold]
    #[inline(never)]
    pub(super) fn pause_vcpu(&mut self, id: RunQueueIndex, vcpu: &mut Vcpu) -> IsPaused {
        self.put_fp(id, vcpu);
        let Some(Some(queued)) = self.queued.get_mut(id.index()) else { invariant!("only vCPUs are queued") };
        let handle = Arc::clone(&queued.handle);
        let mut before = None;
        match queued.state {
            VcpuState::Off => vcpu.mp_state = MpState::Off,
            VcpuState::Ready => vcpu.mp_state = MpState::Runnable,
            VcpuState::Waiting => {
                let offset = handle.time_offset.load(Ordering::Relaxed);
                let until = (queued.wake_at != NEVER).then(|| queued.wake_at.wrapping_sub(offset));
                vcpu.mp_state = MpState::Blocked { until, then: queued.suspended };
            }
            VcpuState::Paused { number } => before = Some(number),
        }
        let Some(number) = handle.note_vcpu_paused(before) else { return IsPaused::No };
        queued.state = VcpuState::Paused { number };
        queued.wake_at = NEVER;
        // What is left to do for the devices is due when the VM goes on.
        queued.work_at = NEVER;
        self.note_deadline(id);
        self.queue.block(id);
        IsPaused::Yes
    }

    /// The VM of this vCPU goes on.
    pub(super) fn resume_vcpu(&mut self, id: RunQueueIndex, handle: &VmHandle, vcpu: VcpuId) -> Errand {
        let Some(Some(queued)) = self.queued.get_mut(id.index()) else { invariant!("errands are for vCPUs") };
        let Some(mutex) = handle.vcpus.get(vcpu.index()) else { invariant!("a queued vCPU is its VM's") };
        let mp_state = mutex.lock().mp_state;
        match mp_state {
            MpState::Off => {
                queued.state = VcpuState::Off;
                self.look_at_off(id, handle, vcpu)
            }
            MpState::Runnable => {
                queued.state = VcpuState::Ready;
                Errand::ThenEnter
            }
            MpState::Blocked { until, then } => {
                queued.state = VcpuState::Waiting;
                queued.suspended = then;
                self.wait_again(id, handle, vcpu, until)
            }
        }
    }

    /// Has a vCPU wait on that has waited before, with deadlines of now.
    fn wait_again(
        &mut self,
        id: RunQueueIndex,
        handle: &VmShared,
        vcpu: VcpuId,
        until: Option<u64>,
    ) -> Errand {
        if handle.devices.is_due() {
            self.work(id, handle);
        }
        let Some(mutex) = handle.vcpus.get(vcpu.index()) else { invariant!("a queued vCPU is its VM's") };
        let waits = {
            let values = mutex.lock();
            let mut vm = handle.vm.lock();
            let mut moved = vm.gic.sync_put_if_changed(vcpu);
            moved.extend(&vm.advance_physical_timer(&values, now()));
            let waits = self.wait(id, &values, Unloaded { vm, put: Put::Kept }, until);
            handle.notify(&moved);
            waits
        };
        match waits {
            Waits::Yes => Errand::IsAll,
            Waits::No => {
                self.make_ready(id);
                Errand::ThenEnter
            }
        }
    }
}

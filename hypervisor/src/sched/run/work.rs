// SPDX-License-Identifier: MIT OR Apache-2.0
//! When a VM's virtio devices are polled, and console lines that wait for their end.

use super::queued::VcpuState;
use super::{Pcpu, now};
use crate::devices::{self, Polled};
use crate::vm::exit_host::ConsoleFlush;
use crate::vm::shared::VmShared;
use vambrace_cpu::scheduler::RunQueueIndex;

impl Pcpu {
    /// Polls the devices of the VM with run-queue index `id`, in that vCPU's time. If it is not enough, the next comes when the
    /// guest has had as much time as this one took.
    #[cold]
    #[inline(never)]
    pub(super) fn work(&mut self, id: RunQueueIndex, handle: &VmShared) {
        let began = now();
        let (mut polled, flush) = devices::poll(handle, &mut self.buffer);
        if handle.pages.is_asked() {
            self.cycle_page(id, handle);
            // The next step is due when the guest has run.
            handle.devices.set_due();
            polled = Polled::NotOver;
        }
        if flush == ConsoleFlush::Soon {
            self.flush_soon(id);
        }
        if polled == Polled::NotOver
            && let Some(Some(queued)) = self.queued.get_mut(id.index())
        {
            let now = now();
            queued.work_at = now.saturating_add(now.saturating_sub(began));
            self.note_deadline(id);
        }
    }

    /// Does a step of what is asked of the VM's RAM.
    #[cold]
    #[inline(never)]
    fn cycle_page(&mut self, id: RunQueueIndex, handle: &VmShared) {
        if handle.lifecycle.is_running()
            && let Some(Some(queued)) = self.queued.get(id.index())
        {
            let vcpu = queued.vcpu;
            handle.cycle_page(&self.load_stage2(handle, vcpu));
        }
    }

    /// It is time for the next poll of the VM with run-queue index `id`: its vCPU is kicked, or another if that has been switched off.
    pub(super) fn work_again(&mut self, id: RunQueueIndex) {
        match self.queued.get(id.index()) {
            Some(Some(queued)) if queued.state == VcpuState::Off => queued.handle.kick_worker(),
            // This CPU looks before it enters a guest or sleeps.
            _ => drop(self.shared.requests.make(id)),
        }
    }

    /// The VM with run-queue index `id` has said something, and is perhaps about to say more.
    pub(super) fn flush_soon(&mut self, id: RunQueueIndex) {
        if let Some(Some(queued)) = self.queued.get_mut(id.index()) {
            queued.flush_at = now().saturating_add(self.flush_delay);
            self.note_deadline(id);
        }
    }
}

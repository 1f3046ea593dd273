// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VM's platform devices: accesses, interrupt lines, and the time that passes for them.

use vambrace_interrupts::VcpuSet;
use vambrace_io::bus::MmioAccess;
use vambrace_io::platform::{Deadline, Time};
use vambrace_wire::message::ResetCause;

use super::Vm;
use crate::devices::Device;
use crate::lifecycle::{Lifecycle, StopReason};

impl Vm {
    /// Brings the devices' interrupt lines to the GIC.
    pub fn update_irq_lines(&mut self) -> VcpuSet {
        self.devices.update_irq_lines(&mut self.gic)
    }

    /// Whether a device waits for a time: [`Vm::note_time`] is to be called then.
    #[inline]
    #[must_use]
    pub fn waits_for_time(&self) -> bool {
        self.devices.waits
    }

    /// When that is, as `count_of` converts each deadline. It is in the past for a device of which what was due has not been done.
    /// Every vCPU is notified when it becomes sooner.
    #[must_use]
    pub fn next_deadline(&self, count_of: impl Fn(Deadline) -> u64) -> Option<u64> {
        self.devices.deadlines().map(count_of).min()
    }

    /// Tells the devices the time. The VM is to stop afterwards if one of them has it reset. Nothing happens unless it runs.
    #[must_use = "the vCPUs must be notified"]
    pub fn note_time(&mut self, now: Time) -> VcpuSet {
        if self.lifecycle != Lifecycle::Running {
            return VcpuSet::new();
        }
        self.devices.note_time(now);
        if self.devices.reset_line() {
            self.stop(StopReason::Reset(ResetCause::Watchdog));
            return self.gic.vcpu_ids().collect();
        }
        self.update_irq_lines()
    }

    /// Carries out an access to a device: what a load finds, 0 for a store, and whom that concerns.
    pub(crate) fn access_device(
        &mut self,
        device: Device,
        access: &MmioAccess,
        offset: u64,
        now: Time,
    ) -> (u64, VcpuSet) {
        self.devices.note_time(now);
        if self.devices.reset_line() {
            // It comes too late. Whoever looks at the time next stops the VM: before the vCPU goes on, for its deadline has passed.
            return (0, self.gic.vcpu_ids().collect());
        }
        let before = self.devices.deadline(device);
        let raw = self.devices.exchange(device, access, offset);
        let mut notify = self.update_irq_lines();
        let after = self.devices.deadline(device);
        if after.is_some_and(|after| before.is_none_or(|before| after < before)) {
            // Each looks out for it, as any of them may be the last one that is on: those that are not loaded when they are.
            notify.extend(&self.gic.kick_all());
        }
        (raw, notify)
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VM's ends of channels: its doorbells and their interrupts.

use vambrace_interrupts::{LineLevel, VcpuSet};
use vambrace_io::doorbell::Doorbell;

use super::Vm;
use crate::layout;

impl Vm {
    /// Another member of one of the VM's channels notifies this one. The vCPUs are to be notified.
    pub fn notified(&mut self, channel: usize, from: u8) -> VcpuSet {
        // Nobody is notified before it runs and while it stops; one that is paused finds the notification when it goes on.
        if !self.lifecycle.is_live() {
            return VcpuSet::new();
        }
        self.with_doorbell(channel, |doorbell| doorbell.notified(from))
    }

    /// Other members of one of the VM's channels run now. The vCPUs are to be notified.
    pub fn set_channel_state(&mut self, channel: usize, state: u32) -> VcpuSet {
        self.with_doorbell(channel, |doorbell| doorbell.set_state(state))
    }

    fn with_doorbell(&mut self, channel: usize, change: impl FnOnce(&mut Doorbell)) -> VcpuSet {
        let Some(doorbell) = self.doorbells.get_mut(channel) else { return VcpuSet::new() };
        change(doorbell);
        self.update_doorbell_line(channel)
    }

    /// Brings the line of a doorbell to the GIC.
    pub(crate) fn update_doorbell_line(&mut self, channel: usize) -> VcpuSet {
        let Some(doorbell) = self.doorbells.get(channel) else { return VcpuSet::new() };
        let level = if doorbell.irq_asserted() { LineLevel::High } else { LineLevel::Low };
        self.gic.set_spi_level(layout::DOORBELLS.intid(channel as u32), level)
    }
}

#[cfg(test)]
mod tests {
    use vambrace_io::bus::MmioDevice;

    use super::*;
    use crate::virtio::tests::vm;

    #[test]
    fn a_call_raises_the_interrupt_of_its_channel() {
        let mut vm = vm(vec![]);
        vm.doorbells = [Doorbell::new(0, 2), Doorbell::new(1, 2)].into();
        let _ = vm.notified(1, 0);
        assert!(!vm.doorbells[0].irq_asserted() && vm.doorbells[1].irq_asserted());
        assert_eq!(vm.notified(2, 0), VcpuSet::new());
    }

    #[test]
    fn a_vm_that_stops_is_not_called_and_one_that_was_reset_has_not_been() {
        let mut vm = vm(vec![]);
        vm.doorbells = [Doorbell::new(0, 2)].into();
        let _ = vm.notified(0, 1);
        vm.reset();
        assert!(!vm.doorbells[0].irq_asserted());
        vm.stop(crate::StopReason::Off);
        let _ = vm.notified(0, 1);
        assert!(!vm.doorbells[0].irq_asserted());
        vm.doorbells[0].reset();
    }
}

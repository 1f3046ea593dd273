// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine's virtual CPU interface with its list registers, as IHI 0069 describes it.

use vambrace_interrupts::{Intid, ListRegister, LrWrite, State, VirtualCpuInterface};

const STATE: u64 = 3 << 62;
const EOI_COUNT: u64 = 0x1F << 27;

/// The registers, and what the machine did besides.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) registers: VirtualCpuInterface,
    preemption_bits: u32,
    /// Physical interrupts that were deactivated together with their virtual ones.
    pub(crate) deactivated: Vec<u32>,
}

impl Machine {
    pub(crate) fn new(registers: VirtualCpuInterface, preemption_bits: u8) -> Self {
        Self { registers, preemption_bits: preemption_bits.into(), deactivated: Vec::new() }
    }

    /// What is fetched when the vCPU leaves: only list registers that were in use.
    pub(crate) fn left(mut self, used: u8) -> VirtualCpuInterface {
        assert!(self.registers.lr.iter().skip(used.into()).all(|&lr| lr == 0), "in use unknown to the model");
        self.registers.used = used;
        self.registers
    }

    /// Loads the list registers and ICH_HCR_EL2; the rest has not left the machine.
    pub(crate) fn flush(&mut self, interface: &VirtualCpuInterface) {
        self.registers.lr = interface.lr;
        self.registers.used = interface.used;
        self.registers.hcr = interface.hcr;
    }

    /// ICH_ELRSR_EL2.
    pub(crate) fn empty(&self) -> u64 {
        let is_empty = |lr: ListRegister| lr.state() == State::Inactive && !lr.wants_eoi_maintenance();
        self.lrs().fold(0, |empty, (index, lr)| empty | u64::from(is_empty(lr)) << index)
    }

    /// Puts one interrupt more into a list register.
    pub(crate) fn add(&mut self, write: LrWrite) {
        assert!(self.empty() >> write.index & 1 != 0, "over another");
        self.registers.lr[write.index] = write.value.0;
        self.registers.used = self.registers.used.max(write.index as u8 + 1);
    }

    fn lrs(&self) -> impl Iterator<Item = (usize, ListRegister)> + '_ {
        self.registers.lr.iter().map(|&lr| ListRegister(lr)).enumerate()
    }

    fn set_state(&mut self, index: usize, state: u64) {
        self.registers.lr[index] = self.registers.lr[index] & !STATE | state << 62;
    }

    fn group_enabled(&self, group1: bool) -> bool {
        self.registers.vmcr >> u32::from(group1) & 1 != 0
    }

    fn preemption_mask(&self, group1: bool) -> u32 {
        let uses_point1 = group1 && self.registers.vmcr & 1 << 4 == 0;
        let shift = if uses_point1 { 18 } else { 21 };
        let point = (self.registers.vmcr >> shift & 7) as u32;
        // The least values of the binary points, which the machine enforces.
        let least = 7 - self.preemption_bits;
        let mask = if uses_point1 { 0xFF << point.max(least + 1) } else { 0xFF << (point.max(least) + 1) };
        mask & 0xFF
    }

    fn running(&self) -> u32 {
        let words = self.registers.ap0r.iter().zip(&self.registers.ap1r);
        for (index, (a, b)) in words.enumerate() {
            if a | b != 0 {
                return (index as u32 * 32 + (a | b).trailing_zeros()) << (8 - self.preemption_bits);
            }
        }
        0xFF
    }

    /// The list register whose interrupt is signalled.
    pub(crate) fn signalled(&self) -> Option<usize> {
        let pending =
            self.lrs().filter(|(_, lr)| lr.state() == State::Pending && self.group_enabled(lr.is_group1()));
        let (index, lr) = pending.min_by_key(|(_, lr)| lr.priority())?;
        let priority = u32::from(lr.priority());
        let mask = self.preemption_mask(lr.is_group1());
        let running = self.running();
        let preempts = running == 0xFF || priority & mask < running & mask;
        (u64::from(lr.priority()) < self.registers.vmcr >> 24 && preempts).then_some(index)
    }

    /// A read of ICC_IARn_EL1.
    pub(crate) fn acknowledge(&mut self) -> Option<u32> {
        let index = self.signalled()?;
        let lr = ListRegister(self.registers.lr[index]);
        self.set_state(index, 2);
        let level =
            (u32::from(lr.priority()) & self.preemption_mask(lr.is_group1())) >> (8 - self.preemption_bits);
        let words = if lr.is_group1() { &mut self.registers.ap1r } else { &mut self.registers.ap0r };
        words[level as usize / 32] |= 1 << (level % 32);
        Some(lr.intid().get())
    }

    fn drop_priority(&mut self) {
        for (a, b) in self.registers.ap0r.iter_mut().zip(&mut self.registers.ap1r) {
            if *a | *b != 0 {
                let bit = 1 << (*a | *b).trailing_zeros();
                *a &= !bit;
                *b &= !bit;
                return;
            }
        }
    }

    /// A write of ICC_EOIRn_EL1.
    pub(crate) fn end(&mut self, intid: u32) {
        self.drop_priority();
        if self.registers.vmcr & 1 << 9 == 0 {
            self.deactivate(intid);
        }
    }

    /// Whether a write of ICC_DIR_EL1 traps.
    pub(crate) fn traps_dir(&self) -> bool {
        self.registers.hcr & 1 << 14 != 0
    }

    /// A write of ICC_DIR_EL1 that does not trap.
    pub(crate) fn deactivate(&mut self, intid: u32) {
        let Some((index, lr)) =
            self.lrs().find(|(_, lr)| lr.intid().get() == intid && lr.state().is_active())
        else {
            let count = (self.registers.hcr & EOI_COUNT).wrapping_add(1 << 27) & EOI_COUNT;
            self.registers.hcr = self.registers.hcr & !EOI_COUNT | count;
            return;
        };
        self.set_state(index, u64::from(lr.state() == State::ActivePending));
        self.deactivated.extend(lr.physical().map(Intid::get));
    }

    /// Whether a maintenance interrupt is asserted.
    pub(crate) fn maintenance(&self) -> bool {
        let wants = |bit: u32| self.registers.hcr >> bit & 1 != 0;
        let valid = self.lrs().filter(|(_, lr)| lr.state() != State::Inactive).count();
        let is_ended = |lr: ListRegister| lr.state() == State::Inactive && lr.wants_eoi_maintenance();
        self.lrs().any(|(_, lr)| is_ended(lr))
            || wants(1) && valid < 2
            || wants(2) && self.registers.hcr & EOI_COUNT != 0
            || wants(3) && self.lrs().all(|(_, lr)| lr.state() != State::Pending)
            || wants(4) && self.group_enabled(false)
            || wants(5) && !self.group_enabled(false)
            || wants(6) && self.group_enabled(true)
            || wants(7) && !self.group_enabled(true)
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine as one exit sees it: what `vambrace_machine` asks of EL2.

use vambrace_cpu::smccc::NoEntropy;
use vambrace_interrupts::{self as interrupts, CpuInterface, VcpuSet};
use vambrace_machine::{Host, Vcpu};
use vambrace_memory::GuestMemory;
use vambrace_memory::features::Features;
use vambrace_wire::bundle::channel::MAX_CHANNELS;
use vambrace_wire::message::{FromHypervisor, Level};

use crate::cell::VmCell;
use crate::sysreg::{CntpctEl0, Read, SctlrEl1};
use crate::vgic::{self, Interface};
use crate::{barrier, channels, clock, console, features, random, registry, resident};

/// The most bytes of a VM's memory that one exit cleans from the caches.
const CLEAN_STEP: u64 = 1 << 20;

/// Lives for one exit.
pub(crate) struct ExitHost<'a> {
    cell: &'a VmCell,
    interface: &'a mut Interface,
    el1: El1,
    flush: Flush,
    work: Work,
    rung: Rung,
}

/// For each of the VM's channels, the members that the guest calls.
type Rung = [u32; MAX_CHANNELS];

/// What an exit leaves to be done when it is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    /// Whether console output waits to be flushed.
    pub(crate) flush: Flush,
    /// Whether devices have work.
    pub(crate) work: Work,
    rung: Rung,
}

impl Left {
    /// Calls the members of channels that the guest has called.
    pub(crate) fn ring(&self, cell: &VmCell) {
        for (channel, members) in self.rung.iter().enumerate().filter(|(_, members)| **members != 0) {
            channels::ring(cell, channel, *members);
        }
    }
}

/// Whether console output waits to be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// No.
    NotNeeded,
    /// Yes, in a moment, if nothing comes before.
    Soon,
}

/// Whether the VM's virtio devices have work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// They have not.
    None,
    /// They have.
    Due,
}

/// Where the EL1 registers are true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum El1 {
    InTheMachine,
    InTheValue,
}

impl<'a> ExitHost<'a> {
    pub(crate) fn new(cell: &'a VmCell, interface: &'a mut Interface) -> Self {
        let (flush, work, rung) = (Flush::NotNeeded, Work::None, [0; MAX_CHANNELS]);
        Self { cell, interface, el1: El1::InTheMachine, flush, work, rung }
    }

    /// Ends the exit: what was borrowed goes back to the machine. Says what is left to do.
    pub(crate) fn finish(self, vcpu: &Vcpu) -> Left {
        if self.el1 == El1::InTheValue {
            resident::load_el1(&vcpu.registers.el1);
        }
        Left { flush: self.flush, work: self.work, rung: self.rung }
    }
}

impl Host for ExitHost<'_> {
    fn memory(&self) -> &impl GuestMemory {
        &self.cell.space
    }

    fn translation_features(&self) -> Features {
        features::translation()
    }

    fn now(&self) -> u64 {
        CntpctEl0.read()
    }

    fn seconds(&self) -> u64 {
        clock::seconds()
    }

    fn entropy(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        random::fill(bytes)
    }

    fn sctlr_el1(&self) -> u64 {
        SctlrEl1.read()
    }

    fn virtual_timer_line(&self) -> interrupts::Level {
        vgic::virtual_timer_line()
    }

    fn borrow_el1(&mut self, vcpu: &mut Vcpu) {
        if self.el1 == El1::InTheMachine {
            resident::save_el1(&mut vcpu.registers.el1);
            self.el1 = El1::InTheValue;
        }
    }

    fn read_interrupts(&mut self, known: &mut CpuInterface) {
        self.interface.read(known);
    }

    fn set_interrupt_interface(&mut self, interface: &CpuInterface) {
        self.interface.write_lists(interface);
    }

    fn notify(&mut self, vcpus: &VcpuSet) {
        self.cell.notify(vcpus);
    }

    fn clean_memory(&mut self, done: u64) -> Option<u64> {
        let ram = self.cell.space.ram();
        let len = CLEAN_STEP.min(ram.len().saturating_sub(done));
        barrier::clean_invalidate(ram.start + done, len);
        let done = done + len;
        (done < ram.len()).then_some(done)
    }

    fn print(&mut self, bytes: &[u8]) {
        console::say(&FromHypervisor::Console { vm: self.cell.id, bytes });
    }

    fn flush_soon(&mut self) {
        self.flush = Flush::Soon;
    }

    fn serve_virtio_soon(&mut self) {
        self.work = Work::Due;
    }

    fn ring(&mut self, channel: usize, members: u32) {
        if let Some(rung) = self.rung.get_mut(channel) {
            *rung |= members;
        }
    }

    fn guest_mistake(&mut self, text: core::fmt::Arguments<'_>) {
        console::log(Level::Warning, format_args!("{}: {text}", registry::name(self.cell.id)));
    }
}

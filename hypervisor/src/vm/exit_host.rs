// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hardware as one exit sees it: what `vambrace_machine` asks of EL2.

use vambrace_cpu::exit::SystemRegisterAccess;
use vambrace_cpu::registers::DebugRegisters;
use vambrace_cpu::smccc::NoEntropy;
use vambrace_interrupts::{self as interrupts, VcpuSet, VirtualCpuInterface};
use vambrace_io::platform::Time;
use vambrace_machine::Vcpu;
use vambrace_machine::host::{Clock, Entropy, GuestRam, LoadedVcpu, Notify, Output, Report};
use vambrace_memory::GuestMemory;
use vambrace_memory::features::Features;
use vambrace_wire::bundle::channel::{MAX_CHANNELS, MAX_MEMBERS};
use vambrace_wire::message::FromHypervisor;

use crate::arch::debug::Debug;
use crate::arch::sysreg::{CntpctEl0, Read, SctlrEl1};
use crate::arch::{features, sysreg_context};
use crate::console;
use crate::console::Held;
use crate::devices::channels;
use crate::gic::vgic::{self, Interface};
use crate::host_io::random;
use crate::vm::shared::VmShared;

/// The most bytes of a VM's memory that one exit cleans from the caches.
const CLEAN_STEP: u64 = 1 << 20;

/// The hardware for one exit, and what is to be done after it.
pub(crate) struct ExitHost<'a> {
    handle: &'a VmShared,
    interface: &'a mut Interface,
    debug: &'a mut Debug,
    el1: El1,
    flush: ConsoleFlush,
    work: Work,
    doorbells: DoorbellMask,
}

/// The members of the VM's channels that the guest notifies: a bit for each member of each channel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DoorbellMask(u64);

const _: () = assert!(MAX_CHANNELS * MAX_MEMBERS <= u64::BITS as usize);

impl DoorbellMask {
    fn add(&mut self, channel: usize, members: u32) {
        let members = u64::from(members) & ((1 << MAX_MEMBERS) - 1);
        self.0 |= members.checked_shl((channel * MAX_MEMBERS) as u32).unwrap_or(0);
    }

    /// Notifies them, when the exit is over.
    #[inline]
    pub(crate) fn notify(self, handle: &VmShared) {
        if self.0 != 0 {
            self.notify_each(handle);
        }
    }

    #[cold]
    #[inline(never)]
    fn notify_each(self, handle: &VmShared) {
        for (channel, members) in self.0.to_le_bytes().into_iter().enumerate() {
            if members != 0 {
                channels::notify_members(handle, channel, members.into());
            }
        }
    }
}

/// Whether console output waits to be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConsoleFlush {
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
    pub(crate) fn new(handle: &'a VmShared, interface: &'a mut Interface, debug: &'a mut Debug) -> Self {
        let (flush, work) = (ConsoleFlush::NotNeeded, Work::None);
        Self {
            handle,
            interface,
            debug,
            el1: El1::InTheMachine,
            flush,
            work,
            doorbells: DoorbellMask::default(),
        }
    }

    /// Ends the exit: what was borrowed is loaded again. Says whether console output waits to be flushed, whether
    /// devices have work, and who is to be notified.
    pub(crate) fn finish(self, vcpu: &Vcpu) -> (ConsoleFlush, Work, DoorbellMask) {
        if self.el1 == El1::InTheValue {
            sysreg_context::load_el1(&vcpu.registers.el1);
        }
        (self.flush, self.work, self.doorbells)
    }
}

impl Clock for ExitHost<'_> {
    fn now(&self) -> u64 {
        CntpctEl0.read()
    }

    fn device_time(&self) -> Time {
        self.handle.device_time()
    }
}

impl LoadedVcpu for ExitHost<'_> {
    fn sctlr_el1(&self) -> u64 {
        SctlrEl1.read()
    }

    fn virtual_timer_line(&self) -> interrupts::LineLevel {
        vgic::virtual_timer_line()
    }

    fn borrow_el1(&mut self, vcpu: &mut Vcpu) {
        if self.el1 == El1::InTheMachine {
            sysreg_context::save_el1(&mut vcpu.registers.el1);
            self.el1 = El1::InTheValue;
        }
    }

    fn debug_register(
        &mut self,
        access: SystemRegisterAccess,
        operand: u64,
        registers: &DebugRegisters,
    ) -> Option<u64> {
        self.debug.access(access, operand, registers)
    }

    fn read_interrupts(&mut self, known: &mut VirtualCpuInterface) {
        self.interface.read(known);
    }

    fn set_interrupt_interface(&mut self, interface: &VirtualCpuInterface) {
        self.interface.write_lists(interface);
    }

    fn set_whole_interface(&mut self, interface: &VirtualCpuInterface) {
        self.interface.write_all(interface);
    }
}

impl GuestRam for ExitHost<'_> {
    fn memory(&self) -> impl GuestMemory {
        self.handle.memory.lock()
    }

    fn translation_features(&self) -> Features {
        features::translation()
    }

    fn clean_memory(&mut self, done: u64) -> Option<u64> {
        self.handle.memory.clean(done, CLEAN_STEP)
    }
}

impl Output for ExitHost<'_> {
    fn print(&mut self, bytes: &[u8]) -> usize {
        console::print(self.handle.id, bytes)
    }

    fn flush_soon(&mut self) {
        self.flush = ConsoleFlush::Soon;
    }

    fn input_taken(&mut self, waiting: usize) {
        if self.handle.link.input_taken(self.handle.id, waiting) == Held::Something {
            self.work = Work::Due;
        }
    }
}

impl Notify for ExitHost<'_> {
    fn notify(&mut self, vcpus: &VcpuSet) {
        self.handle.notify(vcpus);
    }

    fn notify_members(&mut self, channel: usize, members: u32) {
        self.doorbells.add(channel, members);
    }

    fn serve_virtio_soon(&mut self) {
        self.work = Work::Due;
    }
}

impl Entropy for ExitHost<'_> {
    fn entropy(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        random::fill(bytes)
    }
}

impl Report for ExitHost<'_> {
    fn result(&mut self, number: u32) {
        console::tell_of(self.handle.id, |vm| FromHypervisor::Result { vm, number });
    }

    fn guest_error(&mut self, text: core::fmt::Arguments<'_>) {
        self.handle.note_guest_error(text);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a VM needs of the hardware below it, by ability: a function takes those that it uses, and no more.
//!
//! EL2 implements them with registers and page tables, tests with plain values. [`Host`] is all of them together: the
//! hardware, as one exit sees it, on the physical CPU where the vCPU runs.

use vambrace_cpu::exit::SystemRegisterAccess;
use vambrace_cpu::registers::DebugRegisters;
use vambrace_cpu::smccc::NoEntropy;
use vambrace_interrupts::{LineLevel, VcpuSet, VirtualCpuInterface};
use vambrace_io::platform::Time;
use vambrace_memory::GuestMemory;
use vambrace_memory::features::Features;

use crate::vcpu::Vcpu;

/// What time it is.
pub trait Clock {
    /// The physical count, in ticks of CNTFRQ_EL0.
    fn now(&self) -> u64;

    /// The time, as devices go by it.
    fn device_time(&self) -> Time;
}

/// What of the vCPU is on its physical CPU, and not true in the value [`Vcpu`] meanwhile.
pub trait LoadedVcpu {
    /// SCTLR_EL1 of the vCPU.
    fn sctlr_el1(&self) -> u64;

    /// Whether the vCPU's virtual timer asserts its interrupt.
    fn virtual_timer_line(&self) -> LineLevel;

    /// Makes `vcpu.registers.el1` true, and sees that what is changed there reaches the hardware before the vCPU goes
    /// on.
    fn borrow_el1(&mut self, vcpu: &mut Vcpu);

    /// Carries out the vCPU's access to one of its breakpoints and watchpoints, which are `registers` unless the hardware
    /// has them already; `operand` is what it writes. What it reads, or 0; `None` when the hardware has no such register.
    fn debug_register(
        &mut self,
        access: SystemRegisterAccess,
        operand: u64,
        registers: &DebugRegisters,
    ) -> Option<u64>;

    /// The list registers and the rest of the vCPU's interrupt interface, as the hardware holds them.
    /// For [`vambrace_interrupts::Vgic::sync_from`]: list registers as many as `known` says are in use.
    fn read_interrupts(&mut self, known: &mut VirtualCpuInterface);

    /// Loads an interrupt interface into the hardware; with the list registers that are no longer in use zeroed.
    fn set_interrupt_interface(&mut self, interface: &VirtualCpuInterface);

    /// The same, and the registers beside that are the guest's: they have been written for it.
    fn set_whole_interface(&mut self, interface: &VirtualCpuInterface);
}

/// The VM's RAM.
pub trait GuestRam {
    /// The VM's memory, which stays as it is until the answer is dropped.
    fn memory(&self) -> impl GuestMemory;

    /// What the CPU makes of translation tables.
    fn translation_features(&self) -> Features;

    /// Cleans and invalidates the next part of the VM's memory in the data caches, down to the point of coherency,
    /// from byte `done` of its RAM on. Says how far it came: a bounded step, `None` at the end.
    fn clean_memory(&mut self, done: u64) -> Option<u64>;
}

/// The VM's console, as the world outside sees it.
pub trait Output {
    /// Sends bytes of the VM's console on, and says how many: fewer than all when there is no room for more. Call
    /// [`crate::Vm::output_has_room`] when there is.
    fn print(&mut self, bytes: &[u8]) -> usize;

    /// The VM's console has unfinished output: call [`crate::Vm::flush_console`] soon.
    fn flush_soon(&mut self);

    /// The guest has taken input from its console, and so much still waits there ([`crate::Vm::waiting_input`]).
    fn input_taken(&mut self, waiting: usize);
}

/// Who has to act on what the guest did.
pub trait Notify {
    /// Makes these vCPUs of the VM look at their interrupts and their power state again, this one included.
    fn notify(&mut self, vcpus: &VcpuSet);

    /// Notifies members of one of the VM's channels, a bit each: after this exit, by [`crate::Vm::notified`].
    fn notify_members(&mut self, channel: usize, members: u32);

    /// A virtio device has work: call [`crate::Vm::serve_virtio`] soon.
    fn serve_virtio_soon(&mut self);
}

/// Random numbers.
pub trait Entropy {
    /// Fills `bytes` with entropy that is fit for keys.
    ///
    /// # Errors
    /// [`NoEntropy`] when there is none.
    fn entropy(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy>;
}

/// What is told of the VM.
pub trait Report {
    /// The VM has given this number as its result.
    fn result(&mut self, number: u32);

    /// One line about an error that the guest made. It may make as many as it likes: who logs them bounds that.
    fn guest_error(&mut self, text: core::fmt::Arguments<'_>);
}

/// All of it: what [`handle`](crate::handle) needs.
pub trait Host: Clock + LoadedVcpu + GuestRam + Output + Notify + Entropy + Report {}

impl<H: Clock + LoadedVcpu + GuestRam + Output + Notify + Entropy + Report> Host for H {}

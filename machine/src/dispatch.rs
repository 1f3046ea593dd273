// SPDX-License-Identifier: MIT OR Apache-2.0
//! An exit goes in, a changed VM and a [`Resume`] come out.
//!
//! Default deny: what is not known is refused as the architecture would refuse it, and whatever happens is the
//! guest's own affair: it gets an exception, or its VM is stopped with a report. No path here panics, loops
//! without bound or allocates.

use spin::mutex::SpinMutex;
use vambrace_cpu::exception::{AbortedAccess, Exception, ExternalAbort, take_to_el1};
use vambrace_cpu::exit::{DebugEvent, Exit, InstructionAbort, Wait, WaitInstruction};
use vambrace_cpu::power::{Entry, Remaining};
use vambrace_cpu::smccc::{self, Call, NoEntropy, Services, Suspend};
use vambrace_cpu::syndrome::{FaultStatus, InstructionLength};
use vambrace_interrupts::VcpuSet;
use vambrace_memory::{GuestMemory, Ipa};

use crate::host::Host;
use crate::mmio;
use crate::system_register;
use crate::vcpu::Vcpu;
use crate::vm::{Ending, Vm};

/// What the physical CPU does next.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Go on with the same vCPU.
    Guest,
    /// The vCPU waits for an interrupt, or until the virtual count reaches a value.
    Wait(Option<u64>),
    /// The vCPU waits for another one to get on: let others run first.
    Yield,
    /// The vCPU waits for an interrupt and then starts anew (PSCI CPU_SUSPEND, power-down).
    Suspend(Entry),
    /// The vCPU is off.
    Off,
    /// Give the vCPU the floating-point registers.
    LoadFp,
    /// The VM's lifecycle has changed: none of its vCPUs may go on.
    Stop,
}

/// Serves one exit of `vcpu`.
pub fn handle<H: Host>(vm: &SpinMutex<Vm>, vcpu: &mut Vcpu, exit: Exit, host: &mut H) -> Resume {
    match exit {
        Exit::Hvc { immediate } => call(vm, vcpu, immediate, Conduit::Hvc, host),
        Exit::Smc { immediate } => call(vm, vcpu, immediate, Conduit::Smc, host),
        Exit::DataAbort(abort) => mmio::data_abort(vm, vcpu, &abort, host),
        Exit::SystemRegister(access) => system_register::access(vm, vcpu, access, host),
        Exit::Wait(wait) => self::wait(vcpu, wait),
        Exit::FpAccess => Resume::LoadFp,
        Exit::InstructionAbort(abort) => instruction_abort(vm, vcpu, &abort, host),
        Exit::Debug(DebugEvent { syndrome, va }) => {
            inject(vm, vcpu, Exception::Reflected { syndrome, far: va.0 }, host)
        }
        Exit::SError(_) => inject(vm, vcpu, Exception::SError { iss: 0 }, host),
        Exit::SveAccess
        | Exit::SmeAccess
        | Exit::PointerAuth
        | Exit::Coprocessor(_)
        | Exit::IllegalState
        | Exit::Other(_) => undefined(vm, vcpu, host),
    }
}

/// The instruction is UNDEFINED for the guest.
pub(crate) fn undefined(vm: &SpinMutex<Vm>, vcpu: &mut Vcpu, host: &mut impl Host) -> Resume {
    inject(vm, vcpu, Exception::Undefined, host)
}

/// Lets the guest take an exception. A guest without a handler would take its exceptions for ever, in vain: when the
/// exception comes from the very handler that it would go to, the VM has crashed.
pub(crate) fn inject(vm: &SpinMutex<Vm>, vcpu: &mut Vcpu, exception: Exception, host: &mut impl Host) -> Resume {
    host.borrow_el1(vcpu);
    let features = vm.lock().id_registers.pstate_features();
    let before = vcpu.registers.frame.pc;
    take_to_el1(&mut vcpu.registers.frame, &mut vcpu.registers.el1, exception, features);
    if vcpu.registers.frame.pc == before {
        vm.lock().stop(Ending::Crash);
        return Resume::Stop;
    }
    Resume::Guest
}

/// Which instruction made a call: HVC has already moved the PC on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conduit {
    Hvc,
    Smc,
}

struct CallServices<'a, H> {
    host: &'a mut H,
    memory: u64,
}

impl<H: Host> Services for CallServices<'_, H> {
    fn is_executable(&self, address: Ipa) -> bool {
        address.0.checked_sub(crate::layout::RAM.0).is_some_and(|offset| offset < self.memory)
    }

    fn entropy(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        self.host.entropy(bytes)
    }
}

fn call(vm: &SpinMutex<Vm>, vcpu: &mut Vcpu, immediate: u16, conduit: Conduit, host: &mut impl Host) -> Resume {
    if conduit == Conduit::Smc {
        vcpu.registers.frame.retire(InstructionLength::Four);
    }
    let request = Call::new(immediate, &vcpu.registers.frame, host.sctlr_el1());
    let mut shared = vm.lock();
    let mut services = CallServices { memory: shared.memory, host };
    let outcome = smccc::call(&request, usize::from(vcpu.index), &mut shared.power, &mut services);
    let host = services.host;
    match outcome {
        smccc::Outcome::Return(values) => {
            set_results(vcpu, values);
            Resume::Guest
        }
        smccc::Outcome::CpuOn { target } => {
            drop(shared);
            host.notify(&VcpuSet::from_iter([target]));
            set_results(vcpu, [0; 4]);
            Resume::Guest
        }
        smccc::Outcome::CpuOff(Remaining::Some) => Resume::Off,
        smccc::Outcome::CpuOff(Remaining::None) | smccc::Outcome::SystemOff => {
            shared.stop(Ending::Off);
            Resume::Stop
        }
        smccc::Outcome::SystemReset => {
            shared.stop(Ending::Reset);
            Resume::Stop
        }
        smccc::Outcome::Suspend(Suspend::Standby) => {
            set_results(vcpu, [0; 4]);
            Resume::Wait(None)
        }
        smccc::Outcome::Suspend(Suspend::PowerDown(entry)) => Resume::Suspend(entry),
    }
}

/// X0 to X3 hold a call's results; the other registers are preserved (SMCCC 1.1 and later).
fn set_results(vcpu: &mut Vcpu, values: [u64; 4]) {
    for (register, value) in (0..).zip(values) {
        vcpu.registers.frame.set(register, value);
    }
}

fn wait(vcpu: &mut Vcpu, wait: Wait) -> Resume {
    let until = wait.timeout.map(|register| vcpu.registers.frame.get(register));
    vcpu.registers.frame.retire(wait.length);
    match wait.instruction {
        WaitInstruction::Wfi | WaitInstruction::Wfit => Resume::Wait(until),
        WaitInstruction::Wfe | WaitInstruction::Wfet => Resume::Yield,
    }
}

/// A fetch from where there is no RAM.
fn instruction_abort(vm: &SpinMutex<Vm>, vcpu: &mut Vcpu, abort: &InstructionAbort, host: &mut impl Host) -> Resume {
    if matches!(abort.status, FaultStatus::External) {
        // The memory itself failed: the guest's affair, as on its own machine.
    } else if vm.lock().should_log_mistake() {
        let pc = vcpu.registers.frame.pc;
        host.guest_mistake(format_args!("vCPU {}: fetches an instruction from {pc:#x}, where it has no memory", vcpu.index));
    }
    let aborted = ExternalAbort { access: AbortedAccess::Fetch, va: abort.va, walk_level: mmio::walk_level(abort.on_walk, abort.status) };
    inject(vm, vcpu, Exception::ExternalAbort(aborted), host)
}

/// Reads the instruction at the vCPU's PC, through its own translation.
pub(crate) fn read_instruction(vcpu: &mut Vcpu, host: &mut impl Host) -> Option<u32> {
    host.borrow_el1(vcpu);
    let ipa = crate::mmio::translate_fetch(vcpu, host.memory())?;
    host.memory().read_u32(ipa).ok()
}

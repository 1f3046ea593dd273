// SPDX-License-Identifier: MIT OR Apache-2.0
//! An exit goes in, a changed VM and a [`Resume`] come out.
//!
//! Default deny: what is not known is refused as the architecture would refuse it, and whatever happens is the
//! guest's own affair: it gets an exception, or its VM is stopped with a report. No path here panics, loops
//! without bound or allocates.

use spin::RelaxStrategy;
use spin::mutex::SpinMutex;
use vambrace_cpu::exception::Exception;
use vambrace_cpu::exit::{DebugEvent, Exit, Wait, WaitInstruction};
use vambrace_cpu::power::CpuEntry;
use vambrace_cpu::syndrome::{Conduit, InstructionLength, Syndrome, class};

use crate::call;
use crate::host::{Host, Report};
use crate::injection::{inject, undefined};
use crate::vcpu::Vcpu;
use crate::vm::Vm;
use crate::{abort, system_register};

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
    Suspend(CpuEntry),
    /// The vCPU is off.
    Off,
    /// Give the vCPU the floating-point registers.
    LoadFp,
    /// The VM's lifecycle has changed: none of its vCPUs may go on.
    Stop,
}

/// Serves one exit of `vcpu`. Afterwards HCR_EL2.VSE is to be what [`Vcpu::virtual_serror`] says.
pub fn handle<H: Host>(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    exit: Exit,
    host: &mut H,
) -> Resume {
    match exit {
        Exit::Hvc { immediate } => call::call(vm, vcpu, immediate, Conduit::Hvc, host),
        Exit::Smc { immediate } => call::call(vm, vcpu, immediate, Conduit::Smc, host),
        Exit::DataAbort(abort) => abort::data(vm, vcpu, &abort, host),
        Exit::InstructionAbort(abort) => abort::instruction(vm, vcpu, &abort, host),
        Exit::SystemRegister(access) => system_register::access(vm, vcpu, access, host),
        Exit::Coprocessor(access) => system_register::coprocessor(vm, vcpu, access, host),
        Exit::Wait(wait) => self::wait(vcpu, wait),
        Exit::FpAccess => Resume::LoadFp,
        Exit::Debug(DebugEvent { syndrome, va }) => {
            inject(vm, vcpu, Exception::Reflected { syndrome, far: va.0 }, host)
        }
        Exit::SError(syndrome) => system_error(vcpu, syndrome, host),
        Exit::IllegalState => {
            let syndrome = Syndrome::new(class::ILLEGAL_STATE, InstructionLength::Four, 0);
            inject(vm, vcpu, Exception::Reflected { syndrome, far: 0 }, host)
        }
        Exit::SveAccess | Exit::SmeAccess | Exit::PointerAuth | Exit::Other(_) => undefined(vm, vcpu, host),
    }
}

/// A wait lasts until an interrupt; one whose condition fails (AArch32) does nothing.
fn wait(vcpu: &mut Vcpu, wait: Wait) -> Resume {
    let waits = vcpu.registers.frame.condition_holds(wait.syndrome);
    let until = wait.timeout.map(|register| vcpu.registers.frame.get(register));
    vcpu.skip_instruction(wait.length);
    match wait.instruction {
        _ if !waits => Resume::Guest,
        WaitInstruction::Wfi | WaitInstruction::Wfit => Resume::Wait(until),
        WaitInstruction::Wfe | WaitInstruction::Wfet => Resume::Yield,
    }
}

/// The machine signals an error that no instruction waited for. It came while this guest ran, so it is the guest's
/// to judge; but only when the guest no longer masks it (PSTATE.A), which the CPU itself watches for: the error is
/// made virtual and pending.
fn system_error(vcpu: &mut Vcpu, syndrome: Syndrome, host: &mut impl Report) -> Resume {
    vcpu.virtual_serror = true;
    let (id, iss) = (vcpu.id, syndrome.iss());
    host.guest_error(format_args!("vCPU {id}: the hardware signals a system error (ISS {iss:#x})"));
    Resume::Guest
}

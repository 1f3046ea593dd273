// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trapped system registers: what `vambrace_cpu::trap` leaves to the parts of the VM.
//!
//! AArch32 programs at EL0 reach a few of them as coprocessor registers: the operands are elsewhere, the rest is
//! the same.

use spin::RelaxStrategy;
use spin::mutex::SpinMutex;
use vambrace_cpu::coprocessor::{CoprocessorAccess, CoprocessorRegister};
use vambrace_cpu::exit::{Direction, SystemRegisterAccess};
use vambrace_cpu::pstate::ExceptionLevel;
use vambrace_cpu::reset::CpuRegisters;
use vambrace_cpu::syndrome::InstructionLength;
use vambrace_cpu::sysreg::SysReg;
use vambrace_cpu::trap::{self, Emulated, GicRegister, OsLockRegister, TimerRegister, TrapOutcome};
use vambrace_interrupts::{SgiRegister, SgiRequest, VcpuSet};

use crate::dispatch::Resume;
use crate::group_register;
use crate::host::{Clock, Host, LoadedVcpu, Notify};
use crate::injection::undefined;
use crate::mmio::flush_lrs;
use crate::set_way::Progress;
use crate::vcpu::Vcpu;
use crate::vm::Vm;

/// XZR: what a coprocessor access has in Rt's place.
const XZR: u8 = 31;

/// What became of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessResult {
    /// It read this.
    Value(u64),
    /// It wrote, or had nothing to write.
    Written,
    /// It needs more than one exit: the instruction runs again, and interrupts get in between.
    Unfinished,
    /// There is no such register.
    Undefined,
}

/// Serves a trapped MSR, MRS or system instruction.
pub(crate) fn access(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    access: SystemRegisterAccess,
    host: &mut impl Host,
) -> Resume {
    let operand = vcpu.registers.frame.get(access.rt);
    let level = vcpu.registers.frame.level();
    match serve(vm, vcpu, access, level, operand, host) {
        AccessResult::Value(value) => vcpu.registers.frame.set(access.rt, value),
        AccessResult::Written => {}
        AccessResult::Unfinished => return Resume::Guest,
        AccessResult::Undefined => return undefined(vm, vcpu, host),
    }
    vcpu.skip_instruction(InstructionLength::Four);
    Resume::Guest
}

/// Serves a trapped coprocessor access; one whose condition fails does nothing.
pub(crate) fn coprocessor(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    access: CoprocessorAccess,
    host: &mut impl Host,
) -> Resume {
    if vcpu.registers.frame.condition_holds(access.syndrome) {
        let served = match (access.register, access.direction) {
            (Some(CoprocessorRegister::SameAs(register)), direction) => {
                let operand = access.value(&vcpu.registers.frame);
                let same = SystemRegisterAccess { register, rt: XZR, direction };
                // Only what user mode may use has a name here.
                serve(vm, vcpu, same, ExceptionLevel::El1h, operand, host)
            }
            (Some(CoprocessorRegister::DebugId), Direction::Read) => {
                AccessResult::Value(vm.lock().id_registers.debug_id())
            }
            (Some(CoprocessorRegister::DebugId), Direction::Write) | (None, _) => AccessResult::Undefined,
        };
        match served {
            AccessResult::Value(value) => access.deliver(&mut vcpu.registers.frame, value),
            AccessResult::Written => {}
            AccessResult::Unfinished => return Resume::Guest,
            AccessResult::Undefined => return undefined(vm, vcpu, host),
        }
    }
    vcpu.skip_instruction(access.syndrome.length());
    Resume::Guest
}

/// Serves an access that is made with the rights of `level`, and whose operand, if it writes, is `operand`.
fn serve(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    access: SystemRegisterAccess,
    level: ExceptionLevel,
    operand: u64,
    host: &mut impl Host,
) -> AccessResult {
    let outcome = trap::access(access, level, &vm.lock().id_registers);
    match outcome {
        TrapOutcome::Read(value) => AccessResult::Value(value),
        TrapOutcome::WriteIgnored => AccessResult::Written,
        TrapOutcome::Undefined => AccessResult::Undefined,
        TrapOutcome::Emulate(Emulated::Gic(GicRegister::Other(register))) => {
            group_register::access(vm, vcpu, (register, access.direction), operand, host)
        }
        TrapOutcome::Emulate(Emulated::Gic(register)) => gic(vm, vcpu, register, operand, host),
        TrapOutcome::Emulate(Emulated::Timer(register)) => match access.direction {
            Direction::Read => AccessResult::Value(read_timer(vm, vcpu, register, host)),
            Direction::Write => write_timer(vm, vcpu, register, operand, host),
        },
        TrapOutcome::Emulate(Emulated::SetWay(operation)) => {
            match vcpu.set_way_flush.step((operation, operand), host) {
                Progress::Unfinished => AccessResult::Unfinished,
                Progress::Done => AccessResult::Written,
            }
        }
        TrapOutcome::Emulate(Emulated::OsLock(OsLockRegister::Access)) => {
            host.borrow_el1(vcpu);
            vcpu.registers.os_lock.write(operand, &mut vcpu.registers.el1.mdscr);
            AccessResult::Written
        }
        TrapOutcome::Emulate(Emulated::OsLock(OsLockRegister::Status)) => {
            AccessResult::Value(vcpu.registers.os_lock.status())
        }
        TrapOutcome::Emulate(Emulated::Debug) if access.register == SysReg::MDSCR_EL1 => {
            host.borrow_el1(vcpu);
            let CpuRegisters { os_lock, el1, .. } = &mut vcpu.registers;
            match access.direction {
                Direction::Read => AccessResult::Value(os_lock.read_mdscr(el1.mdscr)),
                Direction::Write => {
                    os_lock.write_mdscr(operand, &mut el1.mdscr);
                    AccessResult::Written
                }
            }
        }
        TrapOutcome::Emulate(Emulated::Debug) => {
            match (host.debug_register(access, operand, &vcpu.registers.debug), access.direction) {
                (Some(value), Direction::Read) => AccessResult::Value(value),
                (Some(_), Direction::Write) => AccessResult::Written,
                (None, _) => AccessResult::Undefined,
            }
        }
    }
}

/// SGIs and deactivation. The rest the hardware's own CPU interface serves, and it does not trap as a rule.
fn gic(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &Vcpu,
    register: GicRegister,
    value: u64,
    host: &mut (impl LoadedVcpu + Notify),
) -> AccessResult {
    let sgi = match register {
        GicRegister::Sgi1 => SgiRegister::Sgi1r,
        GicRegister::AliasSgi1 => SgiRegister::Asgi1r,
        GicRegister::Sgi0 => SgiRegister::Sgi0r,
        GicRegister::Deactivate => {
            let mut shared = vm.lock();
            let mut notify = shared.gic.sync_from(vcpu.id, |known| host.read_interrupts(known));
            notify.extend(&shared.gic.write_dir(vcpu.id, value));
            flush_lrs(&mut shared, vcpu, host);
            host.notify(&notify);
            return AccessResult::Written;
        }
        GicRegister::Other(_) => return AccessResult::Undefined,
    };
    let notify = vm.lock().gic.send_sgi(vcpu.id, SgiRequest::decode(sgi, value));
    host.notify(&notify);
    AccessResult::Written
}

/// Reads the EL1 physical timer. The value may tell that the timer has fired, so its interrupt is pending by then: the
/// line is brought to what the same instant makes of it.
fn read_timer(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &Vcpu,
    register: TimerRegister,
    host: &mut (impl Clock + Notify),
) -> u64 {
    let (timer, now) = (&vcpu.physical_timer, host.now());
    if timer.line(now) {
        let notify = vm.lock().update_physical_timer_line(vcpu, now);
        host.notify(&notify);
    }
    match register {
        TimerRegister::Control => timer.control(now),
        TimerRegister::Compare => timer.compare(),
        TimerRegister::TimerValue => timer.timer_value(now),
        TimerRegister::Count => now,
    }
}

/// Writes the EL1 physical timer: its line follows at once, and the hypervisor wakes the vCPU when it fires.
fn write_timer(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    register: TimerRegister,
    value: u64,
    host: &mut (impl Clock + Notify),
) -> AccessResult {
    let now = host.now();
    match register {
        TimerRegister::Control => vcpu.physical_timer.set_control(value),
        TimerRegister::Compare => vcpu.physical_timer.set_compare(value),
        TimerRegister::TimerValue => vcpu.physical_timer.set_timer_value(value, now),
        TimerRegister::Count => return AccessResult::Undefined,
    }
    let mut notify = vm.lock().update_physical_timer_line(vcpu, now);
    // The hypervisor's own timer has to follow.
    notify.extend(&VcpuSet::from_iter([vcpu.id]));
    host.notify(&notify);
    AccessResult::Written
}

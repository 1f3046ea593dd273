// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trapped system registers: what `vambrace_cpu::trap` leaves to the parts of the VM.

use spin::mutex::SpinMutex;
use vambrace_cpu::exit::{Direction, SystemRegisterAccess};
use vambrace_cpu::trap::{self, Emulated, GicRegister, OsLockRegister, Outcome, SetWay, TimerRegister};
use vambrace_interrupts::{SgiRegister, SgiRequest};

use crate::dispatch::{Resume, undefined};
use crate::host::Host;
use crate::mmio::{A64, only, refill};
use crate::vcpu::{Sweep, Vcpu};
use crate::vm::Vm;

/// Serves a trapped MSR, MRS or system instruction.
pub(crate) fn access<H: Host>(vm: &SpinMutex<Vm>, vcpu: &mut Vcpu, access: SystemRegisterAccess, host: &mut H) -> Resume {
    let level = vcpu.registers.frame.level();
    let outcome = trap::access(access, level, &vm.lock().id_registers);
    match outcome {
        Outcome::Read(value) => vcpu.registers.frame.set(access.rt, value),
        Outcome::WriteIgnored => {}
        Outcome::Undefined => return undefined(vm, vcpu, host),
        Outcome::Emulate(Emulated::Gic(register)) => {
            let value = vcpu.registers.frame.get(access.rt);
            if gic(vm, vcpu, register, value, host) == Served::No {
                return undefined(vm, vcpu, host);
            }
        }
        Outcome::Emulate(Emulated::Timer(register)) => timer(vm, vcpu, register, access, host),
        Outcome::Emulate(Emulated::SetWay(operation)) => {
            let operand = vcpu.registers.frame.get(access.rt);
            if sweep(vcpu, (operation, operand), host) == Progress::Unfinished {
                // The instruction runs again, and interrupts get in between.
                return Resume::Guest;
            }
        }
        Outcome::Emulate(Emulated::OsLock(register)) => match register {
            OsLockRegister::Access => vcpu.registers.os_lock.write(vcpu.registers.frame.get(access.rt)),
            OsLockRegister::Status => vcpu.registers.frame.set(access.rt, vcpu.registers.os_lock.status()),
        },
        // The debug registers are always the vCPU's, so these do not trap.
        Outcome::Emulate(Emulated::Debug) => return undefined(vm, vcpu, host),
    }
    vcpu.registers.frame.retire(A64);
    Resume::Guest
}

/// Whether a register is one that we serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    Yes,
    /// The machine's own CPU interface serves it, and it should not have trapped.
    No,
}

/// SGIs and deactivation.
fn gic(vm: &SpinMutex<Vm>, vcpu: &Vcpu, register: GicRegister, value: u64, host: &mut impl Host) -> Served {
    let from = usize::from(vcpu.index);
    let sgi = match register {
        GicRegister::Sgi1 => SgiRegister::Sgi1r,
        GicRegister::AliasSgi1 => SgiRegister::Asgi1r,
        GicRegister::Sgi0 => SgiRegister::Sgi0r,
        GicRegister::Deactivate => {
            let mut shared = vm.lock();
            let mut notify = shared.gic.fold(from, &host.interrupt_interface());
            notify.extend(&shared.gic.write_dir(from, value));
            refill(&mut shared, vcpu, host);
            host.notify(&notify);
            return Served::Yes;
        }
        GicRegister::Other(_) => return Served::No,
    };
    let notify = vm.lock().gic.send_sgi(from, SgiRequest::decode(sgi, value));
    host.notify(&notify);
    Served::Yes
}

/// The EL1 physical timer: its line follows at once, and the hypervisor wakes the vCPU when it fires.
fn timer(vm: &SpinMutex<Vm>, vcpu: &mut Vcpu, register: TimerRegister, access: SystemRegisterAccess, host: &mut impl Host) {
    let now = host.now();
    let timer = &mut vcpu.physical_timer;
    let value = vcpu.registers.frame.get(access.rt);
    match (access.direction, register) {
        (Direction::Read, TimerRegister::Control) => vcpu.registers.frame.set(access.rt, timer.control(now)),
        (Direction::Read, TimerRegister::Compare) => vcpu.registers.frame.set(access.rt, timer.compare()),
        (Direction::Read, TimerRegister::TimerValue) => vcpu.registers.frame.set(access.rt, timer.timer_value(now)),
        (_, TimerRegister::Count) => vcpu.registers.frame.set(access.rt, now),
        (Direction::Write, TimerRegister::Control) => timer.set_control(value),
        (Direction::Write, TimerRegister::Compare) => timer.set_compare(value),
        (Direction::Write, TimerRegister::TimerValue) => timer.set_timer_value(value, now),
    }
    if access.direction == Direction::Write {
        let mut notify = vm.lock().settle_physical_timer(vcpu, now);
        // The hypervisor's own timer has to follow.
        notify.extend(&only(vcpu));
        host.notify(&notify);
    }
}

/// Whether a sweep has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Unfinished,
    Done,
}

/// Instructions of one loop over sets and ways follow each other within this time, in ticks; a later one begins anew.
const LOOP_GAP: u64 = 100_000;

/// DC ISW, CSW and CISW. By set and way a vCPU could only reach the caches of the physical CPU under it, and others'
/// lines in them. What it means to do, in a loop over all sets and ways, is to clean and invalidate all of its memory:
/// the first instruction of a loop does just that, a bounded part at each exit, and the rest of the loop has nothing
/// left to do. A loop ends with a pause, with another operation, or when its first operand comes round again.
fn sweep(vcpu: &mut Vcpu, instruction: (SetWay, u64), host: &mut impl Host) -> Progress {
    let now = host.now();
    let done = match vcpu.sweep {
        Sweep::Under { way, done } if way == instruction => done,
        Sweep::Swept { first, last } if first.0 == instruction.0 && first.1 != instruction.1 && now - last < LOOP_GAP => {
            vcpu.sweep = Sweep::Swept { first, last: now };
            return Progress::Done;
        }
        _ => 0,
    };
    match host.clean_memory(done) {
        Some(done) => {
            vcpu.sweep = Sweep::Under { way: instruction, done };
            Progress::Unfinished
        }
        None => {
            vcpu.sweep = Sweep::Swept { first: instruction, last: now };
            Progress::Done
        }
    }
}

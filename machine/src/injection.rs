// SPDX-License-Identifier: MIT OR Apache-2.0
//! Giving a guest an exception, and noticing that it gets nowhere with it.
//!
//! Taking the same exception again and again is legal, at EL0 and at EL1: a program whose signal handler returns to the
//! instruction that failed does so for as long as it likes. So it is told once, as a warning, and goes on
//! ([`ExceptionLoop`]).
//!
//! One case leads nowhere for certain: the exception leaves the vCPU exactly where it was, in the state it was in, so the
//! vector's first instruction is what fails. Interrupts are masked there, and only another vCPU could mend memory or
//! tables meanwhile. On a real machine the CPU would take its exception for ever, and nobody would be told. A VM without
//! such another vCPU has crashed, and its developer gets a report. Only EL1 can bring that about: an exception from EL0
//! changes PSTATE.

use serde::{Deserialize, Serialize};
use spin::RelaxStrategy;
use spin::mutex::SpinMutex;
use vambrace_cpu::exception::{Exception, take_to_el1};
use vambrace_cpu::power::Remaining;
use vambrace_cpu::registers::{El1Registers, TrapFrame};

use crate::dispatch::Resume;
use crate::host::{LoadedVcpu, Report};
use crate::lifecycle::StopReason;
use crate::report::Mode;
use crate::vcpu::{CrashCause, Vcpu};
use crate::vm::Vm;

/// So often the same state must come round before it is told. A handler that fails to repair something may try a few
/// times.
const REMARKABLE: u16 = 1000;

/// Exceptions in a row, at most, until the same state comes round.
const LONGEST_ROUND: u16 = 32;

/// The instruction is UNDEFINED for the guest.
pub(crate) fn undefined(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    host: &mut (impl LoadedVcpu + Report),
) -> Resume {
    inject(vm, vcpu, Exception::Undefined, host)
}

/// Lets the guest take an exception, or declares its VM crashed.
pub(crate) fn inject(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    exception: Exception,
    host: &mut (impl LoadedVcpu + Report),
) -> Resume {
    host.borrow_el1(vcpu);
    let features = vm.lock().id_registers.pstate_features();
    let Vcpu { registers, exceptions, id, .. } = vcpu;
    let verdict = exceptions.note(&registers.frame, &registers.el1);
    let (pc, pstate, mode) = (registers.frame.pc, registers.frame.pstate, Mode(registers.frame.level()));
    take_to_el1(&mut registers.frame, &mut registers.el1, exception, features);
    let handler = registers.frame.pc;
    if handler == pc && registers.frame.pstate == pstate {
        return dead_end(vm, vcpu, host);
    }
    if verdict == LoopVerdict::Loops && vm.lock().should_log_loop() {
        host.guest_error(format_args!(
            "vCPU {id} takes the same exceptions again and again, this one at PC {pc:#x} ({mode}), for the \
             handler at {handler:#x}: it goes on"
        ));
    }
    Resume::Guest
}

/// The vector's first instruction takes the exception that brought the vCPU there: only another vCPU can change that.
fn dead_end(vm: &SpinMutex<Vm, impl RelaxStrategy>, vcpu: &mut Vcpu, host: &mut impl Report) -> Resume {
    let id = vcpu.id;
    let mut shared = vm.lock();
    if shared.power.remaining_beside(id) == Remaining::None {
        vcpu.crash = Some(CrashCause::HandlerFaults);
        shared.stop(StopReason::Crash);
        return Resume::Stop;
    }
    if vcpu.exceptions.note_dead_end() == LoopVerdict::Loops && shared.should_log_loop() {
        let handler = vcpu.registers.frame.pc;
        host.guest_error(format_args!(
            "vCPU {id} cannot take an exception: its handler at {handler:#x} faults itself; the VM goes on, since \
             another vCPU may mend that"
        ));
    }
    Resume::Guest
}

/// Watches one exception lead to the next.
///
/// As long as ELR_EL1 and SPSR_EL1 are what the last exception put there, its handler has not returned, or has returned
/// to where it came from. If then registers come round that were there before, only memory could make a difference, and
/// after many times it has not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExceptionLoop {
    /// The last exception's ELR_EL1 and SPSR_EL1.
    last: Option<(u64, u64)>,
    /// The state that is waited for to come round.
    witness: Option<TrapFrame>,
    /// Exceptions since it was there.
    since: u16,
    /// How often it has come round; no more than is told.
    rounds: u16,
}

/// What there is to say of a vCPU that takes an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoopVerdict {
    /// Nothing, or it has been said.
    Nothing,
    /// It goes round in a circle. Said once of each.
    Loops,
}

impl ExceptionLoop {
    /// The vCPU has got something done: its next exception is the first of a row.
    #[inline(always)]
    pub(crate) const fn forget(&mut self) {
        self.last = None;
    }

    /// The vCPU, in this state, takes an exception.
    fn note(&mut self, frame: &TrapFrame, el1: &El1Registers) -> LoopVerdict {
        let is_nested = self.last == Some((el1.elr, el1.spsr));
        if !is_nested {
            *self = Self::default();
        }
        self.last = Some((frame.pc, frame.pstate));
        if is_nested && self.witness.as_ref() == Some(frame) {
            self.since = 0;
            return self.come_round(1);
        }
        if self.witness.is_none() || self.since == LONGEST_ROUND {
            *self = Self { last: self.last, witness: Some(frame.clone()), ..Self::default() };
        } else {
            self.since = self.since.saturating_add(1);
        }
        LoopVerdict::Nothing
    }

    /// The circle is known to be one, without waiting for it to come round.
    fn note_dead_end(&mut self) -> LoopVerdict {
        self.come_round(REMARKABLE)
    }

    fn come_round(&mut self, times: u16) -> LoopVerdict {
        let before = self.rounds;
        self.rounds = before.saturating_add(times).min(REMARKABLE);
        if before < REMARKABLE && self.rounds == REMARKABLE {
            LoopVerdict::Loops
        } else {
            LoopVerdict::Nothing
        }
    }
}

#[cfg(test)]
mod tests;

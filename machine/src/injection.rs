// SPDX-License-Identifier: MIT OR Apache-2.0
//! Giving a guest an exception, and noticing that it gets nowhere with it.
//!
//! On a real machine a CPU without a working handler takes its exceptions for ever, in vain, and nobody is told.
//! Here such a VM has crashed, and its developer gets a report. Two signs are taken as proof. The exception leaves
//! the vCPU exactly where it was, in the state it was in: the handler's first instruction is what fails. Or the
//! same few states come round and round while no handler ever returns ([`ExceptionLoop`]).

use serde::{Deserialize, Serialize};
use spin::RelaxStrategy;
use spin::mutex::SpinMutex;
use vambrace_cpu::exception::{Exception, take_to_el1};
use vambrace_cpu::registers::{El1Registers, Frame};

use crate::dispatch::Resume;
use crate::host::Host;
use crate::vcpu::{CrashCause, Vcpu};
use crate::vm::{Ending, Vm};

/// So often the same state must come round before it counts as a crash. A handler that fails to repair something
/// may try a few times.
const HOPELESS: u16 = 1000;

/// Exceptions in a row, at most, until the same state comes round.
const LONGEST_ROUND: u16 = 32;

/// The instruction is UNDEFINED for the guest.
pub(crate) fn undefined(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    host: &mut impl Host,
) -> Resume {
    inject(vm, vcpu, Exception::Undefined, host)
}

/// Lets the guest take an exception, or declares its VM crashed.
pub(crate) fn inject(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    exception: Exception,
    host: &mut impl Host,
) -> Resume {
    host.borrow_el1(vcpu);
    let features = vm.lock().id_registers.pstate_features();
    let Vcpu { registers, exceptions, .. } = vcpu;
    let hope = exceptions.note(&registers.frame, &registers.el1);
    let (pc, pstate) = (registers.frame.pc, registers.frame.pstate);
    take_to_el1(&mut registers.frame, &mut registers.el1, exception, features);
    let cause = match hope {
        _ if registers.frame.pc == pc && registers.frame.pstate == pstate => CrashCause::HandlerFaults,
        Hope::None => CrashCause::ExceptionLoop,
        Hope::Some => return Resume::Guest,
    };
    vcpu.crash = Some(cause);
    vm.lock().stop(Ending::Crash);
    Resume::Stop
}

/// Watches one exception lead to the next.
///
/// As long as ELR_EL1 and SPSR_EL1 are what the last exception put there, its handler has not returned. If then
/// registers come round that were there before, only memory could make a difference, and after many times it has
/// not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExceptionLoop {
    /// The last exception's ELR_EL1 and SPSR_EL1.
    last: Option<(u64, u64)>,
    /// The state that is waited for to come round.
    witness: Option<Frame>,
    /// Exceptions since it was there.
    since: u16,
    /// How often it has come round.
    rounds: u16,
}

/// Whether a vCPU that takes an exception may get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hope {
    None,
    Some,
}

impl ExceptionLoop {
    /// The vCPU has got something done: its next exception is the first of a row.
    #[inline(always)]
    pub(crate) const fn forget(&mut self) {
        self.last = None;
    }

    /// The vCPU, in this state, takes an exception.
    fn note(&mut self, frame: &Frame, el1: &El1Registers) -> Hope {
        let is_nested = self.last == Some((el1.elr, el1.spsr));
        if !is_nested {
            *self = Self::default();
        }
        self.last = Some((frame.pc, frame.pstate));
        if is_nested && self.witness.as_ref() == Some(frame) {
            self.since = 0;
            self.rounds += 1;
        } else if self.witness.is_none() || self.since == LONGEST_ROUND {
            *self = Self { last: self.last, witness: Some(frame.clone()), ..Self::default() };
        } else {
            self.since += 1;
        }
        if self.rounds < HOPELESS { Hope::Some } else { Hope::None }
    }
}

#[cfg(test)]
mod tests;

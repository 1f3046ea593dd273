// SPDX-License-Identifier: MIT OR Apache-2.0
//! A crash report: in words, what a VM died of, and what its developer can do.

use core::fmt::{self, Arguments};

use vambrace_cpu::pstate::ExceptionLevel;
use vambrace_cpu::syndrome;

use crate::vcpu::{CrashCause, PastExit, Vcpu};
use crate::vm::Vm;

/// Writes the report, a line at a time, to `line`. `esr` is ESR_EL2 at the last exit; the vCPU's EL1 registers must
/// be true.
pub fn crash(vm: &Vm, vcpu: &Vcpu, esr: u64, mut line: impl FnMut(Arguments<'_>)) {
    line(format_args!("VM {} crashed: vCPU {} {}", vm.name, vcpu.id, Cause(vcpu)));
    causes(vcpu, esr, &mut line);
    registers(vcpu, &mut line);
    line(format_args!("  last exits, oldest first:"));
    for exit in vcpu.recent.iter() {
        line(format_args!("    {}", Exit(&exit)));
    }
    for advice in advice(vcpu.crash) {
        line(format_args!("  what to do: {advice}"));
    }
}

/// What led to it.
fn causes(vcpu: &Vcpu, esr: u64, line: &mut impl FnMut(Arguments<'_>)) {
    let el1 = &vcpu.registers.el1;
    line(format_args!("  last trap: {} (ESR_EL2 {esr:#x})", syndrome::describe(esr)));
    line(format_args!("  the guest was told: {} (ESR_EL1 {:#x})", syndrome::describe(el1.esr), el1.esr));
    line(format_args!("  at PC {:#x} (ELR_EL1), for address {:#x} (FAR_EL1)", el1.elr, el1.far));
}

/// The registers, but for system registers that are zero.
fn registers(vcpu: &Vcpu, line: &mut impl FnMut(Arguments<'_>)) {
    let frame = &vcpu.registers.frame;
    line(format_args!("  PC {:#018x}  PSTATE {:#x} ({})", frame.pc, frame.pstate, Mode(frame.level())));
    for (row, four) in (0..).step_by(4).zip(frame.x.chunks(4)) {
        line(format_args!("  X{row:<2}{}", Row(four)));
    }
    for (name, value) in vcpu.registers.el1.named().filter(|(_, value)| *value != 0) {
        line(format_args!("  {name:<16} {value:#018x}"));
    }
}

/// Why, in a few words.
struct Cause<'a>(&'a Vcpu);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registers = &self.0.registers;
        let (handler, vectors) = (registers.frame.pc, registers.el1.vbar & !0x7FF);
        match self.0.crash {
            Some(CrashCause::HandlerFaults) => {
                write!(
                    f,
                    "cannot take an exception: its handler at {handler:#x} (VBAR_EL1 {vectors:#x}) faults itself"
                )
            }
            None => f.write_str("cannot go on"),
        }
    }
}

const fn advice(cause: Option<CrashCause>) -> &'static [&'static str] {
    match cause {
        Some(CrashCause::HandlerFaults) => &[
            "look at what lies at VBAR_EL1 in the guest's image: RAM, mapped executable, with vectors in it?",
            "set VBAR_EL1 before the first access that may fault; it is 0 when a CPU starts",
            "if the handler begins by storing registers, see whether SP_EL1 points to RAM",
        ],
        None => &["look at the instruction at PC in the guest's image"],
    }
}

/// An exit in words.
struct Exit<'a>(&'a PastExit);

impl fmt::Display for Exit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PC {:#018x}  {}", self.0.pc, syndrome::describe(self.0.esr))?;
        self.0.address.map_or(Ok(()), |address| write!(f, ", at {address}"))
    }
}

/// Where a guest is, in words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode(pub(crate) ExceptionLevel);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            ExceptionLevel::El0 => "EL0",
            ExceptionLevel::El0Aarch32 => "EL0, AArch32",
            ExceptionLevel::El1t => "EL1 with SP_EL0",
            ExceptionLevel::El1h => "EL1 with SP_EL1",
        })
    }
}

/// A few registers.
struct Row<'a>(&'a [u64]);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|value| write!(f, " {value:#018x}"))
    }
}

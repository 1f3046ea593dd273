// SPDX-License-Identifier: MIT OR Apache-2.0
//! A crash report: in words, what a VM died of.

use core::fmt::Arguments;

use vambrace_cpu::syndrome;

use crate::vcpu::Vcpu;
use crate::vm::Vm;

/// Writes the report, a line at a time, to `line`. The vCPU's EL1 registers must be true.
pub fn crash(vm: &Vm, vcpu: &Vcpu, esr: u64, mut line: impl FnMut(Arguments<'_>)) {
    let registers = &vcpu.registers;
    let frame = &registers.frame;
    line(format_args!("VM {} crashed: vCPU {} {}", vm.name, vcpu.index, Cause { vcpu }));
    line(format_args!("  last trap: {} (ESR_EL2 {esr:#x})", syndrome::describe(esr)));
    line(format_args!("  the guest's own last exception: {} (ESR_EL1 {:#x}, FAR_EL1 {:#x}, ELR_EL1 {:#x})",
        syndrome::describe(registers.el1.esr), registers.el1.esr, registers.el1.far, registers.el1.elr));
    line(format_args!("  PC {:#018x}  PSTATE {:#x}  SP_EL1 {:#x}  SP_EL0 {:#x}", frame.pc, frame.pstate, registers.el1.sp_el1, registers.el1.sp_el0));
    for (row, four) in frame.x.chunks(4).enumerate() {
        let value = |column: usize| four.get(column).copied().unwrap_or(0);
        let first = row * 4;
        line(format_args!("  X{first:<2} {:#018x} {:#018x} {:#018x} {:#018x}", value(0), value(1), value(2), value(3)));
    }
    for (name, value) in registers.el1.named().filter(|(_, value)| *value != 0) {
        line(format_args!("  {name:<16} {value:#018x}"));
    }
    line(format_args!("  last exits, oldest first:"));
    for exit in vcpu.recent.iter() {
        line(format_args!("    PC {:#018x}  {}", exit.pc, syndrome::describe(exit.esr)));
    }
    line(format_args!(
        "  what to do: look at what lies at PC and at VBAR_EL1 in the guest's image; a guest that has just started needs RAM \
         where it was linked, and exception vectors before its first fault"
    ));
}

/// Why, in a few words.
struct Cause<'a> {
    vcpu: &'a Vcpu,
}

impl core::fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let vectors = self.vcpu.registers.el1.vbar & !0x7FF;
        write!(f, "cannot take an exception: its handler at {:#x} (VBAR_EL1 {vectors:#x}) faults itself", self.vcpu.registers.frame.pc)
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints every system register that EL1 can read; with the parameter `soil` writes to every one that it can write.
//!
//! A VM that soils, between two that print on the same CPU, must not show: both print the same.

use crate::machine::Machine;
use crate::register::Register;
use crate::{cpu, report};

/// Reads as written in registers of any width.
const PATTERN: u64 = 0x5A5A_A5A5_A5A5_A5A5;

const fn register(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> Register {
    Register { op0, op1, crn, crm, op2 }
}

/// What a program needs while it runs; it moves with the vCPU, or nothing here would work.
const OWN: [Register; 11] = [
    // MDSCR_EL1 could stop each instruction.
    register(2, 0, 0, 2, 2),
    // SCTLR_EL1, CPACR_EL1, TTBR0_EL1, TTBR1_EL1, TCR_EL1, MAIR_EL1, VBAR_EL1, TPIDR_EL1.
    register(3, 0, 1, 0, 0),
    register(3, 0, 1, 0, 2),
    register(3, 0, 2, 0, 0),
    register(3, 0, 2, 0, 1),
    register(3, 0, 2, 0, 2),
    register(3, 0, 10, 2, 0),
    register(3, 0, 12, 0, 0),
    register(3, 0, 13, 0, 4),
    // SPSel, DAIF.
    register(3, 0, 4, 2, 0),
    register(3, 3, 4, 2, 1),
];

/// DBGCLAIMCLR_EL1, which would undo what DBGCLAIMSET_EL1 has done.
const UNDOES: Register = register(2, 0, 7, 9, 6);

/// Whether it reads otherwise each time: counters, timer values, random numbers.
fn moves(Register { op0, op1, crn, crm, op2 }: Register) -> bool {
    op0 == 3 && op1 == 3 && matches!((crn, crm, op2), (14, 0, _) | (14, 2 | 3, 0) | (2, 4, _))
}

/// Runs the program.
pub fn run(machine: &Machine) {
    cpu::mask_interrupts();
    if machine.parameters().split(' ').any(|word| word == "soil") {
        soil();
    } else {
        show();
    }
    report::finish("leftovers");
}

fn show() {
    let mut count = 0;
    for register in Register::all().filter(|register| !moves(*register)) {
        if let Ok(value) = register.read() {
            println!("guest: {register} {value:#x}");
            count += 1;
        }
    }
    check!(count > 100, "registers are there");
}

fn soil() {
    let mut count = 0;
    let others = Register::all().filter(|register| !OWN.contains(register) && *register != UNDOES);
    for register in others {
        count += u32::from(register.write(PATTERN).is_ok());
    }
    check!(count > 50, "registers can be written");
}

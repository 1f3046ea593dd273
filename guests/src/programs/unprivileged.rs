// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs at EL0, in AArch64 and in AArch32, that take one exception over and over, as under a handler of SIGILL or SIGBUS
//! that returns to the instruction; and EL1 that does the same. Each goes on when its handler at last steps over.
//!
//! Parameters: `times=N` (5000).

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::exceptions::{self, DATA_ABORT, EXTERNAL_ABORT, ExceptionFrame, UNKNOWN};
use crate::machine::Machine;
use crate::mmu::{self, ENTRY_SIZE, MemoryKind};
use crate::{cpu, report};

/// Where EL0 sees what lies from 0 on: within 32 bits.
const DEVICES: u64 = 2 * ENTRY_SIZE;
/// Where EL0 sees the program's memory.
const MEMORY: u64 = 3 * ENTRY_SIZE;
/// An address with no device, here as on QEMU's `virt`.
const HOLE: u64 = 0x0B80_0000;

/// EL0 in AArch64, all masked.
const EL0: u64 = 0x3C0;
/// User mode of AArch32, A32, little-endian, all masked.
const USER: u64 = 0x1D0;
/// EL1 with SP_EL1, all masked.
const EL1: u64 = 0x3C5;

/// Exception classes of SVC, in AArch32 and AArch64.
const SVC: [u64; 2] = [0x11, 0x15];
/// Exception class of a data abort from EL0.
const DATA_ABORT_EL0: u64 = 0x24;

// el0_run(pc, pstate, x0, x1): goes to EL0; its SVC comes to el0_return, with its result in x0.
global_asm!(
    ".global el0_run",
    "el0_run:",
    "    stp x29, x30, [sp, #-96]!",
    "    stp x19, x20, [sp, #16]",
    "    stp x21, x22, [sp, #32]",
    "    stp x23, x24, [sp, #48]",
    "    stp x25, x26, [sp, #64]",
    "    stp x27, x28, [sp, #80]",
    "    msr elr_el1, x0",
    "    msr spsr_el1, x1",
    "    mov x0, x2",
    "    mov x1, x3",
    "    eret",
    ".global el0_return",
    "el0_return:",
    "    ldp x19, x20, [sp, #16]",
    "    ldp x21, x22, [sp, #32]",
    "    ldp x23, x24, [sp, #48]",
    "    ldp x25, x26, [sp, #64]",
    "    ldp x27, x28, [sp, #80]",
    "    ldp x29, x30, [sp], #96",
    "    ret",
);

unsafe extern "C" {
    /// The code at `pc` touches no memory but what its arguments say.
    safe fn el0_run(pc: u64, pstate: u64, x0: u64, x1: u64) -> u64;
    /// Only its address counts.
    safe fn el0_return();
}

static CODE: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];
/// Exceptions that are still to come before the instruction is stepped over.
static LEFT: AtomicU64 = AtomicU64::new(0);
/// Exceptions that came.
static TAKEN: AtomicU64 = AtomicU64::new(0);
/// ESR_EL1 of the last.
static ESR: AtomicU64 = AtomicU64::new(0);

/// Runs the program.
pub fn run(machine: &Machine) {
    let times = machine.number("times", 5000);
    cpu::mask_interrupts();
    exceptions::on_fault(fault);
    mmu::map_again(DEVICES, 0, MemoryKind::Device);
    mmu::map_again(MEMORY, CODE.as_ptr() as u64 & !(ENTRY_SIZE - 1), MemoryKind::Shared);
    debug_registers();
    el0(times);
    el1(times);
    report::finish("unprivileged");
}

/// What an exception calls: counts, and goes back to the instruction until it has come often enough.
fn fault(frame: &mut ExceptionFrame) {
    let esr = read_register!("esr_el1");
    if SVC.contains(&exceptions::class(esr)) {
        return frame.go_to(el0_return as *const () as u64, EL1);
    }
    ESR.store(esr, Ordering::Relaxed);
    TAKEN.fetch_add(1, Ordering::Relaxed);
    if LEFT.fetch_sub(1, Ordering::Relaxed) <= 1 {
        frame.step_over();
    }
}

/// The next instruction that faults does so this often.
fn expect(times: u64) {
    LEFT.store(times, Ordering::Relaxed);
    TAKEN.store(0, Ordering::Relaxed);
}

/// How often it did, the class, and of an abort its fault status.
fn taken() -> (u64, u64, u64) {
    let esr = ESR.load(Ordering::Relaxed);
    let class = exceptions::class(esr);
    let status = if class == UNKNOWN { 0 } else { exceptions::fault_status(esr) };
    (TAKEN.load(Ordering::Relaxed), class, status)
}

/// Runs one instruction at EL0, with `x1` in its register 1, and gives its register 0.
fn at_el0(pstate: u64, instruction: u32, x1: u64) -> u64 {
    /// `svc #0`, in A64 and in A32.
    const CALL: u32 = 0xD400_0001;
    const CALL_A32: u32 = 0xEF00_0000;
    CODE[0].store(instruction, Ordering::Relaxed);
    CODE[1].store(if pstate == USER { CALL_A32 } else { CALL }, Ordering::Relaxed);
    let start = CODE.as_ptr() as u64;
    cpu::publish_code(start as usize, size_of_val(&CODE));
    el0_run(MEMORY | start & (ENTRY_SIZE - 1), pstate, u64::MAX, x1)
}

/// What user mode of AArch32 may ask of debug: where its registers lie (nowhere), and how many there are.
fn debug_registers() {
    expect(1);
    // MRC p14, 0, R0, c1, c0, 0; c2, c0, 0. MRRC p14, 0, R0, R1, c1; c2.
    for (name, instruction) in
        [("DBGDRAR", 0xEE11_0E10), ("DBGDSAR", 0xEE12_0E10), ("wide DBGDRAR", 0xEC51_0E01), ("wide DBGDSAR", 0xEC51_0E02)]
    {
        check_eq!(at_el0(USER, instruction, 7) as u32, 0, "{name}");
    }
    let features = read_register!("id_aa64dfr0_el1");
    // MRC p14, 0, R0, c0, c0, 0.
    let id = at_el0(USER, 0xEE10_0E10, 0);
    let fields = [id >> 28, id >> 24, id >> 20].map(|field| field & 0xF);
    check_eq!(fields, [20, 12, 28].map(|lsb| features >> lsb & 0xF), "DBGDIDR counts as ID_AA64DFR0_EL1 does");
    check_eq!(TAKEN.load(Ordering::Relaxed), 0, "and none of them is UNDEFINED");
}

fn el0(times: u64) {
    // LDR W0, [X1]; LDR R0, [R1].
    for (name, pstate, load) in [("AArch64", EL0, 0xB940_0020), ("AArch32", USER, 0xE591_0000)] {
        expect(times);
        at_el0(pstate, load, DEVICES + HOLE);
        check_eq!(taken(), (times, DATA_ABORT_EL0, EXTERNAL_ABORT), "loads of nothing at EL0, {name}");
    }
    // MRS X0, ACTLR_EL1; MRC p14, 1, R0, c0, c0, 0.
    for (name, pstate, read) in [("AArch64", EL0, 0xD538_1020), ("AArch32", USER, 0xEE30_0E10)] {
        expect(times);
        at_el0(pstate, read, 0);
        check_eq!(taken(), (times, UNKNOWN, 0), "registers that EL0 has not, {name}");
    }
}

fn el1(times: u64) {
    expect(times);
    // SAFETY: the load takes an exception and is stepped over.
    unsafe { asm!("ldr {0:w}, [{1}]", out(reg) _, in(reg) HOLE, options(nostack)) };
    check_eq!(taken(), (times, DATA_ABORT, EXTERNAL_ABORT), "loads of nothing at EL1");
    expect(times);
    // SAFETY: no CPU has the register; the read takes an exception and is stepped over.
    unsafe { asm!("mrs {0}, s3_0_c15_c0_7", out(reg) _, options(nostack)) };
    check_eq!(taken(), (times, UNKNOWN, 0), "registers that EL1 has not");
}

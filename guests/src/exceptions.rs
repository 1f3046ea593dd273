// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exceptions: expected ones are recorded, interrupts go to the program's handler, all else is reported.

use core::sync::atomic::{AtomicPtr, Ordering};

use crate::{cpu, psci};

/// The registers that an exception interrupted; `boot.S` writes it.
#[derive(Debug)]
#[repr(C)]
pub struct ExceptionFrame {
    x: [u64; 31],
    elr: u64,
    spsr: u64,
}

impl ExceptionFrame {
    /// Goes on behind the instruction that took the exception.
    pub fn step_over(&mut self) {
        self.elr = self.elr.wrapping_add(4);
    }

    /// Goes on elsewhere, in another state.
    pub fn go_to(&mut self, pc: u64, pstate: u64) {
        (self.elr, self.spsr) = (pc, pstate);
    }
}

// Guests take syndromes apart by themselves, and not with `vambrace_cpu`: EL2 makes ESR_EL1 with that, so a field that is
// wrong there would be read back wrong here, and the test would see nothing.

/// The exception class (EC of a value of ESR_EL1 or ESR_EL2).
#[must_use]
pub const fn class(esr: u64) -> u64 {
    esr >> 26
}

/// The fault status code of an abort (ISS.DFSC or IFSC).
#[must_use]
pub const fn fault_status(esr: u64) -> u64 {
    esr & 0x3F
}

/// Exception class of an instruction abort from the same level (ESR_EL1.EC).
pub const INSTRUCTION_ABORT: u64 = 0x21;
/// Exception class of a data abort from the same level.
pub const DATA_ABORT: u64 = 0x25;
/// Exception class of an UNDEFINED instruction.
pub const UNKNOWN: u64 = 0;
/// Fault status of a synchronous external abort that is not on a table walk (ISS.DFSC and IFSC).
pub const EXTERNAL_ABORT: u64 = 0x10;

static IRQ: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static FIQ: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());
static FAULT: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Sets what an IRQ calls, on every CPU.
pub fn on_irq(handler: fn()) {
    IRQ.store(handler as *mut (), Ordering::Release);
}

/// Sets what an FIQ calls, on every CPU.
pub fn on_fiq(handler: fn()) {
    FIQ.store(handler as *mut (), Ordering::Release);
}

/// Sets what a synchronous exception calls, of EL0 or one of EL1 that is not expected. Where it leaves the frame, the CPU
/// goes on: at the instruction itself, if it does nothing.
pub fn on_fault(handler: fn(&mut ExceptionFrame)) {
    FAULT.store(handler as *mut (), Ordering::Release);
}

/// Calls the handler of faults, if there is one.
fn call_on_fault(frame: &mut ExceptionFrame) -> bool {
    let handler = FAULT.load(Ordering::Acquire);
    if handler.is_null() {
        return false;
    }
    // SAFETY: `on_fault` alone writes it, and stores a `fn(&mut ExceptionFrame)`.
    let handler = unsafe { core::mem::transmute::<*mut (), fn(&mut ExceptionFrame)>(handler) };
    handler(frame);
    true
}

/// Calls the function in `slot`, if there is one.
pub(crate) fn call(slot: &AtomicPtr<()>) -> bool {
    let handler = slot.load(Ordering::Acquire);
    if handler.is_null() {
        return false;
    }
    // SAFETY: the slots only ever hold null or a `fn()`.
    let handler = unsafe { core::mem::transmute::<*mut (), fn()>(handler) };
    handler();
    true
}

/// Where `boot.S` enters Rust; `vector` is the number of the vector table's entry.
pub(crate) extern "C" fn entry(frame: &mut ExceptionFrame, vector: u64) {
    let handled = match vector {
        4 => synchronous(frame) || call_on_fault(frame),
        5 => call(&IRQ),
        6 => call(&FIQ),
        // From EL0, in AArch64 and in AArch32.
        8 | 12 => call_on_fault(frame),
        _ => false,
    };
    if !handled {
        die(frame, vector);
    }
}

fn synchronous(frame: &mut ExceptionFrame) -> bool {
    let cpu = cpu::this();
    if !cpu.expecting.swap(false, Ordering::Relaxed) {
        return false;
    }
    let esr = read_register!("esr_el1");
    cpu.esr.store(esr, Ordering::Relaxed);
    cpu.far.store(read_register!("far_el1"), Ordering::Relaxed);
    cpu.elr.store(frame.elr, Ordering::Relaxed);
    // A failed fetch is a call to nowhere: return from it. All else is an instruction to be stepped over.
    frame.elr = if class(esr) == INSTRUCTION_ABORT { frame.x[30] } else { frame.elr.wrapping_add(4) };
    true
}

fn die(frame: &ExceptionFrame, vector: u64) -> ! {
    println!(
        "guest: unexpected exception {vector} on CPU {}: ESR {:#x} FAR {:#x} ELR {:#x} SPSR {:#x} LR {:#x}",
        cpu::index(),
        read_register!("esr_el1"),
        read_register!("far_el1"),
        frame.elr,
        frame.spsr,
        frame.x[30],
    );
    psci::system_off()
}

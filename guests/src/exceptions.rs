// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exceptions: expected ones are recorded, interrupts go to the program's handler, all else is reported.

use core::sync::atomic::{AtomicPtr, Ordering};

use crate::{cpu, psci};

/// The registers that an exception interrupted; `boot.S` writes it.
#[derive(Debug)]
#[repr(C)]
pub struct Frame {
    x: [u64; 31],
    elr: u64,
    spsr: u64,
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

/// Sets what an IRQ calls, on every CPU.
pub fn on_irq(handler: fn()) {
    IRQ.store(handler as *mut (), Ordering::Release);
}

/// Sets what an FIQ calls, on every CPU.
pub fn on_fiq(handler: fn()) {
    FIQ.store(handler as *mut (), Ordering::Release);
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
pub(crate) extern "C" fn entry(frame: &mut Frame, vector: u64) {
    let handled = match vector {
        4 => synchronous(frame),
        5 => call(&IRQ),
        6 => call(&FIQ),
        _ => false,
    };
    if !handled {
        die(frame, vector);
    }
}

fn synchronous(frame: &mut Frame) -> bool {
    let cpu = cpu::this();
    if !cpu.expecting.swap(false, Ordering::Relaxed) {
        return false;
    }
    let esr = read_register!("esr_el1");
    cpu.esr.store(esr, Ordering::Relaxed);
    cpu.far.store(read_register!("far_el1"), Ordering::Relaxed);
    cpu.elr.store(frame.elr, Ordering::Relaxed);
    // A failed fetch is a call to nowhere: return from it. All else is an instruction to be stepped over.
    frame.elr = if esr >> 26 == INSTRUCTION_ABORT { frame.x[30] } else { frame.elr.wrapping_add(4) };
    true
}

fn die(frame: &Frame, vector: u64) -> ! {
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

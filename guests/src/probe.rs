// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instructions that may fault, and what the fault was.

use core::arch::asm;
use core::sync::atomic::Ordering;

use crate::{cpu, exceptions};

/// An exception that an instruction took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1.
    pub far: u64,
    /// ELR_EL1.
    pub elr: u64,
}

impl Fault {
    /// The exception class.
    #[must_use]
    pub fn class(&self) -> u64 {
        exceptions::class(self.esr)
    }

    /// The fault status code of an abort.
    #[must_use]
    pub fn status(&self) -> u64 {
        exceptions::fault_status(self.esr)
    }

    /// Whether an abort says that it was a write (ISS.WnR).
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.esr & (1 << 6) != 0
    }
}

/// Runs `action`, one instruction of which may take an exception.
///
/// # Errors
/// The exception, if there was one; `action` has run to its end all the same.
pub fn expect_fault<T>(action: impl FnOnce() -> T) -> Result<T, Fault> {
    let cpu = cpu::this();
    cpu.expecting.store(true, Ordering::SeqCst);
    let result = action();
    if cpu.expecting.swap(false, Ordering::SeqCst) {
        return Ok(result);
    }
    Err(Fault {
        esr: cpu.esr.load(Ordering::Relaxed),
        far: cpu.far.load(Ordering::Relaxed),
        elr: cpu.elr.load(Ordering::Relaxed),
    })
}

/// Reads 1, 2, 4 or 8 bytes at `address`.
///
/// # Errors
/// The exception, if the read took one.
pub fn read(address: u64, bytes: u64) -> Result<u64, Fault> {
    let mut value: u64 = 0;
    // SAFETY: a read that faults is stepped over; programs only probe devices and memory that nobody uses, where
    // a read harms nothing of Rust's.
    expect_fault(|| unsafe {
        match bytes {
            1 => asm!("ldrb {0:w}, [{1}]", inout(reg) value, in(reg) address, options(nostack)),
            2 => asm!("ldrh {0:w}, [{1}]", inout(reg) value, in(reg) address, options(nostack)),
            4 => asm!("ldr {0:w}, [{1}]", inout(reg) value, in(reg) address, options(nostack)),
            _ => asm!("ldr {0}, [{1}]", inout(reg) value, in(reg) address, options(nostack)),
        }
    })
    .map(|()| value)
}

/// Writes 1, 2, 4 or 8 bytes at `address`, which no Rust object may occupy.
///
/// # Errors
/// The exception, if the write took one.
pub fn write(address: u64, bytes: u64, value: u64) -> Result<(), Fault> {
    // SAFETY: as for `read`; the caller keeps to addresses without Rust objects.
    expect_fault(|| unsafe {
        match bytes {
            1 => asm!("strb {0:w}, [{1}]", in(reg) value, in(reg) address, options(nostack)),
            2 => asm!("strh {0:w}, [{1}]", in(reg) value, in(reg) address, options(nostack)),
            4 => asm!("str {0:w}, [{1}]", in(reg) value, in(reg) address, options(nostack)),
            _ => asm!("str {0}, [{1}]", in(reg) value, in(reg) address, options(nostack)),
        }
    })
}

/// Calls `address`, with `argument` in x0 and for the result.
///
/// # Errors
/// The exception, if the call or the first faulting instruction behind it took one.
pub fn call(address: u64, argument: u64) -> Result<u64, Fault> {
    let mut value = argument;
    // SAFETY: programs call addresses without memory, or code that they have written and that follows the
    // procedure call standard.
    expect_fault(|| unsafe {
        asm!("blr {0}", in(reg) address, inout("x0") value, clobber_abi("C"));
    })
    .map(|()| value)
}

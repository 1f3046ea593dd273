// SPDX-License-Identifier: MIT OR Apache-2.0
//! The generic timers of EL1, and waiting by the clock.

use crate::cpu;

/// Interrupt of the virtual timer.
pub const VIRTUAL_INTID: u32 = 27;
/// Interrupt of the physical timer.
pub const PHYSICAL_INTID: u32 = 30;

/// CTL: runs and may interrupt.
pub const ENABLE: u64 = 1;
/// CTL: does not interrupt.
pub const IMASK: u64 = 2;
/// CTL: the time has come.
pub const ISTATUS: u64 = 4;

/// The virtual counter.
#[must_use]
pub fn now() -> u64 {
    // SAFETY: a barrier, so that the counter is not read early.
    unsafe { core::arch::asm!("isb", options(nostack)) };
    read_register!("cntvct_el0")
}

/// Counts per second.
#[must_use]
pub fn frequency() -> u64 {
    read_register!("cntfrq_el0")
}

/// `microseconds` in counts.
#[must_use]
pub fn counts(microseconds: u64) -> u64 {
    (u128::from(frequency()) * u128::from(microseconds) / 1_000_000) as u64
}

/// `counts` in microseconds.
#[must_use]
pub fn microseconds(counts: u64) -> u64 {
    (u128::from(counts) * 1_000_000 / u128::from(frequency().max(1))) as u64
}

/// How long anything may take that has to come, in seconds. By a busy computer's own time even what is quick may take
/// long; who waits for something that does not come has failed anyway.
pub const PATIENCE: u64 = 120;

/// Waits until `condition` holds, at most `seconds`; returns whether it did.
pub fn wait_for(seconds: u64, mut condition: impl FnMut() -> bool) -> bool {
    let start = now();
    while !condition() {
        if now() - start > seconds * frequency() {
            return condition();
        }
        cpu::relax();
    }
    true
}

/// Lets time pass.
pub fn delay(microseconds: u64) {
    let (start, length) = (now(), counts(microseconds));
    while now() - start < length {
        cpu::relax();
    }
}

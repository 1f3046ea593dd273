// SPDX-License-Identifier: MIT OR Apache-2.0
//! Time of day: the board's PL031, read once at boot, and the system counter since.

use core::sync::atomic::{AtomicU64, Ordering};

use vambrace_memory::Pa;

use crate::arch::mmu::MmuOn;
use crate::arch::sysreg::{CntfrqEl0, CntpctEl0, Read};

/// Seconds since 1970 when the counter was at zero.
static BASE: AtomicU64 = AtomicU64::new(0);

/// The time of day is known.
#[derive(Debug)]
pub(crate) struct ClockSet(());

/// Reads the board's clock, if it has one. Without one time starts in 1970.
///
/// # Safety
/// `registers` must be a PL031's, mapped as Device memory.
pub(crate) unsafe fn start(_: &MmuOn, registers: Option<Pa>) -> ClockSet {
    if let Some(registers) = registers {
        let data: *const u32 = core::ptr::with_exposed_provenance(registers.0 as usize);
        // SAFETY: RTCDR, the first register of the PL031 that the caller vouches for.
        let now = unsafe { data.read_volatile() };
        BASE.store(u64::from(now).saturating_sub(uptime()), Ordering::Relaxed);
    }
    ClockSet(())
}

fn uptime() -> u64 {
    CntpctEl0.read() / CntfrqEl0.read().max(1)
}

/// The physical count at which [`seconds`] comes to say this.
pub(crate) fn count_at(seconds: u64) -> u64 {
    seconds.saturating_sub(BASE.load(Ordering::Relaxed)).saturating_mul(CntfrqEl0.read())
}

/// Seconds since 1970.
pub(crate) fn seconds() -> u64 {
    BASE.load(Ordering::Relaxed).saturating_add(uptime())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Barriers, waits, cache and TLB maintenance: one safe function an instruction.
//!
//! None of them can break Rust's rules: they order, wait, or drop what hardware may fetch again.

use core::arch::asm;

use vambrace_memory::{Ipa, PaRange};

macro_rules! instruction {
    ($($(#[$doc:meta])* $name:ident = $asm:literal;)*) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            pub(crate) fn $name() {
                // SAFETY: orders or waits; no value and no memory that Rust knows of changes.
                unsafe { asm!($asm, options(nostack, preserves_flags)) }
            }
        )*
    };
}

instruction! {
    /// Context synchronisation.
    isb = "isb";
    /// Completes all accesses, for all observers.
    dsb_sy = "dsb sy";
    /// Completes all accesses, for the inner shareable domain.
    dsb_ish = "dsb ish";
    /// Completes stores, for the inner shareable domain: page-table writes before a TLBI or a walk.
    dsb_ishst = "dsb ishst";
    /// Completes this CPU's accesses.
    dsb_nsh = "dsb nsh";
    /// Waits for an interrupt.
    wfi = "wfi";
    /// Drops all entries of the loaded VMID, on all CPUs.
    tlbi_vmalls12e1is = "tlbi vmalls12e1is";
    /// Drops all stage-1 (combined) entries of the loaded VMID, on all CPUs.
    tlbi_vmalle1is = "tlbi vmalle1is";
    /// Drops all EL1&0 entries of all VMIDs, on this CPU.
    tlbi_alle1 = "tlbi alle1";
    /// Drops the stage-1 (combined) entries of the loaded VMID, on this CPU.
    tlbi_vmalle1 = "tlbi vmalle1";
    /// Drops all entries of the loaded VMID, on this CPU.
    tlbi_vmalls12e1 = "tlbi vmalls12e1";
    /// Drops all EL2 entries, on this CPU.
    tlbi_alle2 = "tlbi alle2";
    /// Drops all instruction caches' contents, on all CPUs.
    ic_ialluis = "ic ialluis";
}

/// Drops the stage-2 entry of `ipa` of the loaded VMID, on all CPUs.
#[inline(always)]
pub(crate) fn tlbi_ipas2e1is(ipa: Ipa) {
    // SAFETY: drops what hardware may fetch again.
    unsafe { asm!("tlbi ipas2e1is, {}", in(reg) ipa.0 >> 12, options(nostack, preserves_flags)) }
}

/// Drops a range from the data caches: what was written there with the caches off is what counts.
///
/// # Safety
/// No line of the range may hold data that memory does not have.
pub(crate) unsafe fn invalidate(range: PaRange) {
    for_each_line(range, |at| {
        // SAFETY: the caller has vouched that nothing is lost.
        unsafe { asm!("dc ivac, {}", in(reg) at, options(nostack, preserves_flags)) }
    });
}

/// Cleans and invalidates the data cache by address to the point of coherency, for a range.
pub(crate) fn clean_invalidate(range: PaRange) {
    for_each_line(range, |at| {
        // SAFETY: writes back and drops; memory's contents as Rust sees them stay the same.
        unsafe { asm!("dc civac, {}", in(reg) at, options(nostack, preserves_flags)) }
    });
}

/// Calls `act` for each cache line of a range, and waits until all is done.
#[inline(always)]
fn for_each_line(range: PaRange, act: impl Fn(u64)) {
    let line = cache_line();
    let mut at = range.start().align_down(line).0;
    while at < range.end().0 {
        act(at);
        at += line;
    }
    dsb_sy();
}

/// The smallest data cache line of any cache, in bytes (CTR_EL0.DminLine).
pub(crate) fn cache_line() -> u64 {
    use crate::arch::sysreg::{CtrEl0, Read};
    4 << ((CtrEl0.read() >> 16) & 0xF)
}

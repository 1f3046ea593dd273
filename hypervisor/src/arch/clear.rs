// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clearing memory out to the point of coherency: whoever has it next may read it with caches off.
//!
//! DC ZVA zeroes a line in one instruction, without reading it first, and DC CIVAC right behind it writes it back, while
//! it is still in the nearest cache. Both in one pass are three instructions for each line; stores and a pass of their own
//! for the cache take five times as many.

use core::arch::asm;

use vambrace_memory::PaRange;

use crate::arch::barrier::{cache_line, clean_invalidate, dsb_sy};
use crate::arch::sysreg::{DczidEl0, Read};
use crate::memory;

/// Lines that one round of the loop clears.
const LINES: u64 = 8;

/// DCZID_EL0: DC ZVA is prohibited.
const DZP: u64 = 1 << 4;

/// Zeroes a range of physical memory, caches included.
///
/// # Safety
/// The range must be mapped in EL2 as Normal memory and owned by the caller: no guest and no Rust value is there.
pub(crate) unsafe fn clear(range: PaRange) {
    let line = cache_line();
    let round = LINES * line;
    let is_whole = range.start().is_aligned(round) && range.len().is_multiple_of(round);
    if zva_block() == Some(line) && is_whole && !range.is_empty() {
        // SAFETY: as the caller says; both ends are on a round's boundary, and there is at least one round.
        unsafe { clear_lines(range, line) };
        dsb_sy();
    } else {
        // SAFETY: as the caller says.
        unsafe { memory::fill(range, 0) };
        clean_invalidate(range);
    }
}

/// How many bytes DC ZVA zeroes, where it may be used.
fn zva_block() -> Option<u64> {
    let dczid = DczidEl0.read();
    (dczid & DZP == 0).then_some(4 << (dczid & 0xF))
}

/// # Safety
/// As for [`clear`]; the range is a positive number of rounds, aligned to one, of lines which DC ZVA zeroes whole.
unsafe fn clear_lines(range: PaRange, line: u64) {
    // SAFETY: writes to the range only, says the caller.
    unsafe {
        asm!(
            "2:",
            ".rept {lines}",
            "dc zva, {at}",
            "dc civac, {at}",
            "add {at}, {at}, {line}",
            ".endr",
            "cmp {at}, {end}",
            "b.lo 2b",
            at = inout(reg) range.start().0 => _,
            end = in(reg) range.end().0,
            line = in(reg) line,
            lines = const LINES,
            options(nostack),
        );
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The identity map: one level-1 table with 512 entries of 1 GiB.
//!
//! Memory is Normal, writable and executable at once, since some programs write code; everything else is Device
//! and not executable. `boot.S` builds the table and turns it on; later only whole entries change.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

/// MAIR_EL1: attribute 0 is Device-nGnRE, attribute 1 Normal write-back.
pub const MAIR: u64 = 0xFF04;
/// A valid block with the access flag.
const BLOCK: u64 = 1 | 1 << 10;
/// Block of device memory: attribute 0, never executed.
pub const DEVICE: u64 = BLOCK | 1 << 53 | 1 << 54;
/// Block of memory: attribute 1, inner shareable, all accesses.
pub const NORMAL: u64 = BLOCK | 1 << 2 | 3 << 8;
/// EL0 may read and write.
const EL0: u64 = 1 << 6;
/// TCR_EL1 without IPS: 39 bits of address, walks through the cache, no TTBR1.
pub const TCR: u64 = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23;
/// SCTLR_EL1: the MMU and the caches on, reserved ones.
pub const SCTLR: u64 = 0x30D0_0800 | 1 | 1 << 2 | 1 << 12;
/// TCR_EL2: the same, with 32 bits of physical address.
pub const TCR_EL2: u64 = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 1 << 31;
/// SCTLR_EL2: the same.
pub const SCTLR_EL2: u64 = 0x30C5_0830 | 1 | 1 << 2 | 1 << 12;

/// 1 GiB, what an entry maps.
pub const ENTRY_SIZE: u64 = 1 << 30;
/// Virtual address of the window that [`map_window`] moves; memory and devices end below it.
pub const WINDOW: u64 = 511 * ENTRY_SIZE;

unsafe extern "C" {
    static __tables: [AtomicU64; 512];
}

/// What an entry of the map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// Device memory, for EL0 too: where unprivileged loads and stores work.
    Device,
    /// Normal memory, executable.
    Normal,
    /// Normal memory, for EL0 too: there it is executable, and at EL1, since EL0 may write it, not.
    Shared,
}

/// Maps the memory that the device tree names.
pub fn map_memory(base: u64, size: u64) {
    let last = base.saturating_add(size).saturating_sub(1) / ENTRY_SIZE;
    for entry in base / ENTRY_SIZE..=last.min(WINDOW / ENTRY_SIZE - 1) {
        map(entry, entry * ENTRY_SIZE, MemoryKind::Normal);
    }
}

/// Maps the 1 GiB from physical address `base`, a multiple of 1 GiB, at [`WINDOW`].
pub fn map_window(base: u64, kind: MemoryKind) {
    map(WINDOW / ENTRY_SIZE, base, kind);
}

/// Maps the 1 GiB from physical address `base`, a multiple of 1 GiB, a second time at virtual address `at`, another multiple
/// that nothing of the program's lies at.
pub fn map_again(at: u64, base: u64, kind: MemoryKind) {
    map(at / ENTRY_SIZE, base, kind);
}

fn map(entry: u64, base: u64, kind: MemoryKind) {
    let attributes = match kind {
        MemoryKind::Device => DEVICE | EL0,
        MemoryKind::Normal => NORMAL,
        MemoryKind::Shared => NORMAL | EL0,
    };
    // SAFETY: the table is a page of this program's own, and only reached through atomics.
    let table = unsafe { &__tables };
    let Some(slot) = table.get(entry as usize) else { return };
    if slot.load(Ordering::Relaxed) == base | attributes {
        return;
    }
    // Break before make.
    slot.store(0, Ordering::Relaxed);
    invalidate();
    slot.store(base | attributes, Ordering::Relaxed);
    invalidate();
}

fn invalidate() {
    // SAFETY: forgets translations; the table holds the ones in use.
    unsafe { asm!("dsb ishst", "tlbi vmalle1is", "dsb ish", "isb", options(nostack)) };
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each CPU has of its own, and its instructions.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64};

/// CPUs that there is room for; `image.ld` has as many stacks.
pub const MAX: usize = 64;

/// One CPU's own data. Atomics, since other CPUs may look.
#[derive(Debug)]
pub struct PerCpu {
    /// The next synchronous exception is expected: record it and go on behind the instruction.
    pub(crate) expecting: AtomicBool,
    /// ESR_EL1 of the expected exception.
    pub(crate) esr: AtomicU64,
    /// FAR_EL1 of the expected exception.
    pub(crate) far: AtomicU64,
    /// ELR_EL1 of the expected exception.
    pub(crate) elr: AtomicU64,
    /// Address of the CPU's redistributor.
    pub(crate) redistributor: AtomicU64,
    /// The function that the CPU starts with.
    pub(crate) start: AtomicPtr<()>,
}

static CPUS: [PerCpu; MAX] = [const {
    PerCpu {
        expecting: AtomicBool::new(false),
        esr: AtomicU64::new(0),
        far: AtomicU64::new(0),
        elr: AtomicU64::new(0),
        redistributor: AtomicU64::new(0),
        start: AtomicPtr::new(core::ptr::null_mut()),
    }
}; MAX];

/// Index of this CPU: 0 is the one that the machine started.
#[must_use]
pub fn index() -> usize {
    read_register!("tpidr_el1") as usize
}

/// This CPU's own data.
pub(crate) fn this() -> &'static PerCpu {
    of(index())
}

/// The data of CPU `index`; an index that does not exist gives the last one's.
pub(crate) fn of(index: usize) -> &'static PerCpu {
    &CPUS[index.min(MAX - 1)]
}

/// The affinity fields of this CPU's MPIDR_EL1.
#[must_use]
pub fn affinity() -> u64 {
    read_register!("mpidr_el1") & 0xFF_00FF_FFFF
}

/// The exception level, 1 to 3.
#[must_use]
pub fn exception_level() -> u64 {
    (read_register!("CurrentEL") >> 2) & 3
}

/// Lets interrupts in.
pub fn unmask_interrupts() {
    // SAFETY: the vectors are in place and handle every interrupt.
    unsafe { asm!("msr daifclr, #3", options(nostack)) };
}

/// Keeps interrupts out.
pub fn mask_interrupts() {
    // SAFETY: masking has no effect on memory.
    unsafe { asm!("msr daifset, #3", options(nostack)) };
}

/// Waits for an interrupt, masked ones included.
pub fn wait_for_interrupt() {
    // SAFETY: a hint.
    unsafe { asm!("dsb sy", "wfi", options(nostack)) };
}

/// Waits for whatever other CPUs do: other vCPUs may need this physical CPU.
pub fn relax() {
    // SAFETY: a hint.
    unsafe { asm!("yield", options(nomem, nostack)) };
}

/// Runs `action` with interrupts masked.
pub fn without_interrupts<T>(action: impl FnOnce() -> T) -> T {
    let daif = read_register!("daif");
    mask_interrupts();
    let result = action();
    // SAFETY: restores what was.
    unsafe { asm!("msr daif, {}", in(reg) daif, options(nostack)) };
    result
}

/// Makes instructions that were written to `len` bytes from `start` visible to this CPU's fetches.
pub fn publish_code(start: usize, len: usize) {
    for address in (start & !15..start + len).step_by(16) {
        // SAFETY: cleans and invalidates caches; memory keeps its contents.
        unsafe { asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", in(reg) address, options(nostack)) };
    }
    // SAFETY: barriers.
    unsafe { asm!("dsb ish", "isb", options(nostack)) };
}

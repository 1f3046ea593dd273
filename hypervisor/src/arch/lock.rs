// SPDX-License-Identifier: MIT OR Apache-2.0
//! EL2's locks. Whoever waits for one says so by YIELD: to a core with several threads, and to an emulator that runs the
//! CPUs in turn, which else would let it wait for as long as the holder is not running.

use spin::RelaxStrategy;

/// A lock that is waited for.
pub(crate) type SpinMutex<T> = spin::mutex::SpinMutex<T, Yield>;
/// It is held.
pub(crate) type SpinMutexGuard<'a, T> = spin::mutex::SpinMutexGuard<'a, T, Yield>;

/// How a CPU waits.
#[derive(Debug)]
pub(crate) struct Yield;

impl RelaxStrategy for Yield {
    fn relax() {
        // SAFETY: a hint does nothing that a program could see (Arm ARM, "YIELD").
        unsafe { core::arch::asm!("yield", options(nomem, nostack, preserves_flags)) };
        // Where there is one thread it is nothing, so the core pauses by itself.
        core::hint::spin_loop();
    }
}

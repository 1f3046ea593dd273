// SPDX-License-Identifier: MIT OR Apache-2.0
//! Further CPUs.

use core::sync::atomic::Ordering;

use crate::{cpu, exceptions, psci};

unsafe extern "C" {
    /// Where `boot.S` takes in a further CPU; only its address counts.
    safe fn secondary_entry();
}

/// The address to give to CPU_ON.
#[must_use]
pub fn entry_address() -> u64 {
    secondary_entry as *const () as u64
}

/// Turns on the CPU with affinity `affinity` as number `index`, to run `start`. When `start` returns, the CPU turns
/// itself off.
///
/// # Errors
/// PSCI's error.
pub fn start(index: usize, affinity: u64, start: fn()) -> Result<(), i64> {
    cpu::of(index).start.store(start as *mut (), Ordering::Release);
    match psci::cpu_on(affinity, entry_address(), index as u64) {
        0 => Ok(()),
        error => Err(error),
    }
}

/// Where `boot.S` enters Rust on a further CPU.
pub(crate) extern "C" fn secondary(index: usize) {
    exceptions::call(&cpu::of(index).start);
    let error = psci::cpu_off();
    println!("guest: CPU {index} stays on: CPU_OFF returned {error}");
}

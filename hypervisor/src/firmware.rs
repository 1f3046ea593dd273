// SPDX-License-Identifier: MIT OR Apache-2.0
//! The firmware below us, by PSCI over SMC: starting CPUs and ending it all.

use smccc::{Smc, psci};

/// Starts a CPU at `entry` with `argument` in x0.
pub(crate) fn cpu_on(affinity: u64, entry: u64, argument: u64) -> Result<(), psci::error::Error> {
    psci::cpu_on::<Smc>(affinity, entry, argument)
}

/// Switches the board off. Comes back only when the firmware cannot.
pub(crate) fn system_off() {
    let _ = psci::system_off::<Smc>();
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The firmware below us, by SMC: starting CPUs and ending it all by PSCI, and random numbers.

use smccc::{Call, Smc, arch, psci};

/// Starts a CPU at `entry` with `argument` in x0.
pub(crate) fn cpu_on(affinity: u64, entry: u64, argument: u64) -> Result<(), psci::error::Error> {
    psci::cpu_on::<Smc>(affinity, entry, argument)
}

/// Switches this CPU off. Comes back only when the firmware cannot.
pub(crate) fn cpu_off() {
    let _ = psci::cpu_off::<Smc>();
}

/// Switches the board off. Comes back only when the firmware cannot.
pub(crate) fn system_off() {
    let _ = psci::system_off::<Smc>();
}

/// 192 random bits, if the firmware has any to give (Arm DEN 0098, "Arm True Random Number Generator Firmware Interface").
pub(crate) fn random() -> Option<[u64; 3]> {
    const TRNG_VERSION: u32 = 0x8400_0050;
    const TRNG_RND64: u32 = 0xC400_0053;
    const BITS: u64 = 192;
    // The interface is there with version 1.1 of the calling convention, if at all; that has to be asked by PSCI.
    psci::psci_features::<Smc>(arch::SMCCC_VERSION).ok()?;
    let [version, ..] = Smc::call32(TRNG_VERSION, [0; 7]);
    if version.cast_signed() < 0x1_0000 {
        return None;
    }
    let mut arguments = [0; 17];
    arguments[0] = BITS;
    let [status, high, middle, low, ..] = Smc::call64(TRNG_RND64, arguments);
    (status == 0).then_some([high, middle, low])
}

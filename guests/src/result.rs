// SPDX-License-Identifier: MIT OR Apache-2.0
//! Vambrace's own calls, by which a guest gives a number as its result (docs/result.md).

use crate::psci::{self, Conduit};

/// Which hypervisor serves the calls of its owner: X0 to X3 are its UID (SMCCC, "General service queries").
const UID: u64 = 0x8600_FF01;

/// Vambrace's UID, in four words.
const VAMBRACE: [u32; 4] = [0x150E_75B1, 0x704F_D482, 0xC4E4_2880, 0x0BE1_3C50];

/// VAMBRACE_RESULT.
const RESULT: u64 = 0x8600_0001;

/// Gives `number` as this machine's result.
///
/// # Errors
/// The call's error code: NOT_SUPPORTED where no Vambrace is there to take it.
pub fn give(number: u32) -> Result<(), i64> {
    // Another hypervisor may have another call under the same number.
    if psci::call(Conduit::Hvc, UID, [0; 3]) != VAMBRACE.map(u64::from) {
        return Err(psci::NOT_SUPPORTED);
    }
    let [code, ..] = psci::call(Conduit::Hvc, RESULT, [number.into(), 0, 0]);
    match i64::from(code as u32 as i32) {
        0 => Ok(()),
        error => Err(error),
    }
}

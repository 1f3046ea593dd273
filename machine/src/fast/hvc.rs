// SPDX-License-Identifier: MIT OR Apache-2.0
//! HVC and SMC: calls whose answer is the same for every caller. PSCI_VERSION, and function ids that nobody serves.
//!
//! Left to the long path: every call that does something or looks at the caller, and immediates other than 0.

use vambrace_cpu::smccc;
use vambrace_cpu::syndrome::Syndrome;

use super::FastResult;

/// What the call returns in X0.
#[inline(always)]
pub(super) fn answer(esr: Syndrome, x: &[u64; 31]) -> Option<u64> {
    if esr.immediate() != 0 {
        return None;
    }
    smccc::constant_answer(x[0] as u32)
}

/// Writes the results of a call: X1 to X3 are 0.
#[inline(always)]
pub(super) fn set_results(x: &mut [u64; 31], value: u64) -> FastResult {
    let [x0, x1, x2, x3, ..] = x;
    (*x0, *x1, *x2, *x3) = (value, 0, 0, 0);
    FastResult::Yes
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loads from registers of the interrupt controller that never change: type and identification registers of the distributor
//! and of the vCPU's own redistributor, in each width that the architecture gives them.
//!
//! Left to the long path: stores, every other address, loads that the syndrome does not describe or that extend the sign,
//! and aborts for any other reason than that nothing is mapped.

use vambrace_cpu::exit::accessed_ipa;
use vambrace_cpu::pstate::SCTLR_EE;
use vambrace_cpu::syndrome::{Syndrome, SyndromePattern, class, field};

use super::constants::DOUBLEWORD;
use super::{Constants, Trap};

/// A load that the syndrome describes, without sign extension, from where stage 2 maps nothing: a translation fault, of any
/// level. (HPFAR_EL2 is valid then.)
const PLAIN_LOAD: SyndromePattern = SyndromePattern::of_class(class::DATA_ABORT_LOWER)
    .and(field::ISV, 1)
    .and(field::SSE, 0)
    .and(field::VNCR, 0)
    .and(field::FNV, 0)
    .and(field::EA, 0)
    .and(field::CM, 0)
    .and(field::S1PTW, 0)
    .and(field::WNR, 0)
    .and(field::FAULT_STATUS.part(5, 2), TRANSLATION_FAULT);

/// The fault status but for the level.
const TRANSLATION_FAULT: u64 = 0b0001;

/// FAR_EL2, Rt, and the value that it gets.
#[inline(always)]
pub(super) fn register(esr: Syndrome, trap: &impl Trap, constants: &Constants) -> Option<(u64, usize, u64)> {
    if !PLAIN_LOAD.matches(esr) {
        return None;
    }
    let far = trap.far();
    let ipa = accessed_ipa(far, trap.hpfar());
    let size = field::SAS.of(esr);
    // A doubleword goes into a 64-bit register, or the instruction is no ordinary one.
    if size == DOUBLEWORD && !field::SF.is_set(esr) {
        return None;
    }
    let value = constants.device(ipa.0, size)?;
    if trap.sctlr() & SCTLR_EE != 0 {
        return None;
    }
    Some((far, field::SRT.of(esr) as usize, value))
}

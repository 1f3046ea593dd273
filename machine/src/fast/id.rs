// SPDX-License-Identifier: MIT OR Apache-2.0
//! ID registers: MRS of S3_0_C0_C1_0 to S3_0_C0_C7_7, which all trap (HCR_EL2.TID3).
//!
//! Left to the long path: every other system register, writes, and CRm 0 and from 8 on (MIDR_EL1 and its like), which
//! are no constants of this table or do not trap.

use vambrace_cpu::syndrome::{Syndrome, SyndromePattern, class, field};

use super::Constants;

/// The class, Op0, Op1, CRn, the direction, and of CRm the bit that says 8 and above. The rest of CRm, Op2 and Rt choose.
const ID_SPACE_READ: SyndromePattern = SyndromePattern::of_class(class::SYSTEM)
    .and(field::OP0, 3)
    .and(field::OP1, 0)
    .and(field::CRN, 0)
    .and(field::CRM.part(3, 3), 0)
    .and(field::READ, 1);

/// Rt, and the value that it gets.
#[inline(always)]
pub(super) fn register(esr: Syndrome, constants: &Constants) -> Option<(usize, u64)> {
    let (crm, op2) = (field::CRM.part(2, 0).of(esr), field::OP2.of(esr));
    if !ID_SPACE_READ.matches(esr) || crm == 0 {
        return None;
    }
    let value = *constants.ids.get(crm as usize)?.get(op2 as usize)?;
    Some((field::RT.of(esr) as usize, value))
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long the boot waits for a device of the board that does not answer: not for ever.

use crate::arch::sysreg::{CntfrqEl0, CntpctEl0, Read};

/// Seconds. A device that works answers within a millisecond; but it may be a model on a computer with much else to do.
const LONGEST: u64 = 60;

/// Looks again and again whether something is there. Says whether it came.
pub(super) fn waits_for(mut is_there: impl FnMut() -> bool) -> bool {
    let began = CntpctEl0.read();
    let ticks = CntfrqEl0.read().saturating_mul(LONGEST);
    loop {
        if is_there() {
            return true;
        }
        if CntpctEl0.read().saturating_sub(began) > ticks {
            return false;
        }
        core::hint::spin_loop();
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long EL2 itself waits for a device or a CPU: not for ever. While VMs run it waits for neither.

use crate::arch::sysreg::{CntfrqEl0, CntpctEl0, Read};

/// A span of time that has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeout {
    began: u64,
    counts: u64,
}

impl Timeout {
    /// From now on, for so many seconds.
    pub(crate) fn of_seconds(seconds: u64) -> Self {
        Self { began: CntpctEl0.read(), counts: CntfrqEl0.read().saturating_mul(seconds) }
    }

    /// Whether it is over.
    pub(crate) fn is_over(self) -> bool {
        CntpctEl0.read().wrapping_sub(self.began) > self.counts
    }

    /// Looks again and again whether something is there, at least once. Says whether it came in time.
    pub(crate) fn waits_for(self, mut is_there: impl FnMut() -> bool) -> bool {
        loop {
            if is_there() {
                return true;
            }
            if self.is_over() {
                return false;
            }
            core::hint::spin_loop();
        }
    }
}

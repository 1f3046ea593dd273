// SPDX-License-Identifier: MIT OR Apache-2.0
//! How often a guest's errors are logged: a few at once, and then so many in a time, however many it makes and however
//! often it is reset meanwhile. What was not logged is counted, and the count is said with the next that is.

/// Errors that are logged at once.
pub const AT_ONCE: u32 = 16;

/// A VM's allowance.
#[derive(Clone, Copy, Debug)]
pub struct LogRatelimit {
    left: u32,
    /// The count up to which the allowance has grown.
    grown_at: u64,
    /// Errors that were not logged, since one last was.
    unsaid: u32,
}

/// What becomes of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is logged, and so many before it were not.
    Log {
        /// How many, or [`u32::MAX`] for more than that.
        unsaid: u32,
    },
    /// It is counted.
    Count,
}

impl LogRatelimit {
    /// All of the allowance.
    #[must_use]
    pub const fn new() -> Self {
        Self { left: AT_ONCE, grown_at: 0, unsaid: 0 }
    }

    /// An error is made at the count `now`. The allowance grows by one in `period` counts.
    pub fn take(&mut self, now: u64, period: u64) -> Verdict {
        let grown = now.saturating_sub(self.grown_at) / period.max(1);
        if grown >= u64::from(AT_ONCE) {
            (self.left, self.grown_at) = (AT_ONCE, now);
        } else {
            self.left = (self.left + grown as u32).min(AT_ONCE);
            self.grown_at = self.grown_at.saturating_add(grown.saturating_mul(period.max(1)));
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Verdict::Log { unsaid: core::mem::take(&mut self.unsaid) }
            }
            None => {
                self.unsaid = self.unsaid.saturating_add(1);
                Verdict::Count
            }
        }
    }

    /// The VM is over: how many errors were not logged, if any.
    pub fn finish(&mut self) -> Option<u32> {
        Some(core::mem::take(&mut self.unsaid)).filter(|unsaid| *unsaid > 0)
    }
}

impl Default for LogRatelimit {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERIOD: u64 = 100;

    #[test]
    fn a_burst_is_logged_and_then_one_in_a_period() {
        let mut quota = LogRatelimit::new();
        let logged = (0..1000).filter(|now| quota.take(*now, PERIOD) != Verdict::Count).count();
        assert_eq!(logged as u64, u64::from(AT_ONCE) + 999 / PERIOD);
        // After a pause there is all of it again, and no more.
        let logged = (0..50).filter(|_| quota.take(1_000_000, PERIOD) != Verdict::Count).count();
        assert_eq!(logged, AT_ONCE as usize);
    }

    #[test]
    fn what_was_not_logged_is_said_once() {
        let mut quota = LogRatelimit::new();
        (0..AT_ONCE + 7).for_each(|_| {
            quota.take(0, PERIOD);
        });
        assert_eq!(quota.take(PERIOD, PERIOD), Verdict::Log { unsaid: 7 });
        assert_eq!(quota.take(2 * PERIOD, PERIOD), Verdict::Log { unsaid: 0 });
        assert_eq!(quota.take(2 * PERIOD, PERIOD), Verdict::Count);
        assert_eq!((quota.finish(), quota.finish()), (Some(1), None));
    }

    proptest! {
        /// Whenever they are made: each is logged or counted, and no more are logged than the time allows.
        #[test]
        fn all_are_told_and_not_too_many(
            pauses in prop::collection::vec(0u64..3 * PERIOD, 1..300),
            start in prop_oneof![Just(0u64), Just(u64::MAX - 1_000_000)],
            period in prop_oneof![Just(0u64), Just(PERIOD)],
        ) {
            let mut quota = LogRatelimit::new();
            let (mut now, mut logged, mut unsaid) = (start, 0u64, 0u64);
            for pause in &pauses {
                now += pause;
                if let Verdict::Log { unsaid: before } = quota.take(now, period) {
                    logged += 1;
                    unsaid += u64::from(before);
                }
            }
            unsaid += u64::from(quota.finish().unwrap_or(0));
            prop_assert_eq!(logged + unsaid, pauses.len() as u64);
            prop_assert!(logged <= u64::from(AT_ONCE) + (now - start) / period.max(1) + 1);
        }
    }
}

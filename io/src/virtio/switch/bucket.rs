// SPDX-License-Identifier: MIT OR Apache-2.0
//! A limit to how much a port sends: a token bucket, kept as the time at which it will be full again.
//!
//! Time is counted in the system counter, and compared in units of a byte's fraction of a second, so nothing is rounded.

use serde::{Deserialize, Serialize};

use crate::virtio::net::MAX_FRAME;

/// How much may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// In the long run.
    pub bytes_per_second: u64,
    /// At once, after a pause; [`MAX_FRAME`] at least, since a large frame that nobody has cut yet goes as one.
    pub burst: u64,
    /// Counts of the system counter in a second.
    pub frequency: u64,
}

impl Rate {
    /// Whether every frame can be sent at this rate, some time.
    pub(super) fn is_usable(self) -> bool {
        self.bytes_per_second > 0 && self.burst >= MAX_FRAME as u64 && self.frequency > 0
    }
}

/// How much of a rate has been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bucket {
    /// When nothing of the burst will be used any more, in counts.
    full_at: u64,
    /// And how much of the next count, in 1 / `bytes_per_second`.
    fraction: u64,
}

impl Bucket {
    /// One of which nothing has been used at `now`.
    pub(super) fn full(now: u64) -> Self {
        Self { full_at: now, fraction: 0 }
    }

    /// Takes `len` bytes out of it at `now`, if there are as many.
    pub(super) fn take(&mut self, rate: Rate, len: u64, now: u64) -> bool {
        let (per_second, frequency) = (u128::from(rate.bytes_per_second.max(1)), u128::from(rate.frequency));
        let at = |counts: u64| u128::from(counts) * per_second;
        let full_at = at(self.full_at).saturating_add(self.fraction.into()).max(at(now));
        let then = full_at.saturating_add(u128::from(len) * frequency);
        if then - at(now) > u128::from(rate.burst) * frequency {
            return false;
        }
        self.full_at = u64::try_from(then / per_second).unwrap_or(u64::MAX);
        self.fraction = (then % per_second) as u64;
        true
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Word from one CPU to another that something is there.
//!
//! A flag is not a call by itself. Who sets one calls the other CPU after that, by a request or by the devices' work being due,
//! both with release; who takes one has taken that call before, with acquire. So one load without order sees a flag that was set
//! for this call. One that it misses was set for a later call, which comes yet.

use core::sync::atomic::{AtomicBool, Ordering};

/// Set by whoever has put something somewhere, and taken by whoever looks there.
#[derive(Debug)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    /// Nothing is there.
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Something is there: who takes the flag sees all that was written before.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was set since it was last taken. Where it was not, which is the rule, this is one load.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Acquire)
    }

    /// What was there is there no more, and nobody need look.
    pub(crate) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much a device may do in one poll, and how much it did.
//!
//! A guest can make work faster than it can be done, and EL2 does not preempt itself: so a poll ends, and the caller
//! says when the next one comes and to whose account it goes.

/// What is left of a poll.
///
/// A request is a descriptor chain that is looked at, whatever comes of it: at most [`MAX_SIZE`](super::queue::MAX_SIZE)
/// descriptors and one more. Bytes are those copied from or to guest memory, or that a backend was told to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests.
    pub requests: u32,
    /// Bytes.
    pub bytes: u64,
}

impl Quota {
    /// Takes one request out of it. `None` when the poll is over: no requests or no bytes are left.
    #[must_use]
    pub(super) fn take_request(&mut self) -> Option<()> {
        self.bytes.checked_sub(1)?;
        self.requests = self.requests.checked_sub(1)?;
        Some(())
    }

    /// Takes `bytes` out of it, or what is left.
    pub(super) fn charge(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// What follows a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum After {
    /// Nothing is left to do until the driver notifies the device.
    Idle,
    /// Work is there, but the backend must first be ready for it: poll again when it is.
    Backend,
    /// The poll was over before the work was: give it another.
    More,
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The entropy device (virtio 1.2, 5.4): random bytes for a guest.
//!
//! The bytes come from a source that the caller gives, and from nowhere else: while it has none, the guest waits.

use serde::{Deserialize, Deserializer, Serialize};
use vambrace_memory::GuestMemory;
use vambrace_state::Restore;

use super::mmio::{Device, Virtio};
use super::quota::{After, Quota};
use super::stream;

/// Its only queue (5.4.2).
const REQUESTS: usize = 0;

/// Where random bytes come from.
pub trait Entropy {
    /// Fills `to` from the front with bytes that nobody else gets, and says how many: 0 when there are none now.
    fn fill(&mut self, to: &mut [u8]) -> usize;
}

impl<F: FnMut(&mut [u8]) -> usize> Entropy for F {
    fn fill(&mut self, to: &mut [u8]) -> usize {
        self(to)
    }
}

/// The device's state: there is none between two requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rng {}

impl Restore for Rng {
    fn restore<'de, D: Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error> {
        let Self {} = Self::deserialize(from)?;
        Ok(())
    }
}

impl Device for Rng {
    const ID: u32 = 4;
    const QUEUES: usize = 1;
    const LABEL: &'static str = "virtio entropy device";

    fn features(&self) -> u64 {
        0
    }

    fn reset(&mut self) {}

    fn queue_stopped(&mut self, _queue: usize) {}
}

impl Virtio<Rng> {
    /// An entropy device after reset.
    #[must_use]
    pub fn new() -> Self {
        Self::with_device(Rng {})
    }

    /// Fills the guest's buffers while `quota` lasts and there is entropy; a buffer gets what there is, one byte at least
    /// (5.4.6.1). [`After::Backend`] means that the source is empty.
    pub fn serve(
        &mut self,
        memory: &impl GuestMemory,
        source: &mut impl Entropy,
        quota: &mut Quota,
    ) -> After {
        stream::supply(&mut self.transport, REQUESTS, memory, quota, |to| source.fill(to))
    }
}

impl Default for Virtio<Rng> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The board's virtio source of entropy, where neither firmware nor CPU has any: asked once, for a seed.

use virtio_drivers::device::common::Feature;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport;
use virtio_drivers::transport::mmio::MmioTransport;

use super::PATIENCE;
use super::dma::{self, Dma};
use crate::arch::timeout::Timeout;
use crate::host_io::random::SEED;

/// Gets a seed from the device. It is left to itself then, with nothing to write to.
pub(super) fn seed(mut transport: MmioTransport<'static>) -> Option<[u8; SEED]> {
    transport.begin_init(Feature::VERSION_1);
    let mut queue = VirtQueue::<Dma, 4>::new(&mut transport, 0, false, false).ok()?;
    queue.set_dev_notify(false);
    transport.finish_init();
    // For good: a device that comes late still writes here.
    let memory = dma::take(SEED)?;
    // SAFETY: nobody else ever uses this memory.
    let token = unsafe { queue.add(&[], &mut [memory]) }.ok()?;
    transport.notify(0);
    if !Timeout::of_seconds(PATIENCE).waits_for(|| queue.can_pop()) {
        return None;
    }
    // SAFETY: the same memory as above.
    let len = unsafe { queue.pop_used(token, &[], &mut [memory]) }.ok()?;
    (len as usize == SEED).then(|| memory.try_into().ok()).flatten()
}

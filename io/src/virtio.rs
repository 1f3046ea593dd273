// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtio devices (virtio 1.2), each behind the registers of virtio-mmio.
//!
//! - [`queue`]: split virtqueues, the device's side.
//! - [`mmio`]: the registers, what was negotiated, the queues, the interrupt line.
//! - [`rng`], [`block`], [`console`], [`net`]: the devices; [`switch`]: what
//!   lies between network devices.
//!
//! # How a device works
//! A device is a value: [`Virtio<D>`](mmio::Virtio) holds the transport's state and the device's own. A register access
//! ([`MmioDevice`](crate::bus::MmioDevice)) changes only that value; of a notification it notes that there is work. The
//! work itself is a call of its own, [`serve`](mmio::Virtio), which gets what the value does not hold: the guest's memory and
//! the device's backend (entropy, a disk, a network). So it can follow the access at once, or come later
//! from the CPU's own loop, and it is bounded: it ends with its [`Quota`](quota::Quota), says whether there is
//! [`more`](quota::After), and what it has spent can be put to the VM's account.
//!
//! Nothing here allocates, blocks or panics. Whatever a driver does against the specification makes its own device need a
//! reset, and nothing else.

pub mod block;
pub mod console;
pub mod feature;
pub mod mmio;
#[cfg(any(test, feature = "model"))]
pub mod model;
pub mod net;
pub mod queue;
pub mod quota;
pub mod rng;
pub mod switch;

mod stream;
mod transport;

#[cfg(test)]
mod tests;

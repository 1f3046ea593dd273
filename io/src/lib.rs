// SPDX-License-Identifier: MIT OR Apache-2.0
//! I/O virtualisation: what happens when a guest touches an address with no RAM behind it.
//!
//! The trap becomes an [`MmioAccess`](bus::MmioAccess), a plain value: from the syndrome when the CPU described the
//! instruction there, else by decoding the instruction ([`decode`]). The [`Bus`](bus::Bus) says which device lies
//! at the address, the device answers, and the access says what the guest's register gets. Devices are values
//! without callbacks: after an access the caller asks them what there is to do (bytes to send, an interrupt). Virtio
//! devices ([`virtio`]) do theirs in polls, on the guest's memory.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bus;
pub mod decode;
pub mod doorbell;
pub mod pl011;
pub mod pl031;
pub mod platform;
pub mod virtio;
pub mod watchdog;

mod primecell;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the hypervisor and the command say to each other.
//!
//! [`bundle`] is what the command hands over at boot: the VMs, checked on the developer's computer, and the
//! images that go into their memory. [`message`] is what travels over the board's serial line afterwards.
//! Nothing here knows another crate of the house but the one that says which VM is meant.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bundle;
pub mod message;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPU virtualisation: what a virtual CPU is, and what its exits mean.
//!
//! Plain values and pure functions: the crate `hypervisor` moves these values into and out of the machine.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod registers;

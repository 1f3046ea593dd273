// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VM as a value: where its parts lie, what its exits do, how it lives and ends.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(feature = "device-tree")]
pub mod device_tree;
pub mod layout;

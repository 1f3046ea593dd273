// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VM as a value: where its parts lie, what its exits do, how it runs and stops.
//!
//! [`Vm`] is what a VM's CPUs share, kept in a lock by whoever runs it; [`Vcpu`] is what one CPU owns. An exit goes
//! into [`dispatch::handle`] and comes out as a [`Resume`]; in between everything is safe code on plain values,
//! and what it needs of the hardware goes through the traits of [`host`]. So the whole brain of the hypervisor runs,
//! is tested and is fuzzed on the developer's computer.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod abort;
mod call;
#[cfg(feature = "device-tree")]
pub mod device_tree;
pub mod devices;
pub mod dispatch;
pub mod fast;
mod group_register;
pub mod host;
pub mod inbox;
mod injection;
pub mod layout;
pub mod lifecycle;
mod mmio;
pub mod report;
mod set_way;
pub mod snapshot;
mod system_register;
mod translation;
pub mod vcpu;
pub mod virtio;
pub mod vm;

pub use dispatch::{Resume, handle};
pub use host::Host;
pub use lifecycle::{Lifecycle, StopReason};
pub use vcpu::Vcpu;
pub use vm::Vm;

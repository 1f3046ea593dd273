// SPDX-License-Identifier: MIT OR Apache-2.0
//! How VMs come and go, and what of them the CPUs share.

pub(crate) mod background;
pub(crate) mod exit_host;
pub(crate) mod gone;
pub(crate) mod guest_memory;
pub(crate) mod page_cycle;
pub(crate) mod pause;
pub(crate) mod registry;
pub(crate) mod shared;
pub(crate) mod stats;

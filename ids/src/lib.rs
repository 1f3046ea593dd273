// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which VM, which vCPU, which physical CPU: a type for each, so that one is not taken for another.
//!
//! The wings, the wire and the EL2 program all name them, so they stand below all of these. Nothing here knows another crate of
//! the house.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod cpu_id;
mod vm_id;

pub use cpu_id::{PcpuId, VcpuId};
pub use vm_id::VmId;

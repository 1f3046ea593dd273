// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPU virtualisation: what a virtual CPU is, and what its exits mean.
//!
//! Plain values and pure functions: the crate `hypervisor` loads these values into the hardware and saves them. An
//! exit becomes an [`exit::Exit`]; a trapped register access is decided by [`trap`], a call by [`smccc`], and
//! whatever a guest may not do comes back to it through [`exception`].
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod coprocessor;
pub mod deadlines;
pub mod exception;
pub mod exit;
pub mod id_registers;
pub mod power;
mod psci;
pub mod pstate;
pub mod registers;
pub mod reset;
pub mod scheduler;
pub mod smccc;
pub mod syndrome;
pub mod sysreg;
pub mod timer;
pub mod trap;
mod trng;
pub mod vendor;

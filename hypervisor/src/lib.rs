// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts of the EL2 program that need no EL2: how a board is read, how memory is handed out.
//!
//! They are a library so that the host tests them; the program itself is `main.rs`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod arrival;
pub mod board;
pub mod board_disk;
pub mod el1;
pub mod footprint;
pub mod invariant;
pub mod placement;
pub mod pool;
pub mod ratelimit;
pub mod regions;
pub mod requests;
pub mod room;
pub mod seed;
pub mod serial;
pub mod speculative_at;
pub mod sre;
pub mod traps;

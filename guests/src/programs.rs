// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs. Each has a binary of its name in `src/bin/`.

pub mod assigned;
pub mod bench;
pub mod channel;
pub mod conformance;
pub mod debug;
pub mod gic;
pub mod heartbeat;
pub mod hello;
pub mod hostile;
pub mod identification;
pub mod isa;
pub mod leftovers;
pub mod migrate;
pub mod pages;
pub mod reset;
pub mod result;
pub mod smp;
pub mod stage2;
pub mod storm;
pub mod terminal;
pub mod timer;
pub mod unprivileged;
pub mod virtio;
pub mod watchdog;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory virtualisation: VA -> IPA -> PA.
//!
//! - [`addr`], [`range`], [`guest`]: three address types that nothing but a translation turns into one another ([`Va`],
//!   [`Ipa`], [`Pa`]), ranges of them, and guest memory that is reached only by address and copy ([`GuestMemory`]).
//! - [`walk`], [`granule`], [`features`]: the walk down a tree of tables, which both stages share, and what of it depends
//!   on the CPU.
//! - [`stage1`]: the guest's own tables, read as the hardware reads them (VA -> IPA).
//! - [`stage2`]: our tables, planned then committed (IPA -> PA).
//! - [`translation`]: both stages together, as an access meets them, down to what `PAR_EL1` and the fault registers say.
//! - [`attributes`], [`access`], [`fault`], [`par`]: memory types and how those of the two stages combine; permissions; faults.
//! - [`vmid`]: which VMID a VM runs under, and what a CPU must forget before.
//! - `tlb`: the adversarial TLB that the tests run all of it against (feature `model`, and this crate's own tests).
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "model"))]
extern crate alloc;

pub mod access;
pub mod addr;
pub mod attributes;
pub mod fault;
pub mod features;
pub mod granule;
pub mod guest;
pub mod hcr;
pub mod par;
pub mod range;
pub mod stage1;
pub mod stage2;
#[cfg(any(test, feature = "model"))]
pub mod tlb;
pub mod translation;
pub mod vmid;
pub mod walk;

pub use addr::{Ipa, Pa, Va};
pub use guest::{GuestMemory, OutsideMemory};
pub use range::{IpaRange, PaRange};

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory virtualisation: VA -> IPA -> PA.
//!
//! - [`addr`], [`guest`]: three address types that nothing but a translation turns into one another ([`Va`], [`Ipa`],
//!   [`Pa`]), and guest memory that is reached only by address and copy ([`GuestMemory`]).
//! - [`stage1`]: the guest's own tables, read as the hardware reads them (VA -> IPA).
//! - [`stage2`]: our tables, planned then committed (IPA -> PA).
//! - [`attributes`]: memory types, and how those of the two stages combine.
//! - [`vmid`]: which VMID a VM runs under, and what a CPU must forget before.
//! - [`tlb`](crate::tlb): the adversarial TLB that the tests run all of it against.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod addr;
pub mod attributes;
pub mod guest;
pub mod stage1;
pub mod stage2;
pub mod vmid;

pub use addr::{Ipa, Pa, Va};
pub use guest::{GuestMemory, OutsideMemory};

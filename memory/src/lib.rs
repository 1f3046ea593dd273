// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory virtualisation: VA -> IPA -> PA.
//!
//! Three address types that nothing but a translation turns into one another ([`Va`], [`Ipa`], [`Pa`]), and
//! guest memory that is reached only by address and copy ([`GuestMemory`]).
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod addr;
pub mod guest;

pub use addr::{Ipa, Pa, Va};
pub use guest::{GuestMemory, OutsideMemory};

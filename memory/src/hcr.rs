// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bits of `HCR_EL2` that translation depends on.

/// VM: stage 2 is on.
pub const VM: u64 = 1 << 0;
/// PTW: a stage-1 walk that stage 2 leads to Device memory faults.
pub const PTW: u64 = 1 << 2;
/// DC: stage 1 is off and its memory is cacheable; stage 2 is on.
pub const DC: u64 = 1 << 12;
/// CD: stage 2 makes data accesses Non-cacheable.
pub const CD: u64 = 1 << 32;
/// ID: stage 2 makes instruction fetches Non-cacheable.
pub const ID: u64 = 1 << 33;
/// FWB: stage 2 can override stage 1's memory types (FEAT_S2FWB).
pub const FWB: u64 = 1 << 46;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a VM starts: kernels and firmware, how they are packed, and where they go in its RAM.

#[cfg(test)]
pub(crate) mod fakes;
pub(crate) mod gzip;
pub mod kernel;
pub mod placement;

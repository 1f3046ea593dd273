// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each physical CPU's loop, and what the CPUs say to each other.

pub(crate) mod percpu;
pub(crate) mod placements;
pub(crate) mod run;

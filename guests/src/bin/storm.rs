// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes what time it can from a neighbour, or is that neighbour; see `programs/storm.rs`.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(storm);

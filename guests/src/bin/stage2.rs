// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measures changes of a stage-2 map, at EL2; see `programs/stage2.rs`.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(stage2);

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Breakpoints; see `programs/debug.rs`.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(debug);

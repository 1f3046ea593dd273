// SPDX-License-Identifier: MIT OR Apache-2.0
//! Gives a number as its result; see `programs/result.rs`.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(result);

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Uses devices of the board that are its own; see `programs/assigned.rs`.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(assigned);

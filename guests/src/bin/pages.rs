// SPDX-License-Identifier: MIT OR Apache-2.0
//! A page that comes and goes; see `programs/pages.rs`.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(pages);

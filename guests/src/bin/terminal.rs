// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tells what is typed on its console; see `programs/terminal.rs`.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(terminal);

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks for what the VM before has left in system registers; see `programs/leftovers.rs`.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(leftovers);

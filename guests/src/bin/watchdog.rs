// SPDX-License-Identifier: MIT OR Apache-2.0
//! Feeds the watchdog, and then does not; see `programs/watchdog.rs`.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(watchdog);

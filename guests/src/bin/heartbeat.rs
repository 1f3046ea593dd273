// SPDX-License-Identifier: MIT OR Apache-2.0
//! Beats by the timer; see `programs/heartbeat.rs`. Natively: `-append "beats=10 period=100"`.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(heartbeat);

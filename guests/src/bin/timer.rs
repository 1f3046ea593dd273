// SPDX-License-Identifier: MIT OR Apache-2.0
//! The generic timers; see `programs/timer.rs`. Natively: `-append "ticks=2000 period=500"` is optional.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(timer);

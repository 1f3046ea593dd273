// SPDX-License-Identifier: MIT OR Apache-2.0
//! Does what a guest should not do; see `programs/hostile.rs`. Natively: `-append native`.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(hostile);

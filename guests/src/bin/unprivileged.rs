// SPDX-License-Identifier: MIT OR Apache-2.0
//! One exception over and over, at EL0 and at EL1; see `programs/unprivileged.rs`. Natively: no parameters.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(unprivileged);

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interrupt controller; see `programs/gic.rs`. Natively: no parameters.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(gic);

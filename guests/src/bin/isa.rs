// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every kind of load and store on devices; see `programs/isa.rs`. Natively: no parameters.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(isa);

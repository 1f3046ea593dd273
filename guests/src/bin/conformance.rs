// SPDX-License-Identifier: MIT OR Apache-2.0
//! Holds the model of translation against the CPU, at EL2; see `programs/conformance.rs`.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(conformance);

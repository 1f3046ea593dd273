// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the machine says that it is; see `programs/identification.rs`. Natively: no parameters.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(identification);

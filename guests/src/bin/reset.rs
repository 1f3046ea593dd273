// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that a reset makes the machine new; see `programs/reset.rs`. Natively: `-append native`, and press a key.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(reset);

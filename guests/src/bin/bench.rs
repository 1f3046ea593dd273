// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an exit costs; see `programs/bench.rs`. Natively: `-append "native rounds=200"` is optional.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(bench);

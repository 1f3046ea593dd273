// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUs that move; see `programs/migrate.rs`.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(migrate);

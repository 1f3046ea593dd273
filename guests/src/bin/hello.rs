// SPDX-License-Identifier: MIT OR Apache-2.0
//! Says hello; see `programs/hello.rs`. Natively: `-append "name=NAME"` is optional.
#![cfg_attr(target_os = "none", no_std, no_main)]

vambrace_guests::program!(hello);

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command `vambrace`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    vambrace::commands::main().into()
}

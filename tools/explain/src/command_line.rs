// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command's line as far as it is about explaining, for tests.

use clap::{Parser, Subcommand};

use crate::arguments::Explain;

#[derive(Clone, Debug, Parser)]
#[command(name = "vambrace")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    Explain(Explain),
}

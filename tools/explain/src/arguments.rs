// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line of `vambrace explain`: a topic with words of its own, or a register and its value.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::attrs::AttrsArguments;
use super::walk::WalkArguments;

const EXAMPLES: &str = "\
Examples:
  vambrace explain esr 0x93c08006
  vambrace explain vtcr 0x8002_3558
  vambrace explain tcr_el1 --json 0b1_0000
  vambrace explain map manifests/two-linux.toml
  vambrace explain map manifests/two-linux.toml --svg map.svg

Registers:
  ESR, FAR, HPFAR, PAR, HCR, VTCR, VTTBR, TCR_EL1, TCR_EL2, TTBR0_EL1, SCTLR_EL1, SCTLR_EL2, MAIR, SPSR, MPIDR,
  CPTR, MDCR, CNTHCTL, ID_AA64MMFR0..2, ID_AA64PFR0, CTR, ICH_LR, ICH_HCR, ICH_VMCR, ICH_VTR.
  `vambrace explain registers` says what each is for.";

/// `vambrace explain`.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct Explain {
    /// A topic; without it, a register is meant.
    #[command(subcommand)]
    pub topic: Option<Topic>,
    /// A system register, with or without _EL1 or _EL2, in any case
    pub register: Option<String>,
    /// Its value: 0x hexadecimal, 0b binary or decimal, perhaps with underscores
    #[arg(allow_hyphen_values = true)]
    pub value: Option<String>,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// What can be explained besides a register's value.
#[derive(Clone, Debug, Subcommand)]
pub enum Topic {
    /// Tell what the memory types of both stages give together
    Attrs(AttrsArguments),
    /// Draw the VMs' address spaces, and where they lie in the board's memory
    Map(MapArguments),
    /// Follow a virtual address through the tables of both stages
    Walk(Box<WalkArguments>),
    /// List the registers that can be explained
    Registers,
}

/// `vambrace explain map`.
#[derive(Clone, Debug, Args)]
pub struct MapArguments {
    /// The manifest
    pub manifest: PathBuf,
    /// Write the picture to this file, as SVG
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long, conflicts_with = "svg")]
    pub json: bool,
}

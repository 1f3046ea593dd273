// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vambrace explain walk`: a translation through both stages, step by step, out of a memory dump.
//!
//! There is no walker here. The model translates and tells its steps to a `trace`; the `report` puts them in
//! words, once, and text, JSON and picture are made from the report. What to change against a fault is found by
//! asking the model again with bits flipped (`fix_hint`).

mod example;
mod fault;
mod fields;
mod fix_hint;
mod image;
mod picture;
mod registers;
pub mod report;
mod text;
mod trace;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use vambrace_memory::Va;
use vambrace_memory::access;

pub use example::Example;
pub use image::Image;
pub use registers::RegisterArguments;
use report::{Question, Report};

use super::{Output, ValueError, parse_value};

const EXAMPLES: &str = "\
A register's value is 0x hexadecimal, 0b binary or decimal. A JSON file of registers is one object:
  {\"cpu\": \"cortex-a72\", \"ttbr0\": \"0x4000_0000\", \"tcr\": \"0x5_0080_0010\", \"mair\": 255, \"pan\": false}

Examples:
  vambrace explain walk --example mapped
  vambrace explain walk --example fault-ptw --svg walk.svg
  vambrace explain walk 0xffff_8000_0801_0000 --image ram.bin --registers regs.json --access write
  vambrace explain walk 0x1000 --image a.bin@0x4000_0000 --image b.bin@0x8000_0000 --vttbr 0x4000_0000 --vtcr 0x80023558";

/// `vambrace explain walk`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct WalkArguments {
    /// The virtual address
    #[arg(required_unless_present = "example")]
    pub va: Option<String>,
    /// A raw dump of physical memory that holds the tables, perhaps with its address; may be repeated
    #[arg(long, value_name = "FILE[@PA]", required_unless_present = "example")]
    pub image: Vec<String>,
    /// The physical address of dumps without one
    #[arg(long, value_name = "PA", default_value = "0x4000_0000")]
    pub base: String,
    /// Read registers from a JSON file; flags override it
    #[arg(long, value_name = "FILE")]
    pub registers: Option<PathBuf>,
    /// What the access does
    #[arg(long, value_enum, default_value = "read")]
    pub access: AccessArgument,
    /// The exception level that makes it: 0 or 1
    #[arg(long, value_name = "LEVEL", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub el: u8,
    /// Explain a translation that is made up
    #[arg(long, value_enum, conflicts_with_all = ["va", "image", "registers"])]
    pub example: Option<Example>,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
    /// Draw the walk in this file, as SVG
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub svg: Option<PathBuf>,
    /// The registers.
    #[command(flatten)]
    pub flags: RegisterArguments,
}

/// What an access does, on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccessArgument {
    /// Data is read.
    Read,
    /// Data is written.
    Write,
    /// Instructions are fetched.
    Execute,
}

impl From<AccessArgument> for access::Access {
    fn from(access: AccessArgument) -> Self {
        match access {
            AccessArgument::Read => Self::Read,
            AccessArgument::Write => Self::Write,
            AccessArgument::Execute => Self::Execute,
        }
    }
}

/// Why a walk cannot be explained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// A number that is none.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// No address given.
    #[error("{name} is needed\ngive it with {flag}")]
    Needed {
        /// What is missing.
        name: &'static str,
        /// How to give it.
        flag: &'static str,
    },
    /// A file that cannot be read.
    #[error("cannot read {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A file that is no JSON of registers.
    #[error("{path}, line {line}: {reason}")]
    Json {
        /// The file.
        path: String,
        /// The line.
        line: usize,
        /// Why.
        reason: String,
    },
    /// A dump at an address that no descriptor can have.
    #[error("a dump cannot begin at {base:#x}\ndescriptors have addresses that are multiples of 8")]
    Base {
        /// The address.
        base: u64,
    },
    /// Two dumps of the same memory.
    #[error("{path} overlaps the dump of {range}\ngive each its own address: FILE@PA")]
    Overlap {
        /// The second file.
        path: String,
        /// What the first covers.
        range: String,
    },
    /// A name that is not known.
    #[error("{0}")]
    Unknown(String),
    /// The dump is too short.
    #[error(
        "the walk needs the descriptor at PA {address:#x}, {what}, and the image covers {coverage}\n\
         add the missing part with --image FILE@PA; if there is no memory at that address, the access takes a \
         synchronous external abort"
    )]
    Missing {
        /// The address.
        address: u64,
        /// Whose it is.
        what: String,
        /// What there is.
        coverage: String,
    },
}

/// Answers the question.
///
/// # Errors
/// What is wrong with it: see [`WalkError`].
pub fn answer(question: &WalkArguments) -> Result<Output, WalkError> {
    let report = explain(question)?;
    Ok(match &question.svg {
        Some(path) => Output::File(path.clone(), picture::draw(&report)),
        None if question.json => Output::Print(super::json(&report)),
        None => Output::Print(text::render(&report)),
    })
}

fn explain(arguments: &WalkArguments) -> Result<Report, WalkError> {
    if let Some(example) = arguments.example {
        return Ok(example.explain());
    }
    let va = arguments.va.as_deref().ok_or(WalkError::Needed { name: "an address", flag: "VA" })?;
    let el = if arguments.el == 0 { access::El::El0 } else { access::El::El1 };
    let question = Question { va: Va(parse_value(va)?), access: arguments.access.into(), el };
    let flags = arguments.flags.clone();
    let flags = match &arguments.registers {
        Some(path) => flags.with_file(path)?,
        None => flags,
    };
    let (registers, notes) = flags.resolve()?;
    let image = Image::open(&arguments.image, parse_value(&arguments.base)?)?;
    let report = Report::new(&image, &registers, question, &notes);
    match image.missing() {
        Some(address) => {
            Err(WalkError::Missing { address: address.0, what: report.reached(), coverage: image.coverage() })
        }
        None => Ok(report),
    }
}

#[cfg(test)]
mod tests;

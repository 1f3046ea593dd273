// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vambrace explain attrs`: what the memory types of the two stages give together.
//!
//! The answer and the rule that decided are the model's own ([`combine`]); here are only names and looks. [`matrix`]
//! asks it for every pair.

pub mod matrix;
pub mod names;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;
use vambrace_memory::attributes::{CacheControl, MemoryType, Shareability, Stage2Encoding, combine};

use super::Output;
use matrix::Matrix;
pub use names::AttrsError;

const EXAMPLES: &str = "\
Memory types:
  device-nGnRnE, device-nGnRE, device-nGRE, device-GRE, normal-nc, normal-wt, normal-wb, and with inner and outer
  caches apart normal-iwb-onc and the like; for stage 1 also a byte of MAIR_EL1 (0xff), for stage 2 also MemAttr
  (0b1111). With --fwb stage 2 has device-*, normal-nc, forced-wb and stage1.
  Shareability may follow: normal-wb,ish (nsh, ish, osh); without it, Inner Shareable is taken.

Examples:
  vambrace explain attrs device-nGnRE normal-wb
  vambrace explain attrs normal-nc,osh forced-wb --fwb
  vambrace explain attrs --matrix --svg attributes.svg";

/// `vambrace explain attrs`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AttrsArguments {
    /// The memory type that stage 1 asks for
    #[arg(required_unless_present = "matrix")]
    pub stage1: Option<String>,
    /// The memory type that stage 2 asks for
    #[arg(required_unless_present = "matrix")]
    pub stage2: Option<String>,
    /// Print all combinations
    #[arg(long, conflicts_with_all = ["stage1", "stage2"])]
    pub matrix: bool,
    /// As with HCR_EL2.FWB = 1, where stage 2 can override stage 1
    #[arg(long)]
    pub fwb: bool,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
    /// Draw the matrix in this file, as SVG
    #[arg(long, value_name = "FILE", requires = "matrix", conflicts_with = "json")]
    pub svg: Option<PathBuf>,
}

impl AttrsArguments {
    fn encoding(&self) -> Stage2Encoding {
        if self.fwb { Stage2Encoding::Forcing } else { Stage2Encoding::Combining }
    }
}

/// Answers the question.
///
/// # Errors
/// [`AttrsError`] if a name is unknown.
pub fn answer(question: &AttrsArguments) -> Result<Output, AttrsError> {
    let encoding = question.encoding();
    if let (Some(stage1), Some(stage2)) = (&question.stage1, &question.stage2) {
        let together = Together::new(stage1, stage2, encoding)?;
        return Ok(Output::Print(if question.json { super::json(&together) } else { together.text() }));
    }
    let matrix = Matrix::new(encoding);
    Ok(match &question.svg {
        Some(path) => Output::File(path.clone(), matrix.svg()),
        None if question.json => Output::Print(super::json(&matrix)),
        None => Output::Print(matrix.text()),
    })
}

/// What two memory types give together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Together {
    /// Whether `HCR_EL2.FWB` is set.
    pub fwb: bool,
    /// What stage 1 asks for.
    pub stage1: Side,
    /// What stage 2 asks for.
    pub stage2: Side,
    /// What the access is like.
    pub result: Side,
    /// Why it has that memory type.
    pub memory_rule: String,
    /// Why it has that shareability.
    pub shareability_rule: String,
}

/// A memory type and shareability, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The memory type.
    pub memory: String,
    /// The shareability.
    pub shareability: String,
}

impl Side {
    fn new(memory: impl ToString, shareability: Shareability) -> Self {
        Self { memory: memory.to_string(), shareability: shareability.to_string() }
    }
}

impl Together {
    /// Combines two types as they were written.
    ///
    /// # Errors
    /// [`AttrsError`] if a name is unknown.
    pub fn new(stage1: &str, stage2: &str, encoding: Stage2Encoding) -> Result<Self, AttrsError> {
        let stage1 = names::stage1(stage1)?;
        let stage2 = names::stage2(stage2, encoding)?;
        let result = combine(stage1, stage2, CacheControl::AsMapped);
        Ok(Self {
            fwb: encoding == Stage2Encoding::Forcing,
            stage1: Side::new(stage1.0, stage1.1),
            stage2: Side::new(stage2.0, stage2.1),
            result: Side::new(result.memory, result.shareability),
            memory_rule: result.memory_rule.to_string(),
            shareability_rule: result.shareability_rule.to_string(),
        })
    }

    /// For a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let bold = Style::new().bold();
        let good = AnsiColor::Green.on_default().bold();
        let dim = Style::new().dimmed();
        let sides = [&self.stage1, &self.stage2, &self.result];
        let width = sides.iter().map(|side| side.memory.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, side, style) in
            [("stage 1", sides[0], bold), ("stage 2", sides[1], bold), ("together", sides[2], good)]
        {
            let Side { memory, shareability } = side;
            let _ = writeln!(text, "{dim}{name:<9}{dim:#} {style}{memory:width$}  {shareability}{style:#}");
        }
        let _ = writeln!(text, "\n{dim}type:{dim:#} {}", self.memory_rule);
        let _ = writeln!(text, "{dim}shareability:{dim:#} {}", self.shareability_rule);
        text
    }
}

/// How a memory type is coloured, on a terminal and in pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tint {
    Device,
    NonCacheable,
    WriteThrough,
    WriteBack,
    Mixed,
}

impl Tint {
    pub(crate) fn of(memory: MemoryType) -> Self {
        use vambrace_memory::attributes::Cacheability as Cache;
        match memory {
            MemoryType::Device(_) => Self::Device,
            MemoryType::Normal { inner: Cache::NonCacheable, outer: Cache::NonCacheable } => {
                Self::NonCacheable
            }
            MemoryType::Normal { inner: Cache::WriteThrough, outer: Cache::WriteThrough } => {
                Self::WriteThrough
            }
            MemoryType::Normal { inner: Cache::WriteBack, outer: Cache::WriteBack } => Self::WriteBack,
            MemoryType::Normal { .. } => Self::Mixed,
        }
    }

    pub(crate) fn style(self) -> Style {
        match self {
            Self::Device => AnsiColor::Red,
            Self::NonCacheable => AnsiColor::Yellow,
            Self::WriteThrough => AnsiColor::Cyan,
            Self::WriteBack => AnsiColor::Green,
            Self::Mixed => AnsiColor::Blue,
        }
        .on_default()
    }
}

#[cfg(test)]
mod tests;

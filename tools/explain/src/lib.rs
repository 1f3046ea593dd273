// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vambrace explain`: what the architecture's numbers mean, for people.
//!
//! Each topic is a module that turns its question into a plain value first, which tests look at and `--json`
//! prints; text and pictures are made from that value. [`vambrace_svg`] is what the pictures share. Text carries the
//! escape sequences of colours; who prints it to something other than a terminal drops them.

#![forbid(unsafe_code)]

pub mod arguments;
pub mod attrs;
pub mod map;
pub mod register;
pub mod registers;
mod value;
pub mod walk;

use std::path::PathBuf;

use arguments::{Explain, Topic};
use map::Map;
use register::Explanation;
use vambrace_manifest::diagnostic::Diagnostics;
use vambrace_manifest::words::json;
use vambrace_manifest::{self as manifest, BoardOptions};

pub use value::{ValueError, parse_value};

/// Why there is nothing to explain. All are the user's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// No register has this name.
    #[error("there is no register `{name}` here\n{mend}")]
    UnknownRegister {
        /// As written.
        name: String,
        /// What to write instead.
        mend: String,
    },
    /// The exception level is missing, and matters.
    #[error("`{name}` is not enough: {candidates} have different layouts\nsay which of them")]
    WhichLevel {
        /// As written.
        name: String,
        /// Those that it may be.
        candidates: String,
    },
    /// A register without a value.
    #[error("{name} needs its value\nwrite for example: vambrace explain {name} 0x80000038")]
    NoValue {
        /// The register, as written.
        name: String,
    },
    /// A memory type that there is not.
    #[error(transparent)]
    Attributes(#[from] attrs::AttrsError),
    /// A walk that cannot be explained.
    #[error(transparent)]
    Walk(#[from] walk::WalkError),
    /// The manifest, whose map was asked for, is wrong.
    #[error("the manifest has mistakes")]
    Manifest(#[from] Diagnostics),
    /// The value is none.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// What to do with the outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Print it; it may have colours.
    Print(String),
    /// Write it to a file.
    File(PathBuf, String),
}

/// Answers the question; `warn` is told what is odd about a manifest.
///
/// # Errors
/// What is wrong with the question: see [`ExplainError`].
pub fn explain(question: &Explain, warn: impl Fn(&Diagnostics)) -> Result<Output, ExplainError> {
    match (&question.topic, &question.register) {
        (Some(Topic::Registers), _) | (None, None) => Ok(Output::Print(register::listing())),
        (Some(Topic::Walk(question)), _) => Ok(walk::answer(question)?),
        (Some(Topic::Attrs(question)), _) => Ok(attrs::answer(question)?),
        (Some(Topic::Map(map)), _) => {
            let (manifest, warnings) = manifest::read(&map.manifest, &BoardOptions::default())?;
            warn(&warnings);
            let picture = Map::new(&manifest);
            Ok(match &map.svg {
                Some(path) => Output::File(path.clone(), picture.svg()),
                None if map.json => Output::Print(json(&picture)),
                None => Output::Print(picture.text()),
            })
        }
        (None, Some(name)) => {
            let explanation = explain_register(name, question.value.as_deref())?;
            Ok(Output::Print(if question.json { json(&explanation) } else { explanation.text() }))
        }
    }
}

fn explain_register(name: &str, value: Option<&str>) -> Result<Explanation, ExplainError> {
    let found = register::find(name)?;
    let value = value.ok_or_else(|| ExplainError::NoValue { name: name.to_owned() })?;
    Ok(Explanation::new(&found, parse_value(value)?))
}

#[cfg(test)]
mod command_line;
#[cfg(test)]
mod tests;

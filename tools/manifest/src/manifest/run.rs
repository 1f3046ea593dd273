// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the VMs are run, and what is expected of them: the section `[run]`, and keys of `[[vm]]`.

use std::path::PathBuf;
use std::time::Duration;

use regex::bytes::Regex;
use toml::Spanned;

use super::cross_check::no_such_vm;
use super::file;
use super::resolve::PartialVm;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};

/// How the VMs are run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// The VM that gets what is typed or comes by a pipe.
    pub input: Option<u16>,
    /// The folder for the logs.
    pub log_dir: Option<PathBuf>,
    /// When to give up.
    pub timeout: Option<Duration>,
}

/// What is expected of one VM.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Each of these must come in a line of its console.
    pub texts: Vec<Regex>,
    /// None of these may.
    pub never: Vec<Regex>,
    /// The number that it gives as its result. Without it, it need not give one, and then gives 0.
    pub result: Option<u32>,
}

impl Expected {
    /// Whether anything would do.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.texts.is_empty() && self.never.is_empty() && self.result.is_none()
    }

    /// Whether the VM has something to do before it may be stopped.
    #[must_use]
    pub fn has_aim(&self) -> bool {
        !self.texts.is_empty() || self.result.is_some()
    }
}

/// What `[run]` means.
pub(super) fn run(run: file::Run, vms: &[PartialVm], diagnostics: &mut Diagnostics) -> Run {
    let input = run.input.and_then(|name| {
        let index = vms.iter().position(|vm| vm.called() == name.get_ref());
        if index.is_none() {
            diagnostics.push(no_such_vm(&name, vms.iter().map(PartialVm::called)));
        }
        u16::try_from(index?).ok()
    });
    let timeout = run.timeout.map(|seconds| Duration::from_secs(u64::from(seconds.into_inner())));
    Run { input, log_dir: run.log_dir.map(|path| path.into_inner().into()), timeout }
}

/// What is expected of a VM.
pub(super) fn expected(
    texts: Option<file::Patterns>,
    never: Option<file::Patterns>,
    result: Option<Spanned<u32>>,
    diagnostics: &mut Diagnostics,
) -> Expected {
    let mut regexes = |list: Option<file::Patterns>| {
        let list = list.map(Spanned::into_inner).unwrap_or_default();
        list.iter().filter_map(|text| regex(text, diagnostics)).collect()
    };
    Expected { texts: regexes(texts), never: regexes(never), result: result.map(Spanned::into_inner) }
}

fn regex(text: &Spanned<String>, diagnostics: &mut Diagnostics) -> Option<Regex> {
    match pattern(text.get_ref()) {
        Ok(regex) => Some(regex),
        Err(why) => {
            let title = format!("{:?} is no regular expression", text.get_ref());
            diagnostics.push(
                Diagnostic::new(Code::BadPattern, title).label(text.span(), why).help(
                    "write \\\\ before a sign that is to stand for itself, as in \"done \\\\(ok\\\\)\"",
                ),
            );
            None
        }
    }
}

/// A regular expression for a line of a console, or what is wrong with it.
///
/// # Errors
/// When it is none, in words for the user.
pub fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        last.strip_prefix("error: ").unwrap_or(last).to_owned()
    })
}

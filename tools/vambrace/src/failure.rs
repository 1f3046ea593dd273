// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why the command did not do what was asked, in words and as an exit code.

use std::error::Error;
use std::path::PathBuf;

use crate::console::ShowError;
use vambrace_bench::BenchError;
use vambrace_bench::compare::CompareError;
use vambrace_explain::ExplainError;
use vambrace_manifest::diagnostic::{Diagnostics, Style, nearest};
use vambrace_runner::{Exit, RunError, SECOND_UART_SINCE, StartError};
use vambrace_setup::SetupError;
use vambrace_setup::image::ImageError;

/// A failure of the command.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A manifest does not become running VMs.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is nothing to explain.
    #[error(transparent)]
    Explain(ExplainError),
    /// QEMU knows no such processor.
    #[error("QEMU has no processor {name:?}\n{}", suggest(name, known))]
    Processor {
        /// As written.
        name: String,
        /// Those it knows.
        known: Vec<String>,
    },
    /// QEMU's board has no second UART, which a VM is to have.
    #[error("the board of QEMU {}.{} has no second UART for VM {vm:?}\ninstall QEMU {}.{} or newer, or take it out of `assign`",
        version.0, version.1, SECOND_UART_SINCE.0, SECOND_UART_SINCE.1)]
    NoSecondUart {
        /// The VM.
        vm: String,
        /// QEMU's version.
        version: (u32, u32),
    },
    /// An option names a VM that the manifest does not have.
    #[error("{option}: there is no VM {name:?}\n{}", suggest_vm(name, known))]
    NoSuchVm {
        /// The option.
        option: &'static str,
        /// As written.
        name: String,
        /// Those of the manifest.
        known: Vec<String>,
    },
    /// There are no figures.
    #[error(transparent)]
    Bench(BenchError),
    /// There is no other build to compare with.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// A file could not be written.
    #[error("cannot write {path}: {error}\nname another file", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The terminal or the standard output is of no use.
    #[error("cannot use the terminal: {0}\nrun it with </dev/null for plain lines")]
    Terminal(#[source] std::io::Error),
}

/// What to write instead of an unknown processor.
fn suggest(name: &str, known: &[String]) -> String {
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("it knows: {}", known.join(", ")),
    }
}

/// What to write instead of an unknown VM.
fn suggest_vm(name: &str, known: &[String]) -> String {
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("the manifest has: {}", known.join(", ")),
    }
}

impl From<ExplainError> for Failure {
    fn from(error: ExplainError) -> Self {
        match error {
            ExplainError::Manifest(diagnostics) => diagnostics.into(),
            other => Self::Explain(other),
        }
    }
}

impl From<ShowError> for Failure {
    fn from(error: ShowError) -> Self {
        match error {
            ShowError::Terminal(error) => Self::Terminal(error),
            ShowError::Log { path, error } => Self::Write { path, error },
        }
    }
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Start(error) => Self::Start(error),
            other => Self::Bench(other),
        }
    }
}

impl From<Diagnostics> for Failure {
    fn from(error: Diagnostics) -> Self {
        Self::Start(error.into())
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        Self::Start(error.into())
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        Self::Start(error.into())
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self::Start(error.into())
    }
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Start(error) => error.exit(),
            Self::Explain(_)
            | Self::Compare(_)
            | Self::Write { .. }
            | Self::Processor { .. }
            | Self::NoSecondUart { .. }
            | Self::NoSuchVm { .. } => Exit::Usage,
            Self::Bench(_) => Exit::Hypervisor,
            Self::Terminal(_) => Exit::Setup,
        }
    }

    /// The words, with the causes.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        if let Self::Start(StartError::Manifest(diagnostics)) = self {
            return diagnostics.render(style);
        }
        let mut text = format!("vambrace: {self}\n");
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(&format!("  {error}\n"));
            cause = error.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use vambrace_explain::{Output, explain};

    use super::*;
    use crate::args::{Arguments, Command};

    fn ask(line: &str) -> Result<Output, Failure> {
        match Arguments::try_parse_from(line.split(' ')).unwrap().command {
            Some(Command::Explain(question)) => Ok(explain(&question, |_| {})?),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn mistakes_are_the_users() {
        for (line, words) in [
            ("vambrace explain esr", "esr needs its value"),
            ("vambrace explain esr 0x9g", "`g` (character 4) is no hexadecimal digit"),
            ("vambrace explain esr -1", "`-1` is no value"),
            ("vambrace explain tcr 1", "say which of them"),
            ("vambrace explain ers 1", "did you mean ESR"),
            ("vambrace explain map no-such.toml", "no-such.toml"),
            ("vambrace explain walk 0 --image no-such-file", "cannot read no-such-file: "),
        ] {
            let failure = ask(line).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{line}");
            let text = failure.render(vambrace_manifest::diagnostic::Style::Plain);
            assert!(text.contains(words), "{line}: {text}");
        }
    }
}

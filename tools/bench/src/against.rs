// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same operations under other hypervisors, in the same run: `--against`.
//!
//! The guest is the same image and counts around the same instructions, on the same board in QEMU; only what boots there
//! before it is another. What one of them cannot do, or did not come to, has a reason in place of a figure. A reading that
//! cannot be true, such as one of nothing at all, is no figure either.

mod kvm;
mod table;
#[cfg(test)]
mod tests;
mod xen;

use std::collections::BTreeMap;
use std::path::Path;

use clap::ValueEnum;
use serde::Serialize;

use super::operation::OPERATIONS;
use super::suite::{Readings, Suite, Testbed, read};
use super::{Figures, Report, Row};
use crate::BenchError;
use vambrace_runner::{self as runner, Board, Boot, Config, Running};

/// More than any operation takes, in instructions.
const IMPOSSIBLE: u64 = 10_000_000_000;

/// RAM of the VM, in bytes, as in Vambrace's.
const MEMORY: u64 = 64 << 20;

/// The suites that are run.
const SUITES: [Suite; 3] = [Suite::One, Suite::Pair, Suite::Shared];

/// A hypervisor to measure against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Rival {
    /// Xen, the guest a domU without a dom0.
    Xen,
    /// Linux's KVM.
    Kvm,
}

impl Rival {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Xen, Self::Kvm];

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Xen => "Xen",
            Self::Kvm => "KVM",
        }
    }
}

/// What was measured under another hypervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Against {
    /// Which.
    pub name: Rival,
    /// Its version and how it was set up.
    pub what: String,
    /// What each operation took, by the operation's name.
    pub figures: BTreeMap<String, Figures>,
    /// Why there is no figure of an operation, by its name.
    pub missing: BTreeMap<String, String>,
}

/// A hypervisor that is at hand.
trait Opponent {
    /// See [`Against::what`].
    fn what(&self) -> String;

    /// The board that a suite needs, and what it boots. Further files may be written to `folder`.
    fn boot(&self, suite: Suite, folder: &Path) -> Result<(Board, Boot), BenchError>;

    /// Why an operation cannot be measured there, if so.
    fn lacks(&self, operation: &str) -> Option<&'static str>;
}

/// What a suite came to.
struct Run {
    readings: Readings,
    /// Why it has no more readings, unless it came to its end.
    trouble: Option<String>,
}

/// Measures under the hypervisors that the options name; `native` are the figures without one.
pub(super) fn measure(machine: &Testbed<'_>, native: &Readings) -> Result<Vec<Against>, BenchError> {
    let mut rivals = machine.options.against.clone();
    rivals.sort_unstable();
    rivals.dedup();
    rivals.into_iter().map(|rival| measure_one(machine, rival, native)).collect()
}

fn measure_one(machine: &Testbed<'_>, rival: Rival, native: &Readings) -> Result<Against, BenchError> {
    let opponent: Box<dyn Opponent + '_> = match rival {
        Rival::Xen => Box::new(xen::Xen::prepare(machine)?),
        Rival::Kvm => Box::new(kvm::Kvm::prepare(machine)?),
    };
    let mut runs = Vec::new();
    for suite in SUITES {
        let what = format!("measuring under {}: {}", rival.name(), suite.name());
        let _step = machine.setup.progress.step(&what);
        runs.push((suite, run(machine, &*opponent, suite)?));
    }
    Ok(Against::new(rival, &*opponent, &runs, native))
}

/// Runs a suite until the guest has said its last word.
fn run(machine: &Testbed<'_>, opponent: &dyn Opponent, suite: Suite) -> Result<Run, BenchError> {
    let folder = runner::folder()?;
    let (board, boot) = opponent.boot(suite, folder.path())?;
    let timeout = Some(super::suite::PATIENCE);
    let config = Config { qemu: machine.qemu.clone(), board, boot, vms: Vec::new(), timeout };
    let mut running = Running::start(&config)?;
    let waited = running
        .wait_for_outcome("bench: done", super::suite::PATIENCE, |outcome| end(&outcome.raw).is_some());
    // Neither of them powers the board off.
    let outcome = running.stop();
    let said = String::from_utf8_lossy(&outcome.raw);
    let trouble = match (end(&outcome.raw), waited) {
        (Some("done"), _) => None,
        (Some(word), _) => Some(format!("the guest says that it {word}")),
        (None, waited) => Some(trouble(&said, &outcome.qemu, waited.err().map(|error| error.to_string()))),
    };
    Ok(Run { readings: read(&said), trouble })
}

/// How the guest says that it ended, once it has.
fn end(said: &[u8]) -> Option<&'static str> {
    let said = String::from_utf8_lossy(said);
    let whole = said.rsplit_once('\n')?.0;
    whole.lines().find_map(|line| match line.trim_end().rsplit_once("bench: ")?.1 {
        "done" => Some("done"),
        "failed" => Some("failed"),
        _ => None,
    })
}

/// What went wrong, with the last that was said.
fn trouble(said: &str, qemu: &[String], waited: Option<String>) -> String {
    let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let words = [waited.as_deref(), last, qemu.last().map(String::as_str)];
    words.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// The suite that an operation belongs to, among those that are run.
fn suite_of(operation: &str) -> Suite {
    match operation {
        "ipi-round-trip" | "ipi-to-sleeping" => Suite::Pair,
        name if name.starts_with("switch") => Suite::Shared,
        _ => Suite::One,
    }
}

impl Against {
    fn new(rival: Rival, opponent: &dyn Opponent, runs: &[(Suite, Run)], native: &Readings) -> Self {
        let mut against =
            Self { name: rival, what: opponent.what(), figures: BTreeMap::new(), missing: BTreeMap::new() };
        for operation in OPERATIONS {
            let run = runs.iter().find(|(suite, _)| *suite == suite_of(operation.name)).map(|(_, run)| run);
            let native = native.get(operation.name).copied();
            let found = match opponent.lacks(operation.name) {
                Some(reason) => Err(reason.to_owned()),
                None => figures(operation.name, run, native),
            };
            match found {
                Ok(figures) => {
                    against.figures.insert(operation.name.to_owned(), figures);
                }
                Err(reason) => {
                    against.missing.insert(operation.name.to_owned(), reason);
                }
            }
        }
        against
    }
}

/// What a run says of an operation, or why it says nothing that can be true.
fn figures(operation: &str, run: Option<&Run>, native: Option<Figures>) -> Result<Figures, String> {
    let Some(run) = run else { return Err("it was not run".to_owned()) };
    let Some(figures) = run.readings.get(operation).copied() else {
        return Err(run.trouble.clone().unwrap_or_else(|| "the guest did not measure it".to_owned()));
    };
    // Nothing is done in no time, nor in less than without a hypervisor in the way.
    let least = native.map_or(1, |native| native.min.max(1));
    if figures.min < least {
        return Err(format!("a reading of {} instructions cannot be true", figures.min));
    }
    if figures.max > IMPOSSIBLE {
        return Err(format!("a reading of {} instructions cannot be true", figures.max));
    }
    Ok(figures)
}

/// An operation for which another hypervisor needs fewer instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead<'a> {
    /// The operation, with Vambrace's figures.
    pub row: &'a Row,
    /// The other one.
    pub rival: Rival,
    /// The other one's median.
    pub median: u64,
}

impl Report {
    /// Where others are ahead of Vambrace, by the medians.
    pub fn leads(&self) -> impl Iterator<Item = Lead<'_>> {
        self.against.iter().flat_map(|against| {
            self.operations.iter().filter_map(|row| {
                let median = against.figures.get(&row.name)?.median;
                (median < row.vambrace.median).then_some(Lead { row, rival: against.name, median })
            })
        })
    }
}

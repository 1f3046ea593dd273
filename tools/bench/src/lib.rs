// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vambrace bench`: what a VM's operations cost, in instructions, with and without Vambrace.
//!
//! The guest `bench` does each operation many times and says what it took; here it is run, on a board for each suite of
//! operations, and natively at EL1 (QEMU without its EL2) where that makes sense. QEMU counts instructions (`-icount`),
//! so the same build gives the same figures on every computer. [`operation`] knows what is measured and how much it
//! may cost, [`suite`] runs it, and [`Report`] is the outcome as a value: text, JSON and picture are made from it.

#![forbid(unsafe_code)]

pub mod against;
pub mod compare;
mod drawing;
pub mod footprint;
mod lifecycle;
pub mod operation;
mod others;
pub mod profile;
pub mod record;
pub mod scale;
pub mod storms;
pub mod suite;
pub mod systems;
mod text;
pub mod traffic;

use std::num::NonZeroU64;

use serde::Serialize;

use against::{Against, Rival};
use footprint::Footprint;
use operation::OPERATIONS;
use profile::InstructionProfile;
use suite::{GuestLevel, Readings, Suite, Testbed};
use systems::System;
use traffic::Traffic;
use vambrace_manifest::diagnostic::Diagnostics;
use vambrace_manifest::plan::PlanError;
use vambrace_manifest::words::json;
use vambrace_runner::{RunError, RunOutcome, StartError};
use vambrace_setup::image::Sections;
use vambrace_setup::{Bare, Setup, SetupError};

/// The processor that the targets are for.
pub const PROCESSOR: &str = "cortex-a72";

/// The version of the JSON form; it changes when a key changes its meaning or goes away.
const FORMAT: u32 = 2;

/// The most that the image may take up in a file, in bytes.
const IMAGE_TARGET: u64 = 256 << 10;

/// What to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// QEMU's name for the processor.
    pub cpu: String,
    /// How often each operation is done.
    pub rounds: u32,
    /// Whether whole systems are measured too.
    pub systems: Systems,
    /// Under which other hypervisors too.
    pub against: Vec<Rival>,
    /// How many pieces of physical memory the RAM of each VM that is measured is made of, a power of two; one if it is not said.
    pub ram_pieces: Option<NonZeroU64>,
}

impl Options {
    /// The keys of a VM with so many MiB of RAM, a power of two.
    fn ram(&self, mib: u64) -> String {
        let piece = self.ram_pieces.map(|count| format!("ram_piece = \"{}KiB\"\n", (mib << 10) / count));
        format!("memory = \"{mib}MiB\"\n{}", piece.unwrap_or_default())
    }
}

/// Whether whole systems are measured, for which Debian's kernels are fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Systems {
    /// They are.
    #[default]
    Measured,
    /// They are not.
    LeftOut,
}

impl Default for Options {
    fn default() -> Self {
        let (systems, against) = (Systems::default(), Vec::new());
        Self { cpu: PROCESSOR.to_owned(), rounds: 200, systems, against, ram_pieces: None }
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The guest did not come to its end.
    #[error("the bench guest did not come to its end ({suite}): {how}\nreport this as a bug")]
    Unfinished {
        /// Which suite, and on which machine.
        suite: String,
        /// What happened instead, and the last it said.
        how: String,
    },
    /// A board could not be built or started.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl From<Diagnostics> for BenchError {
    fn from(error: Diagnostics) -> Self {
        Self::Start(error.into())
    }
}

impl From<PlanError> for BenchError {
    fn from(error: PlanError) -> Self {
        Self::Start(error.into())
    }
}

impl From<SetupError> for BenchError {
    fn from(error: SetupError) -> Self {
        Self::Start(error.into())
    }
}

impl From<RunError> for BenchError {
    fn from(error: RunError) -> Self {
        Self::Start(error.into())
    }
}

/// Lines of what was said that are worth showing when it did not come to an end.
const LAST_LINES: usize = 10;

impl BenchError {
    /// `suite` did not come to its end, after the guest, or the machine without a hypervisor, had said something.
    fn after(suite: String, outcome: &RunOutcome, said: &str) -> Self {
        let lines: Vec<&str> = said.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n");
        let ending = outcome.summary.ending;
        let how = format!("{ending:?}, after it said:\n{last}\n{}", outcome.qemu.join("\n"));
        Self::Unfinished { suite, how: how.trim_end().to_owned() }
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The version of this form.
    pub format: u32,
    /// QEMU's version.
    pub qemu: String,
    /// The processor, by QEMU's name.
    pub cpu: String,
    /// How often each operation was done.
    pub rounds: u32,
    /// The operations, in the table's order. All figures are instructions.
    pub operations: Vec<Row>,
    /// The same operations under other hypervisors, if that was asked for.
    pub against: Vec<Against>,
    /// The hypervisor's image, in bytes.
    pub image: Image,
    /// The RAM that it takes, in bytes.
    pub footprint: Footprint,
    /// Whole systems, unless they are left out.
    pub systems: Vec<System>,
    /// Data on their way, unless whole systems are left out.
    pub traffic: Option<Traffic>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its name in the guest.
    pub name: String,
    /// What it is, in words.
    pub what: String,
    /// The median without a hypervisor, where that means something.
    pub native: Option<u64>,
    /// Under Vambrace.
    pub vambrace: Figures,
    /// What the median may be at most, on the processor that targets are for.
    pub target: Option<u64>,
    /// Whether it is.
    pub verdict: Verdict,
    /// What EL2 does in the median round, where it is watched.
    pub instruction_profile: Option<InstructionProfile>,
}

/// What the rounds took, in instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// The quickest round.
    pub min: u64,
    /// The one in the middle.
    pub median: u64,
    /// The slowest round.
    pub max: u64,
}

impl Figures {
    /// Of what was done once.
    const fn once(figure: u64) -> Self {
        Self { min: figure, median: figure, max: figure }
    }
}

/// How a figure stands to its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// No more than the target.
    Met,
    /// More than the target.
    Missed,
    /// There is no target.
    #[default]
    NoTarget,
}

impl Verdict {
    fn new(figure: u64, target: Option<u64>) -> Self {
        match target {
            None => Self::NoTarget,
            Some(target) if figure <= target => Self::Met,
            Some(_) => Self::Missed,
        }
    }
}

/// The hypervisor's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Image {
    /// The file: text, constants and data.
    pub bytes: u64,
    /// What it is made of.
    pub sections: Sections,
    /// The most that the file may be.
    pub target: u64,
    /// Whether it is.
    pub verdict: Verdict,
}

/// Measures everything. `bare` is what `setup` has built.
///
/// # Errors
/// When QEMU does not start or the guest does not come to its end.
pub fn measure(
    setup: &Setup,
    bare: &Bare,
    qemu: &vambrace_setup::qemu::Qemu,
    options: &Options,
) -> Result<Report, BenchError> {
    let mut vambrace = Readings::default();
    let mut native = Readings::default();
    let machine = Testbed { setup, bare, qemu, options };
    for suite in Suite::ALL {
        vambrace.extend(machine.under_vambrace(suite)?);
        if suite.exists_natively() {
            native.extend(machine.natively(suite, GuestLevel::El1)?);
        }
    }
    // What EL2 itself would do, by the same code.
    vambrace.extend(machine.natively(Suite::Stage2, GuestLevel::El2)?);
    vambrace.extend(lifecycle::measure(&machine)?);
    let footprint = footprint::measure(&machine, bare.hypervisor.len() as u64)?;
    let mut report = Report::new(options, qemu.version, &vambrace, &native, bare, footprint);
    let profiles = profile::measure(&machine)?;
    for row in &mut report.operations {
        row.instruction_profile = profiles.get(&row.name).copied();
    }
    if options.systems == Systems::Measured {
        report.systems = systems::measure_on(&machine)?;
        report.traffic = Some(traffic::measure_on(&machine)?);
    }
    report.against = against::measure(&machine, &native)?;
    Ok(report)
}

/// Tells where an operation's instructions go: a table of functions. `operation` is one of [`profile::watched`].
///
/// # Errors
/// When QEMU does not start or the guest does not come to its end.
pub fn locate(
    setup: &Setup,
    bare: &Bare,
    qemu: &vambrace_setup::qemu::Qemu,
    options: &Options,
    operation: &str,
) -> Result<String, BenchError> {
    profile::locate(&Testbed { setup, bare, qemu, options }, operation)
}

impl Report {
    fn new(
        options: &Options,
        (major, minor): (u32, u32),
        vambrace: &Readings,
        native: &Readings,
        bare: &Bare,
        footprint: Footprint,
    ) -> Self {
        let has_targets = options.cpu == PROCESSOR;
        let rows = OPERATIONS.iter().filter_map(|operation| {
            let vambrace = *vambrace.get(operation.name)?;
            let target = operation.target.filter(|_| has_targets);
            Some(Row {
                name: operation.name.to_owned(),
                what: operation.what.to_owned(),
                native: native.get(operation.name).map(|figures| figures.median),
                vambrace,
                target,
                verdict: Verdict::new(vambrace.median, target),
                instruction_profile: None,
            })
        });
        let bytes = bare.hypervisor.len() as u64;
        Self {
            format: FORMAT,
            qemu: format!("{major}.{minor}"),
            cpu: options.cpu.clone(),
            rounds: options.rounds,
            operations: rows.collect(),
            against: Vec::new(),
            image: Image {
                bytes,
                sections: bare.sections,
                target: IMAGE_TARGET,
                verdict: Verdict::new(bytes, Some(IMAGE_TARGET)),
            },
            footprint,
            systems: Vec::new(),
            traffic: None,
        }
    }

    /// Whether every target is met.
    #[must_use]
    pub fn meets_all(&self) -> bool {
        self.verdicts().all(|verdict| verdict != Verdict::Missed)
    }

    /// Everything that is held against a target.
    fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        let systems = self.systems.iter().flat_map(|system| &system.phases).map(|phase| phase.verdict);
        let traffic = self.traffic.iter().flat_map(Traffic::verdicts);
        let others = [self.image.verdict, self.footprint.verdict].into_iter().chain(systems).chain(traffic);
        self.operations.iter().map(|row| row.verdict).chain(others)
    }

    /// For programs; docs/performance.md describes it.
    #[must_use]
    pub fn json(&self) -> String {
        json(self)
    }
}

#[cfg(test)]
mod tests;

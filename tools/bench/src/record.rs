// SPDX-License-Identifier: MIT OR Apache-2.0
//! Recorded figures, and whether new ones are as good: what CI holds a change against.
//!
//! The record is a TOML file with the median of each operation, the image's size and the memory's in bytes. A figure may be a tenth
//! worse than recorded, since compilers differ; a target that the record meets may not be missed at all. Of whole systems the
//! ratio to what they take without a hypervisor is recorded, and may be worse by what each says itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::systems::{Phase, Ratio, System};
use super::text::grouped;
use super::traffic::Traffic;
use super::{Report, Verdict};

/// What stands before the figures in the file.
const HEADER: &str = "\
# SPDX-License-Identifier: MIT OR Apache-2.0
# The medians of `vambrace bench` in instructions, the sizes of image and memory in bytes, and what whole systems take as
# guests, and data on their way per MiB, divided by what they take without a hypervisor. Written by:
#   VAMBRACE_RECORD=1 cargo test -p vambrace-tests --test system bench::
";

/// Percent of the recorded figure from which a new one is worse, and below which it is better.
const WORSE: u64 = 110;
const BETTER: u64 = 90;

/// Recorded figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The processor, by QEMU's name.
    pub cpu: String,
    /// The image's size in bytes.
    pub image: u64,
    /// The RAM that EL2 takes in bytes, by name.
    #[serde(default)]
    pub memory: BTreeMap<String, u64>,
    /// The operations' medians, by name.
    pub operations: BTreeMap<String, u64>,
    /// Guest / native of whole systems' phases, by name.
    #[serde(default)]
    pub systems: BTreeMap<String, Ratio>,
    /// Guest / native of data on their way, by name.
    #[serde(default)]
    pub traffic: BTreeMap<String, Ratio>,
}

/// How new figures stand to recorded ones, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What must not be.
    pub worse: Vec<String>,
    /// What is worth telling: better figures, targets that are still missed.
    pub told: Vec<String>,
}

impl Record {
    /// Reads the file's text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// The record of new figures, as far as they are in the report; what is not stays as it is.
    #[must_use]
    pub fn renewed(self, report: &Report) -> Self {
        let systems = Self::of_systems(&report.systems);
        let systems = if systems.is_empty() { self.systems } else { systems };
        let traffic = report.traffic.as_ref().map_or(self.traffic, Traffic::ratios);
        Self { systems, traffic, ..Self::new(report) }
    }

    /// The same record with other systems.
    #[must_use]
    pub fn with_systems(self, systems: &[System]) -> Self {
        Self { systems: Self::of_systems(systems), ..self }
    }

    /// The same record with other traffic.
    #[must_use]
    pub fn with_traffic(self, traffic: &Traffic) -> Self {
        Self { traffic: traffic.ratios(), ..self }
    }

    fn of_systems(systems: &[System]) -> BTreeMap<String, Ratio> {
        systems.iter().flat_map(System::named).map(|(name, phase)| (name, phase.ratio)).collect()
    }

    /// The record of new figures.
    #[must_use]
    pub fn new(report: &Report) -> Self {
        let medians = report.operations.iter().map(|row| (row.name.clone(), row.vambrace.median));
        let memory = report.footprint.figures().map(|figure| (figure.name.to_owned(), figure.bytes));
        Self {
            cpu: report.cpu.clone(),
            image: report.image.bytes,
            memory: memory.into(),
            operations: medians.collect(),
            systems: Self::of_systems(&report.systems),
            traffic: report.traffic.as_ref().map(Traffic::ratios).unwrap_or_default(),
        }
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        HEADER.to_owned() + &toml::to_string(self).unwrap_or_default()
    }

    /// Holds new figures against it.
    #[must_use]
    pub fn compare(&self, report: &Report) -> Comparison {
        let mut comparison = Comparison::default();
        for row in &report.operations {
            let figure = Figure { what: &row.what, now: row.vambrace.median, target: row.target };
            comparison.add(&figure, self.operations.get(&row.name).copied(), row.verdict);
        }
        let image = Figure { what: "the image", now: report.image.bytes, target: Some(report.image.target) };
        comparison.add(&image, Some(self.image), report.image.verdict);
        for figure in report.footprint.figures() {
            let now = Figure { what: figure.what, now: figure.bytes, target: figure.target };
            comparison.add(&now, self.memory.get(figure.name).copied(), figure.verdict);
        }
        for name in self.operations.keys() {
            if !report.operations.iter().any(|row| row.name == *name) {
                comparison.worse.push(format!("{name}: is not measured any more"));
            }
        }
        comparison
    }

    /// Holds new figures of whole systems against it.
    #[must_use]
    pub fn compare_systems(&self, systems: &[System]) -> Comparison {
        compare_ratios(&self.systems, systems.iter().flat_map(System::named))
    }

    /// Holds new figures of traffic against it.
    #[must_use]
    pub fn compare_traffic(&self, traffic: &Traffic) -> Comparison {
        compare_ratios(&self.traffic, traffic.routes.iter().map(|route| (route.name.clone(), route)))
    }
}

fn compare_ratios<'a>(
    recorded: &BTreeMap<String, Ratio>,
    now: impl Iterator<Item = (String, &'a Phase)>,
) -> Comparison {
    let mut comparison = Comparison::default();
    let mut recorded = recorded.clone();
    for (name, phase) in now {
        let Some(before) = recorded.remove(&name) else {
            comparison.told.push(format!("{name}: {}, not recorded yet", phase.ratio));
            continue;
        };
        comparison.add_ratio(&name, phase, before);
    }
    for name in recorded.keys() {
        comparison.worse.push(format!("{name}: is not measured any more"));
    }
    comparison
}

/// A new figure.
struct Figure<'a> {
    what: &'a str,
    now: u64,
    target: Option<u64>,
}

impl Comparison {
    fn add_ratio(&mut self, name: &str, phase: &Phase, before: Ratio) {
        let (now, tolerance) = (phase.ratio, phase.tolerance);
        // A ratio below one was luck: nobody is to have it again.
        if now > before.max(Ratio::ONE).plus(tolerance) {
            self.worse.push(format!("{name}: {now}, and {before} is recorded"));
        } else if now.plus(tolerance) < before {
            self.told.push(format!("{name}: {now}, better than the recorded {before}"));
        }
        let Some(target) = phase.target.filter(|_| phase.verdict == Verdict::Missed) else { return };
        // Near the target chance decides.
        if before <= target && now > target.plus(phase.tolerance) {
            self.worse.push(format!("{name}: {now}, and at most {target} is the target, which {before} met"));
        } else {
            self.told.push(format!("{name}: {now}, above the target {target}"));
        }
    }

    fn add(&mut self, figure: &Figure<'_>, recorded: Option<u64>, verdict: Verdict) {
        let Figure { what, now, target } = *figure;
        let said = grouped(now);
        let Some(before) = recorded else {
            self.told.push(format!("{what}: {said}, not recorded yet"));
            return;
        };
        let was = grouped(before);
        if u128::from(now) * 100 > u128::from(before) * u128::from(WORSE) {
            self.worse.push(format!("{what}: {said}, more than a tenth worse than the recorded {was}"));
        } else if u128::from(now) * 100 < u128::from(before) * u128::from(BETTER) {
            self.told.push(format!("{what}: {said}, better than the recorded {was}"));
        }
        let Some(target) = target.filter(|_| verdict == Verdict::Missed) else { return };
        let most = grouped(target);
        if before <= target {
            self.worse.push(format!("{what}: {said}, and at most {most} is the target, which {was} met"));
        } else {
            self.told.push(format!("{what}: {said}, still above the target {most}"));
        }
    }
}

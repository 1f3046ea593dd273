// SPDX-License-Identifier: MIT OR Apache-2.0
//! Recorded figures, and whether new ones are as good: what CI holds a change against.
//!
//! The record is a TOML file with the median of each operation, the image's size and the memory's in bytes. A figure may be a tenth
//! worse than recorded, since compilers differ; a target that the record meets may not be missed at all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text::grouped;
use super::{Report, Verdict};

/// What stands before the figures in the file.
const HEADER: &str = "\
# SPDX-License-Identifier: MIT OR Apache-2.0
# The medians of `vambrace bench` in instructions, and the sizes of image and memory in bytes. Written by:
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
}

/// A new figure.
struct Figure<'a> {
    what: &'a str,
    now: u64,
    target: Option<u64>,
}

impl Comparison {
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

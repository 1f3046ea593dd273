// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vambrace bench --compare FILE`: two builds, operation by operation.
//!
//! FILE is what `bench --json` has printed in the other build. Figures depend on the compiler and on QEMU, so both builds are to
//! be measured on one computer. An operation is worse if it takes [a fiftieth](MOST) more. Image and memory are told and not judged.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Report;
use super::text::grouped;

/// What an operation may take more, in permille.
pub const MOST: u64 = 20;

/// Why there is nothing to compare with.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The file cannot be read.
    #[error(
        "cannot read {path}: {error}\nmake it in the other build: vambrace bench --operations-only --json > FILE"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The file is something else.
    #[error(
        "{path} is not what `vambrace bench --json` prints: {error}\nmake it in the other build: vambrace bench --operations-only --json > FILE"
    )]
    NotAReport {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// It was measured on another machine.
    #[error(
        "{path} is of {was}, and this is {is}: their figures say nothing about the builds\nmeasure both with the same --cpu and QEMU"
    )]
    OtherMachine {
        /// The file.
        path: PathBuf,
        /// Its processor and QEMU.
        was: String,
        /// This run's.
        is: String,
    },
}

/// What another build's report says, as far as it is compared.
#[derive(Clone, Debug, Deserialize)]
pub struct Before {
    qemu: String,
    cpu: String,
    operations: Vec<Operation>,
    image: Image,
}

#[derive(Clone, Debug, Deserialize)]
struct Operation {
    name: String,
    vambrace: Figures,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Figures {
    median: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Image {
    bytes: u64,
}

/// One figure of both builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// What it is of.
    pub what: String,
    /// In the other build; `None` if that has no such operation.
    pub before: Option<u64>,
    /// In this one.
    pub now: u64,
    /// Whether it is held against the other.
    pub is_judged: Judged,
}

/// Whether a figure may not get worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It may not.
    Yes,
    /// It is only told.
    No,
}

/// Two builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Each figure.
    pub figures: Vec<Compared>,
}

impl Before {
    /// Reads another build's report.
    ///
    /// # Errors
    /// [`CompareError`], when it is none.
    pub fn read(path: &Path) -> Result<Self, CompareError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| CompareError::Read { path: path.to_owned(), error })?;
        serde_json::from_str(&text).map_err(|error| CompareError::NotAReport { path: path.to_owned(), error })
    }

    /// Holds a report against it, which was read from `path`.
    ///
    /// # Errors
    /// [`CompareError::OtherMachine`].
    pub fn compare(&self, path: &Path, report: &Report) -> Result<Comparison, CompareError> {
        let machine = |cpu: &str, qemu: &str| format!("{cpu}, QEMU {qemu}");
        let (was, is) = (machine(&self.cpu, &self.qemu), machine(&report.cpu, &report.qemu));
        if was != is {
            return Err(CompareError::OtherMachine { path: path.to_owned(), was, is });
        }
        let before = |name: &str| self.operations.iter().find(|operation| operation.name == name);
        let operations = report.operations.iter().map(|row| Compared {
            what: row.what.clone(),
            before: before(&row.name).map(|operation| operation.vambrace.median),
            now: row.vambrace.median,
            is_judged: Judged::Yes,
        });
        let image = Compared {
            what: "image, bytes".to_owned(),
            before: Some(self.image.bytes),
            now: report.image.bytes,
            is_judged: Judged::No,
        };
        Ok(Comparison { figures: operations.chain([image]).collect() })
    }
}

impl Compared {
    /// Whether it takes more than it may.
    #[must_use]
    pub fn is_worse(&self) -> bool {
        let limit = |before: u64| u128::from(before) * u128::from(1000 + MOST);
        self.is_judged == Judged::Yes
            && self.before.is_some_and(|before| u128::from(self.now) * 1000 > limit(before))
    }

    /// The difference in percent, with its sign.
    fn difference(&self) -> String {
        let Some(before) = self.before.filter(|before| *before != 0) else { return "new".to_owned() };
        let permille = (i128::from(self.now) - i128::from(before)) * 1000 / i128::from(before);
        let sign = if permille < 0 { '-' } else { '+' };
        format!("{sign}{}.{} %", permille.abs() / 10, permille.abs() % 10)
    }
}

impl Comparison {
    /// Whether no operation is worse.
    #[must_use]
    pub fn is_no_worse(&self) -> bool {
        !self.figures.iter().any(Compared::is_worse)
    }

    /// The table.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{:46}{:>14}{:>14}{:>10}\n", "", "other build", "this build", "");
        for figure in &self.figures {
            let before = figure.before.map_or_else(|| "-".to_owned(), grouped);
            let worse = if figure.is_worse() { "  WORSE" } else { "" };
            let (what, now) = (&figure.what, grouped(figure.now));
            let _ = writeln!(text, "{what:46}{before:>14}{now:>14}{:>10}{worse}", figure.difference());
        }
        let worse = self.figures.iter().filter(|figure| figure.is_worse()).count();
        let _ = match worse {
            0 => writeln!(text, "no operation takes more than {}.{} % more", MOST / 10, MOST % 10),
            1 => writeln!(text, "1 operation takes more than {}.{} % more", MOST / 10, MOST % 10),
            _ => writeln!(text, "{worse} operations take more than {}.{} % more", MOST / 10, MOST % 10),
        };
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(before: Option<u64>, now: u64) -> Compared {
        Compared { what: "an exit".to_owned(), before, now, is_judged: Judged::Yes }
    }

    #[test]
    fn a_fiftieth_more_is_no_worse_and_one_more_is() {
        assert!(!figure(Some(1000), 1020).is_worse());
        assert!(figure(Some(1000), 1021).is_worse());
        assert!(!figure(Some(1000), 10).is_worse() && !figure(None, 10).is_worse());
        assert!(!Compared { is_judged: Judged::No, ..figure(Some(10), 20) }.is_worse());
    }

    #[test]
    fn differences_have_signs() {
        assert_eq!(figure(Some(200), 203).difference(), "+1.5 %");
        assert_eq!(figure(Some(200), 199).difference(), "-0.5 %");
        assert_eq!(figure(None, 1).difference(), "new");
    }

    #[test]
    fn the_table_says_what_is_worse() {
        let worse = Comparison { figures: vec![figure(Some(10), 11), figure(Some(10), 9), figure(None, 3)] };
        let text = worse.text();
        assert_eq!(text.matches("WORSE").count(), 1, "{text}");
        assert!(text.ends_with("1 operation takes more than 2.0 % more\n") && !worse.is_no_worse());
        assert!(Comparison { figures: vec![figure(Some(10), 9)] }.is_no_worse());
    }

    #[test]
    fn what_is_no_report_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("before.json");
        let missing = Before::read(&path).unwrap_err().to_string();
        assert!(missing.contains("before.json") && missing.contains("--json > FILE"), "{missing}");
        std::fs::write(&path, "{}").unwrap();
        let wrong = Before::read(&path).unwrap_err().to_string();
        assert!(wrong.contains("is not what `vambrace bench --json` prints"), "{wrong}");
    }
}

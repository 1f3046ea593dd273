// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole systems as tables.

use std::fmt::Write as _;

use super::{Phase, System};
use crate::text::{grouped, words};

/// Causes of exits that are named, at most; the others are summed up.
const NAMED: usize = 6;

impl System {
    /// `Linux 6.12.94+deb13, 1 CPU`.
    fn title(&self) -> String {
        let plural = if self.cpus == 1 { "" } else { "s" };
        format!("Linux {}, {} CPU{plural}", self.release, self.cpus)
    }

    /// Its table.
    pub(crate) fn text(&self) -> String {
        table(&self.title(), &self.phases)
    }
}

/// A table of phases under a title.
pub(crate) fn table(title: &str, phases: &[Phase]) -> String {
    let mut text = format!(
        "\n{title:50}{:>14}{:>14}{:>11}{:>10}{:>8}\n",
        "native", "Vambrace", "ratio", "at most", "exits"
    );
    for phase in phases {
        let line = format!(
            "{:50}{:>14}{:>14}{:>11}{:>10}{:>8}  {}",
            phase.what,
            grouped(phase.native),
            grouped(phase.vambrace),
            phase.ratio.to_string(),
            phase.target.map_or_else(|| "-".to_owned(), |target| target.to_string()),
            grouped(phase.exits),
            words(phase.verdict)
        );
        let _ = writeln!(text, "{}", line.trim_end());
        let _ = writeln!(text, "  {}", phase.causes());
    }
    text
}

impl Phase {
    /// The most frequent causes of exits, in words.
    pub(crate) fn causes(&self) -> String {
        let mut list: Vec<String> = self
            .causes
            .iter()
            .take(NAMED)
            .map(|cause| format!("{} {}", grouped(cause.count), cause.cause))
            .collect();
        let others: u64 = self.causes.iter().skip(NAMED).map(|cause| cause.count).sum();
        if others > 0 {
            list.push(format!("{} others", grouped(others)));
        }
        list.join(", ")
    }
}

/// All of them, in Markdown.
#[must_use]
pub fn markdown(systems: &[System]) -> String {
    let mut text =
        "| | native | Vambrace | ratio | at most | | exits |\n|---|---|---|---|---|---|---|\n".to_owned();
    for system in systems {
        let _ = writeln!(text, "| **{}** | | | | | | |", system.title());
        for phase in &system.phases {
            let target = phase.target.map_or_else(|| "-".to_owned(), |target| target.to_string());
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {target} | {} | {} |",
                phase.what,
                grouped(phase.native),
                grouped(phase.vambrace),
                phase.ratio,
                words(phase.verdict).to_lowercase(),
                grouped(phase.exits)
            );
        }
    }
    text.push_str("\n| exits by cause |");
    for system in systems {
        let _ = write!(text, " {} |", system.title());
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(systems.len()));
    text.push('\n');
    let phases = systems.first().map(|system| system.phases.as_slice()).unwrap_or_default();
    for (index, phase) in phases.iter().enumerate() {
        let _ = write!(text, "| {} |", phase.what);
        for system in systems {
            let _ = write!(text, " {} |", system.phases.get(index).map(Phase::causes).unwrap_or_default());
        }
        text.push('\n');
    }
    text
}

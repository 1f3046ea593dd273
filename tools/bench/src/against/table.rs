// SPDX-License-Identifier: MIT OR Apache-2.0
//! The others' figures in words: a table of its own for documents, and what stands below the table for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::text::grouped;
use super::super::{Figures, Report};
use super::{Against, Rival};

impl Against {
    /// The median of an operation, for a column.
    pub(in super::super) fn median(&self, operation: &str) -> String {
        self.figures.get(operation).map_or_else(|| "-".to_owned(), |figures| grouped(figures.median))
    }
}

impl Report {
    /// What stands below the table: what the others are, why figures are missing, and who is ahead.
    pub(in super::super) fn notes_on_others(&self) -> String {
        let mut text = String::new();
        for against in &self.against {
            let _ = writeln!(text, "\n{}: {}", against.name.name(), against.what);
            for (reason, operations) in self.reasons(against) {
                let _ = writeln!(text, "  no figure of {}: {reason}", operations.join("; "));
            }
            text.push_str(&self.standing(against.name));
        }
        text
    }

    /// What of the report's operations lacks a figure, by the reason.
    fn reasons<'a>(&'a self, against: &'a Against) -> BTreeMap<&'a str, Vec<&'a str>> {
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for row in &self.operations {
            if let Some(reason) = against.missing.get(&row.name) {
                reasons.entry(reason).or_default().push(&row.what);
            }
        }
        reasons
    }

    /// Where the other one is ahead.
    fn standing(&self, rival: Rival) -> String {
        let name = rival.name();
        let lines: Vec<String> = self
            .leads()
            .filter(|lead| lead.rival == rival)
            .map(|lead| {
                let (ours, theirs) = (grouped(lead.row.vambrace.median), grouped(lead.median));
                format!("  {name} is ahead: {}: {theirs}, Vambrace {ours}\n", lead.row.what)
            })
            .collect();
        match lines.as_slice() {
            [] => format!("  Vambrace needs no more than {name} for anything that both were measured at\n"),
            lines => lines.concat(),
        }
    }

    /// The table for a document, in Markdown: medians, and the least and the most in brackets where they differ.
    #[must_use]
    pub fn markdown_of_others(&self) -> String {
        let names: Vec<&str> = self.against.iter().map(|against| against.name.name()).collect();
        let mut text = format!("| operation | native | Vambrace | {} |\n", names.join(" | "));
        text.push_str(&format!("|---|---|---|{}\n", "---|".repeat(names.len())));
        for row in &self.operations {
            let others: Vec<String> = self
                .against
                .iter()
                .map(|against| against.figures.get(&row.name).map_or_else(|| "-".to_owned(), |it| whole(*it)))
                .collect();
            if others.iter().all(|other| other == "-") {
                continue;
            }
            let native = row.native.map_or_else(|| "-".to_owned(), grouped);
            let _ = writeln!(
                text,
                "| {} | {native} | {} | {} |",
                row.what,
                whole(row.vambrace),
                others.join(" | ")
            );
        }
        for against in &self.against {
            let _ = writeln!(text, "\n{}: {}.", against.name.name(), against.what);
        }
        text
    }
}

fn whole(Figures { min, median, max }: Figures) -> String {
    if min == max {
        grouped(median)
    } else {
        format!("{} ({} to {})", grouped(median), grouped(min), grouped(max))
    }
}

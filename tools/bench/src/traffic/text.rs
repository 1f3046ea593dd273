// SPDX-License-Identifier: MIT OR Apache-2.0
//! Traffic as a table.

use std::fmt::Write as _;

use super::Traffic;
use crate::text::{grouped, words};

impl Traffic {
    /// Its table.
    pub(crate) fn text(&self) -> String {
        let title = format!("instructions per MiB, Linux {}", self.release);
        crate::systems::table(&title, &self.routes)
    }
}

/// All of it, in Markdown.
#[must_use]
pub fn markdown(traffic: &Traffic) -> String {
    let mut text = format!(
        "| instructions per MiB, Linux {} | native | Vambrace | ratio | at most | | exits per MiB | by cause |\n\
         |---|---|---|---|---|---|---|---|\n",
        traffic.release
    );
    for route in &traffic.routes {
        let target = route.target.map_or_else(|| "-".to_owned(), |target| target.to_string());
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {target} | {} | {} | {} |",
            route.what,
            grouped(route.native),
            grouped(route.vambrace),
            route.ratio,
            words(route.verdict).to_lowercase(),
            grouped(route.exits),
            route.causes()
        );
    }
    text
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The figures as tables: a line for each operation, a column for each crowd.

use std::fmt::Write as _;

use super::{BOARDS, FIGURES, Point, Scale};
use crate::text::grouped;

/// A table: its title, the columns' heads, and the lines.
struct Table {
    title: String,
    heads: Vec<String>,
    lines: Vec<(String, Vec<Option<u64>>)>,
}

impl Table {
    fn new(title: String, head: impl Fn(&Point) -> String, points: &[&Point]) -> Self {
        let of = |what: &str, figure: &dyn Fn(&Point) -> Option<u64>| {
            (what.to_owned(), points.iter().map(|point| figure(point)).collect::<Vec<_>>())
        };
        let mut lines = vec![of("making one more VM of 8 MiB", &|point| Some(point.create))];
        for (name, what, _) in FIGURES {
            lines.push(of(what, &|point| point.operations.get(name).copied()));
        }
        lines.push(of("EL2's RAM with one VM more, bytes", &|point| Some(point.memory)));
        lines.retain(|(_, figures)| figures.iter().any(Option::is_some));
        Self { title, heads: points.iter().map(|point| head(point)).collect(), lines }
    }
}

fn cell(figure: Option<u64>) -> String {
    figure.map_or_else(|| "-".to_owned(), grouped)
}

impl Scale {
    fn tables(&self) -> Vec<Table> {
        let head = |what: &str, count: u16| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let mut tables: Vec<Table> = BOARDS
            .iter()
            .map(|cpus| {
                let points: Vec<&Point> = self.vms.iter().filter(|point| point.crowd.cpus == *cpus).collect();
                Table::new(format!("on {}", head("CPU", *cpus)), |point| head("VM", point.crowd.vms), &points)
            })
            .collect();
        let points: Vec<&Point> = self.cpus.iter().collect();
        let title = "a VM for each CPU".to_owned();
        tables.push(Table::new(title, |point| head("CPU", point.crowd.cpus), &points));
        tables
    }

    /// The tables.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("Instructions on {}, QEMU {}, while other VMs sleep\n", self.cpu, self.qemu);
        for Table { title, heads, lines } in self.tables() {
            let _ = write!(text, "\n{title:40}");
            heads.iter().for_each(|head| {
                let _ = write!(text, "{head:>12}");
            });
            text.push('\n');
            for (what, figures) in lines {
                let _ = write!(text, "{what:40}");
                figures.iter().for_each(|figure| {
                    let _ = write!(text, "{:>12}", cell(*figure));
                });
                text.push('\n');
            }
        }
        text
    }

    /// The same for a document, in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for Table { title, heads, lines } in self.tables() {
            if !text.is_empty() {
                text.push('\n');
            }
            let _ =
                write!(text, "| {title} | {} |\n|---{}|\n", heads.join(" | "), "|---".repeat(heads.len()));
            for (what, figures) in lines {
                let cells: Vec<String> = figures.into_iter().map(cell).collect();
                let _ = writeln!(text, "| {what} | {} |", cells.join(" | "));
            }
        }
        text
    }
}

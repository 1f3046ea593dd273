// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report as a table.

use std::fmt::Write as _;

use super::against::Against;
use super::footprint::{Account, Footprint};
use super::{Image, PROCESSOR, Report, Row, Verdict};
use vambrace_setup::image::Sections;

impl Report {
    /// The table.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "Instructions on {}, QEMU {}, {} rounds\n\n{:42}{:>8}{:>15}{:>12}{:>12}{}{:>12}\n",
            self.cpu,
            self.qemu,
            self.rounds,
            "",
            "native",
            "Vambrace: min",
            "median",
            "max",
            self.others(|against| against.name.name().to_owned()),
            "at most"
        );
        for row in &self.operations {
            text.push_str(&line(row, &self.others(|against| against.median(&row.name))));
        }
        text.push_str(&self.notes_on_others());
        let Sections { text: code, rodata, data, bss } = self.image.sections;
        let _ = writeln!(
            text,
            "\nimage: {} KiB, at most {} KiB: {}\n  text {}, constants {}, data {}; memory zeroed at start (bss): {}",
            kib(self.image.bytes),
            kib(self.image.target),
            words(self.image.verdict),
            kib(code),
            kib(rodata),
            kib(data),
            kib(bss)
        );
        text.push_str(&memory(&self.footprint));
        text.push_str(&profiles(&self.operations));
        self.systems.iter().for_each(|system| text.push_str(&system.text()));
        self.traffic.iter().for_each(|traffic| text.push_str(&traffic.text()));
        match self.verdicts().filter(|verdict| *verdict == Verdict::Missed).count() {
            0 if self.cpu != PROCESSOR => {
                let _ = writeln!(text, "the operations' targets are for {PROCESSOR}");
            }
            0 => text.push_str("every target is met\n"),
            1 => text.push_str("1 target is missed\n"),
            missed => {
                let _ = writeln!(text, "{missed} targets are missed");
            }
        }
        text
    }
}

impl Report {
    /// A column for each of the others.
    fn others(&self, entry: impl Fn(&Against) -> String) -> String {
        self.against.iter().map(|against| format!("{:>12}", entry(against))).collect()
    }

    /// The figures for a document, in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), grouped);
        let mut text = "| operation | native | Vambrace | at most | |\n|---|---|---|---|---|\n".to_owned();
        let mut add =
            |what: &str, native: Option<u64>, figure: u64, target: Option<u64>, verdict: Verdict| {
                let verdict = words(verdict).to_lowercase();
                let end = if verdict.is_empty() { verdict } else { verdict + " " };
                let (native, figure, target) = (number(native), grouped(figure), number(target));
                text.push_str(&format!("| {what} | {native} | {figure} | {target} | {end}|\n"));
            };
        for row in &self.operations {
            add(&row.what, row.native, row.vambrace.median, row.target, row.verdict);
        }
        let Image { bytes, target, verdict, sections } = self.image;
        add("image, bytes", None, bytes, Some(target), verdict);
        for (what, bytes) in [
            ("its text", sections.text),
            ("its constants", sections.rodata),
            ("its data", sections.data),
            ("bss and stacks, bytes; not in the image", sections.bss),
        ] {
            add(what, None, bytes, None, Verdict::NoTarget);
        }
        for figure in self.footprint.figures() {
            add(figure.what, None, figure.bytes, figure.target, figure.verdict);
        }
        text
    }

    /// What EL2 does in each operation, in Markdown.
    #[must_use]
    pub fn profile_markdown(&self) -> String {
        let mut text = String::new();
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        for (what, columns) in watched(&self.operations) {
            if text.is_empty() {
                let names = columns.iter().map(|(name, _)| (*name).to_owned());
                text.push_str(&line([String::from("operation")].into_iter().chain(names).collect()));
                text.push_str(&"|---".repeat(columns.len() + 1));
                text.push_str("|\n");
            }
            let figures = columns.iter().map(|(_, figure)| grouped(*figure));
            text.push_str(&line([what.to_owned()].into_iter().chain(figures).collect()));
        }
        text
    }
}

/// The operations that are watched, and the columns.
fn watched(rows: &[Row]) -> impl Iterator<Item = (&str, [(&'static str, u64); 11])> {
    rows.iter().filter_map(|row| Some((row.what.as_str(), row.instruction_profile?.columns())))
}

/// The part of the table that tells the instruction profiles.
fn profiles(rows: &[Row]) -> String {
    const TITLE: &str = "EL2 in the median round";
    let mut text = String::new();
    for (what, columns) in watched(rows) {
        if text.is_empty() {
            let _ = write!(text, "\n{TITLE:42}");
            columns.iter().for_each(|(name, _)| {
                let _ = write!(text, "{name:>11}");
            });
            text.push('\n');
        }
        let _ = write!(text, "{what:42}");
        columns.iter().for_each(|(_, figure)| {
            let _ = write!(text, "{:>11}", grouped(*figure));
        });
        text.push('\n');
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// The memory's part of the table.
fn memory(footprint: &Footprint) -> String {
    let Footprint { at_boot, with_two_vms, beyond_image, target, verdict, vm, vcpu, cpu } = *footprint;
    let account = |what: &str, account: Account| {
        let Account { total, image, map, stacks, heap, values, tables, loaded } = account;
        format!(
            "  {what}: {} KiB\n    image in memory {} (its own map fills {}), stacks of the other CPUs {}, heap {} \
             (values fill {}), stage-2 tables {}; besides: bundle and device tree {}\n",
            kib(total),
            kib(image),
            kib(map),
            kib(stacks),
            kib(heap),
            kib(values),
            kib(tables),
            kib(loaded)
        )
    };
    let mut text = format!(
        "\nRAM beyond the image with 4 CPUs and 2 VMs of 512 MiB: {} KiB, at most {} KiB: {}\n",
        kib(beyond_image),
        kib(target),
        words(verdict)
    );
    text.push_str(&account("all RAM after boot on 4 CPUs", at_boot));
    text.push_str(&account("all RAM with the two VMs", with_two_vms));
    let _ = writeln!(
        text,
        "  bytes for one more VM of a vCPU: {}, vCPU: {}, CPU: {}",
        grouped(vm),
        grouped(vcpu),
        grouped(cpu)
    );
    text
}

fn line(row: &Row, others: &str) -> String {
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), grouped);
    let line = format!(
        "{:42}{:>8}{:>15}{:>12}{:>12}{others}{:>12}  {}",
        row.what,
        number(row.native),
        grouped(row.vambrace.min),
        grouped(row.vambrace.median),
        grouped(row.vambrace.max),
        number(row.target),
        words(row.verdict),
    );
    format!("{}\n", line.trim_end())
}

pub(super) fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::Missed => "MISSED",
        Verdict::NoTarget => "",
    }
}

/// Kibibytes, rounded up.
fn kib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 10)
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

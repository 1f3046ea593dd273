// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report as a table.

use std::fmt::Write as _;

use super::footprint::{Account, Footprint};
use super::{Image, PROCESSOR, Report, Row, Verdict};
use crate::image::Sections;

impl Report {
    /// The table.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "Instructions on {}, QEMU {}, {} rounds\n\n{:42}{:>8}{:>15}{:>12}{:>12}{:>12}\n",
            self.cpu, self.qemu, self.rounds, "", "native", "Vambrace: min", "median", "max", "at most"
        );
        for row in &self.operations {
            text.push_str(&line(row));
        }
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
        let verdicts = self.operations.iter().map(|row| row.verdict);
        let others = [self.image.verdict, self.footprint.verdict];
        match verdicts.chain(others).filter(|verdict| *verdict == Verdict::Missed).count() {
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

fn line(row: &Row) -> String {
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), grouped);
    let line = format!(
        "{:42}{:>8}{:>15}{:>12}{:>12}{:>12}  {}",
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

fn words(verdict: Verdict) -> &'static str {
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What operations cost is no more than what is recorded in bench.toml.

use std::path::PathBuf;

use vambrace::bench::record::{Comparison, Record};
use vambrace::bench::{self, Options};
use vambrace::diagnostic::Style;
use vambrace::setup::workspace;
use vambrace_tests::{Bench, Case, Need, Verdict, ensure};

/// Set, it writes the record anew.
const RECORD: &str = "VAMBRACE_RECORD";
/// Medians need few rounds.
const ROUNDS: u32 = 20;

pub(crate) fn cases() -> Vec<Case> {
    // Where interrupts and timers cost other numbers of instructions in QEMU itself, the record does not hold.
    vec![Case::new("bench::cortex_a72", compare).needs(Need::Qemu(10))]
}

fn file() -> PathBuf {
    workspace().join("tests/system/bench.toml")
}

fn compare(bench: &Bench) -> Verdict {
    let options = Options { rounds: ROUNDS, ..Options::default() };
    let report = bench::measure(&bench.setup, &bench.bare, &bench.qemu, &options)
        .map_err(|failure| failure.render(Style::Plain))?;
    if std::env::var_os(RECORD).is_some() {
        std::fs::write(file(), Record::new(&report).text())?;
    }
    let record = Record::parse(&std::fs::read_to_string(file())?)?;
    let Comparison { worse, told } = record.compare(&report);
    for line in &told {
        println!("bench: {line}");
    }
    if told.iter().any(|line| line.contains("better") || line.contains("not recorded")) {
        println!("bench: record it with: {RECORD}=1 cargo test -p vambrace-tests --test system bench::");
    }
    ensure(worse.is_empty(), || {
        format!(
            "{}\n\n{}\nIf it has to be so, say why in the commit and record it: \
             {RECORD}=1 cargo test -p vambrace-tests --test system bench::",
            worse.join("\n"),
            report.text()
        )
    })
}

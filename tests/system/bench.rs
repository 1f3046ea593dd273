// SPDX-License-Identifier: MIT OR Apache-2.0
//! What operations cost is no more than what is recorded in bench.toml.

use std::path::PathBuf;
use std::time::Duration;

use vambrace::bench::record::{Comparison, Record};
use vambrace::bench::{self, Options, Report};
use vambrace::diagnostic::Style;
use vambrace::setup::workspace;
use vambrace_tests::{Bench, Case, Need, Verdict, ensure};

/// Set, it writes the record anew, and the document with its picture.
const RECORD: &str = "VAMBRACE_RECORD";
/// Around the figures in the document.
const MARKS: [&str; 2] = ["<!-- figures -->\n", "<!-- end of figures -->\n"];

pub(crate) fn cases() -> Vec<Case> {
    // Where interrupts and timers cost other numbers of instructions in QEMU itself, the record does not hold.
    vec![
        Case::new("bench::cortex_a72", compare).needs(Need::Qemu(10)),
        Case::new("bench::says_the_same_twice", twice).needs(Need::Qemu(10)),
    ]
}

fn file() -> PathBuf {
    workspace().join("tests/system/bench.toml")
}

/// Writes the record, and the same figures into the document.
fn record(report: &Report) -> Verdict {
    std::fs::write(file(), Record::new(report).text())?;
    let document = workspace().join("docs/performance.md");
    let text = std::fs::read_to_string(&document)?;
    let [start, end] = MARKS;
    let parts = text.split_once(start).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) = parts.ok_or("docs/performance.md has lost the marks around its figures")?;
    std::fs::write(&document, [before, start, &report.markdown(), end, after].concat())?;
    std::fs::write(workspace().join("docs/performance.svg"), report.svg())?;
    Ok(())
}

fn compare(bench: &Bench) -> Verdict {
    let report = bench::measure(&bench.setup, &bench.bare, &bench.qemu, &Options::default())
        .map_err(|failure| failure.render(Style::Plain))?;
    if std::env::var_os(RECORD).is_some() {
        record(&report)?;
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

/// The command itself: the same figures both times, and an exit code that goes with them.
fn twice(bench: &Bench) -> Verdict {
    let run = || bench.vambrace(&["bench", "--json", "--rounds", "20"])?.finish(Duration::from_secs(300));
    let (first, second) = (run()?, run()?);
    let missed = first.out.contains("\"verdict\": \"missed\"");
    first.exits_with(i32::from(missed))?.says("\"name\": \"vm-reset\"")?;
    let difference = first.out.lines().zip(second.out.lines()).find(|(line, again)| line != again);
    ensure(first.out == second.out, || format!("the second time it says other things: {difference:?}"))
}

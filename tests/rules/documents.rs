// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each command of each document is run by a test, or is known not to be, with the reason.

use vambrace_bench::record::Record;
use vambrace_manifest::workspace;
use vambrace_tests::documents::{self, Typed, figures, ways};

use crate::sources::{self, Source};

/// What the system tests are, as text.
fn system() -> String {
    let is_system = |source: &Source| source.path.starts_with("tests/system") && source.is_rust();
    sources::all().into_iter().filter(is_system).map(|source| source.text).collect()
}

fn commands() -> Vec<Typed> {
    let found = documents::commands();
    assert!(found.as_ref().is_ok_and(|found| found.len() > 50), "few commands are found: {found:?}");
    found.unwrap_or_default()
}

#[test]
fn each_command_has_its_test() {
    let untested: Vec<String> = commands()
        .into_iter()
        .filter(|typed| ways::way(&typed.text).is_none())
        .map(|typed| format!("\n  {}:{}: {}", typed.document.display(), typed.line, typed.text))
        .collect();
    assert!(
        untested.is_empty(),
        "say in tests/src/documents/ways.rs how these are tested:{}",
        untested.concat()
    );
}

#[test]
fn each_command_that_is_tested_is_in_a_document() {
    let commands = commands();
    for (text, way) in ways::WAYS {
        assert!(commands.iter().any(|typed| typed.text == *text), "no document has {text:?} ({way:?})");
    }
}

#[test]
fn cases_that_stand_for_commands_exist() {
    let system = system();
    for typed in commands() {
        if let Some(ways::Way::Case(name)) = ways::way(&typed.text) {
            assert!(system.contains(&format!("\"{name}\"")), "{}: there is no case {name}", typed.text);
        }
    }
}

/// What commands name to choose among the system tests, and the document has as a group.
#[test]
fn test_commands_choose_cases_that_exist() {
    let system = system();
    let mut count = 0;
    for typed in commands() {
        if ways::way(&typed.text) != Some(ways::Way::Tests) || !typed.text.contains("--test system") {
            continue;
        }
        for word in typed.text.split_whitespace().filter(|word| word.contains("::")) {
            count += 1;
            let group = word.split_inclusive("::").next().unwrap_or(word);
            assert!(system.contains(&format!("\"{group}")), "{}: there is no group {group}", typed.text);
        }
    }
    assert!(count >= 4, "only {count} names were found: the search is broken");
}

/// Figures in running text are the record's. With `VAMBRACE_RECORD=1` the system tests write them.
#[test]
fn figures_in_the_text_are_the_records() {
    let read = |file: &str| std::fs::read_to_string(workspace().join(file)).unwrap_or_default();
    let record = Record::parse(&read("tests/system/bench.toml"));
    assert!(record.is_ok(), "{record:?}");
    let record = record.unwrap_or_default();
    let mut count = 0;
    for document in figures::DOCUMENTS {
        let text = read(document);
        count += figures::count(&text);
        let filled = figures::filled(&text, &record);
        assert!(filled.is_ok(), "{document}: {filled:?}");
        for (now, due) in text.lines().zip(filled.unwrap_or_default().lines()) {
            assert_eq!(now, due, "{document} has a figure that is not the record's");
        }
    }
    assert!(count >= 15, "only {count} figures are marked: the search is broken");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The glossary names what there is, and names that it has replaced do not come back.

use crate::lexer::lex;
use crate::sources::{self, Source};

/// Words of our own that the field's have replaced, as identifiers.
const REPLACED: &[&str] = &[
    "VmCell",
    "Attention",
    "Adopt",
    "EndingCell",
    "Ledger",
    "Scrub",
    "Neighbourhood",
    "Around",
    "take_up",
    "inject_linked",
    "lend_again",
    "fold_stale",
    "settle_lines",
    "hand_on",
    "unplug",
    "plug_in",
    "guest_mistake",
    "LogQuota",
    "NoHome",
    "call_worker",
    "park_one",
    "Parked",
    "unpark",
    "Life",
    "lives",
    "take_call",
    "begin_life",
    "take_arrived",
    "Hope",
    "Sweep",
    "Rung",
    "take_rung",
    "ring_each",
    "Lists",
    "Meant",
    "Draft",
    "BoardDraft",
    "Weights",
    "Look",
    "Added",
    "Activity",
    "set_activity",
    "is_to_be_told",
    "choose_taker",
    "Resident",
    "Residents",
    "Told",
    "at_home",
    "Place",
    "Served",
    "understand",
    "life",
    "from_outside",
    "remedy",
    "Place",
];

fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

fn is_ours(source: &Source) -> bool {
    let path = source.path.to_string_lossy();
    let is_at_el2 = ["hypervisor", "machine", "interrupts", "io", "cpu", "memory", "wire", "ids", "state"];
    let is_in = |folder: &str| path.starts_with(&format!("{folder}/"));
    source.is_rust() && (is_at_el2.iter().any(|folder| is_in(&format!("{folder}/src"))) || is_in("tools"))
}

/// The terms in the first column of the table's rows that stand in `code`.
fn terms(glossary: &str) -> Vec<&str> {
    let rows = glossary.lines().filter(|line| line.starts_with("| "));
    let first = rows.filter_map(|line| line.trim_start_matches("| ").split(" | ").next());
    first.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn what_the_glossary_names_is_defined() {
    let sources = sources::all();
    let glossary = sources.iter().find(|source| source.path.ends_with("docs/glossary.md"));
    let terms = glossary.map(|glossary| terms(&glossary.text)).unwrap_or_default();
    assert!(terms.len() > 10, "the glossary's table is not where it was");
    let code: String =
        sources.iter().filter(|source| is_ours(source)).map(|source| lex(&source.text).code).collect();
    for term in terms {
        let is_defined = ["struct", "enum", "trait", "type", "macro_rules!"]
            .iter()
            .any(|kind| identifies(&code, &format!("{kind} {term}")));
        assert!(is_defined, "docs/glossary.md names {term}, which nothing defines");
    }
}

/// Whether a definition stands in the code, not only the beginning of a longer name.
fn identifies(code: &str, definition: &str) -> bool {
    code.match_indices(definition).any(|(at, found)| {
        let next = code[at + found.len()..].chars().next();
        next.is_none_or(|next| !(next.is_alphanumeric() || next == '_'))
    })
}

#[test]
fn replaced_words_do_not_come_back() {
    for source in sources::all().iter().filter(|source| is_ours(source)) {
        let code = lex(&source.text).code;
        for word in identifiers(&code) {
            assert!(
                !REPLACED.contains(&word),
                "{}: {word} has another name; see docs/glossary.md",
                source.path.display()
            );
        }
    }
}

#[test]
fn the_rule_reads_the_first_column() {
    let table =
        "| term | what | elsewhere |\n|---|---|---|\n| `A`, `B` | `not` | `this` |\n| plain | `nor` | |\n";
    assert_eq!(terms(table), ["A", "B"]);
    assert!(identifies("pub struct A;", "struct A") && !identifies("pub struct Ab;", "struct A"));
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! EL2 passes nothing over in silence: what cannot be is an `invariant!`, which stops the board, and what a guest or a late
//! request can bring about returns early with its reason beside it.

use crate::sources::{self, Source};

/// How a branch ends that does nothing.
const SILENT: [&str; 4] = ["else { return };", "else { continue };", "return;", "continue;"];

/// The lines of early returns without a reason: neither on the line nor above the statement is a comment.
fn silent_returns(text: &str) -> Vec<usize> {
    // Tests come last in a file.
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_let_else = |at: usize| {
        lines[at].ends_with(SILENT[0])
            || lines[at].ends_with(SILENT[1])
            || SILENT[2..].contains(&lines[at]) && at > 0 && lines[at - 1].ends_with("else {")
    };
    let has_reason = |at: usize| {
        let start = (0..=at).rev().find(|line| lines[*line].starts_with("let ")).unwrap_or(at);
        (start.saturating_sub(1)..=at).any(|line| lines[line].contains("//"))
    };
    (0..lines.len()).filter(|at| is_let_else(*at) && !has_reason(*at)).map(|at| at + 1).collect()
}

fn is_at_el2(source: &Source) -> bool {
    let path = source.path.to_string_lossy();
    path.starts_with("hypervisor/src/")
        && source.is_rust()
        && !path.contains("/tests/")
        && !path.ends_with("/tests.rs")
}

#[test]
fn early_returns_have_a_reason() {
    let found: Vec<String> = sources::all()
        .iter()
        .filter(|source| is_at_el2(source))
        .flat_map(|source| {
            silent_returns(&source.text).into_iter().map(|line| format!("{}:{line}", source.path.display()))
        })
        .collect();
    assert!(
        found.is_empty(),
        "say above it what brings this about, or, if nothing can, write invariant!(\"why\"): {found:#?}"
    );
}

#[test]
fn the_rule_knows_both_forms() {
    let sound = "    // It may be gone.\n    let Some(x) = y else { return };\n    let Some(z) = x else { invariant!(\"always\") };\n";
    assert!(silent_returns(sound).is_empty());
    let long =
        "    // It may be gone.\n    let Some(x) =\n        y.find(z)\n    else {\n        return;\n    };\n";
    assert!(silent_returns(long).is_empty());
    assert_eq!(silent_returns("let a = b;\nlet Some(x) = y else { return };\n"), [2]);
    assert_eq!(silent_returns("let Some(x) = y else { continue };\n"), [1]);
    assert_eq!(silent_returns("let Some(x) =\n    y\nelse {\n    return;\n};\n"), [4]);
}

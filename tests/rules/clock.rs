// SPDX-License-Identifier: MIT OR Apache-2.0
//! No verdict of a test hangs on how fast the computer is, or on what else it does.

use crate::lexer::lex;
use crate::sources::{self, Source};

/// The one time that whole-system tests know: it ends what hangs.
const DEFINITION: &str = "pub const PATIENCE: Duration = Duration::from_secs(";

/// Where a line of code has one of the words, in files of these folders.
fn lines_with(folders: &[&str], is_found: impl Fn(&str) -> bool) -> Vec<String> {
    let is_there = |source: &Source| folders.iter().any(|folder| source.path.starts_with(folder));
    let mut found = Vec::new();
    for source in sources::all().into_iter().filter(Source::is_rust).filter(is_there) {
        for (line, code) in lex(&source.text).code.lines().enumerate() {
            if is_found(code) {
                found.push(format!("{}:{}: {}", source.path.display(), line + 1, code.trim()));
            }
        }
    }
    found
}

/// A case waits for what has to come as long as any other does, and never for time to pass.
#[test]
fn cases_know_no_time_of_the_computers() {
    let found = lines_with(&["tests/system", "tests/src"], |code| {
        let makes_one = code.contains("Duration::from_") || code.contains("Duration::new(");
        code.contains("sleep(") || makes_one && !code.contains(DEFINITION) && !code.contains("PATIENCE.max(")
    });
    assert!(found.is_empty(), "use vambrace_tests::PATIENCE: {found:#?}");
}

/// A guest that waits for what has to come has as much patience as any other, since it may run by the computer's clock.
#[test]
fn guests_have_one_patience() {
    let found = lines_with(&["guests/src"], |code| {
        code.match_indices("wait_for(").any(|(at, word)| {
            let rest = code.get(at + word.len()..).unwrap_or_default();
            rest.starts_with(|first: char| first.is_ascii_digit())
        })
    });
    assert!(found.is_empty(), "use timer::PATIENCE: {found:#?}");
}

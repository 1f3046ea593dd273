// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every file has, and what none may have.

use std::fmt::Write as _;

use crate::lexer::lex;
use crate::sources::{self, Source};

const LICENCE: &str = "SPDX-License-Identifier: MIT OR Apache-2.0";

/// Fails with the list of what was found, if anything was.
fn none(what: &str, found: impl IntoIterator<Item = String>) {
    let mut list = String::new();
    for one in found {
        let _ = write!(list, "\n  {one}");
    }
    assert!(list.is_empty(), "{what}:{list}");
}

/// Code, linker scripts, shell scripts and the crates' descriptions; a script's first line is its interpreter.
#[test]
fn source_files_begin_with_their_licence() {
    let is_source = |source: &Source| {
        let is_crate = source.path.file_name().is_some_and(|name| name == "Cargo.toml");
        let is_code = ["rs", "S", "ld", "sh"].iter().any(|extension| source.has_extension(extension));
        is_code || is_crate || source.text.starts_with("#!/")
    };
    let lacking = sources::all().into_iter().filter(is_source).filter(|source| {
        let line = source.text.lines().find(|line| !line.starts_with("#!/"));
        !line.is_some_and(|line| line.contains(LICENCE))
    });
    none(&format!("without \"{LICENCE}\""), lacking.map(|source| source.path.display().to_string()));
}

/// Lints are met or expected, with a reason: an `expect` complains when it is no longer needed, an `allow` never.
#[test]
fn no_lint_is_allowed() {
    let mut found = Vec::new();
    for source in sources::all().into_iter().filter(Source::is_rust) {
        for (line, code) in lex(&source.text).code.lines().enumerate() {
            if code.contains("#[allow(") || code.contains("#![allow(") || code.contains(", allow(") {
                found.push(format!("{}:{}", source.path.display(), line + 1));
            }
        }
    }
    none("write #[expect(.., reason = \"..\")]", found);
}

/// Nothing depends on where somebody's files are.
#[test]
fn no_path_of_somebodys_machine() {
    // In two halves, so that this file does not find itself.
    let homes = [["/ho", "me/"], ["/Us", "ers/"], ["/ro", "ot/"], ["/wo", "rk/"], ["C:", "\\"]]
        .map(|half| half.concat());
    let mut found = Vec::new();
    for source in sources::all() {
        for (line, words) in source.text.lines().enumerate() {
            let at_start = |home: &String| {
                words.match_indices(home.as_str()).any(|(at, _)| {
                    let before = words.get(..at).and_then(|before| before.chars().next_back());
                    !before.is_some_and(|c| c.is_alphanumeric() || "~.-_".contains(c))
                })
            };
            if homes.iter().any(at_start) {
                found.push(format!("{}:{}: {}", source.path.display(), line + 1, words.trim()));
            }
        }
    }
    none("paths of one machine", found);
}

/// A file is a noun of the architecture, not a chapter of it.
#[test]
fn no_file_is_too_long() {
    const LONGEST: usize = 600;
    let long = sources::all().into_iter().filter(Source::is_rust).filter_map(|source| {
        let lines = source.text.lines().count();
        (lines > LONGEST).then(|| format!("{}: {lines} lines", source.path.display()))
    });
    none(&format!("longer than {LONGEST} lines"), long);
}

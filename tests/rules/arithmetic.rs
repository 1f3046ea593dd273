// SPDX-License-Identifier: MIT OR Apache-2.0
//! What EL2 counts goes on for as long as a guest likes, and EL2 is built with overflow checked: where a count may not go
//! on, it says what it does instead.

use crate::lexer::lex;
use crate::sources::{self, Source};

/// What runs at EL2.
const CRATES: [&str; 9] =
    ["hypervisor", "machine", "cpu", "interrupts", "io", "memory", "wire", "ids", "state"];

/// Operators that overflow.
const OPERATORS: [&str; 4] = [" += ", " -= ", " *= ", " <<= "];

/// Whether a line changes a field in place by one of them. What a function counts for itself ends with it.
fn changes_a_field(code: &str) -> bool {
    OPERATORS.iter().any(|operator| {
        code.split_once(operator).is_some_and(|(before, _)| {
            let place = before.rsplit([' ', '(', '{', ',']).next().unwrap_or_default();
            // `1.0` is no field.
            place.trim_start_matches('*').contains('.')
        })
    })
}

fn is_at_el2(source: &Source) -> bool {
    let path = source.path.to_string_lossy();
    let is_there = CRATES.iter().any(|name| path.starts_with(&format!("{name}/src/")));
    let is_test = path.contains("/tests/") || path.ends_with("/tests.rs") || path.contains("/model");
    source.is_rust() && is_there && !is_test
}

#[test]
fn counts_say_what_they_do_at_their_end() {
    let mut found = Vec::new();
    for source in sources::all().into_iter().filter(is_at_el2) {
        let lexed = lex(&source.text);
        // Tests come last in a file.
        let code = lexed.code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (line, code) in code.lines().enumerate().filter(|(_, code)| changes_a_field(code)) {
            found.push(format!("{}:{}: {}", source.path.display(), line + 1, code.trim()));
        }
    }
    assert!(
        found.is_empty(),
        "write saturating_add, wrapping_add or strict_add, whichever is right: {found:#?}"
    );
}

#[test]
fn the_rule_sees_fields_and_nothing_else() {
    for code in
        ["vm.resets += 1;", "    self.a.b -= x;", "if a { *self.len <<= 1 }", "let _ = (slots.count += 1);"]
    {
        assert!(changes_a_field(code), "{code}");
    }
    for code in ["total += 1;", "*count += 1;", "self.at = self.at.saturating_add(1);", "self.bits |= 1;"] {
        assert!(!changes_a_field(code), "{code}");
    }
}

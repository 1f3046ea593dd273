// SPDX-License-Identifier: MIT OR Apache-2.0
//! `unsafe` has two addresses, and each use says why it is sound.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::lexer::lex;
use crate::sources::{self, Source};

/// The only folders that may contain it.
const ALLOWED: [&str; 2] = ["hypervisor", "guests"];

/// How far above the keyword its reason may begin, in lines.
const REACH: usize = 15;

/// What the keyword stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Block,
    Function,
    Implementation,
    /// An `extern` block or an attribute such as `no_mangle`: it declares, and does nothing.
    Declaration,
}

#[derive(Debug, PartialEq, Eq)]
struct Use {
    kind: Kind,
    /// Counted from 0.
    line: usize,
    has_reason: bool,
}

fn uses(text: &str) -> Vec<Use> {
    let lexed = lex(text);
    let code: Vec<&str> = lexed.code.lines().collect();
    let comments: Vec<&str> = lexed.comments.lines().collect();
    let mut uses = Vec::new();
    for (line, words) in code.iter().enumerate() {
        for at in keywords(words) {
            let behind = [words.get(at..).unwrap_or(""), code.get(line + 1).unwrap_or(&"")].join(" ");
            let kind = kind(behind.trim_start());
            let has_reason = match kind {
                Kind::Declaration => true,
                Kind::Function => {
                    above(&code, &comments, line).any(|comment| comment.contains("# Safety"))
                        || implements_trait(&code, line)
                }
                Kind::Block | Kind::Implementation => {
                    above(&code, &comments, line).any(|comment| comment.contains("SAFETY:"))
                }
            };
            uses.push(Use { kind, line, has_reason });
        }
    }
    uses
}

/// Where each `unsafe` in a line of code ends.
fn keywords(code: &str) -> impl Iterator<Item = usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices("unsafe").map(|(start, word)| (start, start + word.len())).filter_map(
        move |(start, end)| {
            let before = code.get(..start).and_then(|before| before.chars().next_back());
            let after = code.get(end..).and_then(|after| after.chars().next());
            (!before.is_some_and(is_word) && !after.is_some_and(is_word)).then_some(end)
        },
    )
}

fn kind(behind: &str) -> Kind {
    let position = |words: &str| behind.find(words).unwrap_or(usize::MAX);
    if behind.starts_with('{') {
        Kind::Block
    } else if behind.starts_with("impl") || behind.starts_with("trait") {
        Kind::Implementation
    } else if behind.starts_with('(') || behind.starts_with("extern") && position("{") < position("fn ") {
        Kind::Declaration
    } else {
        Kind::Function
    }
}

/// The comments that belong to a line: its own, and those above it up to the end of what comes before.
fn above<'a>(code: &'a [&str], comments: &'a [&str], line: usize) -> impl Iterator<Item = &'a str> {
    let first = line.saturating_sub(REACH);
    let before = (first..line).rev().take_while(|above| {
        let words = code.get(*above).unwrap_or(&"").trim();
        let comment = comments.get(*above).unwrap_or(&"").trim();
        let is_end = words.ends_with([';', '{', '}']) || words.is_empty() && comment.is_empty();
        !is_end
    });
    std::iter::once(line).chain(before).filter_map(|line| comments.get(line).copied())
}

/// Whether the function in this line is part of `impl Trait for Type`, where the trait gives the reason.
fn implements_trait(code: &[&str], line: usize) -> bool {
    let indent = |words: &str| words.len() - words.trim_start().len();
    let own = code.get(line).map_or(0, |words| indent(words));
    let head = code.get(..line).unwrap_or(&[]).iter().rev().find(|words| {
        let is_head = words.trim_start().starts_with("impl") || words.trim_start().starts_with("unsafe impl");
        is_head && indent(words) < own
    });
    head.is_some_and(|head| head.contains(" for "))
}

fn is_allowed(path: &Path) -> bool {
    ALLOWED.iter().any(|folder| path.starts_with(folder))
}

fn rust() -> impl Iterator<Item = Source> {
    sources::all().into_iter().filter(Source::is_rust)
}

#[test]
fn unsafe_is_counted_and_explained() {
    let mut total: BTreeMap<Kind, usize> = BTreeMap::new();
    let mut table = String::new();
    let mut wrong = String::new();
    for source in rust() {
        let uses = uses(&source.text);
        let path = source.path.display();
        for found in &uses {
            *total.entry(found.kind).or_default() += 1;
            let line = found.line + 1;
            if !is_allowed(&source.path) {
                let _ = writeln!(wrong, "{path}:{line}: unsafe belongs in {ALLOWED:?}");
            } else if !found.has_reason {
                let _ = writeln!(wrong, "{path}:{line}: this {:?} does not say why it is sound", found.kind);
            }
        }
        let count = uses.iter().filter(|found| found.kind != Kind::Declaration).count();
        if count > 0 {
            let _ = writeln!(table, "{count:5}  {path}");
        }
    }
    let of = |kind| total.get(&kind).copied().unwrap_or(0);
    let (blocks, functions, implementations) =
        (of(Kind::Block), of(Kind::Function), of(Kind::Implementation));
    let sum = blocks + functions + implementations;
    println!(
        "{table}{sum:5}  unsafe in all: {blocks} blocks, {functions} functions, {implementations} implementations; \
         beside them {} declarations",
        of(Kind::Declaration)
    );
    assert!(sum > 0, "not one unsafe in a hypervisor: the search is broken");
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Elsewhere the compiler forbids it, in the root of each crate, test and program.
#[test]
fn all_other_crates_forbid_unsafe() {
    let is_root = |path: &Path| {
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
        let name = path.file_name().unwrap_or_default();
        let is_program = path.iter().any(|part| part == "bin");
        let is_test = folder == "tests" && path.iter().count() == 3;
        name == "lib.rs" && folder == "src" || name == "main.rs" || is_program || is_test
    };
    for source in rust().filter(|source| !is_allowed(&source.path) && is_root(&source.path)) {
        assert!(
            source.text.contains("#![forbid(unsafe_code)]"),
            "{} lacks #![forbid(unsafe_code)]",
            source.path.display()
        );
    }
}

#[test]
fn uses_are_told_apart_and_reasons_are_found() {
    let found =
        |text: &str| uses(text).into_iter().map(|found| (found.kind, found.has_reason)).collect::<Vec<_>>();
    assert_eq!(found("// SAFETY: fine.\nlet x = unsafe { y() };"), [(Kind::Block, true)]);
    assert_eq!(found("// SAFETY: fine.\nlet x =\n    f(unsafe { y() });"), [(Kind::Block, true)]);
    assert_eq!(found("// SAFETY: fine.\nz();\nunsafe { y() };"), [(Kind::Block, false)]);
    assert_eq!(found("// safe enough\nunsafe { y() };"), [(Kind::Block, false)]);
    assert_eq!(found("/// # Safety\n/// None.\n#[inline]\npub unsafe fn f() {}"), [(Kind::Function, true)]);
    assert_eq!(found("/// Does.\npub unsafe fn f() {}"), [(Kind::Function, false)]);
    assert_eq!(found("impl A for B {\n    unsafe fn f() {}\n}"), [(Kind::Function, true)]);
    assert_eq!(found("impl B {\n    unsafe fn f() {}\n}"), [(Kind::Function, false)]);
    assert_eq!(found("unsafe impl Send for B {}"), [(Kind::Implementation, false)]);
    assert_eq!(found("unsafe extern \"C\" {\n    fn f();\n}"), [(Kind::Declaration, true)]);
    assert_eq!(found("unsafe extern \"C\" fn f() {}"), [(Kind::Function, false)]);
    assert_eq!(found("#[unsafe(no_mangle)]"), [(Kind::Declaration, true)]);
    assert_eq!(found("// unsafe { }\nlet s = \"unsafe { }\"; let unsafe_code = 1;"), []);
}

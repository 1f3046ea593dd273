// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands that the documents tell people to type.
//!
//! A command is what stands after a prompt (`$` of a shell, `=>` of U-Boot) in a document's block, the whole of a `sh` block,
//! and a `cargo` command in running text.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vambrace_manifest::workspace;

pub mod figures;
pub mod ways;

/// A command in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// The document, seen from the workspace's root.
    pub document: PathBuf,
    /// The line on which it begins, from 1 on.
    pub line: usize,
    /// As it is typed, without the prompt and without a comment behind it.
    pub text: String,
    /// What the document shows as its output, line by line.
    pub shown: Vec<String>,
}

/// The documents: those in the workspace's root and in `docs/`, in order.
///
/// # Errors
/// When a folder cannot be read.
pub fn documents() -> io::Result<Vec<PathBuf>> {
    let root = workspace();
    let mut found = Vec::new();
    for folder in ["", "docs"] {
        for entry in fs::read_dir(root.join(folder))? {
            let path = Path::new(folder).join(entry?.file_name());
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// All commands of all documents, in order.
///
/// # Errors
/// When a document cannot be read.
pub fn commands() -> io::Result<Vec<Typed>> {
    let mut all = Vec::new();
    for document in documents()? {
        all.extend(of_text(&document, &fs::read_to_string(workspace().join(&document))?));
    }
    Ok(all)
}

/// The first block of a kind in a document's text that has a word in it.
#[must_use]
pub fn block<'a>(text: &'a str, kind: &str, word: &str) -> Option<&'a str> {
    let start = format!("```{kind}\n");
    text.split(start.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).find(|b| b.contains(word))
}

/// The manifests that have a name in their first line, such as `# my.toml`.
pub fn named(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("```toml\n").skip(1).filter_map(|rest| {
        let block = rest.split("```").next()?;
        let name = block.lines().next()?.strip_prefix("# ")?;
        let is_name = name.ends_with(".toml") && !name.contains([' ', '/']);
        is_name.then_some((name, block))
    })
}

/// The commands of a document with this text.
#[must_use]
pub fn of_text(document: &Path, text: &str) -> Vec<Typed> {
    let mut found: Vec<Typed> = Vec::new();
    let mut kind = None;
    let mut goes_on = false;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        let mut add = |text: &str| {
            let (document, line, text) = (document.to_owned(), index + 1, without_comment(text).to_owned());
            found.push(Typed { document, line, text, shown: Vec::new() });
        };
        if let Some(fence) = trimmed.strip_prefix("```") {
            kind = if kind.is_none() { Some(fence.to_owned()) } else { None };
            goes_on = false;
            if kind.as_deref().is_some_and(is_script) {
                add("");
            }
            continue;
        }
        match kind.as_deref() {
            None => {
                for code in line.split('`').skip(1).step_by(2).filter(|code| is_command(code)) {
                    add(code);
                }
            }
            Some(block) if is_script(block) => append(found.last_mut(), line),
            Some(_) if goes_on => {
                append(found.last_mut(), trimmed);
                goes_on = trimmed.ends_with('\\');
            }
            Some("console") => match ["$ ", "=> "].iter().find(|prompt| trimmed.starts_with(**prompt)) {
                Some(prompt) => {
                    let typed = trimmed.strip_prefix("$ ").unwrap_or(trimmed);
                    add(typed);
                    goes_on = *prompt == "$ " && trimmed.ends_with('\\');
                }
                None => {
                    if let Some(last) = found.last_mut() {
                        last.shown.push(line.trim_end().to_owned());
                    }
                }
            },
            Some(_) => {}
        }
    }
    found
}

fn is_script(kind: &str) -> bool {
    kind == "sh" || kind == "bash"
}

/// Words in running text that somebody is told to type.
fn is_command(code: &str) -> bool {
    code.strip_prefix("cargo ").is_some_and(|rest| !rest.is_empty()) && code != "cargo run --"
}

fn append(to: Option<&mut Typed>, line: &str) {
    if let Some(last) = to {
        let text = &mut last.text;
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
    }
}

fn without_comment(text: &str) -> &str {
    text.split(" # ").next().unwrap_or(text).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_wherever_they_stand() {
        let text = "Type `cargo run -- doctor`, not `cargo`.\n\n```console\n$ a -b   # why\nsaid\n$ c \\\n    -d\n=> booti\n```\n\n\
                    ```sh\n#!/bin/sh\ne\n```\n\n```toml\n$ none\n```\n";
        let found = of_text(Path::new("d.md"), text);
        let texts: Vec<&str> = found.iter().map(|typed| typed.text.as_str()).collect();
        assert_eq!(texts, ["cargo run -- doctor", "a -b", "c \\\n-d", "=> booti", "#!/bin/sh\ne"]);
        assert_eq!(found[1].shown, ["said"]);
        assert_eq!((found[0].line, found[2].line), (1, 6));
    }
}

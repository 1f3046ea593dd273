// SPDX-License-Identifier: MIT OR Apache-2.0
//! What documents and manifests refer to is there: files, folders, headings.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use vambrace_manifest::workspace;

use crate::sources::{self, Source};

/// A heading as its link names it: small letters, no signs, a dash for each space.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The headings of a document, by their links' names.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_block = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        is_block ^= line.trim_start().starts_with("```");
        if !is_block && line.starts_with('#') {
            found.insert(anchor(line.trim_start_matches('#').trim()));
        }
    }
    found
}

fn documents() -> impl Iterator<Item = Source> {
    sources::all().into_iter().filter(|source| source.has_extension("md"))
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.contains(char::is_whitespace))
}

/// Where a link's file is, seen from the workspace's root.
fn target(document: &Path, link: &str) -> PathBuf {
    let file = link.split('#').next().unwrap_or_default();
    let folder = document.parent().unwrap_or(Path::new(""));
    workspace().join(if file.is_empty() { document.to_owned() } else { folder.join(file) })
}

#[test]
fn links_to_files_lead_somewhere() {
    for Source { path, text } in documents() {
        for link in links(&text) {
            assert!(target(&path, link).exists(), "{}: the link to {link} leads nowhere", path.display());
        }
    }
}

#[test]
fn links_to_headings_lead_somewhere() {
    let mut count = 0;
    for Source { path, text } in documents() {
        for link in links(&text) {
            let Some((_, heading)) = link.split_once('#') else { continue };
            count += 1;
            let other = std::fs::read_to_string(target(&path, link)).unwrap_or_default();
            assert!(
                anchors(&other).contains(heading),
                "{}: the link to {link} leads to no heading",
                path.display()
            );
        }
    }
    assert!(count >= 20, "only {count} links to headings were found: the search is broken");
}

/// Words such as `guests/src/programs/hello.rs`, in documents between backticks and in manifests' comments.
#[test]
fn files_that_are_named_exist() {
    let root = workspace();
    let folders: BTreeSet<String> = std::fs::read_dir(&root)
        .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into()).collect())
        .unwrap_or_default();
    let mut count = 0;
    for Source { path, text } in sources::all() {
        let words: Vec<&str> = match path.extension().and_then(|extension| extension.to_str()) {
            Some("md") => text.split('`').skip(1).step_by(2).collect(),
            Some("toml") if path.starts_with("manifests") => text
                .lines()
                .filter_map(|line| Some(line.split_once('#')?.1))
                .flat_map(str::split_whitespace)
                .map(|word| word.trim_end_matches(['.', ',', ';', ':']))
                .collect(),
            _ => continue,
        };
        for word in words {
            let is_path = word.split_once('/').is_some_and(|(first, rest)| {
                folders.contains(first) && Path::new(rest).extension().is_some()
            });
            if is_path && !word.contains(char::is_whitespace) {
                count += 1;
                let is_there = root.join(word).exists() || target(&path, word).exists();
                assert!(is_there, "{}: there is no {word}", path.display());
            }
        }
    }
    assert!(count >= 20, "only {count} names were found: the search is broken");
}

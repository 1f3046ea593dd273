// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands that the documents tell people to type exist, and the files that they name are there.

use clap::Parser;
use vambrace::args::Arguments;
use vambrace_manifest::workspace;

use crate::sources::{self, Source};

/// A command line in a document.
struct Typed {
    place: String,
    words: Vec<String>,
}

/// The lines after `$ ` in the documents' blocks, and `cargo` commands in running text.
fn typed() -> Vec<Typed> {
    let documents = sources::all().into_iter().filter(|source| source.has_extension("md"));
    let mut typed = Vec::new();
    for Source { path, text } in documents {
        for (line, words) in text.lines().enumerate() {
            let place = format!("{}:{}", path.display(), line + 1);
            let prompt = words.trim_start().strip_prefix("$ ");
            let inline = words.split('`').skip(1).step_by(2).filter(|code| code.starts_with("cargo "));
            for command in prompt.into_iter().chain(inline) {
                typed.push(Typed { place: place.clone(), words: split(command) });
            }
        }
    }
    typed
}

/// Words up to a comment, a redirection or a pipe; variables before the program are dropped.
fn split(command: &str) -> Vec<String> {
    command
        .split_whitespace()
        .take_while(|word| !word.starts_with(['#', '<', '>', '|', '\\', '&', ';']))
        .skip_while(|word| word.contains('=') && !word.starts_with('-'))
        .map(|word| word.trim_matches(['\'', '"']).to_owned())
        .collect()
}

#[test]
fn every_vambrace_command_in_the_documents_is_understood() {
    let mut count = 0;
    for Typed { place, words } in typed() {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let arguments = match words.as_slice() {
            ["cargo", "run", "--", arguments @ ..] | ["vambrace", arguments @ ..] => arguments,
            _ => continue,
        };
        if arguments.iter().any(|word| word.contains(['[', '<', '…']) || *word == "...") {
            continue;
        }
        count += 1;
        let parsed = Arguments::try_parse_from(std::iter::once("vambrace").chain(arguments.iter().copied()));
        let is_answer = |error: &clap::Error| error.exit_code() == 0;
        assert!(
            parsed.as_ref().is_ok_and(|_| true) || parsed.as_ref().is_err_and(is_answer),
            "{place}: {words:?}"
        );
        for word in arguments.iter().filter(|word| word.starts_with("manifests/")) {
            assert!(workspace().join(word).is_file(), "{place}: {word} is not there");
        }
    }
    assert!(count >= 5, "only {count} commands were found: the search is broken");
}

#[test]
fn every_test_command_in_the_documents_names_what_there_is() {
    let members = members();
    let mut count = 0;
    for Typed { place, words } in typed() {
        let is_ours = words.first().is_some_and(|word| word == "cargo");
        if !is_ours || !words.iter().any(|word| ["test", "clippy", "doc", "build"].contains(&word.as_str())) {
            continue;
        }
        count += 1;
        for pair in words.windows(2) {
            if pair[0] == "-p" || pair[0] == "--package" {
                assert!(members.contains(&pair[1]), "{place}: there is no package {}", pair[1]);
            }
            if pair[0] == "--test" {
                let test = &pair[1];
                let is_there =
                    ["tests", "interrupts/tests", "machine/tests", "memory/tests", "cpu/tests", "io/tests"]
                        .iter()
                        .map(|folder| workspace().join(folder))
                        .any(|folder| {
                            folder.join(test).is_dir() || folder.join(format!("{test}.rs")).is_file()
                        });
                assert!(is_there, "{place}: there is no test {test}");
            }
        }
    }
    assert!(count >= 1, "no test command was found: the search is broken");
}

/// The packages' names.
fn members() -> Vec<String> {
    sources::all()
        .into_iter()
        .filter(|source| source.path.file_name().is_some_and(|name| name == "Cargo.toml"))
        .filter_map(|source| {
            let description: toml::Table = source.text.parse().ok()?;
            Some(description.get("package")?.get("name")?.as_str()?.to_owned())
        })
        .collect()
}

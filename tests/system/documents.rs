// SPDX-License-Identifier: MIT OR Apache-2.0
//! The documents' commands, as they stand there: each document in a folder of its own, from its first command to its last.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use vambrace_manifest::workspace;
use vambrace_tests::documents::ways::{self, Way};
use vambrace_tests::documents::{self, Typed};
use vambrace_tests::{Bench, Case, Failed, Finished, Need, PATIENCE, Verdict, ensure};

/// Registers for the walk through a dump.
const REGISTERS: &str =
    r#"{ "ttbr1": "0x4000_1000", "tcr": "0x5_b510_3510", "mair": "0xff", "TTBR0_EL1": 0 }"#;
/// The document whose manifest the others have that have none.
const SMALLEST: &str = "docs/manifest.md";

pub(crate) fn cases() -> Vec<Case> {
    let commands = documents::commands().unwrap_or_default();
    let mut seen = BTreeSet::new();
    let mut cases = Vec::new();
    for document in documents::documents().unwrap_or_default() {
        let is_due = |typed: &&Typed| {
            typed.document == document && ways::way(&typed.text).is_some_and(|way| is_run(&way))
        };
        let mut due: Vec<Typed> = commands.iter().filter(is_due).cloned().collect();
        due.retain(|typed| seen.insert(typed.text.clone()));
        if !due.is_empty() {
            let name = document.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
            let case = Case::new(format!("documents::{name}"), move |bench| run(bench, &document, &due));
            let case = if name == "debian" { case.needs(Need::DebianRoot) } else { case };
            cases.push(case.needs(Need::Linux("6.12")));
        }
    }
    cases
}

fn is_run(way: &Way) -> bool {
    matches!(way, Way::Run(_) | Way::RunUntil(_))
}

/// Runs a document's commands, in their order.
fn run(bench: &Bench, document: &Path, commands: &[Typed]) -> Verdict {
    let folder = tempfile::tempdir()?;
    furnish(bench, folder.path(), document)?;
    let programs = tempfile::tempdir()?;
    let cargo = programs.path().join("cargo");
    fs::write(&cargo, instead_of_cargo())?;
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755))?;
    let qemu = bench.qemu.path.parent().map(Path::to_owned);
    let path: Vec<PathBuf> = [programs.path().to_owned()].into_iter().chain(qemu).collect();
    for typed in commands {
        let verdict = judge(bench, folder.path(), &path, typed);
        verdict.map_err(|failed| {
            let place = format!("{}:{}: {}", document.display(), typed.line, typed.text);
            format!("{place}\n{}", failed.message().unwrap_or_default())
        })?;
    }
    Ok(())
}

/// A script: `cargo run --` is the command that is under test, all else is for the cargo that runs this.
fn instead_of_cargo() -> String {
    let cargo = std::env::var("CARGO").unwrap_or_default();
    format!("#!/bin/sh\n[ \"$1 $2\" = 'run --' ] || exec {cargo} \"$@\"\nshift 2\nexec vambrace \"$@\"\n")
}

fn judge(bench: &Bench, folder: &Path, path: &[PathBuf], typed: &Typed) -> Verdict {
    match ways::way(&typed.text) {
        Some(Way::Run(says)) => {
            let finished = bench.shell_with(folder, path, &["-c", &typed.text])?.finish(PATIENCE)?;
            finished.exits_with(0)?.says(says)?;
            compare(&finished, &typed.shown)
        }
        Some(Way::RunUntil(says)) => {
            // The shell makes way for the program, which ends with the test then.
            let text = format!("exec {}", typed.text);
            let mut process = bench.shell_with(folder, path, &["-c", &text])?;
            process.wait_for(says, PATIENCE)?;
            process.end()
        }
        _ => Ok(()),
    }
}

/// What the document shows is what comes; three dots stand for what it leaves out.
fn compare(finished: &Finished, shown: &[String]) -> Verdict {
    let mut out = finished.out.lines().map(str::trim_end);
    for line in shown.iter().filter(|line| *line != "...") {
        ensure(out.any(|said| said == line), || {
            format!("the document shows {line:?}, and it says:\n{}", finished.out)
        })?;
    }
    Ok(())
}

/// What a reader has who follows the document: the manifests, and its own, and files under the names that it takes for examples.
fn furnish(bench: &Bench, folder: &Path, document: &Path) -> Verdict {
    let read = |document: &Path| fs::read_to_string(workspace().join(document));
    fs::create_dir(folder.join("manifests"))?;
    for entry in fs::read_dir(workspace().join("manifests"))? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "toml") {
            fs::copy(entry.path(), folder.join("manifests").join(entry.file_name()))?;
        }
    }
    let (own, smallest) = (read(document)?, read(Path::new(SMALLEST))?);
    let manifest = documents::block(&own, "toml", "[[vm]]").or(documents::block(&smallest, "toml", "[[vm]]"));
    fs::write(folder.join("my.toml"), manifest.ok_or("no document has a manifest")?)?;
    for (name, text) in documents::named(&own) {
        fs::write(folder.join(name), text)?;
    }
    for (name, guest) in [("path/to/Image", "hello"), ("build/tests.bin", "result")] {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, bench.guest(guest)?)?;
    }
    fs::write(folder.join("ram.bin"), [0; 0x4000])?;
    fs::write(folder.join("registers.json"), REGISTERS)?;
    Ok::<(), Failed>(())
}

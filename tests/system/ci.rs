// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command as a CI uses it: expectations, results, logs, and the script in docs/ci.md.

use std::path::Path;

use vambrace_manifest::workspace;
use vambrace_runner::Exit;
use vambrace_tests::{Bench, Case, Failed, PATIENCE, Scenario, Verdict, ensure};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("ci::a_result_is_told_once_in_each_life", result),
        Case::new("ci::the_script_in_the_document_passes_and_fails", script),
        Case::new("ci::what_is_expected_decides_the_exit_code", expectations),
        Case::new("ci::a_vm_that_did_what_is_expected_is_stopped", stopped),
    ]
}

/// A VM with one of our guests.
fn vm(name: &str, guest: &str, cmdline: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\nkernel = \"guest:{guest}\"\ncmdline = \"{cmdline}\"\nmemory = \"8MiB\"\n"
    )
}

fn result(bench: &Bench) -> Verdict {
    let record = bench.run(&Scenario::new([vm("a", "result", "number=7"), vm("b", "hello", "")].concat()))?;
    record.says("a", "guest: result 7 given")?;
    for (name, due) in [("a", &[7][..]), ("b", &[])] {
        let results = &record.vm(name)?.results;
        record.ensure(results == due, || format!("{name} gave {results:?}"))?;
    }
    record.exits(Exit::Success)
}

/// Runs the document's script in a folder, with the command in the path.
fn run_script(bench: &Bench, folder: &Path, manifest: &Path) -> Result<vambrace_tests::Finished, Failed> {
    let document = std::fs::read_to_string(workspace().join("docs/ci.md"))?;
    let (_, rest) = document.split_once("```sh\n").ok_or("docs/ci.md has no script")?;
    let (script, _) = rest.split_once("```").ok_or("the script in docs/ci.md has no end")?;
    let commands = script.lines().filter(|line| !line.starts_with('#')).count();
    ensure(commands <= 10, || format!("it is called a script of ten lines, and has {commands}"))?;
    std::fs::write(folder.join("ci.sh"), script)?;
    bench.shell(folder, &["ci.sh", &manifest.display().to_string()])?.finish(PATIENCE)
}

fn script(bench: &Bench) -> Verdict {
    let folder = tempfile::tempdir()?;
    run_script(bench, folder.path(), &workspace().join("manifests/ci.toml"))?.exits_with(0)?;
    let console = std::fs::read_to_string(folder.path().join("logs/ci/greeter.log"))?;
    ensure(console.contains("guest: hello from EL1"), || format!("greeter.log has {console:?}"))?;
    let own = std::fs::read_to_string(folder.path().join("logs/ci/vambrace.log"))?;
    ensure(own.contains("unit-tests gives 0 as its result"), || format!("vambrace.log has {own:?}"))?;

    let path = folder.path().join("fails.toml");
    std::fs::write(&path, vm("tests", "result", "number=3") + "result = 0\n")?;
    let failed = run_script(bench, folder.path(), &path)?;
    failed.exits_with(5)?.says("exit code 5")?.says("tests gave the result 3, not 0")?;
    Ok(())
}

fn expectations(bench: &Bench) -> Verdict {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("m.toml");
    std::fs::write(&path, [vm("a", "hello", "name=anna"), vm("b", "hello", "name=bert")].concat())?;
    let path = path.display().to_string();
    let run = |more: &[&str]| bench.vambrace(&[&["run", path.as_str()], more].concat())?.finish(PATIENCE);
    run(&["--expect", "a:name=anna$", "--expect", "*:^guest: hello", "--fail-on", "b:anna"])?
        .exits_with(0)?;
    let missing = run(&["--expect", "b:name=anna"])?;
    missing.exits_with(5)?;
    let said = |finished: &vambrace_tests::Finished, words: &str| {
        let is_said = finished.err.contains(words);
        if is_said { Ok(()) } else { Err(finished.fail(&format!("{words:?} is not said"))) }
    };
    said(&missing, "b did not say /name=anna/")?;
    let forbidden = run(&["--fail-on", "*:bert"])?;
    forbidden.exits_with(5)?;
    said(&forbidden, "b said what it must not, /bert/: guest: hello from EL1")?;
    let nobody = run(&["--expect", "c:x"])?;
    nobody.exits_with(2)?;
    said(&nobody, "--expect: there is no VM \"c\"")
}

/// The VM would go on for ever.
fn stopped(bench: &Bench) -> Verdict {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("m.toml");
    std::fs::write(&path, vm("endless", "hostile", "modes=none spin=0") + "expect = [\"guest: spins\"]\n")?;
    let finished = bench.vambrace(&["run", &path.display().to_string()])?.finish(PATIENCE)?;
    finished.exits_with(0)?.says("guest: spins").map(drop)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The manifests that come with the house, through the library and through the command itself.

use vambrace_manifest::workspace;
use vambrace_runner::Exit;
use vambrace_tests::{Bench, Case, Need, PATIENCE, Scenario, Verdict};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("demo::hello", hello),
        Case::new("demo::two_linux", two_linux).needs(Need::Linux("6.12")),
        Case::new("demo::the_command_without_arguments", command).needs(Need::Linux("6.12")),
        Case::new("demo::on_a_terminal", terminal).needs(Need::Linux("6.12")),
    ]
}

fn hello(bench: &Bench) -> Verdict {
    let record = bench.run(&Scenario::of_file(&workspace().join("manifests/hello.toml"))?)?;
    record.says("hello", "guest: hello from EL1, cpus=1 memory=8192")?;
    record.exits(Exit::Success)
}

fn two_linux(bench: &Bench) -> Verdict {
    let record = bench.run(&Scenario::of_file(&workspace().join(vambrace::args::DEMO))?)?;
    for name in ["linux-a", "linux-b"] {
        let introduction = format!("vambrace-demo: {name} up: 6.12");
        record.says(name, &introduction)?;
        let text = record.vm(name)?.text();
        let line = text.lines().find(|line| line.contains(&introduction)).unwrap_or_default();
        record.ensure(line.contains(" cpus=2 "), || format!("{name} has not both its CPUs: {line}"))?;
    }
    record.exits(Exit::Success)
}

/// What a newcomer types: `vambrace run </dev/null`.
fn command(bench: &Bench) -> Verdict {
    let finished = bench.vambrace(&["run"])?.finish(PATIENCE)?;
    finished.exits_with(0)?;
    for name in ["linux-a", "linux-b"] {
        let line = finished.out.lines().find(|line| line.contains(&format!("vambrace-demo: {name} up: ")));
        let Some(line) = line else {
            return Err(finished.fail(&format!("{name} has not introduced itself")));
        };
        if !(line.starts_with(&format!("{name} ")) && line.contains(" cpus=2 ")) {
            return Err(finished.fail(&format!("the line of {name} is wrong: {line}")));
        }
    }
    Ok(())
}

/// On a terminal: each VM gives a shell, an escape key switches, and the end of one hands the keyboard on.
fn terminal(bench: &Bench) -> Verdict {
    let mut shown = bench.vambrace_on_a_terminal(&["run"])?;
    shown.wait_for("linux-a has the keyboard (1 of 2)", PATIENCE)?;
    shown.wait_for("A shell on linux-a", PATIENCE)?;
    shown.type_keys("echo $(hostname) says $((40 + 2))\r")?;
    shown.wait_for("linux-a says 42", PATIENCE)?;
    shown.type_keys("\x1dn")?;
    shown.wait_for("[linux-b (2 of 2)]", PATIENCE)?;
    shown.wait_for("A shell on linux-b", PATIENCE)?;
    shown.type_keys("echo $(hostname) says $((40 + 3))\r")?;
    shown.wait_for("linux-b says 43", PATIENCE)?;
    shown.type_keys("poweroff\r")?;
    shown.wait_for("[linux-b powered off]", PATIENCE)?;
    shown.wait_for("[linux-a (1 of 2)]", PATIENCE)?;
    shown.type_keys("poweroff\r")?;
    shown.wait_for("[linux-a powered off]", PATIENCE)?;
    shown.finish(PATIENCE)?.exits_with(0).map(drop)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that VMs share, with doorbells between them.

use vambrace::exit::Exit;
use vambrace_tests::{Bench, Case, Need, Scenario, Verdict};

use crate::hostile::heart_beats;

/// Calls of a storm.
const CALLS: u32 = 20_000;
/// How late a heartbeat beside a storm may be, in microseconds of counted time: a turn of the stormy VM's vCPU, and something.
const LATEST: u64 = 6_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("channel::on_two_cpus", |bench| talk(bench, ["[0]", "[1]"])),
        Case::new("channel::on_one_cpu", |bench| talk(bench, ["[0]", "[0]"])),
        Case::new("channel::a_storm_of_calls", storm).needs(Need::Qemu(10)),
    ]
}

/// Two members that talk, one of them in two lives, and one that looks on.
fn talk(bench: &Bench, cpus: [&str; 2]) -> Verdict {
    let [first, second] = cpus;
    let vm = |name: &str, cmdline: &str, cpus: &str| {
        format!(
            "\n[[vm]]\nname = {name:?}\nkernel = \"guest:channel\"\nmemory = \"8MiB\"\ncpus = {cpus}\n\
             cmdline = {cmdline:?}\n"
        )
    };
    let manifest = "[[channel]]\nname = \"talk\"\nsize = \"16KiB\"\nmembers = [\"sender\", \"echo\"]\n\
                    readers = [\"reader\"]\n"
        .to_owned()
        + &vm("reader", "reader", "[2]")
        + &vm("sender", "reset", first)
        + &vm("echo", "", second);
    let record = bench.run(&Scenario::new(manifest))?;
    for name in ["reader", "sender", "echo"] {
        record.passes(name, "channel")?;
    }
    record.exits(Exit::Success)?;
    for life in 1..=2 {
        record.says("sender", &format!("come back as they were sent, in life {life}"))?;
    }
    record.says("echo", "200 messages were sent back")
}

/// A member is called without pause by one that shares its CPU, and all the same it and a stranger go on in time.
fn storm(bench: &Bench) -> Verdict {
    let heart = |name: &str| {
        format!(
            "\n[[vm]]\nname = {name:?}\nkernel = \"guest:heartbeat\"\nmemory = \"8MiB\"\ncpus = [0]\n\
             cmdline = \"beats=20 period=25\"\n"
        )
    };
    let manifest = format!(
        "[board]\ncpus = 1\n\n[[channel]]\nname = \"noise\"\nsize = \"4KiB\"\nmembers = [\"storm\", \"called\"]\n\n\
         [[vm]]\nname = \"storm\"\nkernel = \"guest:channel\"\nmemory = \"8MiB\"\ncpus = [0]\n\
         cmdline = \"storm={CALLS}\"\n"
    ) + &heart("called")
        + &heart("stranger");
    let record = bench.run(&Scenario::new(manifest).counted())?;
    record.exits(Exit::Success)?;
    record.says("storm", &format!("rung {CALLS} times"))?;
    ["called", "stranger"].iter().try_for_each(|name| heart_beats(&record, name, LATEST))
}

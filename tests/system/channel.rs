// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that VMs share, with doorbells between them.

use vambrace_runner::Exit;
use vambrace_tests::{Bench, Case, Need, Scenario, Verdict};

use crate::hostile::heart_beats;

/// Calls of a storm.
const NOTIFICATIONS: u32 = 20_000;
/// How late a heartbeat beside a storm may be, in microseconds of counted time: a turn of the stormy VM's vCPU, and something.
const LATEST: u64 = 6_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("channel::on_two_cpus", |bench| talk(bench, ["[0]", "[1]"])),
        Case::new("channel::on_one_cpu", |bench| talk(bench, ["[0]", "[0]"])),
        Case::new("channel::a_storm_of_notifications", storm).needs(Need::Qemu(10)),
    ]
}

/// Two members that talk, one of them in two boot epochs, and one that looks on.
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
    for epoch in 1..=2 {
        record.says("sender", &format!("come back as they were sent, in boot epoch {epoch}"))?;
    }
    record.says("echo", "200 messages were sent back")
}

/// A member is notified without pause and hears it; strangers on its CPU and on the sender's go on in time.
fn storm(bench: &Bench) -> Verdict {
    let vm = |name: &str, program: &str, cpu: u16, cmdline: &str| {
        format!(
            "\n[[vm]]\nname = {name:?}\nkernel = \"guest:{program}\"\nmemory = \"8MiB\"\ncpus = [{cpu}]\n\
             cmdline = {cmdline:?}\n"
        )
    };
    let beats = "beats=20 period=25";
    let manifest = "[board]\ncpus = 2\n\n[[channel]]\nname = \"noise\"\nsize = \"4KiB\"\n\
                    members = [\"storm\", \"notified\"]\n"
        .to_owned()
        + &vm("storm", "channel", 0, &format!("storm={NOTIFICATIONS}"))
        + &vm("notified", "channel", 1, "listen")
        + &vm("beside-sender", "heartbeat", 0, beats)
        + &vm("beside-notified", "heartbeat", 1, beats);
    let record = bench.run(&Scenario::new(manifest).counted())?;
    record.exits(Exit::Success)?;
    record.says("storm", &format!("notified {NOTIFICATIONS} times"))?;
    record.passes("notified", "channel")?;
    ["beside-sender", "beside-notified"].iter().try_for_each(|name| heart_beats(&record, name, LATEST))
}

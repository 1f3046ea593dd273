// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMs with a watchdog: who feeds it is left alone, who does not is reset, and the cause is told.

use vambrace_runner::{Exit, RunOutcome};
use vambrace_tests::{Bench, Case, Live, Need, Record, Scenario, Verdict};
use vambrace_wire::message::{ResetCause, VmControl, VmState};

use crate::hostile::beats_in_time;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("watchdog::who_does_not_feed_it_is_reset", |bench| unfed(bench, "")),
        Case::new("watchdog::a_vm_that_loops_is_reset", |bench| unfed(bench, "spin")),
        Case::new("watchdog::stands_still_while_its_vm_is_paused", paused),
        Case::new("watchdog::linux_feeds_it_and_is_reset_when_it_does_not", linux).needs(Need::Linux("6.12")),
    ]
}

fn vm(parameters: &str) -> String {
    format!(
        "[board]\ncpus = 1\n\
         [[vm]]\nname = \"vm\"\nkernel = \"guest:watchdog\"\nmemory = \"8MiB\"\n\
         devices = [\"pl011\", \"pl031\", \"watchdog\"]\ncmdline = {parameters:?}\n\
         [[vm]]\nname = \"beside\"\nkernel = \"guest:heartbeat\"\nmemory = \"8MiB\"\n\
         cmdline = \"beats=4000000000 period=5 every=20\"\n"
    )
}

/// Each state follows from the one before, and each reset was the watchdog's.
fn resets_are_told(record: &Record) -> Verdict {
    let vm = record.vm("vm")?;
    let due: Vec<_> = std::iter::once(VmState::Running)
        .chain((1..=vm.resets()).map(|count| VmState::Reset(count, ResetCause::Watchdog)))
        .chain([VmState::Off])
        .collect();
    record.ensure(vm.states == due, || format!("{due:?} are due"))
}

/// A guest that looks at all of the watchdog, and leaves it alone in the end: again and again, with a neighbour on its CPU.
fn unfed(bench: &Bench, how: &str) -> Verdict {
    let mut live = bench.start(&Scenario::new(vm(how)).counted())?;
    live.wait_until("the resets", |outcome| outcome.vms[0].resets() >= 3)?;
    live.send(0, "q");
    let is_off = |outcome: &RunOutcome| outcome.vm("vm").and_then(|vm| vm.state()) == Some(VmState::Off);
    live.wait_until("the VM's end", is_off)?;
    live.control(1, VmControl::Destroy, VmState::Off)?;
    let record = live.finish();
    record.passes("vm", "watchdog")?;
    let (text, resets) = (record.vm("vm")?.text(), record.vm("vm")?.resets());
    record.ensure(!text.contains("FAIL"), || "a check has failed".into())?;
    let fed = text.matches("guest: watchdog ok").count();
    record
        .ensure(fed as u64 == u64::from(resets) + 1, || format!("{fed} boot epochs with {resets} resets"))?;
    resets_are_told(&record)?;
    beats_in_time(&record, "beside", 1000)?;
    record.exits(Exit::Success)
}

/// How often the guest has said that it has fed it for a while.
fn feeds(outcome: &RunOutcome) -> usize {
    outcome.vm("vm").map_or(0, |vm| vm.text().matches("guest: fed").count())
}

/// Waits until the neighbour's heart has beaten for much longer than the watchdog has patience.
fn wait_long(live: &mut Live) -> Verdict {
    let beats = |outcome: &RunOutcome| outcome.vm("beside").map_or(0, |vm| vm.text().lines().count());
    let before = beats(live.so_far());
    // A line for 20 beats of 5 ms: 25 times as long as the watchdog has patience.
    live.wait_until("its neighbour's beats", |outcome| beats(outcome) > before + 2)
}

/// A VM that is paused for much longer than its watchdog has patience is not reset for that.
fn paused(bench: &Bench) -> Verdict {
    let mut live = bench.start(&Scenario::new(vm("feeds=4000000000")).counted())?;
    for _ in 0..3 {
        let before = feeds(live.so_far());
        live.wait_until("it to be fed", |outcome| feeds(outcome) > before)?;
        live.control(0, VmControl::Pause, VmState::Paused)?;
        wait_long(&mut live)?;
        live.control(0, VmControl::Resume, VmState::Resumed)?;
    }
    let before = feeds(live.so_far());
    live.wait_until("it to be fed", |outcome| feeds(outcome) > before)?;
    live.control(0, VmControl::Destroy, VmState::Off)?;
    live.control(1, VmControl::Destroy, VmState::Off)?;
    let record = live.finish();
    record.ensure(record.vm("vm")?.resets() == 0, || "it was reset".into())?;
    record.ensure(!record.vm("vm")?.text().contains("FAIL"), || "a check has failed".into())?;
    record.exits(Exit::Success)
}

/// Debian's kernel drives it by its module `sbsa_gwdt`.
fn linux(bench: &Bench) -> Verdict {
    let mut live = bench.start(
        &Scenario::new(
            r#"
            [[vm]]
            name = "vm"
            kernel = "debian:6.12"
            initrd = "demo"
            memory = "512MiB"
            vcpus = 2
            devices = ["pl011", "pl031", "watchdog"]
            "#,
        )
        .counted()
        .with_shells(),
    )?;
    live.wait_for(0, "A shell on vm")?;
    live.ask(0, "echo is: $(cat /sys/class/watchdog/watchdog0/identity)", "is: SBSA Generic Watchdog")?;
    live.ask(0, "watchdog -T 4 -t 1 /dev/watchdog; echo started $?", "started 0")?;
    live.ask(0, "sleep 12; echo after 12 s $((40 + 2))", "after 12 s 42")?;
    live.ask(0, "echo state: $(cat /sys/class/watchdog/watchdog0/state)", "state: active")?;
    live.send(0, "killall -9 watchdog\n");
    live.wait_until("the reset", |outcome| outcome.vms[0].resets() == 1)?;
    live.wait_for(0, "A shell on vm")?;
    live.ask(0, "echo up again $((40 + 2))", "up again 42")?;
    live.send(0, "poweroff\n");
    let record = live.finish();
    resets_are_told(&record)?;
    record.exits(Exit::Success)
}

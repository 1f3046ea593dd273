// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VM that resets itself again and again beside one that must not notice.

use std::io::Write as _;

use vambrace_runner::Exit;
use vambrace_tests::{Bench, Case, Need, Record, Scenario, Verdict};
use vambrace_wire::message::{ResetCause, VmState};

/// Runs until a byte arrives on its console; finds fault with anything that survives a reset.
const SIBLING: &str = r#"
[[vm]]
name = "sibling"
kernel = "guest:reset"
memory = "8MiB"
"#;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("resets::sibling_of_linux_100_times", |bench| beside_linux(bench, 100))
            .needs(Need::Linux("6.12")),
        Case::new("resets::sibling_of_linux_1000_times", |bench| beside_linux(bench, 1000))
            .needs(Need::Linux("6.12"))
            .long(),
        Case::new("resets::guest_errors_in_a_loop_are_logged_by_the_time", guest_errors),
        Case::new("resets::linux_itself", linux_itself).needs(Need::Linux("6.12")),
        Case::new("resets::nothing_from_before_the_boot", nothing_from_before_the_boot),
    ]
}

/// What firmware or an earlier boot has left in memory, no VM finds: the board starts with memory that is full.
fn nothing_from_before_the_boot(bench: &Bench) -> Verdict {
    let mut full = tempfile::NamedTempFile::new()?;
    // Behind the hypervisor, up to where QEMU puts the bundle: the first VM's memory is there.
    full.write_all(&vec![0xA5; 112 << 20])?;
    let loader = format!("loader,file={},addr=0x41000000,force-raw=on", full.path().display());
    let record = bench.run(
        &Scenario::new(
            r#"
            [[vm]]
            name = "vm"
            kernel = "guest:reset"
            cmdline = "until=1"
            memory = "64MiB"
            "#,
        )
        .with_qemu_args(&["-device", &loader]),
    )?;
    record.says("vm", "guest: pristine")?;
    record.exits(Exit::Success)
}

fn beside_linux(bench: &Bench, count: u32) -> Verdict {
    let linux = r#"
        [[vm]]
        name = "linux"
        kernel = "debian:6.12"
        initrd = "demo"
        memory = "512MiB"
        vcpus = 2
        "#;
    // A second or two for each reset.
    let scenario = Scenario::new([SIBLING, linux].concat()).with_shells().within(8 * u64::from(count));
    let mut live = bench.start(&scenario)?;
    live.wait_for(1, "A shell on linux")?;
    live.wait_until("the resets", |outcome| outcome.vms[0].resets() >= count)?;
    live.ask(1, "echo still $(nproc) cpus", "still 2 cpus")?;
    live.send(0, "q");
    live.wait_for(0, "guest: reset ends")?;
    live.ask(1, "echo alone; poweroff", "alone")?;
    let record = live.finish();
    each_reset_counts(&record)?;
    record.exits(Exit::Success)
}

/// Every boot found the machine as new, and every reset was told.
fn each_reset_counts(record: &Record) -> Verdict {
    let sibling = record.vm("sibling")?;
    let (text, resets) = (sibling.text(), sibling.resets());
    record.ensure(!text.contains("FAIL"), || "something has survived a reset".into())?;
    let boots = text.matches("guest: pristine").count();
    record.ensure(boots as u64 == u64::from(resets) + 1, || format!("{boots} boots with {resets} resets"))?;
    let due: Vec<_> = std::iter::once(VmState::Running)
        .chain((1..=resets).map(|count| VmState::Reset(count, ResetCause::Asked)))
        .chain([VmState::Off])
        .collect();
    record.ensure(sibling.states == due, || "the states told are not one after another".into())
}

/// Linux resets by PSCI SYSTEM_RESET, with all its CPUs on, and comes up again.
fn linux_itself(bench: &Bench) -> Verdict {
    let mut live = bench.start(
        &Scenario::new(
            r#"
            [[vm]]
            name = "linux"
            kernel = "debian:6.12"
            initrd = "demo"
            memory = "512MiB"
            vcpus = 3
            "#,
        )
        .with_shells(),
    )?;
    for boot in 0..3 {
        live.wait_for(0, "vambrace-demo: linux up:")?;
        live.wait_for(0, " cpus=3 ")?;
        live.wait_for(0, "A shell on linux")?;
        live.ask(0, "echo alive $((40 + 2))", "alive 42")?;
        live.send(0, if boot < 2 { "reboot\n" } else { "poweroff\n" });
    }
    let record = live.finish();
    let resets = record.vm("linux")?.resets();
    record.ensure(resets == 2, || format!("2 resets are due, and there were {resets}"))?;
    record.exits(Exit::Success)
}

/// The date on which a board that counts begins (`-rtc base=2026-01-01`), and how long the loop goes on.
const NEW_YEAR: u64 = 1_767_225_600;
const SECONDS: u64 = 4;
const GUEST_ERRORS: u64 = 20;

/// A VM whose guest errs in each of many boots: the log is bounded by the time that passes, and not by the boots; and each error
/// is logged or counted.
fn guest_errors(bench: &Bench) -> Verdict {
    let record = bench.run(
        &Scenario::new(format!(
            "[[vm]]\nname = \"loop\"\nkernel = \"guest:reset\"\nmemory = \"8MiB\"\n\
             cmdline = \"guest_errors={GUEST_ERRORS} until={}\"\n",
            NEW_YEAR + SECONDS
        ))
        .counted(),
    )?;
    let vm = record.vm("loop")?;
    let boots = u64::from(vm.resets()) + 1;
    let lines: Vec<&str> = record.outcome.log.iter().map(|(_, line)| line.as_str()).collect();
    let logged = lines.iter().filter(|line| line.contains("where it has nothing")).count() as u64;
    let counted: u64 = lines
        .iter()
        .filter_map(|line| line.strip_prefix("loop: ")?.split_once(" more errors")?.0.parse::<u64>().ok())
        .sum();
    record.ensure(boots > 100, || format!("only {boots} boots"))?;
    // A few at once, and then one a second.
    record.ensure(logged <= 16 + SECONDS + 1, || format!("{logged} lines in {boots} boots"))?;
    record.ensure(logged + counted == boots * GUEST_ERRORS, || {
        format!("{logged} logged and {counted} counted of {}", boots * GUEST_ERRORS)
    })?;
    record.exits(Exit::Success)
}

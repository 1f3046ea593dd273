// SPDX-License-Identifier: MIT OR Apache-2.0
//! Our own guests: each checks one part of the machine, here under the hypervisor and, with the same checks, on
//! QEMU's own machine. What differs between the two is wrong in one of them.

use std::collections::BTreeSet;

use vambrace_runner::Exit;
use vambrace_tests::{Bench, Case, Failed, Need, PATIENCE, Scenario, Verdict, ensure};

/// The processors that Vambrace is tested on, by QEMU's names.
pub(crate) const PROCESSORS: [&str; 6] =
    ["cortex-a53", "cortex-a57", "cortex-a72", "cortex-a76", "neoverse-n1", "max"];

/// A guest's run: the program, its parameters, how many CPUs it sees.
#[derive(Clone, Copy)]
struct Guest {
    name: &'static str,
    parameters: &'static str,
    cpus: u16,
}

/// By the computer's own time, with real concurrency; ticks are wide apart, for computers that are busy.
const ALONE: [(&str, Guest); 7] = [
    ("gic", Guest { name: "gic", parameters: "", cpus: 1 }),
    ("timer", Guest { name: "timer", parameters: "ticks=200 period=5000", cpus: 1 }),
    ("isa", Guest { name: "isa", parameters: "", cpus: 1 }),
    ("debug", Guest { name: "debug", parameters: "", cpus: 3 }),
    ("smp_4", Guest { name: "smp", parameters: "", cpus: 4 }),
    ("smp_8", Guest { name: "smp", parameters: "", cpus: 8 }),
    ("smp_20", Guest { name: "smp", parameters: "rounds=5", cpus: 20 }),
];

/// By counted instructions, here and without hypervisor.
const COMPARED: [Guest; 6] = [
    Guest { name: "gic", parameters: "", cpus: 1 },
    Guest { name: "timer", parameters: "ticks=200", cpus: 1 },
    Guest { name: "isa", parameters: "", cpus: 1 },
    Guest { name: "debug", parameters: "", cpus: 3 },
    Guest { name: "smp", parameters: "rounds=5", cpus: 4 },
    Guest { name: "unprivileged", parameters: "", cpus: 1 },
];

/// Older ones hang where a comparator is near its end, and, when counting, where the UART talks to itself.
const GOOD_QEMU: Need = Need::Qemu(10);

pub(crate) fn cases() -> Vec<Case> {
    let alone = ALONE.map(|(name, guest)| {
        let case = Case::new(format!("guests::{name}"), move |bench| alone(bench, guest, "cortex-a72"));
        if guest.name == "timer" { case.needs(GOOD_QEMU) } else { case }
    });
    let compared = COMPARED.map(|guest| {
        let name = format!("guests::{}_as_without_hypervisor", guest.name);
        Case::new(name, move |bench| compare(bench, guest)).needs(GOOD_QEMU)
    });
    let processors = PROCESSORS
        .map(|cpu| Case::new(format!("processors::{}", cpu.replace('-', "_")), move |bench| all(bench, cpu)));
    let shared = Case::new("guests::debug_in_turns", debug_in_turns);
    alone.into_iter().chain([shared]).chain(compared).chain(processors).collect()
}

/// Two vCPUs with breakpoints and one without take turns on one CPU.
fn debug_in_turns(bench: &Bench) -> Verdict {
    let record = bench.run(&Scenario::new(
        r#"
        [board]
        cpu = "cortex-a72"
        cpus = 1
        [[vm]]
        name = "vm"
        kernel = "guest:debug"
        memory = "64MiB"
        cpus = [0, 0, 0]
        "#,
    ))?;
    record.passes("vm", "debug")?;
    record.exits(Exit::Success)
}

fn alone(bench: &Bench, guest: Guest, cpu: &str) -> Verdict {
    let Guest { name, parameters, cpus } = guest;
    let record = bench.run(&Scenario::new(format!(
        r#"
        [board]
        cpu = "{cpu}"
        [[vm]]
        name = "vm"
        kernel = "guest:{name}"
        cmdline = "{parameters}"
        memory = "64MiB"
        vcpus = {cpus}
        "#
    )))?;
    record.passes("vm", name)?;
    record.exits(Exit::Success)
}

/// Runs a guest here and there, by counted instructions, and compares what it has checked.
fn compare(bench: &Bench, guest: Guest) -> Verdict {
    let Guest { name, parameters, cpus } = guest;
    let record = bench.run(
        &Scenario::new(format!(
            r#"
            [[vm]]
            name = "vm"
            kernel = "guest:{name}"
            cmdline = "{parameters}"
            memory = "64MiB"
            vcpus = {cpus}
            "#
        ))
        .counted(),
    )?;
    record.passes("vm", name)?;
    let native = natively(bench, guest)?;
    let (here, there) = (checks(&record.vm("vm")?.text()), checks(&native));
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
        a.difference(b).map(|check| format!("\n  {check}")).collect::<String>()
    };
    record.ensure(here == there, || {
        format!("only here:{}\nonly without hypervisor:{}", only(&here, &there), only(&there, &here))
    })
}

/// What a guest says on QEMU's own machine.
fn natively(bench: &Bench, guest: Guest) -> Result<String, Failed> {
    let image = tempfile::NamedTempFile::new()?;
    std::fs::write(image.path(), bench.guest(guest.name)?)?;
    let image = image.path().display().to_string();
    let cpus = guest.cpus.to_string();
    let parameters = format!("{} native", guest.parameters);
    let finished = bench
        .plain_qemu(
            [
                &["-machine", "virt,gic-version=3", "-cpu", "cortex-a72,cntfrq=1000000000", "-m", "64M"][..],
                &["-icount", "shift=0,sleep=off", "-smp", &cpus, "-kernel", &image, "-append", &parameters],
            ]
            .concat(),
        )?
        .finish(PATIENCE)?;
    finished.exits_with(0)?.says(&format!("guest: {} ok", guest.name))?;
    Ok(finished.out)
}

/// The names of the checks, without the figures in them. What a guest sends to itself through the UART may come
/// before one in its line.
fn checks(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.split_once("guest: ok: "))
        .map(|(_, check)| check.trim_end().chars().filter(|c| !c.is_ascii_digit()).collect())
        .collect()
}

/// Several guests side by side on one kind of processor.
fn all(bench: &Bench, cpu: &str) -> Verdict {
    let record = bench.run(&Scenario::new(format!(
        r#"
        [board]
        cpu = "{cpu}"
        [[vm]]
        name = "hello"
        kernel = "guest:hello"
        memory = "8MiB"
        [[vm]]
        name = "smp"
        kernel = "guest:smp"
        memory = "64MiB"
        vcpus = 4
        [[vm]]
        name = "isa"
        kernel = "guest:isa"
        memory = "64MiB"
        "#
    )))?;
    record.says("hello", "guest: hello from EL1")?;
    record.passes("smp", "smp")?;
    record.passes("isa", "isa")?;
    record.exits(Exit::Success)?;
    ensure(record.outcome.summary.cpus == Some(4), || "all four CPUs of the board must run".into())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! vCPUs that move from one physical CPU to another, asked or by themselves.

use vambrace_runner::{Exit, RunOutcome};
use vambrace_tests::{Bench, Case, Failed, Live, Need, Scenario, Verdict, ensure};
use vambrace_wire::message::VmControl;

/// How often a vCPU is moved while it works.
const MOVES: usize = 10_000;
/// How often it is asked where vCPUs are that move by themselves.
const LOOKS: usize = 100;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("migrate::four_busy_vcpus_on_one_cpu_end_on_four", balance),
        Case::new("migrate::moved_10000_times_while_it_works", |bench| moves(bench, MOVES))
            .needs(Need::Qemu(10)),
        Case::new("migrate::what_cannot_move_is_told", refused),
    ]
}

/// The physical CPU of each vCPU of VMs `vms`, as of when this is asked.
fn places(live: &mut Live, vms: core::ops::Range<u16>) -> Result<Vec<u16>, Failed> {
    let reports = live.inspect(4)?;
    let of = |vm: u16| reports.iter().find(|report| report.vm == vm).map(|report| report.cpu);
    Ok(vms.filter_map(of).collect())
}

/// Four VMs that never wait find three of four CPUs taken by vCPUs that are pinned there, and off; so they all begin on the fourth.
fn balance(bench: &Bench) -> Verdict {
    let pinned = "\n[[vm]]\nname = \"pinned\"\nkernel = \"guest:heartbeat\"\nmemory = \"8MiB\"\n\
                  cmdline = \"beats=4000000000 every=100\"\n";
    let cpus = ["1", "2", "3"].map(|cpu| [cpu; 8]).concat().join(", ");
    let busy = (0..4).map(|number| {
        format!(
            "\n[[vm]]\nname = \"busy{number}\"\nkernel = \"guest:migrate\"\ncmdline = \"busy\"\nmemory = \"8MiB\"\n"
        )
    });
    let manifest = format!("[board]\ncpus = 4\n{pinned}cpus = [{cpus}]\n{}", busy.collect::<String>());
    let mut live = bench.start(&Scenario::new(manifest).counted())?;
    for vm in 1..5 {
        live.wait_for(vm, "CPUs work")?;
    }
    let mut at = Vec::new();
    // More than enough, since each takes longer than a slice: the line of a serial port is slow.
    for _ in 0..LOOKS {
        at = places(&mut live, 1..5)?;
        at.sort_unstable();
        if at == [0, 1, 2, 3] {
            break;
        }
    }
    ensure(at == [0, 1, 2, 3], || format!("the four are on CPUs {at:?}"))?;
    for vm in 1..5 {
        live.send(vm, "q");
    }
    for vm in 1..5 {
        live.wait_for(vm, "guest: migrate ")?;
    }
    live.ask_for(0, VmControl::Destroy);
    let record = live.finish();
    (0..4).try_for_each(|number| record.passes(&format!("busy{number}"), "migrate"))?;
    record.exits(Exit::Success)
}

/// Two vCPUs of one VM are moved among three CPUs, one of them beside a neighbour, while they compute, wait, send each other SGIs and
/// take an assigned device's interrupts.
fn moves(bench: &Bench, count: usize) -> Verdict {
    let manifest = r#"
        [board]
        cpus = 3

        [[vm]]
        name = "moves"
        kernel = "guest:migrate"
        memory = "8MiB"
        vcpus = 2
        devices = ["pl011"]
        assign = ["/pl011@9040000"]

        [[vm]]
        name = "beside"
        kernel = "guest:heartbeat"
        memory = "8MiB"
        cpus = [0]
        cmdline = "beats=4000000000 period=5 every=20"
        "#;
    let scenario = Scenario::new(manifest.to_owned()).with_qemu_args(&["-serial", "null"]).counted();
    let mut live = bench.start(&scenario)?;
    live.wait_for(0, "CPUs work")?;
    let so_far = |outcome: &RunOutcome| outcome.vms.first().map_or(0, |vm| vm.migrations.len());
    for number in 0..count {
        // Each vCPU by its own steps, so that they meet on a CPU and part again.
        let vcpu = number % 2;
        let cpu = (number / 2 * (vcpu + 1) + vcpu) % 3;
        live.ask_for(0, VmControl::Migrate { vcpu: vcpu as u16, cpu: cpu as u16 });
        live.wait_until("its move", |outcome| so_far(outcome) > number)?;
    }
    live.send(0, "q");
    live.wait_for(0, "guest: migrate ")?;
    live.ask_for(1, VmControl::Destroy);
    let record = live.finish();
    record.passes("moves", "migrate")?;
    crate::hostile::beats_in_time(&record, "beside", 1000)?;
    record.exits(Exit::Success)
}

/// A vCPU that is pinned, one that there is not, and a CPU that there is not.
fn refused(bench: &Bench) -> Verdict {
    let manifest = "[board]\ncpus = 2\n\
         [[vm]]\nname = \"pinned\"\nkernel = \"guest:heartbeat\"\nmemory = \"8MiB\"\ncpus = [0]\ncmdline = \"beats=4000000000\"\n\
         [[vm]]\nname = \"free\"\nkernel = \"guest:heartbeat\"\nmemory = \"8MiB\"\ncmdline = \"beats=4000000000\"\n";
    let mut live = bench.start(&Scenario::new(manifest.to_owned()).counted())?;
    live.wait_for(1, "beat 1")?;
    for (vm, vcpu, cpu, words) in [
        (0, 0, 1, "vCPU 0 of pinned cannot move: its manifest pins it"),
        (1, 1, 0, "vCPU 1 of free cannot move: it has no such vCPU"),
        (1, 0, 2, "vCPU 0 of free cannot move: a vCPU is pinned to CPU 2, and the board has 2"),
    ] {
        live.ask_for(vm, VmControl::Migrate { vcpu, cpu });
        live.wait_until(words, |outcome| outcome.log.iter().any(|(_, text)| text.contains(words)))?;
    }
    for vm in [0, 1] {
        live.ask_for(vm, VmControl::Destroy);
    }
    live.finish().exits(Exit::Success)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many VMs: one after another, so that memory and VMIDs are used again, and all at once.

use vambrace_runner::Exit;
use vambrace_tests::{Bench, Case, Scenario, Verdict};
use vambrace_wire::message::VmState;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("many::vms_300_one_after_another", |bench| one_after_another(bench, 300)),
        Case::new("many::vms_1000_one_after_another", |bench| one_after_another(bench, 1000)).long(),
        Case::new("many::vms_64_at_once", |bench| at_once(bench, 64)),
    ]
}

/// Four chains of VMs, each VM starting when the one before it has ended. The board's memory is less than they
/// have together, and a cortex-a72 has VMIDs of 8 bits: both have to be used again.
fn one_after_another(bench: &Bench, count: usize) -> Verdict {
    const CHAINS: usize = 4;
    let mut manifest = "[board]\ncpu = \"cortex-a72\"\nmemory = \"512MiB\"\n".to_owned();
    for index in 0..count {
        manifest.push_str(&format!(
            "[[vm]]\nname = \"vm{index}\"\nkernel = \"guest:hello\"\nmemory = \"8MiB\"\ncmdline = \"name=vm{index}\"\n"
        ));
        if let Some(before) = index.checked_sub(CHAINS) {
            manifest.push_str(&format!("after = \"vm{before}\"\n"));
        }
    }
    let record = bench.run(&Scenario::new(manifest))?;
    for index in 0..count {
        let name = format!("vm{index}");
        record.says_line(&name, &format!("guest: hello from EL1, cpus=1 memory=8192 name={name}"))?;
        let states = &record.vm(&name)?.states;
        record.ensure(states[..] == [VmState::Running, VmState::Off], || {
            format!("{name} went through {states:?}")
        })?;
    }
    record.exits(Exit::Success)
}

/// All of them beat on the four CPUs at the same time.
fn at_once(bench: &Bench, count: usize) -> Verdict {
    let mut manifest = "[board]\nmemory = \"1GiB\"\n".to_owned();
    for index in 0..count {
        manifest.push_str(&format!(
            "[[vm]]\nname = \"vm{index}\"\nkernel = \"guest:heartbeat\"\nmemory = \"8MiB\"\n\
             cmdline = \"beats=10 period=1000 name=vm{index}\"\n"
        ));
    }
    // Counted: the seconds in which all wait cost nothing.
    let mut live = bench.start(&Scenario::new(manifest).counted())?;
    live.wait_until("all VMs run at the same time", |outcome| {
        outcome.vms.iter().all(|vm| vm.states == [VmState::Running])
    })?;
    let record = live.finish();
    for index in 0..count {
        let name = format!("vm{index}");
        record.says_line(&name, &format!("guest: {name} beat 10"))?;
    }
    record.exits(Exit::Success)
}

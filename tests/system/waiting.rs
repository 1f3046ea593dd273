// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMs that wait for others, and CPUs that are called as soon as they are there.

use vambrace_runner::Exit;
use vambrace_tests::{Bench, Case, Scenario, Verdict, ensure};
use vambrace_wire::message::VmState;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("waiting::beside_two_that_spin", |bench| beside(bench, &[0, 1])),
        Case::new("waiting::on_an_idle_cpu_beside_one_that_spins", |bench| beside(bench, &[0])),
        Case::new("waiting::cpus_called_as_soon_as_they_are_there", called_at_once),
    ]
}

/// A VM starts when the one before it has ended, even if no CPU leaves its guest for that: on these CPUs a guest spins with
/// interrupts masked.
fn beside(bench: &Bench, spinning: &[u16]) -> Verdict {
    let mut manifest = "[board]\ncpus = 2\nmemory = \"512MiB\"\n".to_owned();
    let mut add = |name: &str, cpu: u16, rest: &str| {
        manifest.push_str(&format!("[[vm]]\nname = \"{name}\"\nmemory = \"8MiB\"\ncpus = [{cpu}]\n{rest}\n"));
    };
    add("first", 0, "kernel = \"guest:hello\"");
    add("second", 1, "kernel = \"guest:hello\"\nafter = \"first\"");
    for cpu in spinning {
        add(&format!("spins{cpu}"), *cpu, "kernel = \"guest:hostile\"\ncmdline = \"modes=none spin=1\"");
    }
    let mut live = bench.start(&Scenario::new(manifest).counted())?;
    let mut spins_on = false;
    live.wait_until("the VM that waited, or one that spins, has come to its end", |outcome| {
        let has_ended = |name: &str| outcome.vm(name).is_some_and(|vm| vm.gone.is_some());
        spins_on = !spinning.iter().any(|cpu| has_ended(&format!("spins{cpu}")));
        has_ended("second") || !spins_on
    })?;
    ensure(spins_on, || "it had to wait for the end of one that spins".to_owned())?;
    let record = live.finish();
    let states = &record.vm("second")?.states;
    record
        .ensure(states[..] == [VmState::Running, VmState::Off], || format!("it went through {states:?}"))?;
    record.exits(Exit::Success)
}

/// A VM's first CPU switches the second one on before that one's affine CPU has heard of it, with other VMs' news on the way.
fn called_at_once(bench: &Bench) -> Verdict {
    for small in BESIDE {
        let mut manifest = "[board]\ncpus = 2\nmemory = \"512MiB\"\n\
             [[vm]]\nname = \"smp\"\nkernel = \"guest:smp\"\nmemory = \"16MiB\"\ncpus = [1, 0]\n\
             cmdline = \"rounds=1\"\n"
            .to_owned();
        for index in 0..small {
            manifest.push_str(&format!(
                "[[vm]]\nname = \"small{index}\"\nkernel = \"guest:hello\"\nmemory = \"8MiB\"\ncpus = [{}]\n",
                index % 2
            ));
        }
        let record = bench.run(&Scenario::new(manifest).counted())?;
        record.passes("smp", "smp")?;
        record.exits(Exit::Success)?;
    }
    Ok(())
}

/// The boot CPU makes so many other VMs before it hears of the second CPU: each takes as long as a guest's first steps.
const BESIDE: [u16; 3] = [1, 3, 10];

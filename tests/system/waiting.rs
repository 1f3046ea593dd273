// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMs that wait for others, CPUs that are called as soon as they are there, and what waits beside one that never leaves its guest.

use vambrace_runner::{Exit, RunOutcome};
use vambrace_tests::{Bench, Case, Scenario, Verdict, ensure};
use vambrace_wire::message::{VmControl, VmState};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("waiting::beside_two_that_spin", |bench| beside(bench, &[0, 1])),
        Case::new("waiting::on_an_idle_cpu_beside_one_that_spins", |bench| beside(bench, &[0])),
        Case::new("waiting::cpus_called_as_soon_as_they_are_there", called_at_once),
        Case::new("waiting::for_a_key_beside_a_sibling_that_spins", for_a_key),
        Case::new("waiting::made_anew_on_the_cpu_of_one_that_spins", made_anew),
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

/// A vCPU waits for a key, and the other one of its VM spins on the same CPU. The key is for the one that runs to deliver, and its CPU
/// leaves the guest for nothing else.
fn for_a_key(bench: &Bench) -> Verdict {
    let manifest = "[board]\ncpus = 2\n\
         [[vm]]\nname = \"pair\"\nkernel = \"guest:terminal\"\nmemory = \"16MiB\"\ncpus = [1, 1]\ncmdline = \"second\"\n\
         [[vm]]\nname = \"clock\"\nkernel = \"guest:heartbeat\"\nmemory = \"8MiB\"\ncpus = [0]\n\
         cmdline = \"beats=2 period=50\"\n";
    let runs_of_clock = |outcome: &RunOutcome| outcome.vm("clock").map_or(0, |vm| vm.gone_count);
    let mut live = bench.start(&Scenario::new(manifest).counted())?;
    live.wait_for(0, "guest: terminal")?;
    for (runs, line) in (1..).zip(["k", "q"]) {
        live.wait_until("the end of the clock", |outcome| runs_of_clock(outcome) == runs)?;
        live.send(0, &format!("{line}\n"));
        // It is made when the key has come, and so measures how long that takes to be heard.
        live.ask_for(1, VmControl::Create);
        let answer = format!("guest: 1 bytes, 0 breaks, sum {}", line.as_bytes()[0]);
        let mut is_heard = false;
        live.wait_until("the answer, or the end of the clock", |outcome| {
            is_heard = outcome.vm("pair").is_some_and(|vm| vm.text().contains(&answer));
            is_heard || runs_of_clock(outcome) > runs
        })?;
        ensure(is_heard, || format!("{line} is not heard in 100 ms"))?;
    }
    live.finish().exits(Exit::Success)
}

/// A VM is made anew by the CPU that another spins on, and is to run there. A minute of counted time is much more than it takes to ask
/// for it on any computer: the other one's end is only there to end what hangs.
fn made_anew(bench: &Bench) -> Verdict {
    let manifest = "[board]\ncpus = 1\n\
         [[vm]]\nname = \"comes\"\nkernel = \"guest:hello\"\nmemory = \"8MiB\"\n\
         [[vm]]\nname = \"spins\"\nkernel = \"guest:hostile\"\nmemory = \"8MiB\"\ncmdline = \"modes=none spin=60\"\n";
    let mut live = bench.start(&Scenario::new(manifest).counted())?;
    live.wait_for(1, "guest: spins")?;
    live.wait_until("its end", |outcome| outcome.vm("comes").is_some_and(|vm| vm.gone_count == 1))?;
    live.ask_for(0, VmControl::Create);
    let mut spins_on = false;
    live.wait_until("that it runs again, or the end of the one that spins", |outcome| {
        spins_on = outcome.vm("spins").is_some_and(|vm| vm.state() == Some(VmState::Running));
        outcome.vm("comes").is_some_and(|vm| vm.states.len() > 2) || !spins_on
    })?;
    ensure(spins_on, || "it had to wait for the end of one that spins".to_owned())?;
    live.control(1, VmControl::Destroy, VmState::Off)?;
    live.finish().exits(Exit::Success)
}

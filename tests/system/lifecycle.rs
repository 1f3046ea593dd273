// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMs that are paused, go on, are switched off and made anew, beside others that do not notice.

use vambrace_runner::{Exit, RunOutcome, VmOutcome};
use vambrace_tests::{Bench, Case, Live, Record, Scenario, Verdict};
use vambrace_wire::message::{VmControl, VmState};

use crate::hostile::beats_in_time;

/// How late a heartbeat may be, in microseconds of counted time.
const LATEST: u64 = 1000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("lifecycle::its_time_stands_still_while_it_is_paused", pause),
        Case::new("lifecycle::paused_while_it_computes", compute),
        Case::new("lifecycle::made_paused_and_destroyed_1000_times", |bench| come_and_go(bench, 1000)),
        Case::new("lifecycle::destroyed_as_soon_as_it_is_made", destroyed_early),
        Case::new("lifecycle::the_board_stays_on_when_no_vm_is_left", stay),
        Case::new("lifecycle::paused_amid_disks_networks_sgis_and_psci", amid),
    ]
}

fn vm(name: &str, program: &str, cpu: u16, cmdline: &str) -> String {
    format!(
        "\n[[vm]]\nname = {name:?}\nkernel = \"guest:{program}\"\nmemory = \"8MiB\"\ncpus = [{cpu}]\n\
         cmdline = {cmdline:?}\n"
    )
}

/// A heartbeat that beats until it is switched off.
const BEATS: &str = "beats=4000000000 period=5 every=20";

/// Waits until a VM's heart has beaten many times more.
fn beats_on(live: &mut Live, vm: usize) -> Verdict {
    let lines = |outcome: &RunOutcome| outcome.vms.get(vm).map_or(0, |vm| vm.text().lines().count());
    let before = lines(live.so_far());
    live.wait_until("more of its beats", |outcome| lines(outcome) > before + 20)
}

/// The memory that EL2 takes while `vms` VMs exist was told more often than `times`, and is the same to the byte each time.
fn memory_comes_back(record: &Record, vms: u16, times: usize) -> Verdict {
    let told = || record.outcome.memory.iter().filter(|(count, _)| *count == vms).map(|(_, memory)| memory);
    let first = told().next();
    record.ensure(told().count() > times && told().all(|memory| Some(memory) == first), || {
        format!("the memory that EL2 takes changes: {:?}", record.outcome.memory)
    })
}

/// Switches all VMs off.
fn destroy_all(live: &mut Live) -> Verdict {
    let count = live.so_far().vms.len() as u16;
    (0..count).try_for_each(|vm| live.control(vm, VmControl::Destroy, VmState::Off))
}

/// A VM that waits for its timer is paused for many of its periods. It goes on where it was, and no beat is late by its own
/// clock; its neighbours, one on each CPU, have noticed nothing.
fn pause(bench: &Bench) -> Verdict {
    let manifest = "[board]\ncpus = 2\n".to_owned()
        + &vm("paused", "heartbeat", 0, BEATS)
        + &vm("beside", "heartbeat", 0, BEATS)
        + &vm("other", "heartbeat", 1, BEATS);
    let mut live = bench.start(&Scenario::new(manifest).counted())?;
    beats_on(&mut live, 0)?;
    live.control(0, VmControl::Pause, VmState::Paused)?;
    // What it said before may be on its way still.
    beats_on(&mut live, 1)?;
    let said = |live: &Live| live.so_far().vms.first().map(|vm| vm.console.len());
    let before = said(&live);
    beats_on(&mut live, 1)?;
    beats_on(&mut live, 2)?;
    let after = said(&live);
    live.control(0, VmControl::Resume, VmState::Resumed)?;
    beats_on(&mut live, 0)?;
    destroy_all(&mut live)?;
    let record = live.finish();
    record.ensure(before == after, || "it went on while it was paused".to_owned())?;
    ["paused", "beside", "other"].iter().try_for_each(|name| beats_in_time(&record, name, LATEST))?;
    record.exits(Exit::Success)
}

/// VMs are paused, one after the other, while they run and have the floating-point registers, of which both share one CPU's: neither
/// loses what it keeps there.
fn compute(bench: &Bench) -> Verdict {
    // They never sleep, so each of their seconds has all its instructions.
    let computes = "beats=4000000000 period=1 every=2 between=compute";
    let manifest = "[board]\ncpus = 1\n".to_owned()
        + &vm("one", "heartbeat", 0, computes)
        + &vm("other", "heartbeat", 0, computes);
    let mut live = bench.start(&Scenario::new(manifest).counted())?;
    for round in 0..10 {
        let (paused, runs) = (round % 2, 1 - round % 2);
        beats_on(&mut live, paused)?;
        live.control(paused as u16, VmControl::Pause, VmState::Paused)?;
        beats_on(&mut live, runs)?;
        live.control(paused as u16, VmControl::Resume, VmState::Resumed)?;
    }
    destroy_all(&mut live)?;
    live.finish().exits(Exit::Success)
}

/// VMs that read and write disks, send each other frames and SGIs and switch vCPUs on and off are paused and go on, one after the
/// other, until they have come to their ends. They find all that they wait for.
fn amid(bench: &Bench) -> Verdict {
    let folder = tempfile::tempdir()?;
    let disk = "[[vm.disk]]\nboard = \"store\"\n";
    let lan = "[[vm.network]]\nname = \"lan\"\n";
    let manifest = "[board]\ncpus = 2\n\
         [[board.disk]]\nname = \"store\"\nimage = \"store.img\"\nsize = \"16MiB\"\n\
         [[network]]\nname = \"lan\"\n"
        .to_owned()
        + &vm("smp", "smp", 0, "rounds=100").replace("[0]", "[0, 1, 0, 1]")
        + &vm("a", "virtio", 0, "echo")
        + disk
        + "size = \"6MiB\"\n"
        + lan
        + &vm("b", "virtio", 1, "")
        + disk
        + "start = \"6MiB\"\n"
        + lan
        + &vm("gic", "gic", 1, "");
    let path = folder.path().join("scenario.toml");
    std::fs::write(&path, manifest)?;
    let mut live = bench.start(&Scenario::of_file(&path)?.counted())?;
    let state = |outcome: &RunOutcome, vm: u16| outcome.vms.get(usize::from(vm)).and_then(VmOutcome::state);
    let mut pauses = 0;
    for vm in (0..4).cycle() {
        let over = |outcome: &RunOutcome, vm| state(outcome, vm) == Some(VmState::Off);
        if (0..4).all(|vm| over(live.so_far(), vm)) {
            break;
        }
        live.wait_until("its start", |outcome| state(outcome, vm).is_some())?;
        live.ask_for(vm, VmControl::Pause);
        live.wait_until("its pause, or its end", |outcome| {
            state(outcome, vm) == Some(VmState::Paused) || over(outcome, vm)
        })?;
        pauses += u32::from(!over(live.so_far(), vm));
        live.ask_for(vm, VmControl::Resume);
        live.wait_until("that it goes on", |outcome| state(outcome, vm) != Some(VmState::Paused))?;
    }
    let record = live.finish();
    record.passes("smp", "smp")?;
    record.passes("a", "virtio")?;
    record.passes("b", "virtio")?;
    record.passes("gic", "gic")?;
    record.ensure(pauses >= 20, || format!("they were paused {pauses} times only"))?;
    record.exits(Exit::Success)
}

/// A VM is paused, goes on, is switched off and made anew, again and again, paused or not when it is switched off. Its neighbours on
/// both its CPUs have each beat in time, and all memory that it had is given back.
fn come_and_go(bench: &Bench, times: usize) -> Verdict {
    let manifest = "[board]\ncpus = 2\n".to_owned()
        + &vm("comes", "heartbeat", 0, "beats=4000000000 period=1 every=1000").replace("[0]", "[0, 1]")
        + &vm("beside", "heartbeat", 0, BEATS)
        + &vm("other", "heartbeat", 1, BEATS);
    let mut live = bench.start(&Scenario::new(manifest).counted())?;
    for vm in [0, 1, 2] {
        live.wait_until("its start", |outcome| {
            outcome.vms.get(vm).is_some_and(|vm| vm.states.contains(&VmState::Running))
        })?;
    }
    for round in 0..times {
        live.control(0, VmControl::Pause, VmState::Paused)?;
        live.control(0, VmControl::Resume, VmState::Resumed)?;
        if round % 2 == 0 {
            live.control(0, VmControl::Pause, VmState::Paused)?;
        }
        live.control(0, VmControl::Destroy, VmState::Off)?;
        live.wait_until("its memory back", |outcome| {
            outcome.vms.first().is_some_and(|vm| vm.gone_count == round + 1)
        })?;
        live.control(0, VmControl::Create, VmState::Running)?;
    }
    destroy_all(&mut live)?;
    let record = live.finish();
    for name in ["beside", "other"] {
        beats_in_time(&record, name, LATEST)?;
    }
    memory_comes_back(&record, 3, times)?;
    record.exits(Exit::Success)
}

/// A VM is switched off as soon as it has been made, again and again, whether its images are in place by then or not: all of it is given
/// back.
fn destroyed_early(bench: &Bench) -> Verdict {
    const ROUNDS: usize = 20;
    let manifest = "[board]\ncpus = 2\n".to_owned()
        + &vm("comes", "heartbeat", 0, BEATS)
        + &vm("beside", "heartbeat", 0, BEATS);
    let mut live = bench.start(&Scenario::new(manifest).counted())?;
    let gone = |outcome: &RunOutcome| outcome.vms.first().map_or(0, |vm| vm.gone_count);
    beats_on(&mut live, 0)?;
    beats_on(&mut live, 1)?;
    live.control(0, VmControl::Destroy, VmState::Off)?;
    for round in 1..=ROUNDS {
        live.wait_until("its memory back", |outcome| gone(outcome) == round)?;
        live.ask_for(0, VmControl::Create);
        // Refused until it has been made.
        while gone(live.so_far()) == round {
            let refused = |outcome: &RunOutcome| {
                outcome.log.iter().filter(|(_, text)| text.contains("comes does not exist now")).count()
            };
            let before = refused(live.so_far());
            live.ask_for(0, VmControl::Destroy);
            live.wait_until("that it is refused, or its memory back", |outcome| {
                refused(outcome) > before || gone(outcome) > round
            })?;
        }
    }
    live.control(1, VmControl::Destroy, VmState::Off)?;
    let record = live.finish();
    memory_comes_back(&record, 2, ROUNDS)?;
    record.exits(Exit::Success)
}

/// The only VM powers off, and is made anew, twice.
fn stay(bench: &Bench) -> Verdict {
    let manifest = "[board]\ncpus = 2\nwhen_idle = \"stay\"\n".to_owned() + &vm("only", "hello", 0, "");
    let mut live = bench.start(&Scenario::new(manifest).counted())?;
    for round in 1..=3 {
        live.wait_until("its end, and that the board stays on", |outcome| {
            let stays = outcome.log.iter().filter(|(_, text)| text.contains("the board stays on")).count();
            stays == round && outcome.vms.first().is_some_and(|vm| vm.gone_count == round)
        })?;
        if round < 3 {
            live.control(0, VmControl::Create, VmState::Running)?;
        }
    }
    let record = live.stop();
    let states = &record.vm("only")?.states;
    record.ensure(states[..] == [VmState::Running, VmState::Off].repeat(3), || {
        format!("it went through {states:?}")
    })
}

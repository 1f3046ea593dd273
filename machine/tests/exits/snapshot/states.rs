// SPDX-License-Identifier: MIT OR Apache-2.0
//! The random VMs that are taken apart are in the middle of all that a VM can be in the middle of.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use vambrace_interrupts::{ListRegister, State};

use super::*;

/// What is to be seen in some VM, as its debug output has it.
const OF_THE_VM: &[&str] = &[
    "OnPending",
    // Interrupts: put with their list registers, changed since, or synced.
    "lr_state: PutCurrent",
    "lr_state: PutOutdated",
    "lr_state: Synced",
    // A request that a disk has, one that waits for another, and one that nobody waits for any more.
    "stage: Pending",
    "stage: Ready",
    "stage: Abandoned",
    // A console's buffer of which a part is sent.
    "sent: Some(",
    "cause: 2",
];

/// What of two of an interrupt's bitmaps, which are the same word or not, is to be seen.
fn seen(world: &World, found: &mut Vec<&'static str>) {
    let vm = world.bench.vm.lock();
    let text = format!("{:?}", *vm);
    let word = |name: &str| {
        let values = text.split(name).skip(1);
        values
            .map(|rest| rest.split([',', ' ']).next().unwrap_or("0").parse().unwrap_or(0u64))
            .collect::<Vec<_>>()
    };
    let (latches, active, lr) = (word(" latch: "), word(" active: "), word(" in_lr: "));
    let any = |words: &[u64]| words.iter().any(|word| *word != 0);
    let in_lr = |wanted: State| {
        vm.gic.vcpu_ids().filter_map(|vcpu| vm.gic.interface(vcpu)).any(|interface| {
            let lists = interface.lr.iter().take(interface.used.into());
            lists.into_iter().any(|lr| ListRegister(*lr).state() == wanted)
        })
    };
    let in_both = latches.iter().zip(&active).any(|(latch, active)| latch & active != 0);
    let waits =
        |text: &str| world.bench.vcpus.iter().any(|vcpu| format!("{:?}", vcpu.mp_state).contains(text));
    let timer = world.bench.vcpus.iter().any(|vcpu| vcpu.physical_timer.deadline().is_some());
    let all = [
        ("pending", any(&latches)),
        ("pending in a list register", in_lr(State::Pending)),
        ("active in a list register", in_lr(State::Active)),
        ("active and pending in a list register", in_lr(State::ActivePending)),
        ("active", any(&active)),
        ("active and pending", in_both),
        ("in a list register", any(&lr)),
        ("a linked interrupt", any(&word(" linked: "))),
        ("an SGI for one that is put", any(&word(" pending_sgi: "))),
        ("a timer", timer),
        ("a vCPU that waits", waits("then: None")),
        ("a vCPU that is suspended", waits("then: Some")),
        ("a vCPU that is off", waits("Off")),
        ("a frame on its way", !world.outside.frames.is_empty()),
        ("input on its way", world.outside.inbox != Inbox::new()),
        ("input in the console", vm.waiting_input() > 0),
        ("a request that a disk has", vm.in_flight().any(|(_, request)| request.tag.is_some())),
        ("a block that was written", world.outside.disk.written().next().is_some()),
    ];
    found.extend(all.iter().filter(|(_, is_seen)| *is_seen).map(|(what, _)| *what));
    found.extend(OF_THE_VM.iter().filter(|what| text.contains(**what)));
}

#[test]
fn vms_are_in_the_middle_of_everything() {
    let strategy = (any::<bool>(), prop::collection::vec(step(), 20..150));
    let mut runner = TestRunner::deterministic();
    let mut found = Vec::new();
    for _ in 0..1000 {
        let (has_uart, steps) = strategy.new_tree(&mut runner).expect("steps").current();
        let mut world = World::new(&config(3, has_uart));
        steps.iter().for_each(|step| world.step(step));
        if world.pause() {
            seen(&world, &mut found);
        }
    }
    let wanted = OF_THE_VM.iter().copied().chain([
        "pending",
        "pending in a list register",
        "active in a list register",
        "active and pending in a list register",
        "active",
        "active and pending",
        "in a list register",
        "a linked interrupt",
        "an SGI for one that is put",
        "a timer",
        "a vCPU that waits",
        "a vCPU that is suspended",
        "a vCPU that is off",
        "a frame on its way",
        "input on its way",
        "input in the console",
        "a request that a disk has",
        "a block that was written",
    ]);
    let missing: Vec<_> = wanted.filter(|what| !found.contains(what)).collect();
    assert!(missing.is_empty(), "no VM was in the middle of {missing:?}");
}

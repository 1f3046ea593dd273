// SPDX-License-Identifier: MIT OR Apache-2.0
//! A whole VM, and whatever may happen to it.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use vambrace_cpu::sysreg::SysReg;
use vambrace_ids::VcpuId;
use vambrace_interrupts::ListRegister;
use vambrace_io::platform::Time;
use vambrace_machine::devices::Device;
use vambrace_machine::{Resume, Vcpu, Vm, layout};

use crate::bench::{Bench, config, platform};
use crate::events::event;
use crate::world::{self, PLENTY, World, outer, step};

/// No interrupt is in two list registers at once.
fn assert_lent_once(bench: &Bench) {
    let mut shared = BTreeSet::new();
    for core in &bench.host.cores {
        let mut private = BTreeSet::new();
        for lr in core.interface.lr.iter().take(core.interface.used.into()) {
            let intid = ListRegister(*lr).intid().get();
            assert!(intid < 1020, "INTID {intid}");
            let seen = if intid < layout::SPI_BASE { &mut private } else { &mut shared };
            assert!(seen.insert(intid), "INTID {intid} twice");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    /// What must always hold, [`Bench`] checks after each exit: no panic, no write to memory, no allocation, an EL1
    /// or EL0 state, vCPUs and addresses that exist.
    #[test]
    fn no_sequence_of_exits_does_harm(
        vcpus in 1usize..=20,
        flash: bool,
        events in prop::collection::vec((0usize..20, event()), 1..80),
    ) {
        let mut bench = Bench::with_config(&config(vcpus, flash));
        for (index, event) in &events {
            // The first ones are on the most.
            bench.happen(index * index % vcpus.max(1), event);
            assert_lent_once(&bench);
        }
        prop_assert!(bench.host.ram.is_confined());
    }

    /// Saved and restored, a VM goes on as if nothing had happened.
    #[test]
    fn a_vm_is_a_value(events in prop::collection::vec((0usize..3, event()), 1..40)) {
        let mut bench = Bench::with_config(&config(3, true));
        for (index, event) in &events {
            bench.happen(*index, event);
        }
        let saved = postcard::to_allocvec(&*bench.vm.lock()).unwrap();
        prop_assert_eq!(&postcard::from_bytes::<Vm>(&saved).unwrap(), &*bench.vm.lock());
        for vcpu in &bench.vcpus {
            let saved = postcard::to_allocvec(vcpu).unwrap();
            prop_assert_eq!(&postcard::from_bytes::<Vcpu>(&saved).unwrap(), vcpu);
        }
    }
}

proptest! {
    /// A VM that is paused does nothing, whatever it was doing, and is the same when it goes on as one that was not.
    #[test]
    fn a_pause_leaves_no_trace(
        events in prop::collection::vec((0usize..3, event(), any::<bool>()), 1..40),
    ) {
        let (mut paused, mut other) =
            (Bench::with_config(&config(3, true)), Bench::with_config(&config(3, true)));
        for (index, event, pauses) in &events {
            if *pauses && paused.vm.lock().pause().is_ok() {
                let mut vm = paused.vm.lock();
                let before = vm.clone();
                prop_assert!(!vm.has_work());
                vm.note_paused(paused.host.now).expect("it is about to pause");
                prop_assert!(!vm.has_work() && vm.pause().is_err() && vm.start(0).is_err());
                vm.resume(paused.host.now).expect("it is paused");
                prop_assert!(vm.gic == before.gic && vm.power == before.power);
            }
            paused.happen(*index, event);
            other.happen(*index, event);
        }
        let (paused, other) = (paused.vm.lock().clone(), other.vm.lock().clone());
        prop_assert!(paused == other, "{}", difference(&paused, &other));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// The same in the middle of disk requests, of what its consoles send, of frames, input, notifications and SGIs, and while others
    /// start: as long as it is paused no device of it does anything, whatever comes, and nothing of that is lost.
    #[test]
    fn a_pause_amid_requests_leaves_no_trace(
        has_uart: bool,
        steps in prop::collection::vec((step(), prop::option::of(prop::collection::vec(outer(), 0..4))), 1..60),
    ) {
        let config = world::config(3, has_uart);
        let (mut paused, mut other) = (World::new(&config), World::new(&config));
        for (step, meanwhile) in &steps {
            paused.step(step);
            other.step(step);
            let Some(meanwhile) = meanwhile else { continue };
            let is_paused = paused.bench.vm.lock().pause().is_ok();
            for outer in meanwhile {
                paused.happen_around(*outer);
                other.happen_around(*outer);
                if is_paused {
                    let before = (paused.bench.vm.lock().clone(), paused.bench.host.ram.contents());
                    prop_assert!(!before.0.has_work());
                    let has_worked = paused.poll(PLENTY);
                    paused.take();
                    prop_assert!(!has_worked, "a device has had its poll");
                    prop_assert!(*paused.bench.vm.lock() == before.0, "the VM, which is paused, has changed");
                    prop_assert!(paused.bench.host.ram.contents() == before.1, "its memory has changed");
                }
            }
            if is_paused {
                let now = paused.bench.host.now;
                let mut vm = paused.bench.vm.lock();
                vm.note_paused(now).expect("it is about to pause");
                vm.resume(now).expect("it is paused");
            }
            let difference = paused.difference(&other);
            prop_assert!(difference.is_none(), "{difference:?} differ");
        }
    }
}

/// Where two VMs differ first, in their debug output, which is long.
pub(crate) fn difference(one: &Vm, other: &Vm) -> String {
    let (one, other) = (format!("{one:?}"), format!("{other:?}"));
    let at = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    let around = |text: &str| text.chars().skip(at.saturating_sub(100)).take(200).collect::<String>();
    format!("{}\nis not\n{}", around(&one), around(&other))
}

#[test]
fn lines_go_down_at_a_reset() {
    let mut bench = Bench::with_config(&config(2, false));
    let (uart, clock) = (Device::Pl011.base().0, Device::Pl031.base().0);
    bench.write(uart + 0x38, 0x7FF);
    let _ = bench.vm.lock().type_keys(b"k");
    bench.write(clock + 0x10, 1);
    bench.write(clock + 4, bench.host.seconds);
    bench.frame().x[1] = 1;
    assert_eq!(bench.msr(SysReg::CNTP_CTL_EL0, 1), Resume::Guest);
    // All three are pending.
    assert_eq!(bench.read(layout::GICD.start().0 + 0x204), 0b110);
    assert_eq!(bench.read(layout::GICR.0 + 0x1_0200), 1 << layout::PHYSICAL_TIMER_INTID.get());
    bench.vm.lock().reset();
    let fresh = Vm::new(&config(2, false), &platform(), bench.host.seconds).expect("it can be built");
    assert!(*bench.vm.lock() == fresh, "{}", difference(&bench.vm.lock().clone(), &fresh));
}

#[test]
fn a_reset_vm_is_a_new_one_a_thousand_times() {
    let strategy = prop::collection::vec((0usize..5, event()), 1..60);
    let mut runner = TestRunner::deterministic();
    let mut bench = Bench::with_config(&config(5, true));
    for round in 0..1000 {
        for (index, event) in strategy.new_tree(&mut runner).expect("events").current() {
            bench.happen(index, &event);
        }
        // What is on its way in or out of the VM stays so: it is let through first.
        bench.vm.lock().flush_console(|bytes| bytes.len());
        bench.restart();
        bench.start_pending();
        let (data, flags) = (Device::Pl011.base().0, Device::Pl011.base().0 + 0x18);
        bench.read(flags);
        while bench.read(flags) & 1 << 4 == 0 {
            bench.read(data);
        }
        for vcpu in (0..5).map(VcpuId::new) {
            while bench.vm.lock().gic.take_hw_deactivate(vcpu).is_some() {}
        }
        bench.vm.lock().reset();
        let mut reset = bench.vm.lock().clone();
        let mut fresh = Vm::new(&config(5, true), &platform(), bench.host.seconds).expect("it can be built");
        assert!(reset.start(0).is_ok() && fresh.start(0).is_ok());
        let _ = reset.note_time(Time { seconds: bench.host.seconds, count: 0 });
        assert!(reset == fresh, "round {round}: {}", difference(&reset, &fresh));
        bench.restart();
        bench.start_pending();
    }
}

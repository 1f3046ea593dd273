// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VM with a watchdog: whom it interrupts, when it has the VM reset, and when it does nothing.

use vambrace_ids::VcpuId;
use vambrace_io::platform::{Deadline, Time};
use vambrace_io::watchdog::{registers, status};
use vambrace_machine::devices::{self, Device};
use vambrace_machine::host::Clock;
use vambrace_machine::{Lifecycle, StopReason, layout};
use vambrace_wire::message::ResetCause;

use crate::bench::{Bench, config};

const BASE: u64 = Device::Watchdog.base().0;
const OFFSET: u64 = 500;

/// A VM whose watchdog counts.
fn armed() -> Bench {
    let mut config = config(3, false);
    config.devices = devices::set(&Device::ALL);
    let mut bench = Bench::with_config(&config);
    bench.write(BASE + registers::WOR, OFFSET);
    bench.write(BASE + registers::WCS, status::EN.into());
    bench
}

/// So many ticks pass.
fn pass(bench: &mut Bench, ticks: u64) {
    bench.host.now += ticks;
    let now = bench.host.device_time();
    bench.host.notified = bench.vm.lock().note_time(now);
}

fn is_pending(bench: &mut Bench) -> bool {
    let intid = u64::from(Device::Watchdog.intid().get());
    bench.read(layout::GICD.start().0 + 0x200 + 4 * (intid / 32)) & 1 << (intid % 32) != 0
}

fn due(bench: &Bench) -> Option<u64> {
    bench.vm.lock().next_deadline(|deadline| match deadline {
        Deadline::Count(count) => count,
        Deadline::Seconds(_) => panic!("a watchdog goes by the count"),
    })
}

#[test]
fn every_vcpu_looks_out_for_a_watchdog_that_begins_to_count() {
    let mut bench = armed();
    assert!(bench.vcpus.iter().all(|vcpu| bench.host.notified.contains(vcpu.id)));
    assert_eq!(due(&bench), Some(bench.host.now + OFFSET + 1));
    bench.host.notified = Default::default();
    bench.host.now += 10;
    bench.write(BASE + registers::WRR, 0);
    assert!(bench.host.notified.is_empty(), "it has become later, which may be noticed then");
    assert_eq!(due(&bench), Some(bench.host.now + OFFSET + 1));
    bench.write(BASE + registers::WOR, OFFSET / 2);
    assert!(bench.host.notified.contains(VcpuId::new(2)), "it has become sooner");
}

#[test]
fn who_does_not_feed_it_is_interrupted_and_then_reset() {
    let mut bench = armed();
    pass(&mut bench, OFFSET);
    assert!(!is_pending(&mut bench));
    pass(&mut bench, 1);
    assert!(is_pending(&mut bench));
    bench.write(BASE + registers::WRR, 0);
    assert!(!is_pending(&mut bench));
    pass(&mut bench, OFFSET + 1);
    pass(&mut bench, OFFSET);
    assert_eq!(bench.vm.lock().lifecycle(), Lifecycle::Running);
    pass(&mut bench, 1);
    let watchdog = StopReason::Reset(ResetCause::Watchdog);
    assert_eq!(bench.vm.lock().lifecycle(), Lifecycle::Stopping(watchdog));
    assert!(bench.vcpus.iter().all(|vcpu| bench.host.notified.contains(vcpu.id)));
    bench.vm.lock().reset();
    assert_eq!(due(&bench), None);
}

#[test]
fn who_feeds_it_too_late_is_reset_all_the_same() {
    let mut bench = armed();
    pass(&mut bench, OFFSET + 1);
    bench.host.now += OFFSET + 1;
    bench.host.notified = Default::default();
    bench.write(BASE + registers::WRR, 0);
    assert!(bench.host.notified.contains(VcpuId::new(0)), "it looks before it goes on");
    assert!(due(&bench).is_some_and(|at| at <= bench.host.now));
    pass(&mut bench, 0);
    let reason = bench.vm.lock().lifecycle().stop_reason();
    assert_eq!(reason, Some(StopReason::Reset(ResetCause::Watchdog)));
}

#[test]
fn nothing_happens_while_the_vm_is_paused() {
    let mut bench = armed();
    pass(&mut bench, OFFSET + 1);
    bench.vm.lock().pause().expect("it runs");
    pass(&mut bench, 10 * OFFSET);
    assert_eq!(bench.vm.lock().lifecycle(), Lifecycle::Pausing);
    assert!(bench.host.notified.is_empty());
}

#[test]
fn a_reset_one_is_as_new() {
    let mut bench = armed();
    pass(&mut bench, OFFSET + 1);
    let mut devices = bench.vm.lock().devices.clone();
    bench.vm.lock().reset();
    let new = devices::Devices::new(devices::set(&[Device::Watchdog]), Time { seconds: 0, count: 0 });
    assert_eq!(bench.vm.lock().devices.watchdog, new.watchdog);
    devices.pl011 = None;
    assert_ne!(devices.watchdog, new.watchdog);
}

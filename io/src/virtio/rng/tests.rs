// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::*;
use crate::virtio::mmio::registers::{self, interrupt};
use crate::virtio::model::driver::{Driver, Part, Tables, get, set};
use crate::virtio::model::hostile::{self, Aim, Bytes};
use crate::virtio::model::ram::Ram;
use crate::virtio::queue::Fault;
use crate::virtio::rng::Rng;

/// Counts up from 1, until so many bytes have been given.
struct Counter {
    next: u8,
    left: usize,
}

impl Entropy for Counter {
    fn fill(&mut self, to: &mut [u8]) -> usize {
        let count = to.len().min(self.left);
        self.left -= count;
        for byte in &mut to[..count] {
            *byte = self.next;
            self.next = self.next.wrapping_add(1);
        }
        count
    }
}

fn counter(left: usize) -> Counter {
    Counter { next: 1, left }
}

const PLENTY: Quota = Quota { requests: 1000, bytes: 1 << 20 };

fn started() -> (Virtio<Rng>, Ram, Driver) {
    let mut device = Virtio::<Rng>::new();
    let driver = Driver::start(&mut device, crate::virtio::feature::COMMON, 1, 8).unwrap();
    (device, Ram::new(), driver)
}

#[test]
fn spec_5_4_identity() {
    let mut device = Virtio::<Rng>::new();
    assert_eq!(get(&mut device, registers::DEVICE_ID), 4);
    assert_eq!(get(&mut device, registers::CONFIG), 0);
}

#[test]
fn spec_5_4_6_buffers_are_filled() {
    for tables in [Tables::Direct, Tables::Indirect] {
        let (mut device, ram, mut driver) = started();
        driver.tables = tables;
        driver.offer(&ram, 0, &[Part::In(3), Part::In(100)]);
        driver.offer(&ram, 0, &[Part::In(2)]);
        assert_eq!(device.serve(&ram, &mut counter(1000), &mut PLENTY.clone()), After::Idle);
        let first = driver.returned(&ram, 0).unwrap();
        assert_eq!((first.written, first.bytes), (103, (1..=103).collect::<Vec<u8>>()));
        assert_eq!(driver.returned(&ram, 0).unwrap().bytes, [104, 105]);
        assert_eq!(get(&mut device, registers::INTERRUPT_STATUS), interrupt::USED_BUFFER);
    }
}

#[test]
fn without_entropy_the_guest_waits() {
    let (mut device, ram, mut driver) = started();
    driver.offer(&ram, 0, &[Part::In(10)]);
    let mut source = counter(0);
    assert_eq!(device.serve(&ram, &mut source, &mut PLENTY.clone()), After::Backend);
    assert_eq!((driver.returned(&ram, 0), device.irq_asserted()), (None, false));
    source.left = 1;
    assert_eq!(device.serve(&ram, &mut source, &mut PLENTY.clone()), After::Idle);
    // 5.4.6.1: one byte or more.
    assert_eq!(driver.returned(&ram, 0).unwrap().written, 1);
}

#[test]
fn a_poll_ends_with_its_quota() {
    let (mut device, ram, mut driver) = started();
    for _ in 0..5 {
        driver.offer(&ram, 0, &[Part::In(100)]);
    }
    let mut quota = Quota { requests: 3, bytes: 1000 };
    assert_eq!(device.serve(&ram, &mut counter(1000), &mut quota), After::More);
    assert_eq!(quota, Quota { requests: 0, bytes: 700 });
    let mut quota = Quota { requests: 100, bytes: 150 };
    assert_eq!(device.serve(&ram, &mut counter(1000), &mut quota), After::More);
    assert_eq!(quota.bytes, 0);
    let written: Vec<u32> = core::iter::from_fn(|| Some(driver.returned(&ram, 0)?.written)).collect();
    assert_eq!(written, [100, 100, 100, 100, 50]);
}

#[test]
fn a_request_without_room_is_an_error() {
    let (mut device, ram, mut driver) = started();
    driver.offer(&ram, 0, &[Part::Out(b"?")]);
    let _ = device.serve(&ram, &mut counter(1000), &mut PLENTY.clone());
    assert_eq!(device.fault(), Some(Fault::Request { head: 0 }));
}

#[test]
fn spec_2_7_10_the_driver_is_spared_notifications_while_a_turn_is_due() {
    let (mut device, ram, mut driver) = started();
    driver.offer(&ram, 0, &[Part::In(1)]);
    assert!(driver.must_notify(&ram, 0, 0));
    driver.offer(&ram, 0, &[Part::In(1)]);
    let _ = device.serve(&ram, &mut counter(1000), &mut Quota { requests: 1, bytes: 100 });
    driver.offer(&ram, 0, &[Part::In(1)]);
    assert!(!driver.must_notify(&ram, 0, 2));
    assert_eq!(device.serve(&ram, &mut counter(1000), &mut PLENTY.clone()), After::Idle);
    driver.offer(&ram, 0, &[Part::In(1)]);
    assert!(driver.must_notify(&ram, 0, 3));
}

proptest! {
    /// The device's requirements, against a driver that keeps none: work is bounded, and memory is written only where the
    /// driver allows it.
    #[test]
    fn a_hostile_driver_hurts_nobody(
        script in prop::collection::vec(any::<u8>(), 0..4000),
        requests in 0u32..20,
        bytes in 0u64..5000,
    ) {
        let (mut device, ram) = (Virtio::<Rng>::new(), Ram::new());
        Driver::start(&mut device, crate::virtio::feature::COMMON, 1, hostile::SIZE).unwrap();
        let mut script = Bytes(&script);
        hostile::fill_queue(&ram, &mut script, 0, Aim::Buffers);
        set(&mut device, registers::QUEUE_NOTIFY, 0);
        loop {
            ram.clear_log();
            let mut quota = Quota { requests, bytes };
            let _ = device.serve(&ram, &mut counter(usize::MAX), &mut quota);
            let spent = u64::from(requests - quota.requests);
            prop_assert!(ram.accesses() <= spent * 32 + bytes / 64 * 2 + 32);
            prop_assert_eq!(hostile::stray(&ram, 1), None);
            if script.is_empty() {
                break;
            }
            hostile::make_available(&ram, &mut script, 0);
            hostile::start_again(&mut device, &ram, &mut script, 1, Aim::Buffers);
        }
    }
}

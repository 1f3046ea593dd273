// SPDX-License-Identifier: MIT OR Apache-2.0
use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::virtio::feature;
use crate::virtio::mmio::registers::{self, interrupt};
use crate::virtio::model::driver::{Driver, Part, Tables, get, set};
use crate::virtio::model::hostile::{self, Aim, Bytes};
use crate::virtio::model::ram::Ram;
use crate::virtio::queue::Fault;

const PLENTY: Quota = Quota { requests: 1000, bytes: 1 << 20 };

#[derive(Default)]
struct Screen {
    shown: Vec<u8>,
    room: usize,
    keys: VecDeque<u8>,
}

impl Terminal for Screen {
    fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        self.shown.extend(&bytes[..taken]);
        taken
    }

    fn read(&mut self, to: &mut [u8]) -> usize {
        let count = to.len().min(self.keys.len());
        for (to, key) in to.iter_mut().zip(self.keys.drain(..count)) {
            *to = key;
        }
        count
    }
}

fn screen(room: usize, keys: &[u8]) -> Screen {
    Screen { room, keys: keys.iter().copied().collect(), ..Screen::default() }
}

fn started(features: u64) -> (Virtio<Console>, Ram, Driver) {
    let mut device = Virtio::<Console>::new(Size { columns: 80, rows: 25 });
    let driver = Driver::start(&mut device, features, 2, 8).unwrap();
    (device, Ram::new(), driver)
}

#[test]
fn spec_5_3_identity_and_configuration() {
    let mut device = Virtio::<Console>::new(Size { columns: 80, rows: 25 });
    assert_eq!(get(&mut device, registers::DEVICE_ID), 3);
    assert_eq!(get(&mut device, registers::DEVICE_FEATURES) & 0xFF, 1);
    assert_eq!(get(&mut device, registers::CONFIG), 80 | 25 << 16);
    assert_eq!(get(&mut device, registers::CONFIG + 4), 0);
}

#[test]
fn spec_5_3_4_a_new_size_is_a_change_of_the_configuration() {
    let new = Size { columns: 132, rows: 50 };
    for (features, wanted) in [(SIZE, interrupt::CONFIGURATION), (0, 0)] {
        let (mut device, _, _) = started(features);
        let generation = get(&mut device, registers::CONFIG_GENERATION);
        device.resize(Size { columns: 80, rows: 25 });
        assert!(!device.irq_asserted(), "it is no other");
        device.resize(new);
        assert_eq!(get(&mut device, registers::INTERRUPT_STATUS), wanted);
        assert_eq!(get(&mut device, registers::CONFIG), 132 | 50 << 16);
        let changed = get(&mut device, registers::CONFIG_GENERATION) != generation;
        assert_eq!(changed, features == SIZE);
    }
}

#[test]
fn spec_5_3_6_output_is_shown_as_fast_as_there_is_room() {
    let (mut device, ram, mut driver) = started(SIZE);
    let text = [b'x'; 200];
    driver.offer(&ram, TRANSMIT, &[Part::Out(b"hello, "), Part::Out(b"world")]);
    driver.offer(&ram, TRANSMIT, &[Part::Out(&text)]);
    let mut screen = screen(5, b"");
    assert_eq!(device.serve(&ram, &mut screen, &mut PLENTY.clone()), After::Backend);
    assert_eq!((&screen.shown[..], driver.returned(&ram, TRANSMIT)), (&b"hello"[..], None));
    screen.room = 100;
    assert_eq!(device.serve(&ram, &mut screen, &mut PLENTY.clone()), After::Backend);
    assert_eq!(driver.returned(&ram, TRANSMIT).unwrap().written, 0);
    let saved = postcard::to_allocvec(&device).unwrap();
    device = postcard::from_bytes(&saved).unwrap();
    screen.room = 1000;
    assert_eq!(device.serve(&ram, &mut screen, &mut PLENTY.clone()), After::Idle);
    assert!(driver.returned(&ram, TRANSMIT).is_some());
    assert_eq!(screen.shown, [b"hello, world".as_slice(), &text].concat());
}

#[test]
fn spec_5_3_6_input_waits_for_a_buffer() {
    let (mut device, ram, mut driver) = started(SIZE);
    let mut screen = screen(0, &[b'k'; 100]);
    assert_eq!(device.serve(&ram, &mut screen, &mut PLENTY.clone()), After::Idle);
    assert_eq!(screen.keys.len(), 100);
    driver.offer(&ram, RECEIVE, &[Part::In(1)]);
    driver.offer(&ram, RECEIVE, &[Part::In(30), Part::In(40)]);
    driver.offer(&ram, RECEIVE, &[Part::In(64)]);
    driver.offer(&ram, RECEIVE, &[Part::In(64)]);
    assert_eq!(device.serve(&ram, &mut screen, &mut PLENTY.clone()), After::Idle);
    let lengths: Vec<u32> = core::iter::from_fn(|| Some(driver.returned(&ram, RECEIVE)?.written)).collect();
    assert_eq!(lengths, [1, 70, 29]);
    screen.keys.push_back(b'!');
    let _ = device.serve(&ram, &mut screen, &mut PLENTY.clone());
    assert_eq!(
        driver.returned(&ram, RECEIVE).unwrap().bytes[..2],
        *b"!\0",
        "a buffer that was not needed is kept"
    );
}

#[test]
fn a_poll_ends_with_its_quota() {
    let (mut device, ram, mut driver) = started(SIZE);
    driver.offer(&ram, TRANSMIT, &[Part::Out(&[b'a'; 150])]);
    driver.offer(&ram, RECEIVE, &[Part::In(10)]);
    let mut screen = screen(1000, b"keys");
    let mut quota = Quota { requests: 10, bytes: 100 };
    assert_eq!(device.serve(&ram, &mut screen, &mut quota), After::More);
    assert_eq!((screen.shown.len(), quota.bytes), (100, 0));
    assert_eq!(device.serve(&ram, &mut screen, &mut PLENTY.clone()), After::Idle);
    assert_eq!((screen.shown.len(), screen.keys.len()), (150, 0));
}

#[test]
fn output_of_a_driver_that_has_left_is_forgotten() {
    for stop in [registers::STATUS, registers::QUEUE_READY] {
        let (mut device, ram, mut driver) = started(SIZE);
        driver.offer(&ram, TRANSMIT, &[Part::Out(b"old")]);
        let mut screen = screen(1, b"");
        let _ = device.serve(&ram, &mut screen, &mut PLENTY.clone());
        set(&mut device, registers::QUEUE_SEL, TRANSMIT as u32);
        set(&mut device, stop, 0);
        screen.room = 100;
        ram.clear_log();
        assert_eq!(device.serve(&ram, &mut screen, &mut PLENTY.clone()), After::Idle);
        assert_eq!(screen.shown, b"o");
    }
}

#[test]
fn after_a_fault_nothing_more_is_shown() {
    let (mut device, ram, mut driver) = started(SIZE);
    driver.offer(&ram, TRANSMIT, &[Part::Out(b"text")]);
    driver.offer(&ram, RECEIVE, &[Part::Out(b"?")]);
    let mut screen = screen(2, b"k");
    let _ = device.serve(&ram, &mut screen, &mut PLENTY.clone());
    assert!(device.fault().is_some());
    screen.room = 100;
    ram.clear_log();
    assert_eq!(device.serve(&ram, &mut screen, &mut PLENTY.clone()), After::Idle);
    assert_eq!((&screen.shown[..], ram.accesses()), (&b"te"[..], 0));
}

#[test]
fn a_buffer_for_input_that_cannot_be_written_is_an_error() {
    let (mut device, ram, mut driver) = started(SIZE);
    driver.offer(&ram, RECEIVE, &[Part::Out(b"?")]);
    let _ = device.serve(&ram, &mut screen(0, b"k"), &mut PLENTY.clone());
    assert!(matches!(device.fault(), Some(Fault::Request { .. })));
}

proptest! {
    /// All bytes arrive in order, once, whatever the sizes.
    #[test]
    fn both_directions_are_streams(
        steps in prop::collection::vec((0usize..200, 1u32..50, 0usize..150, 0usize..100, 1u64..300), 1..40),
        tables in prop_oneof![Just(Tables::Direct), Just(Tables::Indirect)],
        features in prop_oneof![Just(feature::COMMON), Just(feature::INDIRECT_DESC)],
    ) {
        let (mut device, ram, mut driver) = started(features);
        driver.tables = tables;
        let mut screen = screen(0, b"");
        let (mut sent, mut typed, mut got) = (Vec::new(), Vec::<u8>::new(), Vec::new());
        let mut next = 0u8;
        let mut bytes = |count: usize| -> Vec<u8> {
            (0..count).map(|_| { next = next.wrapping_add(1); next }).collect()
        };
        for (out, room, show, keys, quota) in steps {
            let text = bytes(out + 1);
            if driver.offer(&ram, TRANSMIT, &[Part::Out(&text)]).is_some() {
                sent.extend(&text);
            }
            driver.offer(&ram, RECEIVE, &[Part::In(room)]);
            let keys = bytes(keys);
            typed.extend(&keys);
            screen.keys.extend(&keys);
            screen.room = show;
            let _ = device.serve(&ram, &mut screen, &mut Quota { requests: 3, bytes: quota });
            while driver.returned(&ram, TRANSMIT).is_some() {}
            while let Some(input) = driver.returned(&ram, RECEIVE) {
                got.extend(&input.bytes[..input.written as usize]);
            }
            prop_assert!(sent.starts_with(&screen.shown));
            prop_assert!(typed.starts_with(&got));
            prop_assert_eq!(got.len() + screen.keys.len(), typed.len());
        }
        screen.room = usize::MAX;
        prop_assert_eq!(device.serve(&ram, &mut screen, &mut PLENTY.clone()), After::Idle);
        prop_assert_eq!(&screen.shown, &sent);
        prop_assert_eq!(device.fault(), None);
    }

    #[test]
    fn a_hostile_driver_hurts_nobody(
        script in prop::collection::vec(any::<u8>(), 0..6000),
        requests in 0u32..20,
        bytes in 0u64..5000,
        aim in prop_oneof![Just(Aim::Buffers), Just(Aim::Anywhere)],
    ) {
        let (mut device, ram, _) = started(feature::COMMON);
        for queue in [0, 1] {
            set(&mut device, registers::QUEUE_SEL, queue);
            set(&mut device, registers::QUEUE_READY, 0);
        }
        Driver::start(&mut device, feature::COMMON, 2, hostile::SIZE).unwrap();
        let mut script = Bytes(&script);
        hostile::fill_queue(&ram, &mut script, 0, aim);
        hostile::fill_queue(&ram, &mut script, 1, aim);
        let mut screen = screen(usize::MAX, &[b'k'; 10_000]);
        loop {
            ram.clear_log();
            let mut quota = Quota { requests, bytes };
            let _ = device.serve(&ram, &mut screen, &mut quota);
            let spent = u64::from(requests - quota.requests);
            prop_assert!(ram.accesses() <= spent * 40 + bytes / 64 * 8 + 40);
            prop_assert!(aim == Aim::Anywhere || hostile::stray(&ram, 2).is_none());
            if script.is_empty() {
                break;
            }
            hostile::make_available(&ram, &mut script, 0);
            hostile::make_available(&ram, &mut script, 1);
            hostile::start_again(&mut device, &ram, &mut script, 2, aim);
        }
    }
}

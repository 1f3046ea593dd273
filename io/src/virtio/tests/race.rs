// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device and driver at the same time: between any two of the device's accesses to memory the driver may do some steps. Neither
//! may wait for the other for ever.
//!
//! The steps are interleaved, not reordered: this tests what is written before what is read, not the barriers.

use core::cell::RefCell;

use vambrace_memory::{GuestMemory, Ipa, OutsideMemory};

use super::*;
use crate::virtio::feature;
use crate::virtio::mmio::registers;
use crate::virtio::model::driver::{get, set};
use crate::virtio::quota::After;
use crate::virtio::rng::Rng;

/// What the driver's CPU is about to do next, besides what the script says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Nothing,
    /// It has made something available and looks whether the device must be told; so many were available before.
    Notify(u16),
    /// It has asked for an interrupt and looks whether something is there already.
    Sleep,
    /// It waits for the interrupt.
    Sleeping,
}

struct Guest<'a> {
    driver: Driver,
    script: &'a [u8],
    doing: Doing,
    must_notify: bool,
}

impl Guest<'_> {
    /// The steps between two accesses of the device: none to three.
    fn steps(&mut self, ram: &Ram) {
        let count = self.script.first().map_or(1, |byte| byte >> 6);
        (0..count).for_each(|_| self.step(ram));
    }

    fn step(&mut self, ram: &Ram) {
        match self.doing {
            Doing::Notify(before) => {
                self.must_notify |= self.driver.must_notify(ram, 0, before);
                self.doing = Doing::Nothing;
            }
            Doing::Sleep if self.driver.has_returned(ram, 0) => self.wake(ram),
            Doing::Sleep => self.doing = Doing::Sleeping,
            Doing::Sleeping => {}
            Doing::Nothing => self.next(ram),
        }
    }

    fn next(&mut self, ram: &Ram) {
        let Some((first, rest)) = self.script.split_first() else { return };
        self.script = rest;
        match first % 8 {
            0 | 1 => {
                let before = self.driver.available(0);
                if self.driver.offer(ram, 0, &[Part::In(8)]).is_some() {
                    self.doing = Doing::Notify(before);
                }
            }
            2 => {
                let event = if self.has_events() { self.driver.used(0) } else { 0 };
                self.driver.ask(ram, 0, event);
                self.doing = Doing::Sleep;
            }
            3 => while self.driver.returned(ram, 0).is_some() {},
            _ => {}
        }
    }

    fn has_events(&self) -> bool {
        self.driver.features & feature::EVENT_IDX != 0
    }

    /// Awake, the driver wants no interrupts and takes everything back.
    fn wake(&mut self, ram: &Ram) {
        self.doing = Doing::Nothing;
        while self.driver.returned(ram, 0).is_some() {}
        let event = if self.has_events() { self.driver.used(0).wrapping_sub(1) } else { 1 };
        self.driver.ask(ram, 0, event);
    }
}

struct Shared<'a> {
    ram: Ram,
    guest: RefCell<Guest<'a>>,
}

impl GuestMemory for Shared<'_> {
    fn read(&self, ipa: Ipa, to: &mut [u8]) -> Result<(), OutsideMemory> {
        self.guest.borrow_mut().steps(&self.ram);
        self.ram.read(ipa, to)
    }

    fn write(&self, ipa: Ipa, from: &[u8]) -> Result<(), OutsideMemory> {
        self.guest.borrow_mut().steps(&self.ram);
        self.ram.write(ipa, from)
    }
}

proptest! {
    #[test]
    fn spec_2_7_7_and_2_7_10_nobody_waits_for_ever(
        script in prop::collection::vec(any::<u8>(), 0..600),
        features in prop_oneof![Just(0), Just(feature::EVENT_IDX)],
        requests in 1u32..6,
    ) {
        let mut device = Virtio::<Rng>::new();
        let driver = Driver::start(&mut device, features, 1, 8).unwrap();
        let guest = Guest { driver, script: &script, doing: Doing::Nothing, must_notify: false };
        let shared = Shared { ram: Ram::new(), guest: RefCell::new(guest) };
        shared.guest.borrow_mut().wake(&shared.ram);
        let mut after = After::Idle;
        while !shared.guest.borrow().script.is_empty() {
            // The device works when it is notified or has said that it is not done; else the driver goes on alone.
            if after == After::More || device.is_notified() {
                let mut quota = Quota { requests, bytes: 1000 };
                after = device.serve(&shared, &mut |to: &mut [u8]| to.len(), &mut quota);
            }
            let mut guest = shared.guest.borrow_mut();
            guest.step(&shared.ram);
            guest.step(&shared.ram);
            if core::mem::take(&mut guest.must_notify) {
                set(&mut device, registers::QUEUE_NOTIFY, 0);
            }
            if device.irq_asserted() && !matches!(guest.doing, Doing::Notify(_)) {
                let reasons = get(&mut device, registers::INTERRUPT_STATUS);
                set(&mut device, registers::INTERRUPT_ACK, reasons);
                guest.wake(&shared.ram);
            }
            let has_returned = guest.driver.has_returned(&shared.ram, 0);
            prop_assert!(guest.doing != Doing::Sleeping || !has_returned, "the driver sleeps on what it has");
            // What the driver sleeps on is with the device, which works on it, or with nobody.
            let waits = guest.driver.available(0) != guest.driver.used(0);
            let works = after == After::More || device.is_notified();
            if guest.doing == Doing::Sleeping {
                prop_assert!(!waits || works, "the device does not know what the driver waits for");
                if !waits {
                    guest.wake(&shared.ram);
                }
            }
        }
        prop_assert_eq!(device.fault(), None);
    }
}

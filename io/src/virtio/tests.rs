// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices together, and what holds for all of them.

use proptest::prelude::*;

use super::mmio::Virtio;
use super::model::driver::{Driver, Part};
use super::model::ram::Ram;
use super::model::torture;
use super::net::{MAX_FRAME, Mac, Net, Sent};
use super::quota::Quota;
use super::switch::{Addresses, Policy, Switch, SwitchPort};

mod race;

const QUOTA: Quota = Quota { requests: 10, bytes: 10_000 };

proptest! {
    #[test]
    fn no_driver_hurts_an_entropy_device(script in prop::collection::vec(any::<u8>(), 0..6000)) {
        torture::entropy(&script);
    }

    #[test]
    fn no_driver_hurts_a_console(script in prop::collection::vec(any::<u8>(), 0..6000)) {
        torture::console(&script);
    }

    #[test]
    fn no_driver_hurts_a_disk(script in prop::collection::vec(any::<u8>(), 0..6000)) {
        torture::disk(&script);
    }

    #[test]
    fn no_driver_hurts_a_network_card(script in prop::collection::vec(any::<u8>(), 0..6000)) {
        torture::network(&script);
    }
}

/// How a caller connects cards: one after the other, with a buffer of its own in between.
#[test]
fn guests_talk_through_a_switch() {
    let macs = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]), Mac([2, 0, 0, 0, 0, 3])];
    let mut switch = Switch::new(1000);
    let mut guests = macs.map(|mac| {
        switch.add(Policy { mac, addresses: Addresses::Own, rate: None }, 0).unwrap();
        let mut device = Virtio::<Net>::new(mac, 1500);
        let (ram, mut driver) = (Ram::new(), Driver::start(&mut device, 0, 2, 8).unwrap());
        driver.offer(&ram, 0, &[Part::In(1526)]);
        (device, ram, driver)
    });
    let mut buffer = vec![0; MAX_FRAME];
    let mut step = |from: u8, to: Mac, text: &[u8], switch: &mut Switch| {
        let frame = [&to.0[..], &macs[usize::from(from)].0, &[0x88, 0xB5], text].concat();
        let (device, ram, driver) = &mut guests[usize::from(from)];
        driver.offer(ram, 1, &[Part::Out(&[0; 12]), Part::Out(&frame)]);
        let Sent::Frame(frame) = device.send(ram, &mut buffer, &mut QUOTA.clone()) else {
            panic!("nothing sent")
        };
        for port in switch.forward(SwitchPort(from), &frame, 0).iter() {
            let (device, ram, _) = &mut guests[usize::from(port.0)];
            match device.receive(ram, &frame) {
                Ok(bytes) => switch.delivered(port, bytes),
                Err(_) => switch.lost(port),
            }
        }
        guests.each_mut().map(|(_, ram, driver)| {
            let returned = driver.returned(ram, 0)?;
            driver.offer(ram, 0, &[Part::In(1526)]);
            Some(returned.bytes[26..returned.written as usize].to_vec())
        })
    };
    assert_eq!(step(0, macs[1], b"hello", &mut switch), [None, Some(b"hello".to_vec()), None]);
    let all = [Some(b"all".to_vec()), None, Some(b"all".to_vec())];
    assert_eq!(step(1, Mac([0xFF; 6]), b"all", &mut switch), all);
    assert_eq!(
        switch.counters(SwitchPort(2)).map(|counters| (counters.frames_out, counters.lost)),
        Some((1, 0))
    );
}

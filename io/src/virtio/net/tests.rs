// SPDX-License-Identifier: MIT OR Apache-2.0
use zerocopy::FromBytes;

use super::*;
use crate::virtio::feature as common;
use crate::virtio::mmio::registers::{self, interrupt};
use crate::virtio::model::driver::{Driver, Part, Returned, get, negotiate, offered};
use crate::virtio::model::ram::Ram;

mod cutting;
mod random;

const ALL: u64 = feature::CSUM
    | feature::GUEST_CSUM
    | feature::MTU
    | feature::MAC
    | feature::GUEST_TSO4
    | feature::GUEST_TSO6
    | feature::HOST_TSO4
    | feature::HOST_TSO6
    | feature::MRG_RXBUF
    | feature::STATUS;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const PLENTY: Quota = Quota { requests: 1000, bytes: 1 << 30 };

/// A card with its driver.
struct Card {
    device: Virtio<Net>,
    ram: Ram,
    driver: Driver,
}

impl Card {
    fn new(features: u64) -> Self {
        let mut device = Virtio::<Net>::new(MAC, 1500);
        let driver = Driver::start(&mut device, features | common::COMMON, 2, 128).unwrap();
        Self { device, ram: Ram::new(), driver }
    }

    /// The driver sends, and the device says what it makes of it.
    fn send<'b>(&mut self, header: Header, frame: &[u8], buffer: &'b mut [u8]) -> Sent<'b> {
        self.driver.offer(&self.ram, TRANSMIT, &[Part::Out(header.as_bytes()), Part::Out(frame)]).unwrap();
        let sent = self.device.send(&self.ram, buffer, &mut PLENTY.clone());
        assert_eq!(self.driver.returned(&self.ram, TRANSMIT).map(|returned| returned.written), Some(0));
        sent
    }

    fn supply(&mut self, count: usize, len: u32) {
        for _ in 0..count {
            self.driver.offer(&self.ram, RECEIVE, &[Part::In(len)]).unwrap();
        }
    }

    fn returned(&mut self) -> Option<Returned> {
        self.driver.returned(&self.ram, RECEIVE)
    }

    /// The next frame that the driver has got, from as many buffers as its header says.
    fn got(&mut self) -> Option<(Header, Vec<u8>)> {
        let first = self.returned()?;
        let mut bytes = first.bytes[..first.written as usize].to_vec();
        let count = u16::from_le_bytes([bytes[10], bytes[11]]);
        for _ in 1..count {
            let next = self.returned().expect("the buffers of a frame are seen together");
            bytes.extend(&next.bytes[..next.written as usize]);
        }
        let frame = bytes.split_off(12);
        Some((Header::read_from_bytes(&bytes).unwrap(), frame))
    }
}

fn frame(len: usize) -> Vec<u8> {
    let mut bytes = vec![0xFF; 6];
    bytes.extend(MAC.0);
    bytes.extend([0x88, 0xB5]);
    bytes.extend((bytes.len()..len).map(|at| (at * 5) as u8));
    bytes.truncate(len);
    bytes
}

fn plain(bytes: &[u8]) -> Frame<'_> {
    Frame { bytes, offload: Offload::default() }
}

#[test]
fn spec_5_1_4_identity_and_configuration() {
    let mut device = Virtio::<Net>::new(MAC, 1400);
    assert_eq!(get(&mut device, registers::DEVICE_ID), 1);
    assert_eq!(offered(&mut device), ALL | common::COMMON);
    assert_eq!(get(&mut device, registers::CONFIG), 2);
    assert_eq!(get(&mut device, registers::CONFIG + 4), 0x1_0100, "the address's end, and the link is up");
    assert_eq!(get(&mut device, registers::CONFIG + 8), 1400 << 16);
}

#[test]
fn spec_5_1_3_1_what_a_feature_requires() {
    let mut device = Virtio::<Net>::new(MAC, 1500);
    let mut is_fine = |features| negotiate(&mut device, features | common::VERSION_1);
    for cut in [feature::GUEST_TSO4, feature::GUEST_TSO6] {
        assert!(!is_fine(cut | feature::CSUM) && is_fine(cut | feature::GUEST_CSUM));
    }
    for cut in [feature::HOST_TSO4, feature::HOST_TSO6] {
        assert!(!is_fine(cut | feature::GUEST_CSUM) && is_fine(cut | feature::CSUM));
    }
    assert!(is_fine(ALL) && is_fine(0));
}

#[test]
fn spec_5_1_6_2_a_frame_is_sent() {
    let (mut card, bytes) = (Card::new(ALL), frame(1514));
    let mut buffer = vec![0; MAX_FRAME];
    let mut quota = PLENTY;
    let header = Header::default();
    let parts = [Part::Out(&header.as_bytes()[..5]), Part::Out(&header.as_bytes()[5..]), Part::Out(&bytes)];
    card.driver.offer(&card.ram, TRANSMIT, &parts);
    let sent = card.device.send(&card.ram, &mut buffer, &mut quota);
    assert_eq!(sent, Sent::Frame(plain(&bytes)));
    assert_eq!((PLENTY.requests - quota.requests, PLENTY.bytes - quota.bytes), (1, 1514));
    assert_eq!(card.device.send(&card.ram, &mut buffer, &mut quota), Sent::Nothing(After::Idle));
    let nothing = card.device.send(&card.ram, &mut buffer, &mut Quota { requests: 0, bytes: 1 });
    assert_eq!(nothing, Sent::Nothing(After::More));
}

#[test]
fn spec_5_1_6_2_what_is_no_frame_is_lost() {
    let mut buffer = vec![0; MAX_FRAME];
    let mut card = Card::new(ALL);
    let csum = |start: u16, offset: u16| Header {
        flags: flag::NEEDS_CSUM,
        csum_start: start.into(),
        csum_offset: offset.into(),
        ..Header::default()
    };
    let gso = |gso_type| Header { gso_type, gso_size: 100.into(), ..csum(34, 16) };
    let wrong = [
        (Header::default(), 13),
        (Header::default(), 1519),
        (csum(90, 9), 100),
        (csum(u16::MAX, u16::MAX), 100),
        (gso(gso::TCPV4), 500),
        (gso(3), 500),
        (gso(5), 500),
        (gso(gso::TCPV4 | 0x80), 500),
    ];
    for (header, len) in wrong {
        assert_eq!(card.send(header, &frame(len), &mut buffer), Sent::Lost, "{header:?}");
    }
    assert!(matches!(card.send(csum(90, 8), &frame(100), &mut buffer), Sent::Frame(_)));
    assert!(matches!(card.send(Header::default(), &frame(1518), &mut buffer), Sent::Frame(_)));
    assert_eq!(card.send(Header::default(), &frame(1000), &mut [0; 999]), Sent::Lost);
    assert_eq!(Card::new(0).send(csum(34, 16), &frame(100), &mut buffer), Sent::Lost, "not agreed on");
    assert_eq!(card.device.fault(), None);
    card.driver.offer(&card.ram, TRANSMIT, &[Part::Out(&[0; 11])]);
    assert_eq!(card.device.send(&card.ram, &mut buffer, &mut PLENTY.clone()), Sent::Nothing(After::Idle));
    assert!(matches!(card.device.fault(), Some(Fault::Request { .. })));
}

#[test]
fn spec_5_1_6_4_a_frame_is_received() {
    for features in [ALL, 0] {
        let (mut card, bytes) = (Card::new(features), frame(600));
        card.supply(2, 1526);
        assert_eq!(card.device.receive(&card.ram, &plain(&bytes)), Ok(612));
        let wanted = Header { num_buffers: 1.into(), ..Header::default() };
        let (header, got) = card.got().unwrap();
        assert_eq!((header.as_bytes(), got), (wanted.as_bytes(), bytes));
        assert_eq!(get(&mut card.device, registers::INTERRUPT_STATUS), interrupt::USED_BUFFER);
    }
}

#[test]
fn without_room_a_frame_is_lost_and_the_buffers_are_not() {
    let (mut card, bytes) = (Card::new(feature::MRG_RXBUF), frame(600));
    assert_eq!(card.device.receive(&card.ram, &plain(&bytes)), Err(Undelivered::NoRoom));
    card.supply(3, 200);
    assert_eq!(card.device.receive(&card.ram, &plain(&bytes)), Err(Undelivered::NoRoom));
    assert_eq!(card.returned(), None);
    card.supply(1, 200);
    assert_eq!(card.device.receive(&card.ram, &plain(&bytes)), Ok(612));
    assert_eq!(card.got().unwrap().1, bytes);
    let mut card = Card::new(0);
    card.supply(4, 200);
    assert_eq!(card.device.receive(&card.ram, &plain(&bytes)), Err(Undelivered::NoRoom), "no merging");
    assert_eq!(card.device.receive(&card.ram, &plain(&bytes[..188])), Ok(200));
    assert_eq!(card.got().unwrap().1, bytes[..188]);
}

#[test]
fn spec_5_1_6_4_buffers_are_merged() {
    let (mut card, bytes) = (Card::new(feature::MRG_RXBUF), frame(1000));
    for cut in [0, 11] {
        // The number of buffers itself may lie in two segments.
        let parts = [Part::In(cut), Part::In(300 - cut)];
        card.driver.offer(&card.ram, RECEIVE, if cut == 0 { &parts[1..] } else { &parts });
        card.supply(3, 300);
        assert_eq!(card.device.receive(&card.ram, &plain(&bytes)), Ok(1012));
        let (header, got) = card.got().unwrap();
        assert_eq!((header.num_buffers.get(), got), (4, bytes.clone()));
    }
    assert_eq!(card.returned(), None);
}

#[test]
fn spec_5_1_6_3_1_a_buffer_holds_a_header_at_least() {
    for part in [Part::In(11), Part::Out(&[0; 64])] {
        let mut card = Card::new(feature::MRG_RXBUF);
        card.driver.offer(&card.ram, RECEIVE, &[part]);
        assert_eq!(card.device.receive(&card.ram, &plain(&frame(100))), Err(Undelivered::Fault));
        assert!(matches!(card.device.fault(), Some(Fault::Request { .. })));
        assert_eq!(card.device.receive(&card.ram, &plain(&frame(100))), Err(Undelivered::Down));
    }
}

#[test]
fn spec_5_1_4_the_link() {
    for (features, wanted) in [(ALL, interrupt::CONFIGURATION), (0, 0)] {
        let mut card = Card::new(features);
        card.device.set_link(Link::Up);
        assert!(!card.device.irq_asserted(), "it was up");
        card.device.set_link(Link::Down);
        assert_eq!(get(&mut card.device, registers::INTERRUPT_STATUS), wanted);
        assert_eq!(get(&mut card.device, registers::CONFIG + 4) >> 16, 0);
        card.supply(1, 1526);
        assert_eq!(card.device.receive(&card.ram, &plain(&frame(60))), Err(Undelivered::Down));
        assert_eq!(card.send(Header::default(), &frame(60), &mut [0; 2000]), Sent::Lost);
    }
}

#[test]
fn new_buffers_are_no_work() {
    let mut card = Card::new(ALL);
    card.supply(1, 1526);
    crate::virtio::model::driver::set(&mut card.device, registers::QUEUE_NOTIFY, RECEIVE as u32);
    assert!(card.device.is_notified());
    let _ = card.device.send(&card.ram, &mut [0; 100], &mut PLENTY.clone());
    assert!(!card.device.is_notified());
}

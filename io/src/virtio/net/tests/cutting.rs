// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a sender leaves to others: passed on, or done.

use core::cell::RefCell;

use proptest::prelude::*;
use vambrace_memory::{Ipa, OutsideMemory};

use super::*;

/// A frame of TCP, and how it was made.
#[derive(Clone, Debug)]
pub(super) struct Tcp {
    family: Family,
    vlan: bool,
    ip_options: usize,
    tcp_options: usize,
    data: Vec<u8>,
    size: u16,
}

impl Tcp {
    fn network(&self) -> usize {
        if self.vlan { 18 } else { 14 }
    }

    fn transport(&self) -> usize {
        self.network() + if self.family == Family::Ipv4 { 20 + 4 * self.ip_options } else { 40 }
    }

    fn data_at(&self) -> usize {
        self.transport() + 20 + 4 * self.tcp_options
    }

    /// The frame, with the pseudo header's sum where the checksum goes.
    pub(super) fn frame(&self) -> Vec<u8> {
        let mut bytes = frame(12);
        if self.vlan {
            bytes.extend([0x81, 0, 0, 7]);
        }
        let tcp_len = 20 + 4 * self.tcp_options + self.data.len();
        match self.family {
            Family::Ipv4 => {
                let header = 5 + self.ip_options;
                bytes.extend([8, 0, 0x40 | header as u8, 0]);
                bytes.extend(((header * 4 + tcp_len) as u16).to_be_bytes());
                bytes.extend([0xFF, 0xFE, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
                bytes.extend(vec![1; 4 * self.ip_options]);
            }
            Family::Ipv6 => {
                bytes.extend([0x86, 0xDD, 0x60, 0, 0, 0]);
                bytes.extend((tcp_len as u16).to_be_bytes());
                bytes.extend([6, 64]);
                bytes.extend((0..32u8).map(|at| at.wrapping_mul(9)));
            }
        }
        bytes.extend([0x12, 0x34, 0, 80, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 1]);
        bytes.extend([(5 + self.tcp_options as u8) << 4, 0x80 | 0x10 | 8 | 1, 1, 0, 0, 0, 0, 0]);
        bytes.extend(vec![1; 4 * self.tcp_options]);
        let sum = pseudo(&bytes, self.network(), self.family, tcp_len).to_be_bytes();
        bytes[self.transport() + 16..][..2].copy_from_slice(&sum);
        bytes.extend(&self.data);
        bytes
    }

    pub(super) fn header(&self) -> Header {
        let gso_type = if self.family == Family::Ipv4 { gso::TCPV4 } else { gso::TCPV6 };
        Header {
            flags: flag::NEEDS_CSUM,
            gso_type,
            gso_size: self.size.into(),
            csum_start: (self.transport() as u16).into(),
            csum_offset: 16.into(),
            ..Header::default()
        }
    }
}

/// Adds words up the slow way.
fn total(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    words.fold(0u16, |sum, word| {
        let (sum, carry) = sum.overflowing_add(word as u16);
        sum + u16::from(carry)
    })
}

fn pseudo(frame: &[u8], network: usize, family: Family, tcp_len: usize) -> u16 {
    let addresses = if family == Family::Ipv4 { 12..20 } else { 8..40 };
    let mut bytes = frame[network..][addresses].to_vec();
    bytes.extend((tcp_len as u32).to_be_bytes());
    bytes.extend([0, 0, 0, 6]);
    total(&bytes)
}

/// Whether TCP's checksum is right.
fn is_sound(frame: &[u8], tcp: &Tcp) -> bool {
    let segment = &frame[tcp.transport()..];
    let mut bytes = segment.to_vec();
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes.extend(pseudo(frame, tcp.network(), tcp.family, segment.len()).to_be_bytes());
    total(&bytes) == 0xFFFF
}

pub(super) fn tcp() -> impl Strategy<Value = Tcp> {
    let family = prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)];
    let data = prop_oneof![1usize..50, 1usize..9000, Just(65_000)];
    (family, any::<bool>(), 0usize..11, 0usize..11, data, 1u16..1440).prop_map(
        |(family, vlan, ip_options, tcp_options, len, size)| {
            let data = (0..len).map(|at| (at * 7 + (at >> 8)) as u8).collect();
            let size = size.max(len.div_ceil(120) as u16).min(1440 - 80);
            Tcp { family, vlan, ip_options, tcp_options, data, size }
        },
    )
}

fn example(len: usize) -> Tcp {
    let data = (0..len).map(|at| at as u8).collect();
    Tcp { family: Family::Ipv4, vlan: false, ip_options: 0, tcp_options: 3, data, size: 1000 }
}

#[test]
fn spec_5_1_6_4_a_checksum_is_passed_on_or_completed() {
    let tcp = example(501);
    let (mut sender, mut buffer) = (Card::new(ALL), vec![0; MAX_FRAME]);
    let header = Header { gso_type: 0, gso_size: 0.into(), ..tcp.header() };
    let Sent::Frame(frame) = sender.send(header, &tcp.frame(), &mut buffer) else { panic!() };
    let mut receiver = Card::new(feature::GUEST_CSUM);
    receiver.supply(1, 1526);
    assert_eq!(receiver.device.receive(&receiver.ram, &frame), Ok(12 + frame.bytes.len() as u64));
    let (header, got) = receiver.got().unwrap();
    assert_eq!((header.flags, header.csum_start.get(), header.csum_offset.get()), (1, 34, 16));
    assert_eq!(got, tcp.frame());
    let mut receiver = Card::new(0);
    receiver.supply(1, 1526);
    assert!(receiver.device.receive(&receiver.ram, &frame).is_ok());
    let (header, got) = receiver.got().unwrap();
    assert_eq!((header.flags, header.csum_start.get()), (0, 0));
    assert!(is_sound(&got, &tcp) && !is_sound(&tcp.frame(), &tcp));
}

#[test]
fn spec_5_1_6_2_large_frames_are_of_tcp_and_agreed_on() {
    let mut buffer = vec![0; MAX_FRAME];
    let (tcp, fine) = (example(5000), example(5000).frame());
    for (features, is_sent) in
        [(ALL, true), (ALL & !feature::HOST_TSO4, false), (ALL & !feature::HOST_TSO6, true)]
    {
        let sent = Card::new(features).send(tcp.header(), &fine, &mut buffer);
        assert_eq!(matches!(sent, Sent::Frame(_)), is_sent);
    }
    let mut card = Card::new(ALL);
    for (at, byte) in [(12, 9), (14, 0x65), (14, 0x44), (14, 0x4F), (23, 17), (46, 0x40)] {
        let mut wrong = fine.clone();
        wrong[at] = byte;
        assert_eq!(card.send(tcp.header(), &wrong, &mut buffer), Sent::Lost, "{at} {byte:#x}");
    }
    for header in [
        Header { flags: 0, ..tcp.header() },
        Header { gso_size: 0.into(), ..tcp.header() },
        Header { gso_size: 1470.into(), ..tcp.header() },
        Header { csum_offset: 6.into(), ..tcp.header() },
        Header { gso_type: gso::TCPV6, ..tcp.header() },
    ] {
        assert_eq!(card.send(header, &fine, &mut buffer), Sent::Lost, "{header:?}");
    }
    assert_eq!(card.send(tcp.header(), &fine[..66], &mut buffer), Sent::Lost, "no data");
}

#[test]
fn a_frame_cut_too_small_is_lost() {
    let (mut sender, mut buffer) = (Card::new(ALL), vec![0; MAX_FRAME]);
    for (len, wanted) in [(128, Ok(128 * (12 + 66 + 1))), (129, Err(Undelivered::Uncut))] {
        let tcp = Tcp { size: 1, ..example(len) };
        let Sent::Frame(frame) = sender.send(tcp.header(), &tcp.frame(), &mut buffer) else { panic!() };
        let mut receiver = Card::new(0);
        receiver.supply(128, 1526);
        assert_eq!(receiver.device.receive(&receiver.ram, &frame), wanted);
    }
}

/// Memory of a driver that takes buffers back and supplies new ones, as fast as the device looks.
struct Endless {
    ram: Ram,
    driver: RefCell<Driver>,
}

impl GuestMemory for Endless {
    fn read(&self, ipa: Ipa, to: &mut [u8]) -> Result<(), OutsideMemory> {
        let mut driver = self.driver.borrow_mut();
        while driver.returned(&self.ram, RECEIVE).is_some() {}
        while driver.offer(&self.ram, RECEIVE, &[Part::In(12)]).is_some() {}
        self.ram.read(ipa, to)
    }

    fn write(&self, ipa: Ipa, from: &[u8]) -> Result<(), OutsideMemory> {
        self.ram.write(ipa, from)
    }
}

#[test]
fn a_frame_takes_no_more_buffers_than_a_queue_has() {
    let (mut sender, mut buffer) = (Card::new(ALL), vec![0; MAX_FRAME]);
    let tcp = Tcp { size: 1, ..example(128) };
    let Sent::Frame(frame) = sender.send(tcp.header(), &tcp.frame(), &mut buffer) else { panic!() };
    let Card { mut device, ram, driver } = Card::new(feature::MRG_RXBUF);
    let memory = Endless { ram, driver: RefCell::new(driver) };
    assert_eq!(device.receive(&memory, &frame), Err(Undelivered::NoRoom));
    assert!((120..=128).contains(&memory.driver.borrow().used(RECEIVE)));
}

proptest! {
    #[test]
    fn a_large_frame_is_passed_on_or_cut(
        tcp in tcp(),
        features in prop_oneof![
            Just(0),
            Just(feature::MRG_RXBUF),
            Just(feature::GUEST_CSUM | feature::MRG_RXBUF),
            Just(ALL),
        ],
    ) {
        let (mut sender, mut buffer) = (Card::new(ALL), vec![0; MAX_FRAME]);
        let whole = tcp.frame();
        let Sent::Frame(frame) = sender.send(tcp.header(), &whole, &mut buffer) else { panic!() };
        let mut receiver = Card::new(features);
        receiver.supply(124, 1526);
        prop_assert!(receiver.device.receive(&receiver.ram, &frame).is_ok());
        if features == ALL {
            let (header, got) = receiver.got().unwrap();
            prop_assert_eq!((header.gso_type, header.gso_size.get()), (tcp.header().gso_type, tcp.size));
            prop_assert_eq!((header.hdr_len.get() as usize, header.flags), (tcp.data_at(), 1));
            prop_assert_eq!(got, whole);
            return Ok(());
        }
        let (mut data, mut count) = (Vec::new(), 0);
        while let Some((header, mut got)) = receiver.got() {
            prop_assert_eq!((header.gso_type, header.gso_size.get()), (0, 0));
            prop_assert_eq!(&got[..tcp.network()], &whole[..tcp.network()]);
            let ip = &got[tcp.network()..tcp.transport()];
            if tcp.family == Family::Ipv4 {
                prop_assert_eq!(u16::from_be_bytes([ip[2], ip[3]]) as usize, got.len() - tcp.network());
                prop_assert_eq!(u16::from_be_bytes([ip[4], ip[5]]), 0xFFFE_u16.wrapping_add(count));
                prop_assert_eq!(total(ip), 0xFFFF, "the IP header's checksum");
            } else {
                prop_assert_eq!(u16::from_be_bytes([ip[4], ip[5]]) as usize, got.len() - tcp.transport());
            }
            let segment = &got[tcp.transport()..];
            let sequence = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]);
            prop_assert_eq!(sequence, 0xFFFF_FF00_u32.wrapping_add(data.len() as u32));
            let payload = got[tcp.data_at()..].to_vec();
            let is_last = data.len() + payload.len() == tcp.data.len();
            prop_assert!(payload.len() == usize::from(tcp.size) || is_last);
            let flags = 0x10 | if is_last { 9 } else { 0 } | if count == 0 { 0x80 } else { 0 };
            prop_assert_eq!(segment[13], flags);
            data.extend(payload);
            count += 1;
            if features & feature::GUEST_CSUM != 0 {
                let start = header.csum_start.get() as usize;
                prop_assert_eq!((header.flags, start, header.csum_offset.get()), (1, tcp.transport(), 16));
                let sum = !total(&[&got[start..], &[0][..got.len() % 2]].concat());
                got[start + 16..][..2].copy_from_slice(&sum.to_be_bytes());
            }
            prop_assert!(is_sound(&got, &tcp));
        }
        prop_assert_eq!(data, tcp.data);
    }
}

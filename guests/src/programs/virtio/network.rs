// SPDX-License-Identifier: MIT OR Apache-2.0
//! A network card, and its neighbour at the other end of the cable.
//!
//! Frames may be lost, as on any Ethernet: who has no answer sends again. A frame's number is in its first two bytes.

use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::Transport;

use super::memory::{self, Memory};
use crate::machine::Machine;
use crate::{cpu, timer};

const QUEUE: usize = 16;
const BUFFER: usize = 2048;
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// And of our number behind it.
const HEADERS: usize = ETHERNET + 2;
/// The type of our frames: for experiments (IEEE 802, "Local Experimental Ethertype 1").
const TYPE: [u8; 2] = [0x88, 0xB5];
/// The number of a call: who is there?
const HELLO: u16 = 0xFFFF;
/// The number of the last frame: the neighbour may go.
const BYE: u16 = 0xFFFE;

const FRAMES: u64 = 100;
/// Microseconds before a frame is sent again. Not looks: how many of them fit between two of the neighbour's is for the
/// hypervisor to say, or for an emulator that runs the CPUs in turn.
const PATIENCE: u64 = 1000;
/// How often to say goodbye: the neighbour may be gone already.
const GOODBYES: u64 = 10;

type Card<T> = VirtIONetRaw<Memory, T, QUEUE>;

/// Sends frames and gets them back; or, with `echo`, sends back what comes.
#[inline(never)]
pub(super) fn check(machine: &Machine, transport: impl Transport) {
    let Ok(mut card) = Card::new(transport) else { return check!(false, "the network card starts") };
    let mac = card.mac_address();
    println!("guest: network card {mac:02x?}");
    if machine.parameter("echo").is_some() {
        echo(&mut card, mac);
    } else {
        send(&mut card, mac, machine.number("frames", FRAMES));
    }
}

/// Sends back what comes, until the neighbour says goodbye.
fn echo(card: &mut Card<impl Transport>, mac: [u8; 6]) {
    let mut buffer = [0; BUFFER];
    let mut last = HELLO;
    let mut echoed = 0;
    while last != BYE {
        let Ok((header, len)) = card.receive_wait(&mut buffer) else { continue };
        let Some(frame) = buffer.get_mut(header..header + len) else { continue };
        let Some(number) = number(frame) else { continue };
        let from = frame.get(6..12).and_then(|from| from.try_into().ok()).unwrap_or_default();
        address(frame, from, mac);
        give(card, frame);
        echoed += u32::from(number < BYE && number != last);
        last = number;
    }
    println!("guest: {echoed} frames sent back");
}

fn send(card: &mut Card<impl Transport>, mac: [u8; 6], frames: u64) {
    let mut answer = [0; BUFFER];
    // A page of its own: a frame may come when nobody waits any more.
    let receive = memory::page();
    let mut hello = frame([0xFF; 6], mac, HELLO);
    let mut len = 0;
    while len == 0 {
        len = exchange(card, receive, hello.get(..HEADERS).unwrap_or_default(), &mut answer);
    }
    let neighbour = answer.get(6..12).and_then(|from| from.try_into().ok()).unwrap_or_default();
    println!("guest: the neighbour is {neighbour:02x?}");
    let mut wrong = 0;
    for number in 0..frames as u16 {
        let mut frame = frame(neighbour, mac, number);
        let len = HEADERS + (usize::from(number) * 97) % 1480;
        let Some(frame) = frame.get_mut(..len) else { return };
        let mut got = 0;
        while got == 0 {
            got = exchange(card, receive, frame, &mut answer);
        }
        address(frame, mac, neighbour);
        wrong += u32::from(answer.get(..got) != Some(&*frame));
    }
    check_eq!(wrong, 0, "{frames} frames came back as they were sent");
    hello = self::frame(neighbour, mac, BYE);
    let bye = hello.get(..HEADERS).unwrap_or_default();
    let _ = (0..GOODBYES).find(|_| exchange(card, receive, bye, &mut answer) != 0);
}

/// Sends a frame and waits for the answer with its number. Says how many bytes that has; 0 if none comes in time.
fn exchange(
    card: &mut Card<impl Transport>,
    buffer: &mut [u8],
    frame: &[u8],
    answer: &mut [u8; BUFFER],
) -> usize {
    let wanted = number(frame);
    give(card, frame);
    // SAFETY: the buffer is not touched until the receipt is complete; if that does not come, never.
    let Ok(mut token) = (unsafe { card.receive_begin(buffer) }) else { return 0 };
    let began = timer::now();
    let mut times = 1;
    loop {
        if card.poll_receive().is_none() {
            if timer::now() - began > times * timer::counts(PATIENCE) {
                if times > GOODBYES && wanted == Some(BYE) {
                    return 0;
                }
                // A buffer cannot be taken back: the answer, or the next one, has to come.
                give(card, frame);
                times += 1;
            }
            cpu::relax();
            continue;
        }
        // SAFETY: the buffer of this token.
        let (header, len) = unsafe { card.receive_complete(token, buffer) }.unwrap_or_default();
        let got = buffer.get(header..header + len).unwrap_or_default();
        if number(got) == wanted {
            if let Some(to) = answer.get_mut(..got.len()) {
                to.copy_from_slice(got);
            }
            return len;
        }
        // SAFETY: as above.
        let Ok(next) = (unsafe { card.receive_begin(buffer) }) else { return 0 };
        token = next;
    }
}

/// A frame's number, if it is one of ours.
fn number(frame: &[u8]) -> Option<u16> {
    let [a, b] = *frame.get(ETHERNET..HEADERS)? else { return None };
    (frame.get(12..ETHERNET) == Some(&TYPE)).then_some(u16::from_le_bytes([a, b]))
}

fn frame(to: [u8; 6], from: [u8; 6], number: u16) -> [u8; BUFFER] {
    let mut frame = [number as u8; BUFFER];
    address(&mut frame, to, from);
    if let Some(place) = frame.get_mut(ETHERNET..HEADERS) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    frame
}

fn address(frame: &mut [u8], to: [u8; 6], from: [u8; 6]) {
    for (place, byte) in frame.iter_mut().zip(to.into_iter().chain(from).chain(TYPE)) {
        *place = byte;
    }
}

fn give(card: &mut Card<impl Transport>, frame: &[u8]) {
    if card.send(frame).is_err() {
        check!(false, "a frame is sent");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver that keeps no rules: it makes queues in memory and accesses to registers of any bytes.
//!
//! The bytes may come from a property test or a fuzzer. They are bent towards what is nearly right, since a queue of
//! random bytes is refused at its first field.

use alloc::vec::Vec;

use super::driver::{self, BUFFERS, Driver, Fields, write_descriptor};
use super::ram::{BASE, LEN, Ram};
use crate::bus::{MmioDevice, Width};
use crate::virtio::mmio::registers;

/// Entries of the queues that it makes.
pub const SIZE: u16 = 8;
/// Where its indirect tables are: behind the used ring of each queue.
const TABLES: u64 = 0x4000;
const TABLE_ENTRIES: u16 = 16;
/// Descriptors of a chain that is nearly right.
const CHAIN: u16 = 3;

/// Bytes to be used up; zeros from then on.
#[derive(Clone, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    /// Whether all are used up.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u8) -> u8 {
        self.byte() % end.max(1)
    }

    /// Eight bytes.
    pub fn word(&mut self) -> u64 {
        (0..8).fold(0, |value, _| value << 8 | u64::from(self.byte()))
    }
}

/// Where the hostile driver's buffers may point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// To buffers, or to nothing.
    Buffers,
    /// To the queues themselves, too: what the device writes changes what it reads next.
    Anywhere,
}

/// Writes a descriptor table, an indirect one and an available ring for queue `queue` into memory.
///
/// Descriptors form chains of three: something to read, something to read or write, something to write; and each field may be
/// anything else.
pub fn fill_queue(ram: &Ram, bytes: &mut Bytes<'_>, queue: u32, aim: Aim) {
    let [descriptors, available, _] = driver::areas(queue);
    let table = descriptors + TABLES;
    for index in 0..SIZE {
        let descriptor = random_descriptor(bytes, index, aim, Some(table));
        write_descriptor(ram, descriptors + 16 * u64::from(index), descriptor, next(bytes, index));
    }
    for index in 0..TABLE_ENTRIES {
        let descriptor = random_descriptor(bytes, index, aim, None);
        write_descriptor(ram, table + 16 * u64::from(index), descriptor, next(bytes, index % CHAIN));
    }
    for slot in 0..u64::from(SIZE) {
        let head = match bytes.below(40) {
            0 => bytes.word() as u16,
            1..=9 => u16::from(bytes.below(SIZE as u8)),
            _ => CHAIN * u16::from(bytes.below(2)),
        };
        ram.store(available + 4 + 2 * slot, &head.to_le_bytes());
    }
    make_available(ram, bytes, queue);
}

/// Moves the available index, mostly by what fits.
pub fn make_available(ram: &Ram, bytes: &mut Bytes<'_>, queue: u32) {
    let [_, available, _] = driver::areas(queue);
    let by = if bytes.below(60) == 0 { bytes.word() as u16 } else { u16::from(bytes.below(SIZE as u8)) };
    let index = ram.load_u16(available + 2).wrapping_add(by);
    ram.store(available + 2, &index.to_le_bytes());
    ram.store(available, &u16::from(bytes.below(2)).to_le_bytes());
    let event = u16::from(bytes.byte());
    ram.store(available + 4 + 2 * u64::from(SIZE), &event.to_le_bytes());
}

fn next(bytes: &mut Bytes<'_>, index: u16) -> u16 {
    match bytes.below(32) {
        0 => u16::from(bytes.byte()),
        1 => u16::from(bytes.below(SIZE as u8)),
        _ => (index + 1) % SIZE,
    }
}

fn random_descriptor(bytes: &mut Bytes<'_>, index: u16, aim: Aim, table: Option<u64>) -> Fields {
    if let Some(table) = table.filter(|_| bytes.below(6) == 0) {
        let at = table + 16 * u64::from(CHAIN) * u64::from(bytes.below(4));
        let len =
            if bytes.below(12) == 0 { u32::from(bytes.byte()) } else { 16 * u32::from(1 + bytes.below(3)) };
        return Fields { at, len, flags: 4 | u16::from(bytes.below(8) == 0) };
    }
    let at = match bytes.below(48) {
        0 => bytes.word(),
        1 => BASE + LEN - u64::from(bytes.byte()),
        2 => u64::MAX - u64::from(bytes.byte()),
        3..8 if aim == Aim::Anywhere => BASE + (bytes.word() & 0x1_3FFF),
        8..12 => BUFFERS + (bytes.word() & 0xF_FFFF),
        _ => BUFFERS + (bytes.word() & 0xF_FFF0),
    };
    let len = match (bytes.below(32), index % CHAIN) {
        (0, _) => 0,
        (1, _) => bytes.word() as u32,
        (2..4, _) => 1 + (bytes.word() as u32 & 0x1FFF),
        (4..8, _) => 1 + u32::from(bytes.byte() & 15),
        (8..12, 0) => 16 + 512,
        (_, 0) => 16,
        (_, 1) => 512 * (1 + u32::from(bytes.below(4))),
        _ => 1,
    };
    let flags = match (bytes.below(24), index % CHAIN) {
        (0, _) => u16::from(bytes.byte()),
        (1..=11, 1) | (_, 0) => 1,
        (_, 1) => 3,
        _ => 2,
    };
    Fields { at, len, flags }
}

/// Everything that a device may write to now: used rings, and what descriptors that lie where [`fill_queue`] puts them
/// allow. True only under [`Aim::Buffers`].
#[must_use]
fn writable(ram: &Ram, queues: u32) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    for queue in 0..queues {
        let [descriptors, _, used] = driver::areas(queue);
        ranges.push((used, 6 + 8 * u64::from(SIZE)));
        let own = (0..SIZE).map(|index| descriptors + 16 * u64::from(index));
        let tables = (0..TABLE_ENTRIES + SIZE).map(|index| descriptors + TABLES + 16 * u64::from(index));
        for at in own.chain(tables).filter(|at| ram.load_u16(at + 12) & 2 != 0) {
            let address = u64::from(ram.load_u32(at)) | u64::from(ram.load_u32(at + 4)) << 32;
            ranges.push((address, u64::from(ram.load_u32(at + 8))));
        }
    }
    ranges
}

/// The first of the device's writes in the log that the driver does not allow, under [`Aim::Buffers`]: address and length.
#[must_use]
pub fn stray(ram: &Ram, queues: u32) -> Option<(u64, u64)> {
    let allowed = writable(ram, queues);
    let is_inside =
        |at: u64, len: u64| allowed.iter().any(|(base, size)| at >= *base && at - base + len <= *size);
    ram.writes().into_iter().find(|(at, len)| !is_inside(*at, *len))
}

/// Brings the device up again if it needs that, with the features that it offers, and fills its queues anew.
pub fn start_again(device: &mut impl MmioDevice, ram: &Ram, bytes: &mut Bytes<'_>, queues: u32, aim: Aim) {
    if driver::get(device, registers::STATUS) & registers::status::NEEDS_RESET == 0 {
        return;
    }
    let features = driver::offered(device);
    let _ = Driver::start(device, features, queues, SIZE);
    for queue in 0..queues {
        // The rings' indices are those of a driver that has just begun.
        for ring in driver::areas(queue).into_iter().skip(1) {
            ram.store(ring + 2, &[0; 2]);
        }
        fill_queue(ram, bytes, queue, aim);
        driver::set(device, registers::QUEUE_NOTIFY, queue);
    }
}

/// Makes one access to a register, any of them.
pub fn touch(device: &mut impl MmioDevice, bytes: &mut Bytes<'_>) {
    let offset = match bytes.below(4) {
        0 => u64::from(bytes.byte()) * 2,
        1 => [registers::STATUS, registers::QUEUE_READY, registers::QUEUE_NOTIFY, registers::QUEUE_SEL]
            [usize::from(bytes.below(4))],
        _ => u64::from(bytes.below(0x40)) * 4,
    };
    let width = if bytes.below(8) == 0 { Width::from_log2(u32::from(bytes.byte())) } else { Width::Word };
    if bytes.below(3) == 0 {
        device.read(offset, width);
        return;
    }
    let value = if bytes.below(2) == 0 { u64::from(bytes.below(16)) } else { bytes.word() };
    device.write(offset, width, value & width.mask());
}

/// Brings a device up and then does whatever `bytes` say: any accesses to registers, any contents of its first two queues, and
/// polls, which `serve` does. All that a guest can do to a device, in one call.
pub fn drive<D: MmioDevice>(device: &mut D, bytes: &mut Bytes<'_>, mut serve: impl FnMut(&mut D, &Ram)) {
    let ram = Ram::new();
    let features = driver::offered(device);
    let _ = Driver::start(device, features, 2, SIZE);
    while !bytes.is_empty() {
        match bytes.below(8) {
            0 => start_again(device, &ram, bytes, 2, Aim::Anywhere),
            1 => fill_queue(&ram, bytes, 0, Aim::Anywhere),
            2 => fill_queue(&ram, bytes, 1, Aim::Anywhere),
            3 => make_available(&ram, bytes, 0),
            4 => make_available(&ram, bytes, 1),
            5 => touch(device, bytes),
            _ => serve(device, &ram),
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A driver that keeps the rules (virtio 1.2, 2.7.13, 2.7.14, 3.1.1, 4.2.3).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::ram::{BASE, LEN, Ram};
use crate::bus::{MmioDevice, Width};
use crate::virtio::feature;
use crate::virtio::mmio::registers::{self, status};

/// Bytes from one queue's memory to the next one's.
const QUEUE: u64 = 0x1_0000;
const AVAILABLE: u64 = 0x1000;
const USED: u64 = 0x2000;
/// Indirect tables, one for each descriptor of the queue.
const TABLES: u64 = 0x4000;
const TABLE: u64 = 0x100;
/// Where buffers begin.
pub const BUFFERS: u64 = BASE + 0x4_0000;

/// A piece of a request.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// What the device reads.
    Out(&'a [u8]),
    /// So many bytes for the device to write.
    In(u32),
}

/// How a request's descriptors are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// In the queue's own table.
    Direct,
    /// In a table of their own, behind one descriptor in the queue's.
    Indirect,
}

/// A request that the device has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returned {
    /// Its first descriptor.
    pub head: u16,
    /// How many bytes the device says it has written.
    pub written: u32,
    /// What is in the buffers that the device may write, in order.
    pub bytes: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Ring {
    base: u64,
    size: u16,
    free: Vec<u16>,
    available: u16,
    used: u16,
    /// By head.
    in_flight: BTreeMap<u16, InFlight>,
}

/// A request that the device has.
#[derive(Clone, Debug, Default)]
struct InFlight {
    /// The descriptors that it takes of the queue's table.
    descriptors: Vec<u16>,
    parts: Vec<Fields>,
}

/// A descriptor, but for the next one's index.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// Address.
    pub at: u64,
    /// Length in bytes.
    pub len: u32,
    /// Flags: 1 for a next one, 2 for the device to write, 4 for a table.
    pub flags: u16,
}

/// The driver of one device.
#[derive(Clone, Debug)]
pub struct Driver {
    /// What was agreed on.
    pub features: u64,
    /// How requests are laid out from now on.
    pub tables: Tables,
    rings: Vec<Ring>,
    next_buffer: u64,
}

/// Reads a register.
pub fn get(device: &mut impl MmioDevice, register: u64) -> u32 {
    device.read(register, Width::Word) as u32
}

/// Writes a register.
pub fn set(device: &mut impl MmioDevice, register: u64, value: u32) {
    device.write(register, Width::Word, u64::from(value));
}

/// The features that the device offers.
pub fn offered(device: &mut impl MmioDevice) -> u64 {
    set(device, registers::DEVICE_FEATURES_SEL, 1);
    let high = u64::from(get(device, registers::DEVICE_FEATURES));
    set(device, registers::DEVICE_FEATURES_SEL, 0);
    high << 32 | u64::from(get(device, registers::DEVICE_FEATURES))
}

/// Takes features, and says whether the device agrees (3.1.1, steps 1 to 6).
pub fn negotiate(device: &mut impl MmioDevice, features: u64) -> bool {
    set(device, registers::STATUS, 0);
    set(device, registers::STATUS, status::ACKNOWLEDGE);
    set(device, registers::STATUS, status::ACKNOWLEDGE | status::DRIVER);
    for (select, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
        set(device, registers::DRIVER_FEATURES_SEL, select);
        set(device, registers::DRIVER_FEATURES, half);
    }
    let wanted = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
    set(device, registers::STATUS, wanted);
    get(device, registers::STATUS) == wanted
}

/// Tells the device where queue `queue` lies and that it is ready.
pub fn set_up_queue(device: &mut impl MmioDevice, queue: u32, size: u16) {
    let base = BASE + QUEUE * u64::from(queue);
    set(device, registers::QUEUE_SEL, queue);
    set(device, registers::QUEUE_NUM, u32::from(size));
    for (register, address) in [
        (registers::QUEUE_DESC_LOW, base),
        (registers::QUEUE_DRIVER_LOW, base + AVAILABLE),
        (registers::QUEUE_DEVICE_LOW, base + USED),
    ] {
        set(device, register, address as u32);
        set(device, register + 4, (address >> 32) as u32);
    }
    set(device, registers::QUEUE_READY, 1);
}

/// Addresses of a queue's parts as [`set_up_queue`] chooses them: descriptors, available ring, used ring.
#[must_use]
pub fn areas(queue: u32) -> [u64; 3] {
    let base = BASE + QUEUE * u64::from(queue);
    [base, base + AVAILABLE, base + USED]
}

impl Driver {
    /// Brings the device up with `features` of its kind besides those of virtio 1.0, and queues of `size` entries. `None`
    /// when the device does not agree.
    pub fn start(device: &mut impl MmioDevice, features: u64, queues: u32, size: u16) -> Option<Self> {
        let features = features | feature::VERSION_1;
        if !negotiate(device, features) {
            return None;
        }
        let rings = (0..queues).map(|queue| {
            set_up_queue(device, queue, size);
            let free = (0..size).rev().collect();
            Ring { base: BASE + QUEUE * u64::from(queue), size, free, ..Ring::default() }
        });
        let rings = rings.collect();
        let all = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
        set(device, registers::STATUS, all);
        Some(Self { features, tables: Tables::Direct, rings, next_buffer: BUFFERS })
    }

    /// Makes a request available, and says its head. `None` when there is no room in the queue.
    pub fn offer(&mut self, ram: &Ram, queue: usize, parts: &[Part<'_>]) -> Option<u16> {
        let placed: Vec<Fields> = parts.iter().map(|part| self.place(ram, part)).collect();
        let tables = self.tables;
        let ring = self.rings.get_mut(queue)?;
        let wanted = if tables == Tables::Indirect { 1 } else { placed.len() };
        let kept = ring.free.len().checked_sub(wanted)?;
        let taken = ring.free.split_off(kept);
        let head = *taken.first()?;
        match tables {
            Tables::Direct => write_table(ram, ring.base, &placed, |at| taken.get(at).copied().unwrap_or(0)),
            Tables::Indirect => {
                let table = ring.base + TABLES + TABLE * u64::from(head);
                write_table(ram, table, &placed, |at| at as u16);
                write_descriptor(
                    ram,
                    ring.base + 16 * u64::from(head),
                    Fields { at: table, len: 16 * placed.len() as u32, flags: 4 },
                    0,
                );
            }
        }
        ring.in_flight.insert(head, InFlight { descriptors: taken, parts: placed });
        let slot = u64::from(ring.available % ring.size);
        ram.store(ring.base + AVAILABLE + 4 + 2 * slot, &head.to_le_bytes());
        ring.available = ring.available.wrapping_add(1);
        ram.store(ring.base + AVAILABLE + 2, &ring.available.to_le_bytes());
        Some(head)
    }

    /// Finds a place for a part.
    fn place(&mut self, ram: &Ram, part: &Part<'_>) -> Fields {
        let (len, flags) = match part {
            Part::Out(bytes) => (bytes.len() as u32, 0),
            Part::In(len) => (*len, 2),
        };
        if self.next_buffer + u64::from(len) > BASE + LEN {
            self.next_buffer = BUFFERS;
        }
        let at = self.next_buffer;
        // A gap, so that a byte too many is seen.
        self.next_buffer = (at + u64::from(len)).next_multiple_of(8) + 8;
        if let Part::Out(bytes) = part {
            ram.store(at, bytes);
        }
        Fields { at, len, flags }
    }

    /// Takes the next request that the device has returned.
    pub fn returned(&mut self, ram: &Ram, queue: usize) -> Option<Returned> {
        if !self.has_returned(ram, queue) {
            return None;
        }
        let ring = self.rings.get_mut(queue)?;
        let entry = ring.base + USED + 4 + 8 * u64::from(ring.used % ring.size);
        let head = u16::try_from(ram.load_u32(entry)).ok()?;
        ring.used = ring.used.wrapping_add(1);
        let request = ring.in_flight.remove(&head)?;
        ring.free.extend(request.descriptors);
        let writable = request.parts.iter().filter(|part| part.flags & 2 != 0);
        let bytes = writable.flat_map(|part| ram.load(part.at, part.len as usize)).collect();
        Some(Returned { head, written: ram.load_u32(entry + 4), bytes })
    }

    /// Whether the device wants to be told of what was made available since `before` requests (2.7.10).
    #[must_use]
    pub fn must_notify(&self, ram: &Ram, queue: usize, before: u16) -> bool {
        let Some(ring) = self.rings.get(queue) else { return false };
        if self.features & feature::EVENT_IDX == 0 {
            return ram.load_u16(ring.base + USED) & 1 == 0;
        }
        let event = ram.load_u16(ring.base + USED + 4 + 8 * u64::from(ring.size));
        ring.available.wrapping_sub(event).wrapping_sub(1) < ring.available.wrapping_sub(before)
    }

    /// How many requests have been made available, modulo 2^16.
    #[must_use]
    pub fn available(&self, queue: usize) -> u16 {
        self.rings.get(queue).map_or(0, |ring| ring.available)
    }

    /// How many requests have been taken back, modulo 2^16.
    #[must_use]
    pub fn used(&self, queue: usize) -> u16 {
        self.rings.get(queue).map_or(0, |ring| ring.used)
    }

    /// Whether a request has been returned that was not taken back yet.
    #[must_use]
    pub fn has_returned(&self, ram: &Ram, queue: usize) -> bool {
        self.rings.get(queue).is_some_and(|ring| ram.load_u16(ring.base + USED + 2) != ring.used)
    }

    /// Asks for an interrupt after the `event`th request that is returned (EVENT_IDX), or for none or all (flags 1 or 0).
    pub fn ask(&self, ram: &Ram, queue: usize, event: u16) {
        let Some(ring) = self.rings.get(queue) else { return };
        let offset = if self.features & feature::EVENT_IDX == 0 { 0 } else { 4 + 2 * u64::from(ring.size) };
        ram.store(ring.base + AVAILABLE + offset, &event.to_le_bytes());
    }
}

fn write_table(ram: &Ram, table: u64, parts: &[Fields], index: impl Fn(usize) -> u16) {
    for (at, part) in parts.iter().enumerate() {
        let is_last = at + 1 == parts.len();
        let fields = Fields { flags: part.flags | u16::from(!is_last), ..*part };
        let next = if is_last { 0 } else { index(at + 1) };
        write_descriptor(ram, table + 16 * u64::from(index(at)), fields, next);
    }
}

/// Writes a descriptor.
pub fn write_descriptor(ram: &Ram, at: u64, fields: Fields, next: u16) {
    ram.store(at, &fields.at.to_le_bytes());
    ram.store(at + 8, &fields.len.to_le_bytes());
    ram.store(at + 12, &fields.flags.to_le_bytes());
    ram.store(at + 14, &next.to_le_bytes());
}

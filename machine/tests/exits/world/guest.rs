// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's drivers: all they know is in the guest's RAM, so it goes where the RAM goes.

use vambrace_io::virtio::block::format::request;
use vambrace_io::virtio::mmio::registers::{self, status};
use vambrace_machine::layout;
use vambrace_memory::{GuestMemory, Ipa};

use super::disk::SECTORS;
use crate::ram::Ram;

/// Each queue's slot, and its number there.
pub(super) const QUEUES: [(usize, u32); 6] = [(0, 0), (1, 0), (1, 1), (2, 0), (3, 0), (3, 1)];

/// Entries of a queue.
const SIZE: u16 = 16;
/// Requests in a queue, of up to three descriptors.
const REQUESTS: u16 = 5;
/// Where the queues are.
pub(super) const RINGS: u64 = layout::RAM.0 + 0x9000;
const RING: u64 = 0x200;
const AVAILABLE: u64 = 0x100;
const USED: u64 = 0x140;
/// Where the buffers of queue 3, the disk's, are.
const DISK_BUFFERS: u64 = layout::RAM.0 + 0xA000;
const DISK_BUFFER: u64 = 0x480;
/// Where those of the others are.
const BUFFERS: u64 = layout::RAM.0 + 0xC000;
const BUFFER: u64 = 0x200;

/// The stores that bring a device up.
pub(super) fn set_up(slot: usize) -> Vec<(u64, u32)> {
    let agreed = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
    let mut stores = vec![
        (registers::STATUS, 0),
        (registers::STATUS, status::ACKNOWLEDGE | status::DRIVER),
        // VIRTIO_F_VERSION_1, and the disk's flushes.
        (registers::DRIVER_FEATURES_SEL, 1),
        (registers::DRIVER_FEATURES, 1),
        (registers::DRIVER_FEATURES_SEL, 0),
        (registers::DRIVER_FEATURES, if slot == 2 { 1 << 9 } else { 0 }),
        (registers::STATUS, agreed),
    ];
    for (queue, (_, number)) in (0..).zip(QUEUES).filter(|(_, (of, _))| *of == slot) {
        let ring = RINGS + RING * queue;
        stores.extend([
            (registers::QUEUE_SEL, number),
            (registers::QUEUE_NUM, SIZE.into()),
            (registers::QUEUE_DESC_LOW, ring as u32),
            (registers::QUEUE_DRIVER_LOW, (ring + AVAILABLE) as u32),
            (registers::QUEUE_DEVICE_LOW, (ring + USED) as u32),
            (registers::QUEUE_READY, 1),
        ]);
    }
    stores.push((registers::STATUS, agreed | status::DRIVER_OK));
    stores
}

/// Forgets what was offered to the device in a slot.
pub(super) fn clear(ram: &Ram, slot: usize) {
    for (queue, _) in (0..).zip(QUEUES).filter(|(_, (of, _))| *of == slot) {
        ram.poke(RINGS + RING * queue, &[0; RING as usize]);
    }
}

fn get(ram: &Ram, at: u64) -> u16 {
    ram.read_u16(Ipa(at)).expect("the queues are in RAM")
}

/// Offers a request in a queue. `None` if too many are under way.
pub(super) fn offer(ram: &Ram, queue: usize, what: u8) -> Option<()> {
    let ring = RINGS + RING * queue as u64;
    let available = get(ram, ring + AVAILABLE + 2);
    if available.wrapping_sub(get(ram, ring + USED + 2)) >= REQUESTS {
        return None;
    }
    let nth = available % REQUESTS;
    let buffer = if queue == 3 {
        DISK_BUFFERS + DISK_BUFFER * u64::from(nth)
    } else {
        BUFFERS + BUFFER * (queue as u64 * u64::from(REQUESTS) + u64::from(nth))
    };
    let parts = fill(ram, queue, what, buffer);
    for (at, (ipa, len, writes)) in (nth * 3..).zip(&parts) {
        let is_last = at + 1 == nth * 3 + parts.len() as u16;
        let flags = u16::from(!is_last) | if *writes { 2 } else { 0 };
        let mut descriptor = [0; 16];
        descriptor[..8].copy_from_slice(&ipa.to_le_bytes());
        descriptor[8..12].copy_from_slice(&len.to_le_bytes());
        descriptor[12..14].copy_from_slice(&flags.to_le_bytes());
        descriptor[14..].copy_from_slice(&(at + 1).to_le_bytes());
        ram.poke(ring + 16 * u64::from(at), &descriptor);
    }
    ram.poke(ring + AVAILABLE + 4 + 2 * u64::from(available % SIZE), &(nth * 3).to_le_bytes());
    ram.poke(ring + AVAILABLE + 2, &available.wrapping_add(1).to_le_bytes());
    Some(())
}

/// Fills a request's buffer. Says where its parts are, how long, and which the device writes.
fn fill(ram: &Ram, queue: usize, what: u8, buffer: u64) -> Vec<(u64, u32, bool)> {
    match queue {
        2 => {
            ram.poke(buffer, &[b'a' + what % 26; 0x100]);
            vec![(buffer, u32::from(what) + 1, false)]
        }
        3 => {
            let kind = [request::IN, request::OUT, request::OUT, request::FLUSH][usize::from(what % 4)];
            let sector = u64::from(what / 4) % (SECTORS - 1);
            let mut header = [0; 16];
            header[..4].copy_from_slice(&kind.to_le_bytes());
            header[8..].copy_from_slice(&sector.to_le_bytes());
            ram.poke(buffer, &header);
            let (header, status) = ((buffer, 16, false), (buffer + 0x10, 1, true));
            let data = buffer + 0x20;
            match kind {
                request::OUT => {
                    ram.poke(data, &[what; 1024]);
                    vec![header, (data, 1024, false), status]
                }
                request::IN => vec![header, (data, 1024, true), status],
                _ => vec![header, status],
            }
        }
        5 => {
            let mut bytes = [what; 12 + 60];
            bytes[..12].fill(0);
            bytes[12..26].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
            ram.poke(buffer, &bytes);
            vec![(buffer, bytes.len() as u32, false)]
        }
        _ => vec![(buffer, 0x1F0, true)],
    }
}

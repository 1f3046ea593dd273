// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtio devices driven as no driver should: registers at random, and queues whose rings and descriptors are made of
//! chance, now nearly right and now not at all, and changed while the device works.

use core::cell::UnsafeCell;

use super::Random;
use crate::machine::Machine;
use crate::mmio;

/// Offsets of virtio-mmio (virtio 1.2, 4.2.2).
mod register {
    pub(super) const MAGIC: u64 = 0x000;
    pub(super) const DRIVER_FEATURES: u64 = 0x020;
    pub(super) const DRIVER_FEATURES_SEL: u64 = 0x024;
    pub(super) const QUEUE_SEL: u64 = 0x030;
    pub(super) const QUEUE_NUM: u64 = 0x038;
    pub(super) const QUEUE_READY: u64 = 0x044;
    pub(super) const QUEUE_NOTIFY: u64 = 0x050;
    pub(super) const INTERRUPT_ACK: u64 = 0x064;
    pub(super) const STATUS: u64 = 0x070;
    pub(super) const QUEUE_DESC: u64 = 0x080;
    pub(super) const QUEUE_DRIVER: u64 = 0x090;
    pub(super) const QUEUE_DEVICE: u64 = 0x0A0;
}

const MAGIC: u32 = u32::from_le_bytes(*b"virt");
/// ACKNOWLEDGE, DRIVER, FEATURES_OK; and DRIVER_OK.
const AGREED: u32 = 0b1011;
const LIVE: u32 = 0b1111;

const ROUNDS: u32 = 60;
/// Words of a queue's memory: descriptors, rings, and room for what they point to.
const WORDS: usize = 4096;
const SIZE: u32 = 16;

/// A queue's memory. What is in it does not matter to us.
#[repr(C, align(4096))]
struct Queue(UnsafeCell<[u64; WORDS]>);

// SAFETY: only the first CPU uses it, by volatile stores.
unsafe impl Sync for Queue {}

static QUEUE: Queue = Queue(UnsafeCell::new([0; WORDS]));

fn put(word: usize, value: u64) {
    let at = QUEUE.0.get().cast::<u64>().wrapping_add(word % WORDS);
    // SAFETY: inside the queue's memory; volatile, since devices read it meanwhile.
    unsafe { at.write_volatile(value) }
}

/// The most bytes of an honest buffer.
const BUFFER: u64 = 2048;

/// An address: mostly in the queue's memory with a buffer behind it, else across the memory's end, or beyond.
fn address(machine: &Machine, random: &mut Random) -> u64 {
    let base = QUEUE.0.get().expose_provenance() as u64;
    let (start, size) = machine.memory();
    match random.next() % 8 {
        0 => random.next() | 1 << 63,
        1 => start + size - random.next() % 64,
        _ => base + random.next() % (WORDS as u64 * 8 - BUFFER),
    }
}

/// All devices, in turns.
pub(super) fn garbage(machine: &Machine) {
    let mut random = Random(0x0000_D15C_0BAD);
    let mut devices = 0;
    for (base, _) in machine.devices("virtio,mmio") {
        devices += 1;
        for _ in 0..ROUNDS {
            scribble(machine, &mut random);
            set_up(base, &mut random);
            drive(base, &mut random);
        }
        // Whatever was done to it, a reset makes it a device again.
        mmio::write32(base + register::STATUS, 0);
        check_eq!(mmio::read32(base + register::STATUS), 0, "device at {base:#x}: reset");
        check_eq!(mmio::read32(base + register::MAGIC), MAGIC, "device at {base:#x}: still one");
    }
    println!("guest: {devices} virtio devices");
}

/// Fills descriptors and rings: descriptor `n` is words 2n and 2n + 1.
fn scribble(machine: &Machine, random: &mut Random) {
    let (start, size) = machine.memory();
    let end = start + size;
    for descriptor in 0..SIZE as usize {
        // A long buffer is one all the same up to the memory's end, and filled: it begins right before that.
        let (mut address, mut len) = (address(machine, random), random.next() % BUFFER);
        match random.next() % 8 {
            0 => (address, len) = (end - random.next() % 64, u64::from(u32::MAX) - len),
            1 => len = 0,
            _ => {}
        }
        // NEXT, WRITE, INDIRECT, and where the chain goes on: loops among them.
        let flags = random.next() & if random.next().is_multiple_of(8) { 0xFFFF } else { 0b111 };
        let next = random.next() & if random.next().is_multiple_of(8) { 0xFFFF } else { 0xF };
        put(descriptor * 2, address);
        put(descriptor * 2 + 1, len | flags << 32 | next << 48);
    }
    for word in 0..16 {
        put(1024 + word, random.next() & 0x000F_000F_000F_000F);
        put(2048 + word, random.next());
    }
    for word in 0..64 {
        // Headers of requests: small numbers.
        put(256 + word, random.next() % 16);
    }
}

/// Makes a device live with queues there, more or less.
fn set_up(base: u64, random: &mut Random) {
    let memory = QUEUE.0.get().expose_provenance() as u64;
    mmio::write32(base + register::STATUS, 0);
    mmio::write32(base + register::DRIVER_FEATURES_SEL, 0);
    mmio::write32(base + register::DRIVER_FEATURES, random.next() as u32 & mmio::read32(base + 0x10));
    mmio::write32(base + register::DRIVER_FEATURES_SEL, 1);
    mmio::write32(base + register::DRIVER_FEATURES, 1);
    mmio::write32(base + register::STATUS, AGREED);
    for queue in 0..2 {
        let places = [memory, memory + 8192, memory + 16384].map(|place| {
            if random.next().is_multiple_of(32) { random.next() | 1 << 63 } else { place }
        });
        mmio::write32(base + register::QUEUE_SEL, queue);
        let size = if random.next().is_multiple_of(16) { random.next() as u32 } else { SIZE };
        mmio::write32(base + register::QUEUE_NUM, size);
        for (register, value) in
            [register::QUEUE_DESC, register::QUEUE_DRIVER, register::QUEUE_DEVICE].into_iter().zip(places)
        {
            mmio::write32(base + register, value as u32);
            mmio::write32(base + register + 4, (value >> 32) as u32);
        }
        mmio::write32(base + register::QUEUE_READY, 1);
    }
    mmio::write32(base + register::STATUS, LIVE);
}

/// Makes chains available, notifies, changes what they are, and writes registers that are none.
fn drive(base: u64, random: &mut Random) {
    for _ in 0..8 {
        // The index of the available ring, in the upper half of its first word.
        put(1024, random.next() & 0xFFFF_0000_000F_0000 | (random.next() % 32) << 16);
        mmio::write32(base + register::QUEUE_NOTIFY, random.next() as u32 % 3);
        put(random.next() as usize, random.next());
        mmio::write32(base + register::INTERRUPT_ACK, random.next() as u32);
        let offset = random.next() % 0x200;
        if random.next().is_multiple_of(4) && offset < 0x100 {
            mmio::write32(base + (offset & !3), random.next() as u32);
        }
        let _ = mmio::read32(base + random.next() % 0x80 * 4);
    }
}

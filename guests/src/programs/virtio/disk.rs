// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk: what is on it, what becomes of what is written, and with `journal` when it has reached the disk.

use virtio_drivers::device::blk::{SECTOR_SIZE, VirtIOBlk};
use virtio_drivers::transport::Transport;

use super::memory::Memory;
use crate::machine::Machine;

/// Sectors of a large request.
const LARGE: usize = 16;

/// Bytes that say which sector they are in, and in which run.
fn pattern(sector: usize, salt: u8) -> [u8; SECTOR_SIZE] {
    core::array::from_fn(|at| (sector as u8).wrapping_mul(31) ^ (at as u8) ^ salt)
}

/// Checks a disk.
#[inline(never)]
pub(super) fn check(machine: &Machine, transport: impl Transport) {
    let Ok(mut disk) = VirtIOBlk::<Memory, _>::new(transport) else {
        return check!(false, "the disk starts");
    };
    let mut id = [0; 20];
    let len = disk.device_id(&mut id).unwrap_or(0);
    let name = core::str::from_utf8(id.get(..len).unwrap_or_default()).unwrap_or("?");
    let sectors = disk.capacity() as usize;
    let mut first = [0; SECTOR_SIZE];
    check!(disk.read_blocks(0, &mut first).is_ok(), "the first sector can be read");
    let text = first.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = core::str::from_utf8(text).unwrap_or("?");
    println!("guest: disk {name} of {sectors} sectors says {text:?}");
    let mut beyond = [0; SECTOR_SIZE];
    check!(disk.read_blocks(sectors, &mut beyond).is_err(), "there is nothing beyond the end");
    if disk.readonly() {
        check!(disk.write_blocks(1, &first).is_err(), "a read-only disk cannot be written");
        return println!("guest: disk {name} is read-only");
    }
    if machine.parameter("journal").is_some() {
        journal(&mut disk);
    } else if machine.parameter("keep").is_some() {
        look(&mut disk, name);
    } else {
        write(&mut disk, sectors);
    }
}

/// Entries, each in a sector of its own, in turns.
const ENTRIES: u64 = 64;

/// Writes entry after entry until somebody pulls the plug, and says of each that it is flushed.
fn journal(disk: &mut VirtIOBlk<Memory, impl Transport>) {
    for number in 1..u64::MAX {
        let mut entry = [number as u8; SECTOR_SIZE];
        for (at, byte) in entry.iter_mut().zip(number.to_le_bytes()) {
            *at = byte;
        }
        let sector = 1 + (number % ENTRIES) as usize;
        if disk.write_blocks(sector, &entry).is_err() || disk.flush().is_err() {
            return check!(false, "entry {number} is flushed");
        }
        println!("guest: flushed {number}");
    }
}

/// Looks whether what an earlier run has written is there.
fn look(disk: &mut VirtIOBlk<Memory, impl Transport>, name: &str) {
    let mut found = [0; SECTOR_SIZE];
    let is_there = disk.read_blocks(7, &mut found).is_ok() && found == pattern(7, 0);
    println!("guest: disk {name} {}", if is_there { "kept it" } else { "did not keep it" });
}

fn write(disk: &mut VirtIOBlk<Memory, impl Transport>, sectors: usize) {
    let last = sectors - 1;
    for sector in [1, 7, 8, last] {
        check!(disk.write_blocks(sector, &pattern(sector, 0)).is_ok(), "sector {sector} can be written");
    }
    check!(disk.flush().is_ok(), "it can be flushed");
    let mut found = [0; SECTOR_SIZE];
    for sector in [7, 1, last, 8] {
        let is_same = disk.read_blocks(sector, &mut found).is_ok() && found == pattern(sector, 0);
        check!(is_same, "sector {sector} has what was written");
    }
    if sectors < 16 + LARGE {
        return;
    }
    let mut large = [0; LARGE * SECTOR_SIZE];
    for (sector, to) in large.chunks_exact_mut(SECTOR_SIZE).enumerate() {
        to.copy_from_slice(&pattern(sector, 0x5A));
    }
    check!(disk.write_blocks(13, &large).is_ok(), "{LARGE} sectors can be written at once");
    large.fill(0);
    check!(disk.read_blocks(13, &mut large).is_ok(), "and read");
    let mut sectors = large.chunks_exact(SECTOR_SIZE).enumerate();
    check!(sectors.all(|(sector, bytes)| bytes == pattern(sector, 0x5A)), "and are the same");
    let neighbour = disk.read_blocks(8, &mut found).is_ok() && found == pattern(8, 0);
    check!(neighbour, "the others are as they were");
}

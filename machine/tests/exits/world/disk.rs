// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk that takes its time: an operation that it has begun takes effect when it is done.

use std::collections::BTreeMap;

use vambrace_io::virtio::block::InFlight;
use vambrace_io::virtio::block::disk::{DiskBackend, DiskStep, Operation, Tag};
use vambrace_machine::snapshot::PIECE;
use vambrace_machine::virtio::Backends;

use super::Outside;

pub(crate) const SECTORS: u64 = 64;
const SECTOR: usize = 512;
const BLOCKS: usize = SECTORS as usize * SECTOR / PIECE;

/// What the disk has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pending {
    Read { sector: u64 },
    Write { sector: u64, bytes: Vec<u8> },
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlowDisk {
    bytes: Vec<u8>,
    /// The blocks that were written.
    written: [bool; BLOCKS],
    pending: BTreeMap<Tag, Pending>,
    done: BTreeMap<Tag, Pending>,
    /// Operations are not done at once.
    pub(crate) slow: bool,
}

impl Default for SlowDisk {
    /// As the image has it.
    fn default() -> Self {
        let bytes = (0..SECTORS as usize * SECTOR).map(|at| (at % 251) as u8).collect();
        Self { bytes, written: [false; BLOCKS], pending: BTreeMap::new(), done: BTreeMap::new(), slow: false }
    }
}

impl SlowDisk {
    /// All that was begun is done.
    pub(crate) fn complete(&mut self) {
        let pending = core::mem::take(&mut self.pending);
        for operation in pending.values() {
            if let Pending::Write { sector, bytes } = operation {
                self.write(*sector, bytes);
            }
        }
        self.done.extend(pending);
    }

    /// It forgets what nobody waits for any more, as another disk would.
    pub(crate) fn forget_all_but(&mut self, wanted: impl Iterator<Item = InFlight>) {
        let wanted: Vec<_> = wanted.filter_map(|request| request.tag).collect();
        self.pending.retain(|tag, _| wanted.contains(tag));
        // What is done and has not been asked for is begun again.
        self.pending.append(&mut self.done);
        self.pending.retain(|tag, _| wanted.contains(tag));
    }

    /// The blocks that were written.
    pub(crate) fn written(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let blocks = (0..).zip(self.bytes.chunks(PIECE)).zip(self.written);
        blocks.filter(|(_, written)| *written).map(|(block, _)| block)
    }

    pub(crate) fn restore(&mut self, block: u32, bytes: &[u8; PIECE]) -> Option<()> {
        *self.written.get_mut(block as usize)? = true;
        self.bytes.chunks_mut(PIECE).nth(block as usize)?.copy_from_slice(bytes);
        Some(())
    }

    fn write(&mut self, sector: u64, bytes: &[u8]) {
        let at = sector as usize * SECTOR;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.written[at / PIECE..(at + bytes.len()).div_ceil(PIECE)].fill(true);
    }

    fn read(&self, sector: u64, to: &mut [u8]) {
        let at = sector as usize * SECTOR;
        to.copy_from_slice(&self.bytes[at..at + to.len()]);
    }
}

impl DiskBackend for SlowDisk {
    fn start(&mut self, tag: Tag, operation: Operation<'_>) -> DiskStep {
        assert!(!self.pending.contains_key(&tag) && !self.done.contains_key(&tag), "{tag:?} is in use");
        let pending = match operation {
            Operation::Read { sector, to } if !self.slow => {
                self.read(sector, to);
                return DiskStep::Done;
            }
            Operation::Read { sector, .. } => Pending::Read { sector },
            Operation::Write { sector, from } => Pending::Write { sector, bytes: from.to_vec() },
            Operation::WriteZeroes { sector, sectors, .. } => {
                Pending::Write { sector, bytes: vec![0; sectors as usize * SECTOR] }
            }
            Operation::Flush | Operation::Discard { .. } => Pending::Nothing,
        };
        if self.slow {
            self.pending.insert(tag, pending);
            return DiskStep::Pending;
        }
        if let Pending::Write { sector, bytes } = pending {
            self.write(sector, &bytes);
        }
        DiskStep::Done
    }

    fn poll(&mut self, tag: Tag, to: &mut [u8]) -> DiskStep {
        if self.pending.contains_key(&tag) {
            return DiskStep::Pending;
        }
        match self.done.remove(&tag) {
            Some(Pending::Read { sector }) if !to.is_empty() => {
                self.read(sector, to);
                DiskStep::Done
            }
            Some(_) => DiskStep::Done,
            // It was begun on another disk, and nobody waits for it.
            None => DiskStep::Failed,
        }
    }
}

/// What stands behind the devices.
pub(super) struct Behind<'a> {
    disk: &'a mut SlowDisk,
    room: &'a mut usize,
    entropy: &'a mut u8,
    printed: &'a mut Vec<u8>,
}

impl Outside {
    pub(super) fn backends<'a>(&'a mut self, printed: &'a mut Vec<u8>) -> Behind<'a> {
        let Self { disk, room, entropy, .. } = self;
        Behind { disk, room, entropy, printed }
    }
}

impl Backends for Behind<'_> {
    type Disk = SlowDisk;

    fn disk(&mut self, slot: usize) -> Option<&mut SlowDisk> {
        (slot == super::DISK).then_some(&mut *self.disk)
    }

    fn entropy(&mut self, to: &mut [u8]) -> usize {
        for to in &mut *to {
            *self.entropy = self.entropy.wrapping_add(1);
            *to = *self.entropy;
        }
        to.len()
    }

    fn print(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(*self.room);
        *self.room -= taken;
        self.printed.extend_from_slice(&bytes[..taken]);
        taken
    }

    fn flush_soon(&mut self) {}

    fn input_taken(&mut self, _waiting: usize) {}

    fn guest_error(&mut self, _text: core::fmt::Arguments<'_>) {}
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The backend of a block device.

use super::SECTOR;

/// One of the device's operations under way: [`IN_FLIGHT`](super::IN_FLIGHT) at most, each with a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(pub u8);

/// What a disk is asked to do. Sectors have 512 bytes and lie on the disk; data are whole sectors.
#[derive(Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Fills `to` from `sector` on.
    Read {
        /// The first sector.
        sector: u64,
        /// Where its bytes go, if the disk is done at once. Else [`DiskBackend::poll`] gets them.
        to: &'a mut [u8],
    },
    /// Writes `from` at `sector`. A disk that is not done at once takes a copy.
    Write {
        /// The first sector.
        sector: u64,
        /// The bytes.
        from: &'a [u8],
    },
    /// Makes lasting what has been written.
    Flush,
    /// Nobody needs what is in these sectors any more.
    Discard {
        /// The first sector.
        sector: u64,
        /// How many.
        sectors: u64,
    },
    /// Makes these sectors zero.
    WriteZeroes {
        /// The first sector.
        sector: u64,
        /// How many.
        sectors: u64,
        /// What may become of their blocks.
        blocks: Blocks,
    },
}

/// What becomes of the blocks under sectors that are made zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks {
    /// They stay, so that later writes do not fail for want of room.
    Keep,
    /// They may be given back.
    MayUnmap,
}

/// A part of a disk, which is a disk of its own for whoever has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its first sector on the whole disk.
    pub first: u64,
    /// How many sectors it has.
    pub sectors: u64,
}

impl Part {
    /// The operation, which is one of the part's, on the whole disk; `None` unless all of it is in the part.
    #[must_use]
    pub fn place(self, operation: Operation<'_>) -> Option<Operation<'_>> {
        let on_disk = |sector: u64, count: u64| {
            let end = sector.checked_add(count)?;
            if end <= self.sectors { self.first.checked_add(sector) } else { None }
        };
        Some(match operation {
            Operation::Read { sector, to } => {
                Operation::Read { sector: on_disk(sector, sectors_of(to))?, to }
            }
            Operation::Write { sector, from } => {
                Operation::Write { sector: on_disk(sector, sectors_of(from))?, from }
            }
            Operation::Flush => Operation::Flush,
            Operation::Discard { sector, sectors } => {
                Operation::Discard { sector: on_disk(sector, sectors)?, sectors }
            }
            Operation::WriteZeroes { sector, sectors, blocks } => {
                Operation::WriteZeroes { sector: on_disk(sector, sectors)?, sectors, blocks }
            }
        })
    }
}

const fn sectors_of(data: &[u8]) -> u64 {
    (data.len() as u64).div_ceil(SECTOR)
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum DiskStep {
    /// Done.
    Done,
    /// Begun: [`DiskBackend::poll`] says when it is done.
    Pending,
    /// Not begun, for want of room: start it again later.
    Busy,
    /// Failed.
    Failed,
}

/// A disk. It never blocks: either an operation is done when the call returns, or it goes on by itself and is asked for.
pub trait DiskBackend {
    /// Begins an operation. The tag is the operation's until the disk has said `Done` or `Failed`.
    fn start(&mut self, tag: Tag, operation: Operation<'_>) -> DiskStep;

    /// Asks for an operation that was `Pending`. When a read is done, its bytes go to `read`, which is as long as they are;
    /// for the others, and for a read that nobody waits for any more, it is empty. It is never `Busy`.
    fn poll(&mut self, tag: Tag, read: &mut [u8]) -> DiskStep;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_beside_a_part_is_reached() {
        let part = Part { first: 100, sectors: 8 };
        let reads = |sector, bytes| part.place(Operation::Read { sector, to: &mut vec![0; bytes] }).is_some();
        let discards = |sector, sectors| part.place(Operation::Discard { sector, sectors }).is_some();
        for (sector, count, is_there) in
            [(0, 8, true), (7, 1, true), (8, 0, true), (7, 2, false), (8, 1, false), (u64::MAX, 1, false)]
        {
            assert_eq!(discards(sector, count), is_there, "{count} from {sector}");
            assert_eq!(reads(sector, count as usize * 512), is_there, "{count} from {sector}");
        }
        assert!(!reads(7, 513), "a part of a sector");
        assert!(!discards(1, u64::MAX));
        let moved = part.place(Operation::Write { sector: 3, from: &[0; 512] });
        assert!(matches!(moved, Some(Operation::Write { sector: 103, .. })));
    }
}

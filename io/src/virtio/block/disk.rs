// SPDX-License-Identifier: MIT OR Apache-2.0
//! The backend of a block device.

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

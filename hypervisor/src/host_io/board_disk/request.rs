// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a request looks like to the disk of the board, and the memory that it is made in (virtio 1.2, 5.2.6 "Device Operation").

use bitflags::bitflags;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{Immutable, IntoBytes};

/// The status that no disk writes: it has written none.
pub(super) const NOT_WRITTEN: u8 = 0xFF;
/// `unmap` of a range (virtio 1.2, 5.2.6).
pub(super) const UNMAP: u32 = 1;

bitflags! {
    /// What we make use of (virtio 1.2, 5.2.3 and 6).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// It cannot be written.
        const RO = 1 << 5;
        /// It can be flushed.
        const FLUSH = 1 << 9;
        /// It can be told that sectors are not needed.
        const DISCARD = 1 << 13;
        /// It can make sectors zero.
        const WRITE_ZEROES = 1 << 14;
        /// It is of virtio 1.0 or newer.
        const VERSION_1 = 1 << 32;
    }
}

/// The start of a request.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Header {
    pub(super) kind: U32,
    pub(super) reserved: U32,
    pub(super) sector: U64,
}

/// A range of a discard or write-zeroes.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Span {
    pub(super) sector: U64,
    pub(super) sectors: U32,
    pub(super) flags: U32,
}

/// Which way a request's data go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The disk reads them.
    ToDisk,
    /// The disk writes them.
    FromDisk,
    /// There are none.
    None,
}

/// What of a request's data is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    /// Which way they go.
    pub direction: Direction,
    /// How many bytes they are, from the first one on.
    pub len: usize,
}

/// Memory of a request that the disk reads and writes.
#[derive(Debug)]
pub struct Buffer<'a> {
    /// The header, which the disk reads.
    pub header: &'a mut [u8],
    /// The status, a byte that the disk writes.
    pub status: &'a mut [u8],
    /// The data.
    pub data: &'a mut [u8],
}

impl<'a> Buffer<'a> {
    /// How much memory it needs for data of `data` bytes.
    #[must_use]
    pub const fn size(data: usize) -> usize {
        data + size_of::<Header>() + 1
    }

    /// Divides memory of this [`size`](Self::size). The data come first, so that they are aligned as the memory is.
    #[must_use]
    pub fn new(memory: &'a mut [u8], data: usize) -> Option<Self> {
        let (data, rest) = memory.split_at_mut_checked(data)?;
        let (header, status) = rest.split_at_mut_checked(size_of::<Header>())?;
        (status.len() == 1).then_some(Self { header, status, data })
    }
}

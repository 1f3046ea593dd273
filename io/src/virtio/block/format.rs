// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers and layouts of the block device (virtio 1.2, 5.2.3, 5.2.4, 5.2.6).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a sector, whatever the disk's own blocks are.
pub const SECTOR: u64 = 512;
/// Bytes of the string that names a disk.
pub const ID_LEN: usize = 20;

/// Feature bits (5.2.3).
pub mod feature {
    /// `seg_max` holds.
    pub const SEG_MAX: u64 = 1 << 2;
    /// The disk cannot be written.
    pub const RO: u64 = 1 << 5;
    /// `blk_size` holds.
    pub const BLK_SIZE: u64 = 1 << 6;
    /// There are flushes, and writes may wait for them.
    pub const FLUSH: u64 = 1 << 9;
    /// The topology holds.
    pub const TOPOLOGY: u64 = 1 << 10;
    /// There are discards.
    pub const DISCARD: u64 = 1 << 13;
    /// There are write-zeroes.
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

/// Types of requests (5.2.6).
pub mod request {
    /// Read.
    pub const IN: u32 = 0;
    /// Write.
    pub const OUT: u32 = 1;
    /// Flush.
    pub const FLUSH: u32 = 4;
    /// Get the disk's name.
    pub const GET_ID: u32 = 8;
    /// Discard.
    pub const DISCARD: u32 = 11;
    /// Write zeroes.
    pub const WRITE_ZEROES: u32 = 13;
}

/// The flag of a range: its blocks may be given back (5.2.6).
pub(super) const UNMAP: u32 = 1;

/// What becomes of a request (5.2.6): its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was done.
    Ok = 0,
    /// It could not be done, or was wrong.
    IoErr = 1,
    /// There is no such request.
    Unsupp = 2,
}

/// The start of every request.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    pub(super) kind: U32,
    reserved: U32,
    pub(super) sector: U64,
}

/// A range of a discard or write-zeroes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Range {
    pub(super) sector: U64,
    pub(super) sectors: U32,
    pub(super) flags: U32,
}

/// The configuration (5.2.4), as far as features of ours reach.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Configuration {
    pub(super) capacity: U64,
    pub(super) size_max: U32,
    pub(super) seg_max: U32,
    pub(super) geometry: U32,
    pub(super) blk_size: U32,
    pub(super) physical_block_exp: u8,
    pub(super) alignment_offset: u8,
    pub(super) min_io_size: U16,
    pub(super) opt_io_size: U32,
    pub(super) writeback: u8,
    pub(super) unused0: u8,
    pub(super) num_queues: U16,
    pub(super) max_discard_sectors: U32,
    pub(super) max_discard_seg: U32,
    pub(super) discard_sector_alignment: U32,
    pub(super) max_write_zeroes_sectors: U32,
    pub(super) max_write_zeroes_seg: U32,
    pub(super) write_zeroes_may_unmap: u8,
    pub(super) unused1: [u8; 3],
}

const _: () = assert!(size_of::<Header>() == 16 && size_of::<Range>() == 16);
const _: () = assert!(core::mem::offset_of!(Configuration, max_discard_sectors) == 0x24);
const _: () = assert!(size_of::<Configuration>() == 0x3C);

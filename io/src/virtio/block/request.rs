// SPDX-License-Identifier: MIT OR Apache-2.0
//! A request, from its header to its status (virtio 1.2, 5.2.6), one operation of the disk after the other.

use serde::{Deserialize, Serialize};
use vambrace_memory::GuestMemory;
use zerocopy::IntoBytes;

use super::disk::{Blocks, Operation};
use super::format::{Header, Range, SECTOR, Status, UNMAP, feature, request};
use super::{MAX_RANGE_SECTORS, MAX_RANGES, Settings};
use crate::virtio::queue::{Chain, Fault};

const HEADER: u64 = size_of::<Header>() as u64;
const RANGE: u64 = size_of::<Range>() as u64;

/// What a request wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum RequestKind {
    #[default]
    Read,
    Write,
    Flush,
    Discard,
    WriteZeroes,
}

/// A request that has been looked at, and how far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) chain: Chain,
    pub(super) kind: RequestKind,
    /// Bytes of its data.
    data: u64,
    /// How many of them have been worked off.
    done: u64,
    /// How many bytes have been written into the chain, from the first one on.
    filled: u64,
    /// The next sector, and how many follow it in the range that is worked on.
    sector: u64,
    sectors: u64,
    /// The range's blocks may be given back.
    may_unmap: bool,
    /// A flush at its end is due: that of a flush, or that of a write without flushes.
    flush: bool,
}

/// What a request needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// So many bytes read.
    Read(u64),
    /// So many bytes written.
    Write(u64),
    /// A flush.
    Flush,
    /// So many sectors discarded or made zero.
    Range(u64),
    /// It is over.
    End(Status),
}

impl Request {
    /// Looks at the chain's header. `Ok(Some)`: it is over already.
    pub(super) fn begin(
        &mut self,
        memory: &impl GuestMemory,
        settings: &Settings,
        features: u64,
    ) -> Result<Option<Status>, Fault> {
        let (readable, writable) = (self.chain.readable(), self.chain.writable());
        let (Some(out), Some(room)) = (readable.len().checked_sub(HEADER), writable.len().checked_sub(1))
        else {
            return Err(Fault::Request { head: self.chain.head() });
        };
        (self.data, self.done, self.filled) = (0, 0, 0);
        let mut header = Header::default();
        readable.read(memory, 0, header.as_mut_bytes())?;
        let (kind, data) = match header.kind.get() {
            request::IN => (RequestKind::Read, room),
            request::OUT => (RequestKind::Write, out),
            request::FLUSH if features & feature::FLUSH != 0 => (RequestKind::Flush, 0),
            request::DISCARD if features & feature::DISCARD != 0 => (RequestKind::Discard, out),
            request::WRITE_ZEROES if features & feature::WRITE_ZEROES != 0 => (RequestKind::WriteZeroes, out),
            request::GET_ID => {
                let id = settings.id.get(..settings.id.len().min(room as usize)).unwrap_or_default();
                writable.write(memory, 0, id)?;
                self.filled = id.len() as u64;
                return Ok(Some(Status::Ok));
            }
            _ => return Ok(Some(Status::Unsupp)),
        };
        (self.kind, self.data) = (kind, data);
        (self.sector, self.sectors) = (header.sector.get(), 0);
        self.flush =
            kind == RequestKind::Flush || kind != RequestKind::Read && features & feature::FLUSH == 0;
        Ok(self.check(settings).err())
    }

    /// Whether the request is about whole sectors or ranges, on the disk, and may change it (5.2.6.2).
    fn check(&mut self, settings: &Settings) -> Result<(), Status> {
        if !matches!(self.kind, RequestKind::Read | RequestKind::Flush) && settings.is_read_only() {
            return Err(Status::IoErr);
        }
        match self.kind {
            RequestKind::Flush => {}
            RequestKind::Read | RequestKind::Write => {
                self.sectors = self.data / SECTOR;
                if !self.data.is_multiple_of(SECTOR) || !settings.has(self.sector, self.sectors) {
                    return Err(Status::IoErr);
                }
            }
            RequestKind::Discard | RequestKind::WriteZeroes => {
                let ranges = self.data / RANGE;
                if !self.data.is_multiple_of(RANGE) || !(1..=u64::from(MAX_RANGES)).contains(&ranges) {
                    return Err(Status::IoErr);
                }
            }
        }
        Ok(())
    }

    /// Says what to do next, in pieces of up to `piece` bytes, which is a sector at least.
    pub(super) fn next(
        &mut self,
        memory: &impl GuestMemory,
        settings: &Settings,
        piece: u64,
    ) -> Result<Next, Fault> {
        while self.sectors == 0 {
            if self.done >= self.data
                || matches!(self.kind, RequestKind::Read | RequestKind::Write | RequestKind::Flush)
            {
                return Ok(if self.flush { Next::Flush } else { Next::End(Status::Ok) });
            }
            if let Err(status) = self.next_range(memory, settings)? {
                return Ok(Next::End(status));
            }
        }
        let sectors = self.sectors.min(piece / SECTOR).max(1);
        Ok(match self.kind {
            RequestKind::Read => Next::Read(sectors * SECTOR),
            RequestKind::Write => Next::Write(sectors * SECTOR),
            RequestKind::Flush => Next::Flush,
            RequestKind::Discard | RequestKind::WriteZeroes => Next::Range(sectors),
        })
    }

    /// Reads the next range of a discard or write-zeroes, once, and checks it (5.2.6.2).
    fn next_range(
        &mut self,
        memory: &impl GuestMemory,
        settings: &Settings,
    ) -> Result<Result<(), Status>, Fault> {
        let mut range = Range::default();
        self.chain.readable().read(memory, HEADER.saturating_add(self.done), range.as_mut_bytes())?;
        self.done = self.done.saturating_add(RANGE);
        let (sector, sectors, flags) = (range.sector.get(), range.sectors.get(), range.flags.get());
        let known = if self.kind == RequestKind::WriteZeroes { UNMAP } else { 0 };
        if flags & !known != 0 {
            return Ok(Err(Status::Unsupp));
        }
        if sectors > MAX_RANGE_SECTORS || !settings.has(sector, sectors.into()) {
            return Ok(Err(Status::IoErr));
        }
        (self.sector, self.sectors, self.may_unmap) = (sector, sectors.into(), flags & UNMAP != 0);
        Ok(Ok(()))
    }

    /// The disk's operation for `next`, which is not the end; of data in `piece`, which is as long as they are.
    pub(super) fn operation<'a>(
        &self,
        memory: &impl GuestMemory,
        next: Next,
        piece: &'a mut [u8],
    ) -> Result<Operation<'a>, Fault> {
        let sector = self.sector;
        Ok(match next {
            Next::Read(_) => Operation::Read { sector, to: piece },
            Next::Write(_) => {
                self.chain.readable().read(memory, HEADER.saturating_add(self.done), piece)?;
                Operation::Write { sector, from: piece }
            }
            Next::Range(sectors) if self.kind == RequestKind::Discard => {
                Operation::Discard { sector, sectors }
            }
            Next::Range(sectors) => {
                let blocks = if self.may_unmap { Blocks::MayUnmap } else { Blocks::Keep };
                Operation::WriteZeroes { sector, sectors, blocks }
            }
            Next::Flush | Next::End(_) => Operation::Flush,
        })
    }

    /// The disk has done `next`; what it has read is in `piece`.
    pub(super) fn advance(
        &mut self,
        memory: &impl GuestMemory,
        next: Next,
        piece: &[u8],
    ) -> Result<(), Fault> {
        let sectors = match next {
            Next::Read(bytes) => {
                self.chain.writable().write(memory, self.filled, piece)?;
                self.filled = self.filled.saturating_add(bytes);
                bytes / SECTOR
            }
            Next::Write(bytes) => {
                self.done = self.done.saturating_add(bytes);
                bytes / SECTOR
            }
            Next::Range(sectors) => sectors,
            Next::Flush | Next::End(_) => {
                self.flush = false;
                0
            }
        };
        self.sector = self.sector.wrapping_add(sectors);
        self.sectors = self.sectors.saturating_sub(sectors);
        Ok(())
    }

    /// Writes the status into the last byte, and says how many bytes were written from the first one on without a gap
    /// (2.7.8.2).
    pub(super) fn end(&self, memory: &impl GuestMemory, status: Status) -> Result<u32, Fault> {
        let writable = self.chain.writable();
        let room = writable.len().saturating_sub(1);
        writable.write(memory, room, &[status as u8])?;
        let written = if self.filled == room { room + 1 } else { self.filled.min(room) };
        Ok(u32::try_from(written).unwrap_or(u32::MAX))
    }
}

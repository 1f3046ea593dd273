// SPDX-License-Identifier: MIT OR Apache-2.0
//! A descriptor chain: read once, checked, and from then on a value (virtio 1.2, 2.7.5).

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};
use vambrace_memory::{GuestMemory, Ipa};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Fault, MAX_SIZE, Queue};
use crate::virtio::feature;

/// An entry of a descriptor table (2.7.5).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Descriptor {
    address: U64,
    len: U32,
    flags: U16,
    next: U16,
}

const DESCRIPTOR: u64 = 16;
const _: () = assert!(size_of::<Descriptor>() as u64 == DESCRIPTOR);

/// Flags of a descriptor (2.7.5).
mod flag {
    pub(super) const NEXT: u16 = 1;
    pub(super) const WRITE: u16 = 2;
    pub(super) const INDIRECT: u16 = 4;
}

/// A piece of a buffer: addresses without a gap, not empty, not over the end of the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Segment {
    ipa: u64,
    len: u32,
}

/// A descriptor chain: first what the device reads, then what it writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Chain {
    head: u16,
    segments: ArrayVec<Segment, { MAX_SIZE as usize }>,
    /// How many of the segments, from the first, are to be read.
    readable: u16,
}

/// A table of descriptors: the queue's own, or an indirect one.
#[derive(Clone, Copy)]
struct Table {
    base: u64,
    size: u16,
}

impl Table {
    fn read(self, memory: &impl GuestMemory, index: u16) -> Result<Descriptor, Fault> {
        if index >= self.size {
            return Err(Fault::Index { index, size: self.size });
        }
        let mut descriptor = Descriptor::default();
        let at = self.base.wrapping_add(DESCRIPTOR * u64::from(index));
        memory.read(Ipa(at), descriptor.as_mut_bytes())?;
        Ok(descriptor)
    }
}

impl Chain {
    /// An empty one, to be read into.
    #[must_use]
    pub(in super::super) fn new() -> Self {
        Self::default()
    }

    /// Its first descriptor's index, which names it to the driver.
    #[must_use]
    pub(in super::super) fn head(&self) -> u16 {
        self.head
    }

    /// What the device reads.
    #[must_use]
    pub(in super::super) fn readable(&self) -> Buffer<'_> {
        Buffer(self.segments.get(..usize::from(self.readable)).unwrap_or_default())
    }

    /// What the device writes.
    #[must_use]
    pub(in super::super) fn writable(&self) -> Buffer<'_> {
        Buffer(self.segments.get(usize::from(self.readable)..).unwrap_or_default())
    }

    /// Reads the chain that begins at `head`: at most as many descriptors as the queue has, and one for a table.
    pub(super) fn read(
        &mut self,
        memory: &impl GuestMemory,
        queue: &Queue,
        features: u64,
        head: u16,
    ) -> Result<(), Fault> {
        self.head = head;
        self.segments.clear();
        self.readable = 0;
        let mut table = Table { base: queue.descriptors, size: queue.size };
        let mut in_table = false;
        let mut index = head;
        let mut total = 0;
        loop {
            let descriptor = table.read(memory, index)?;
            let flags = descriptor.flags.get();
            if flags & flag::INDIRECT != 0 {
                if in_table || flags & flag::NEXT != 0 || features & feature::INDIRECT_DESC == 0 {
                    return Err(Fault::Indirect { head });
                }
                table = self.table(&descriptor, queue.size)?;
                in_table = true;
                index = 0;
                continue;
            }
            total += self.push(&descriptor)?;
            if total > 1 << 32 {
                return Err(self.length(&descriptor));
            }
            if flags & flag::NEXT == 0 {
                return Ok(());
            }
            if self.segments.len() >= usize::from(queue.size) {
                return Err(Fault::Long { head });
            }
            index = descriptor.next.get();
        }
    }

    /// The table that an indirect descriptor refers to; its WRITE flag does not count (2.7.5.3.2).
    fn table(&self, descriptor: &Descriptor, queue_size: u16) -> Result<Table, Fault> {
        let (base, len) = (descriptor.address.get(), descriptor.len.get());
        let entries = u64::from(len) / DESCRIPTOR;
        let is_whole =
            u64::from(len).is_multiple_of(DESCRIPTOR) && (1..=u64::from(queue_size)).contains(&entries);
        if !is_whole || base.checked_add(u64::from(len)).is_none() {
            return Err(Fault::Table { head: self.head, len });
        }
        Ok(Table { base, size: entries as u16 })
    }

    /// Adds what a descriptor describes; says how many bytes that is.
    fn push(&mut self, descriptor: &Descriptor) -> Result<u64, Fault> {
        let head = self.head;
        let segment = Segment { ipa: descriptor.address.get(), len: descriptor.len.get() };
        if segment.len == 0 || segment.ipa.checked_add(u64::from(segment.len)).is_none() {
            return Err(self.length(descriptor));
        }
        if descriptor.flags.get() & flag::WRITE == 0 {
            if usize::from(self.readable) != self.segments.len() {
                return Err(Fault::Order { head });
            }
            self.readable = self.readable.saturating_add(1);
        }
        self.segments.try_push(segment).map_err(|_| Fault::Long { head })?;
        Ok(u64::from(segment.len))
    }

    fn length(&self, descriptor: &Descriptor) -> Fault {
        Fault::Length { head: self.head, ipa: Ipa(descriptor.address.get()), len: descriptor.len.get() }
    }
}

/// One side of a chain, as one row of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Buffer<'a>(pub(super) &'a [Segment]);

impl Buffer<'_> {
    /// How many bytes.
    #[must_use]
    pub(in super::super) fn len(self) -> u64 {
        self.0.iter().map(|segment| u64::from(segment.len)).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub(in super::super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Copies the bytes from `offset` on into `to`; where there are fewer, the rest of `to` stays.
    ///
    /// # Errors
    /// [`Fault`]: they are outside the VM's memory.
    pub(in super::super) fn read(
        self,
        memory: &impl GuestMemory,
        offset: u64,
        to: &mut [u8],
    ) -> Result<(), Fault> {
        let mut rest = to;
        for part in self.parts(offset, rest.len() as u64) {
            let (now, later) = rest.split_at_mut_checked(part.len as usize).unwrap_or_default();
            memory.read(Ipa(part.ipa), now)?;
            rest = later;
        }
        Ok(())
    }

    /// Copies `from` to the bytes from `offset` on, as far as they go.
    ///
    /// # Errors
    /// [`Fault`]: they are outside the VM's memory.
    pub(in super::super) fn write(
        self,
        memory: &impl GuestMemory,
        offset: u64,
        from: &[u8],
    ) -> Result<(), Fault> {
        let mut rest = from;
        for part in self.parts(offset, rest.len() as u64) {
            let (now, later) = rest.split_at_checked(part.len as usize).unwrap_or_default();
            memory.write(Ipa(part.ipa), now)?;
            rest = later;
        }
        Ok(())
    }

    /// The address of the byte at `offset`.
    #[must_use]
    pub(in super::super) fn address(self, offset: u64) -> Option<Ipa> {
        self.parts(offset, 1).next().map(|part| Ipa(part.ipa))
    }

    /// The pieces that the `len` bytes from `offset` on lie in.
    fn parts(self, offset: u64, len: u64) -> impl Iterator<Item = Segment> {
        let end = offset.saturating_add(len);
        let mut first = 0u64;
        self.0.iter().filter_map(move |segment| {
            let start = first;
            first = first.saturating_add(u64::from(segment.len));
            let from = offset.max(start);
            let len = end.min(first).checked_sub(from).filter(|len| *len > 0)?;
            let ipa = segment.ipa.wrapping_add(from - start);
            Some(Segment { ipa, len: len as u32 })
        })
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A ring in memory that virtual machines share: messages from one that writes to one that reads, without a lock.
//!
//! The memory is a slice of atomic 32-bit words, since the other side changes it at any time; and the other side may be
//! hostile, so whatever is read there is checked before it is used. What can go wrong is [`Broken`], never a panic, an endless
//! loop or an access outside the slice. Who rings whose bell when is the caller's affair.
//!
//! ```text
//! word 0      16          32          48
//! +-----------+-----------+-----------+---------------------------
//! | magic     | written   | taken     | data, a power of two words
//! +-----------+-----------+-----------+---------------------------
//! ```
//!
//! *Written* and *taken* count words since the beginning, modulo 2^32; each is written by one side only and lies in a
//! cache line of its own. A message is its length in bytes and then its bytes, filled up to whole words, the first byte lowest. The
//! writer stores data first and then *written*, with release; the reader loads *written* with acquire and then data, and
//! gives room back by *taken* in the same way.
#![no_std]
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};

/// What is at the start of a ring: "VMBR", little-endian.
pub const MAGIC: u32 = 0x5242_4D56;

const WRITTEN: usize = 16;
const TAKEN: usize = 32;
const DATA: usize = 48;

/// A word that two sides use at the same time. For models of memory, which have atomics of their own.
pub trait Word {
    /// Loads it; what is loaded later is seen as it was when this was stored.
    fn acquire(&self) -> u32;
    /// Stores it, after everything that was loaded and stored before.
    fn release(&self, value: u32);
    /// Loads it, in no order.
    fn load(&self) -> u32;
    /// Stores it, in no order.
    fn store(&self, value: u32);
}

impl Word for AtomicU32 {
    fn acquire(&self) -> u32 {
        AtomicU32::load(self, Ordering::Acquire)
    }

    fn release(&self, value: u32) {
        AtomicU32::store(self, value, Ordering::Release);
    }

    fn load(&self) -> u32 {
        AtomicU32::load(self, Ordering::Relaxed)
    }

    fn store(&self, value: u32) {
        AtomicU32::store(self, value, Ordering::Relaxed);
    }
}

/// The other side has written what makes no sense, or the memory is none of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl core::fmt::Display for Broken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the ring makes no sense")
    }
}

impl core::error::Error for Broken {}

/// Why a message was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// There is no room for now.
    Full,
    /// There is never room for so long a message.
    TooLong,
    /// The ring makes no sense.
    Broken,
}

/// Why no message was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopError {
    /// There is none for now.
    Empty,
    /// It has so many bytes, more than there is room for. It stays.
    TooLong(usize),
    /// The ring makes no sense.
    Broken,
}

/// The side that writes.
#[derive(Debug)]
pub struct Writer<'a, W> {
    ring: Ring<'a, W>,
    /// As in the memory, which the other side could change.
    written: u32,
}

/// The side that reads.
#[derive(Debug)]
pub struct Reader<'a, W> {
    ring: Ring<'a, W>,
    taken: u32,
}

#[derive(Debug)]
struct Ring<'a, W> {
    written: &'a W,
    taken: &'a W,
    data: &'a [W],
}

impl<'a, W: Word> Ring<'a, W> {
    /// The largest ring that a memory has room for.
    fn new(memory: &'a [W]) -> Option<Self> {
        let data = memory.get(DATA..).filter(|data| !data.is_empty())?;
        // So that counts can wrap, and that all used up differs from nothing used.
        let size = (1 << data.len().ilog2()).min(1 << 30);
        Some(Self { written: memory.get(WRITTEN)?, taken: memory.get(TAKEN)?, data: data.get(..size)? })
    }

    fn size(&self) -> u32 {
        self.data.len() as u32
    }

    fn word(&self, at: u32) -> Option<&'a W> {
        self.data.get(at as usize & (self.data.len() - 1))
    }
}

impl<'a, W: Word> Writer<'a, W> {
    /// Makes an empty ring of a memory, for one side to do before the other is told. `None` when it is too small.
    pub fn create(memory: &'a [W]) -> Option<Self> {
        let ring = Ring::new(memory)?;
        ring.written.store(0);
        ring.taken.store(0);
        memory.first()?.release(MAGIC);
        Some(Self { ring, written: 0 })
    }

    /// The longest message in bytes.
    #[must_use]
    pub fn longest(&self) -> usize {
        (self.ring.data.len() - 1) * 4
    }

    /// Writes a message, whole or not at all.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn push(&mut self, message: &[u8]) -> Result<(), PushError> {
        if message.len() > self.longest() {
            return Err(PushError::TooLong);
        }
        let used = self.written.wrapping_sub(self.ring.taken.acquire());
        let room = self.ring.size().checked_sub(used).ok_or(PushError::Broken)?;
        let needed = 1 + message.len().div_ceil(4) as u32;
        if needed > room {
            return Err(PushError::Full);
        }
        let words = message.chunks(4).map(|bytes| {
            let mut word = [0; 4];
            word.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
            u32::from_le_bytes(word)
        });
        let mut at = self.written;
        for value in core::iter::once(message.len() as u32).chain(words) {
            self.ring.word(at).ok_or(PushError::Broken)?.store(value);
            at = at.wrapping_add(1);
        }
        self.ring.written.release(at);
        self.written = at;
        Ok(())
    }
}

impl<'a, W: Word> Reader<'a, W> {
    /// Reads from the ring that the other side has made, from where the side before it has come. `None` when there is none yet.
    ///
    /// # Errors
    /// [`Broken`] when the memory is too small for one.
    pub fn open(memory: &'a [W]) -> Result<Option<Self>, Broken> {
        let ring = Ring::new(memory).ok_or(Broken)?;
        if memory.first().ok_or(Broken)?.acquire() != MAGIC {
            return Ok(None);
        }
        let taken = ring.taken.load();
        Ok(Some(Self { ring, taken }))
    }

    /// Reads the next message into the beginning of `to`, and says how long it is.
    ///
    /// # Errors
    /// See [`PopError`].
    pub fn pop(&mut self, to: &mut [u8]) -> Result<usize, PopError> {
        let used = self.ring.written.acquire().wrapping_sub(self.taken);
        if used == 0 {
            return Err(PopError::Empty);
        }
        let word = |at| self.ring.word(at).map(W::load).ok_or(PopError::Broken);
        let len = word(self.taken)? as usize;
        let words = 1 + len.div_ceil(4);
        if used > self.ring.size() || words > used as usize {
            return Err(PopError::Broken);
        }
        let message = to.get_mut(..len).ok_or(PopError::TooLong(len))?;
        for (at, bytes) in (1..).zip(message.chunks_mut(4)) {
            let value = word(self.taken.wrapping_add(at))?.to_le_bytes();
            bytes.iter_mut().zip(value).for_each(|(to, byte)| *to = byte);
        }
        self.taken = self.taken.wrapping_add(words as u32);
        self.ring.taken.release(self.taken);
        Ok(len)
    }
}

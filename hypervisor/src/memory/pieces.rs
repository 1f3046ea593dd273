// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VM's RAM as a list of pieces of physical memory.
//!
//! Where a VM finds one piece, it has one: then an address in its RAM is found by one comparison. A VM has more when the board's
//! memory is in pieces, or when pages have been taken away from it and given back. Stage 2 and this list say the same:
//! who changes one changes both, under the lock that both are in.

use alloc::vec::Vec;

use vambrace_memory::addr::PAGE_SIZE;
use vambrace_memory::{Pa, PaRange};

/// Memory, and where in the VM's RAM it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamPiece {
    /// The offset in the VM's RAM.
    pub offset: u64,
    /// The memory there.
    pub memory: PaRange,
}

impl RamPiece {
    /// The offset of the first byte behind it.
    const fn end(self) -> u64 {
        self.offset.saturating_add(self.memory.len())
    }

    /// Whether `behind` follows it, in the RAM and in physical memory.
    fn continues_in(self, behind: Self) -> bool {
        self.end() == behind.offset && self.memory.end() == behind.memory.start()
    }

    /// What of it is at an offset and behind.
    const fn from(self, offset: u64) -> Self {
        let skipped = offset.saturating_sub(self.offset);
        let memory = self.memory.part(skipped, u64::MAX);
        Self { offset: self.offset.saturating_add(skipped), memory }
    }

    /// What of it is before an offset.
    const fn before(self, offset: u64) -> Self {
        Self { memory: self.memory.part(0, offset.saturating_sub(self.offset)), ..self }
    }
}

/// Why the list cannot be changed. Nothing has been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PiecesError {
    /// Not all of it is the VM's.
    #[error("the VM has no memory there, or not all of it")]
    NotThere,
    /// There is memory already.
    #[error("the VM has memory there")]
    Overlap,
    /// It would be in more pieces than there is room for.
    #[error("the VM's memory would be in too many pieces")]
    NoPlace,
}

/// The pieces of a VM's RAM.
#[derive(Debug, Default)]
pub struct RamPieces {
    /// Sorted by offset; none is empty, none overlaps another. Never grows beyond its capacity.
    pieces: Vec<RamPiece>,
}

impl RamPieces {
    /// The RAM that `memory` makes, one after the other, with room for one piece more than there are.
    ///
    /// # Errors
    /// [`PiecesError::NoPlace`] without memory for the list.
    pub fn new(memory: impl Iterator<Item = PaRange> + Clone) -> Result<Self, PiecesError> {
        let mut pieces = Vec::new();
        let count = memory.clone().count();
        pieces.try_reserve_exact(count.saturating_add(1)).map_err(|_| PiecesError::NoPlace)?;
        let mut offset = 0_u64;
        for memory in memory {
            pieces.push(RamPiece { offset, memory });
            offset = offset.saturating_add(memory.len());
        }
        Ok(Self { pieces })
    }

    /// The pieces, lowest offset first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RamPiece> {
        self.pieces.iter().copied()
    }

    /// Where `len` bytes at an offset lie, if they are all there and in one piece.
    #[inline]
    #[must_use]
    pub fn locate(&self, offset: u64, len: u64) -> Option<Pa> {
        match self.pieces.first() {
            Some(first) if offset < first.end() => first.memory.at(offset.checked_sub(first.offset)?, len),
            _ => self.locate_behind(offset, len),
        }
    }

    fn locate_behind(&self, offset: u64, len: u64) -> Option<Pa> {
        let piece = self.find(offset)?;
        piece.memory.at(offset.checked_sub(piece.offset)?, len)
    }

    /// The piece in which an offset is; `None` where there is no memory.
    fn find(&self, offset: u64) -> Option<RamPiece> {
        let behind = self.pieces.partition_point(|piece| piece.offset <= offset);
        let piece = self.pieces.get(behind.checked_sub(1)?)?;
        (offset < piece.end()).then_some(*piece)
    }

    /// The memory at an offset, `len` bytes at most, as far as it is in one piece; `None` where there is none.
    #[must_use]
    pub fn part(&self, offset: u64, len: u64) -> Option<PaRange> {
        let piece = self.find(offset)?;
        Some(piece.from(offset).memory.part(0, len))
    }

    /// Whether all of `len` bytes at an offset are there, in however many pieces.
    #[must_use]
    pub fn contains(&self, offset: u64, len: u64) -> bool {
        let mut done = 0;
        while done < len {
            let Some(part) = offset.checked_add(done).and_then(|at| self.part(at, len - done)) else {
                return false;
            };
            done = done.saturating_add(part.len());
        }
        true
    }

    /// The first memory at an offset or behind it, `len` bytes at most, and the offset where it is.
    #[must_use]
    pub fn next(&self, offset: u64, len: u64) -> Option<(u64, PaRange)> {
        let at = self.pieces.partition_point(|piece| piece.end() <= offset);
        let piece = self.pieces.get(at)?.from(offset);
        Some((piece.offset, piece.memory.part(0, len)))
    }

    /// Whether one piece more may need a larger list.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.pieces.len() == self.pieces.capacity()
    }

    /// How many pieces there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.pieces.len()
    }

    /// Moves the list to a larger place, and gives the old one back, for the caller to free.
    #[must_use]
    pub fn move_to(&mut self, mut place: Vec<RamPiece>) -> Vec<RamPiece> {
        if place.capacity() < self.pieces.len() {
            return place;
        }
        place.clear();
        place.append(&mut self.pieces);
        core::mem::replace(&mut self.pieces, place)
    }

    /// Takes `len` bytes at an offset out, all of which are in one piece. Says where they were.
    ///
    /// # Errors
    /// [`PiecesError::NotThere`]; [`PiecesError::NoPlace`] if the list [is full](Self::is_full).
    pub fn remove(&mut self, offset: u64, len: u64) -> Result<PaRange, PiecesError> {
        let pa = self.locate(offset, len).filter(|_| len > 0).ok_or(PiecesError::NotThere)?;
        if self.is_full() {
            return Err(PiecesError::NoPlace);
        }
        let at = self.pieces.partition_point(|piece| piece.end() <= offset);
        let piece = self.pieces.remove(at);
        // Not more than two in the place of one, and there is room for one more.
        for rest in [piece.from(offset.saturating_add(len)), piece.before(offset)] {
            if !rest.memory.is_empty() {
                self.pieces.insert(at, rest);
            }
        }
        Ok(PaRange::clamped(pa, len))
    }

    /// Puts memory where there is none. It becomes one with what it continues.
    ///
    /// # Errors
    /// [`PiecesError::Overlap`]; [`PiecesError::NoPlace`] if the list [is full](Self::is_full) and it continues nothing.
    pub fn insert(&mut self, offset: u64, memory: PaRange) -> Result<(), PiecesError> {
        if memory.is_empty() {
            return Ok(());
        }
        let mut new = RamPiece { offset, memory };
        if self.next(offset, 1).is_some_and(|(next, _)| next < new.end()) {
            return Err(PiecesError::Overlap);
        }
        let at = self.pieces.partition_point(|piece| piece.end() <= offset);
        let behind = self.pieces.get(at).copied().filter(|behind| new.continues_in(*behind));
        let before = at.checked_sub(1).and_then(|before| self.pieces.get(before)).copied();
        let before = before.filter(|before| before.continues_in(new));
        if before.is_none() && behind.is_none() && self.is_full() {
            return Err(PiecesError::NoPlace);
        }
        if let Some(behind) = behind {
            new.memory = new.memory.joined(behind.memory);
            self.pieces.remove(at);
        }
        let Some(before) = before else {
            self.pieces.insert(at, new);
            return Ok(());
        };
        if let Some(piece) = at.checked_sub(1).and_then(|at| self.pieces.get_mut(at)) {
            piece.memory = before.memory.joined(new.memory);
        }
        Ok(())
    }
}

/// Cuts each run of memory into pieces of `size` bytes (a page at least), the last of it first, so that none continues the one
/// before in its run. What does not make a piece is a smaller one.
pub fn scatter(runs: &[PaRange], size: u64) -> impl Iterator<Item = PaRange> + Clone {
    let size = size.max(PAGE_SIZE);
    runs.iter().flat_map(move |run| {
        let count = run.len().div_ceil(size);
        (0..count).rev().map(move |index| run.part(index.saturating_mul(size), size))
    })
}

#[cfg(test)]
mod tests;

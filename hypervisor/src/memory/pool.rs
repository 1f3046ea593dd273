// SPDX-License-Identifier: MIT OR Apache-2.0
//! Free memory, and of which parts EL2 knows that nothing is in them.
//!
//! What a VM gives back has been cleared; what the board starts with may hold what firmware or an earlier boot has left. A VM
//! gets neither: memory that is not known to be clear is cleared before its first use. To forget that something is clear is
//! always safe, and costs clearing it once more.

use alloc::vec::Vec;

use vambrace_memory::PaRange;
use vambrace_memory::addr::PAGE_SIZE;
use vambrace_memory::stage2::TableLevel;

use crate::memory::regions::{FreeMemory, From, TooManyRanges};

/// The largest block of stage 2, which RAM is aligned to where there is room.
pub const GIB: u64 = TableLevel::L1.span();
/// The next smaller one.
pub const BLOCK: u64 = TableLevel::L2.span();

/// Why a VM's RAM cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfPieces {
    /// Not as much is free.
    NoMemory,
    /// It would take more pieces than there is room for.
    NoPlace,
}

/// What is in a piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Zeros, out to the point of coherency.
    Zeros,
    /// Anything.
    Unknown,
}

/// The most ranges that can be free at once: VMs may have their RAM in pieces, and give pages back.
pub const MAX_FREE: usize = 1024;

/// The free memory of the board.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    free: FreeMemory<MAX_FREE>,
    /// The parts of it that hold nothing but zeros.
    clear: FreeMemory,
}

impl Pool {
    /// No memory at all.
    #[must_use]
    pub const fn new() -> Self {
        Self { free: FreeMemory::new(), clear: FreeMemory::new() }
    }

    /// Bytes free in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.free.total()
    }

    /// Whether a range can be added, whatever it touches.
    #[must_use]
    pub const fn has_place(&self) -> bool {
        self.free.has_place()
    }

    /// Adds a range.
    ///
    /// # Errors
    /// [`TooManyRanges`] when it touches no other and there is no room for more.
    pub fn add(&mut self, range: PaRange, contents: Contents) -> Result<(), TooManyRanges> {
        self.free.add(range)?;
        if contents == Contents::Zeros {
            // If there is no room, that is forgotten.
            let _ = self.clear.add(range);
        }
        Ok(())
    }

    /// Takes a range out, wherever it overlaps what is free.
    ///
    /// # Errors
    /// [`TooManyRanges`] when that would split a range and there is no room for more; the upper part is then given up.
    pub fn remove(&mut self, hole: PaRange) -> Result<(), TooManyRanges> {
        // If there is no room, its upper part is forgotten.
        let _ = self.clear.remove(hole);
        self.free.remove(hole)
    }

    /// Takes `len` bytes, aligned to `align` (a power of two); `None` when no range is large enough.
    pub fn take(&mut self, len: u64, align: u64, from: From) -> Option<(PaRange, Contents)> {
        let taken = self.free.take(len, align, from)?;
        Some((taken, self.note_taken(taken)))
    }

    /// Takes this very range; `None` when not all of it is free.
    pub fn take_exactly(&mut self, wanted: PaRange) -> Option<Contents> {
        self.free.take_exactly(wanted)?;
        Some(self.note_taken(wanted))
    }

    /// Takes a VM's RAM of `len` bytes, a multiple of 4 KiB: in one piece, aligned so that the largest blocks fit, if there is such a
    /// piece; else the longest runs of 1 GiB blocks first, then of 2 MiB blocks, then of pages, so that each piece can be mapped
    /// in blocks as large as its own. They come in the order in which the VM has them, and no more than `pieces` has room for.
    /// Says what is in them.
    ///
    /// # Errors
    /// [`OutOfPieces`]; nothing has been taken then.
    pub fn take_ram(&mut self, len: u64, pieces: &mut Vec<PaRange>) -> Result<Contents, OutOfPieces> {
        let alignments = if len >= GIB { &[GIB, BLOCK][..] } else { &[BLOCK][..] };
        if let Some((whole, contents)) =
            alignments.iter().find_map(|align| self.take(len, *align, From::Bottom))
        {
            return self.hand_out(whole, contents, pieces).map_err(|error| self.take_back(pieces, error));
        }
        let mut left = len;
        let mut all = Contents::Zeros;
        for block in [GIB, BLOCK, PAGE_SIZE] {
            while left >= block
                && let Some(piece) = self.free.take_blocks(left, block)
            {
                left = left.saturating_sub(piece.len());
                let contents = self.note_taken(piece);
                if let Err(error) = self.hand_out(piece, contents, pieces) {
                    return Err(self.take_back(pieces, error));
                }
                if contents == Contents::Unknown {
                    all = Contents::Unknown;
                }
            }
        }
        if left == 0 { Ok(all) } else { Err(self.take_back(pieces, OutOfPieces::NoMemory)) }
    }

    fn hand_out(
        &mut self,
        piece: PaRange,
        contents: Contents,
        pieces: &mut Vec<PaRange>,
    ) -> Result<Contents, OutOfPieces> {
        if pieces.len() == pieces.capacity() {
            // It was free a moment ago, so there is a place for it.
            let _ = self.add(piece, contents);
            return Err(OutOfPieces::NoPlace);
        }
        pieces.push(piece);
        Ok(contents)
    }

    /// Takes back what was handed out, the last first: so the list is as it was after each, and there was a place for it then.
    /// That it was clear is forgotten.
    fn take_back(&mut self, pieces: &mut Vec<PaRange>, error: OutOfPieces) -> OutOfPieces {
        while let Some(piece) = pieces.pop() {
            let _ = self.add(piece, Contents::Unknown);
        }
        error
    }

    fn note_taken(&mut self, taken: PaRange) -> Contents {
        let is_clear = self.clear.iter().any(|range| range.contains_range(taken));
        let _ = self.clear.remove(taken);
        if is_clear { Contents::Zeros } else { Contents::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use vambrace_memory::Pa;

    use super::*;
    use crate::memory::regions::MAX_RANGES;

    const KIB: u64 = 1 << 10;

    fn range(start: u64, len: u64) -> PaRange {
        PaRange::new(Pa(start), len).unwrap()
    }

    fn pool(len: u64, contents: Contents) -> Pool {
        let mut pool = Pool::new();
        pool.add(range(0, len), contents).unwrap();
        pool
    }

    #[test]
    fn what_the_board_starts_with_is_unknown_and_what_comes_back_clear_is_not() {
        let mut pool = pool(64 * KIB, Contents::Unknown);
        assert_eq!(pool.take(16 * KIB, KIB, From::Bottom), Some((range(0, 16 * KIB), Contents::Unknown)));
        pool.add(range(0, 16 * KIB), Contents::Zeros).unwrap();
        assert_eq!(pool.take(16 * KIB, KIB, From::Bottom), Some((range(0, 16 * KIB), Contents::Zeros)));
        pool.add(range(0, 16 * KIB), Contents::Zeros).unwrap();
        assert_eq!(
            pool.take(16 * KIB + 1, KIB, From::Bottom),
            Some((range(0, 16 * KIB + 1), Contents::Unknown)),
            "a part"
        );
    }

    #[test]
    fn what_is_taken_is_no_longer_known() {
        let mut pool = pool(64 * KIB, Contents::Zeros);
        assert_eq!(pool.take_exactly(range(16 * KIB, 16 * KIB)), Some(Contents::Zeros));
        // EL2 has used it, and gives it back as it is.
        pool.add(range(16 * KIB, 16 * KIB), Contents::Unknown).unwrap();
        assert_eq!(pool.take_exactly(range(16 * KIB, KIB)), Some(Contents::Unknown));
        assert_eq!(pool.take_exactly(range(0, 16 * KIB)), Some(Contents::Zeros));
        assert_eq!(pool.take_exactly(range(31 * KIB, 2 * KIB)), Some(Contents::Unknown), "half of it");
    }

    #[test]
    fn a_full_list_forgets_and_never_invents() {
        let mut pool = pool(4 * KIB * MAX_RANGES as u64, Contents::Zeros);
        for index in 0..MAX_RANGES as u64 {
            let hole = range(index * 4 * KIB + KIB, KIB);
            if pool.take_exactly(hole).is_some() {
                pool.add(hole, Contents::Unknown).unwrap();
            }
        }
        for index in 0..MAX_RANGES as u64 {
            assert_ne!(pool.take_exactly(range(index * 4 * KIB + KIB, 64)), Some(Contents::Zeros));
        }
    }

    const MIB: u64 = 1 << 20;

    fn take_ram(pool: &mut Pool, len: u64, room: usize) -> Result<Vec<PaRange>, OutOfPieces> {
        let mut pieces = Vec::with_capacity(room);
        pool.take_ram(len, &mut pieces).map(|_| pieces)
    }

    #[test]
    fn ram_is_one_piece_where_there_is_one() {
        let mut pool = pool(4096 * MIB, Contents::Unknown);
        let first = take_ram(&mut pool, 6 * MIB, 4).unwrap();
        assert_eq!(first, [range(0, 6 * MIB)]);
        let aligned = take_ram(&mut pool, 1024 * MIB, 4).unwrap();
        assert_eq!(aligned, [range(1024 * MIB, 1024 * MIB)]);
    }

    #[test]
    fn a_full_list_loses_nothing_when_ram_cannot_be_had() {
        let mut pool = Pool::new();
        pool.add(range(2 * MIB, 2 * MIB), Contents::Unknown).unwrap();
        // Blocks that split what they are taken from.
        pool.add(range(5 * MIB, 4 * MIB), Contents::Unknown).unwrap();
        for index in 2..MAX_FREE as u64 {
            pool.add(range((10 + index) * MIB, 2 * KIB), Contents::Unknown).unwrap();
        }
        let total = pool.total();
        assert_eq!(take_ram(&mut pool, 6 * MIB, 2), Err(OutOfPieces::NoPlace));
        assert_eq!(pool.total(), total);
        assert_eq!(take_ram(&mut pool, 7 * MIB, 100), Err(OutOfPieces::NoMemory));
        assert_eq!(pool.total(), total);
        assert!(!pool.has_place());
    }

    #[test]
    fn ram_is_in_large_pieces_first() {
        let mut pool = Pool::new();
        // A page too many at its end; a block in no place for one; 1 GiB; pages.
        let free = [
            range(2 * MIB, 4 * MIB + 4 * KIB),
            range(101 * MIB, 4 * MIB),
            range(1024 * MIB, 1026 * MIB),
            range(4000 * MIB + 4 * KIB, 8 * KIB),
        ];
        free.iter().for_each(|range| pool.add(*range, Contents::Zeros).unwrap());
        let total = pool.total();
        let expected = [
            range(1024 * MIB, 1024 * MIB),
            range(2 * MIB, 4 * MIB),
            range(102 * MIB, 2 * MIB),
            range(2048 * MIB, 2 * MIB),
            range(101 * MIB, MIB),
            range(104 * MIB, MIB),
            range(6 * MIB, 4 * KIB),
        ];
        let len = expected.iter().map(|piece| piece.len()).sum();
        assert_eq!(take_ram(&mut pool, len, 6), Err(OutOfPieces::NoPlace));
        assert_eq!(pool.total(), total, "all of it has come back");
        assert_eq!(take_ram(&mut pool, total + 4 * KIB, 100), Err(OutOfPieces::NoMemory));
        assert_eq!(pool.total(), total);
        assert_eq!(take_ram(&mut pool, len, 7).unwrap(), expected);
        assert_eq!(pool.total(), total - len);
    }

    proptest! {
        /// Whoever gets memory as clear finds nothing in it, whatever was written and given back before.
        #[test]
        fn clear_memory_is_clear(
            steps in prop::collection::vec((any::<bool>(), 1u64..48, 0u32..4, any::<[bool; 3]>()), 1..150)
        ) {
            let mut pool = Pool::new();
            // A byte each: whether something is in it.
            let mut memory = vec![true; 512];
            pool.add(range(0, 512), Contents::Unknown).unwrap();
            let mut taken: Vec<PaRange> = vec![];
            for (take, len, align, [top, write, clear]) in steps {
                if take || taken.is_empty() {
                    let from = if top { From::Top } else { From::Bottom };
                    let Some((range, contents)) = pool.take(len, 1 << align, from) else { continue };
                    let bytes = &mut memory[range.start().0 as usize..range.end().0 as usize];
                    prop_assert!(contents == Contents::Unknown || bytes.iter().all(|used| !used));
                    bytes.iter_mut().for_each(|used| *used |= write);
                    taken.push(range);
                } else {
                    let range = taken.swap_remove(len as usize % taken.len());
                    let bytes = &mut memory[range.start().0 as usize..range.end().0 as usize];
                    bytes.iter_mut().for_each(|used| *used &= !clear);
                    let contents = if clear { Contents::Zeros } else { Contents::Unknown };
                    pool.add(range, contents).unwrap();
                }
                prop_assert_eq!(pool.total(), 512 - taken.iter().map(|range| range.len()).sum::<u64>());
            }
        }
    }
}

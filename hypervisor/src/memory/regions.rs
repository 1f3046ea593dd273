// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical memory that nobody owns yet, as a sorted list of ranges.
//!
//! A handful of ranges describe a board, VMs take large aligned pieces, and what comes back merges with its
//! neighbours; so a short sorted array does, without any allocator below it.

use arrayvec::ArrayVec;
use vambrace_memory::{Pa, PaRange};

/// The most ranges that can be free at once, unless whoever keeps them says otherwise.
pub const MAX_RANGES: usize = 256;

/// The list has no room for another separate range; what was given back is lost to us, never handed out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("physical memory is in too many pieces")]
pub struct TooManyRanges;

/// Which end of memory to take from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The lowest address that fits: for VMs' RAM.
    Bottom,
    /// The highest address that fits: for the hypervisor's own needs, so that large pieces stay whole.
    Top,
}

/// The free memory of the board, in `MAX` ranges at most.
#[derive(Clone, Debug, Default)]
pub struct FreeMemory<const MAX: usize = MAX_RANGES> {
    /// Sorted, disjoint, never touching, never empty.
    ranges: ArrayVec<PaRange, MAX>,
}

impl<const MAX: usize> FreeMemory<MAX> {
    /// No memory at all.
    #[must_use]
    pub const fn new() -> Self {
        Self { ranges: ArrayVec::new_const() }
    }

    /// Bytes free in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.ranges.iter().map(|range| range.len()).sum()
    }

    /// The free ranges, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = PaRange> {
        self.ranges.iter().copied()
    }

    /// Whether a range can be added, whatever it touches.
    #[must_use]
    pub const fn has_place(&self) -> bool {
        !self.ranges.is_full()
    }

    /// Adds a range, merging it with its neighbours.
    ///
    /// # Errors
    /// [`TooManyRanges`] when it touches no other and the list is full.
    pub fn add(&mut self, new: PaRange) -> Result<(), TooManyRanges> {
        if new.is_empty() {
            return Ok(());
        }
        let mut merged = new;
        self.ranges.retain(|old| {
            let touches = old.start() <= merged.end() && merged.start() <= old.end();
            if touches {
                merged = merged.joined(*old);
            }
            !touches
        });
        let at = self.ranges.partition_point(|old| old.start() < merged.start());
        self.ranges.try_insert(at, merged).map_err(|_| TooManyRanges)
    }

    /// Takes a range out, wherever it overlaps what is free.
    ///
    /// # Errors
    /// [`TooManyRanges`] when that would split a range and the list is full; the upper part is then given up.
    pub fn remove(&mut self, hole: PaRange) -> Result<(), TooManyRanges> {
        if hole.is_empty() {
            return Ok(());
        }
        let mut at = 0;
        while let Some(range) = self.ranges.get_mut(at) {
            let (below, above) = (range.below(hole.start()), range.from(hole.end()));
            match (below.is_empty(), above.is_empty()) {
                (false, false) => {
                    *range = below;
                    return self.ranges.try_insert(at + 1, above).map_err(|_| TooManyRanges);
                }
                (false, true) => {
                    *range = below;
                    at += 1;
                }
                (true, false) => {
                    *range = above;
                    at += 1;
                }
                (true, true) => {
                    self.ranges.remove(at);
                }
            }
        }
        Ok(())
    }

    /// Takes `len` bytes, aligned to `align` (a power of two); `None` when no range is large enough.
    pub fn take(&mut self, len: u64, align: u64, from: From) -> Option<PaRange> {
        let place = |range: &PaRange| {
            let start = match from {
                From::Bottom => range.start().align_up(align)?,
                From::Top => Pa(range.end().0.checked_sub(len)?).align_down(align),
            };
            PaRange::new(start, len).filter(|taken| range.contains_range(*taken))
        };
        let taken = match from {
            From::Bottom => self.ranges.iter().find_map(place),
            From::Top => self.ranges.iter().rev().find_map(place),
        }?;
        let is_at_an_end = |range: &PaRange| range.start() == taken.start() || range.end() == taken.end();
        if self.ranges.is_full() && !self.ranges.iter().any(is_at_an_end) {
            return None;
        }
        self.remove(taken).ok()?;
        Some(taken)
    }

    /// Takes whole blocks of `block` bytes (a power of two), each aligned to its size, that follow each other: as many as there are
    /// anywhere, but no more than `most` bytes. Of two places with as many it is the lower. `None` when there is no such block.
    pub fn take_blocks(&mut self, most: u64, block: u64) -> Option<PaRange> {
        let blocks = |range: PaRange| {
            let start = range.start().align_up(block)?;
            let len = range.end().0.checked_sub(start.0)?.min(most) & !(block - 1);
            PaRange::new(start, len).filter(|blocks| !blocks.is_empty())
        };
        let is_full = self.ranges.is_full();
        let mut largest: Option<PaRange> = None;
        for range in self.iter() {
            // There is no whole block in it.
            let Some(found) = blocks(range) else { continue };
            let splits = range.start() < found.start() && found.end() < range.end();
            if !(splits && is_full) && largest.is_none_or(|largest| largest.len() < found.len()) {
                largest = Some(found);
            }
        }
        self.remove(largest?).ok()?;
        largest
    }

    /// Takes this very range; `None` when not all of it is free.
    pub fn take_exactly(&mut self, wanted: PaRange) -> Option<()> {
        let around = self.ranges.iter().find(|range| range.contains_range(wanted))?;
        let splits = around.start() < wanted.start() && wanted.end() < around.end();
        if wanted.is_empty() || splits && self.ranges.is_full() {
            return None;
        }
        self.remove(wanted).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, len: u64) -> PaRange {
        PaRange::new(Pa(start), len).unwrap()
    }

    #[test]
    fn neighbours_merge() {
        let mut free: FreeMemory = FreeMemory::new();
        for (start, len) in [(0, 10), (20, 10), (10, 10)] {
            free.add(range(start, len)).unwrap();
        }
        assert_eq!(free.iter().collect::<Vec<_>>(), [range(0, 30)]);
    }

    #[test]
    fn a_hole_splits() {
        let mut free: FreeMemory = FreeMemory::new();
        free.add(range(0, 100)).unwrap();
        free.remove(range(40, 20)).unwrap();
        assert_eq!(free.iter().collect::<Vec<_>>(), [range(0, 40), range(60, 40)]);
    }

    #[test]
    fn the_largest_alignment_is_honoured_from_both_ends() {
        let mut free: FreeMemory = FreeMemory::new();
        free.add(range(0x4010_0000, 2 << 30)).unwrap();
        assert_eq!(free.take(512 << 20, 2 << 20, From::Bottom), Some(range(0x4020_0000, 512 << 20)));
        assert_eq!(free.take(4096, 4096, From::Top), Some(range(0xC00F_F000, 4096)));
        assert_eq!(free.take(4 << 30, 4096, From::Bottom), None);
    }

    #[test]
    fn a_range_is_taken_whole_or_not_at_all() {
        let mut free: FreeMemory = FreeMemory::new();
        free.add(range(0x1000, 0x1000)).unwrap();
        free.add(range(0x3000, 0x1000)).unwrap();
        for outside in [range(0x1800, 0x1000), range(0x1000, 0x3000), range(0x2000, 0)] {
            assert_eq!(free.take_exactly(outside), None);
        }
        assert_eq!(free.total(), 0x2000);
        assert_eq!(free.take_exactly(range(0x1400, 0x400)), Some(()));
        assert_eq!(free.take_exactly(range(0x1400, 0x400)), None);
        let left = [range(0x1000, 0x400), range(0x1800, 0x800), range(0x3000, 0x1000)];
        assert_eq!(free.iter().collect::<Vec<_>>(), left);
        assert_eq!(free.take_exactly(range(0x3000, 0x1000)), Some(()));
    }

    #[test]
    fn the_longest_run_of_whole_blocks_is_taken_first() {
        const MIB: u64 = 1 << 20;
        let mut free: FreeMemory = FreeMemory::new();
        // Of 2 MiB blocks they have 1, 3 and 3.
        for (start, len) in [(MIB, 4 * MIB), (8 * MIB, 7 * MIB), (17 * MIB, 7 * MIB)] {
            free.add(range(start, len)).unwrap();
        }
        let block = 2 * MIB;
        assert_eq!(free.take_blocks(64 * MIB, block), Some(range(8 * MIB, 6 * MIB)));
        assert_eq!(
            free.take_blocks(4 * MIB, block),
            Some(range(18 * MIB, 4 * MIB)),
            "no more than is wanted"
        );
        assert_eq!(free.take_blocks(64 * MIB, block), Some(range(2 * MIB, 2 * MIB)));
        assert_eq!(free.take_blocks(64 * MIB, block), Some(range(22 * MIB, 2 * MIB)));
        assert_eq!(free.take_blocks(64 * MIB, block), None);
        assert_eq!(free.take_blocks(64 * MIB, 4096), Some(range(MIB, MIB)));
    }

    #[test]
    fn a_full_list_is_not_split() {
        let mut free: FreeMemory = FreeMemory::new();
        (0..MAX_RANGES as u64).for_each(|index| free.add(range(index * 0x100, 0x80)).unwrap());
        assert_eq!(free.take_exactly(range(0x110, 0x10)), None);
        assert_eq!(free.take_blocks(0x20, 0x10), Some(range(0, 0x20)), "at an end it splits nothing");
        free.add(range(0, 0x20)).unwrap();
        assert_eq!(free.take_exactly(range(0x100, 0x10)), Some(()));
        assert_eq!(free.total(), MAX_RANGES as u64 * 0x80 - 0x10);
    }

    proptest! {
        #[test]
        fn nothing_is_handed_out_twice_and_all_comes_back(
            steps in prop::collection::vec((any::<bool>(), 1u64..64, 0u32..5, any::<bool>()), 1..200)
        ) {
            let mut free: FreeMemory = FreeMemory::new();
            free.add(range(0x1000, 0x1000)).unwrap();
            free.add(range(0x4000, 0x2000)).unwrap();
            let total = free.total();
            let mut taken: Vec<PaRange> = vec![];
            for (take, len, align, top) in steps {
                if take || taken.is_empty() {
                    let from = if top { From::Top } else { From::Bottom };
                    if let Some(new) = free.take(len * 16, 16 << align, from) {
                        prop_assert!(new.start().is_aligned(16 << align));
                        prop_assert_eq!(new.len(), len * 16);
                        prop_assert!(!taken.iter().any(|old| old.overlaps(new)));
                        taken.push(new);
                    }
                } else {
                    free.add(taken.swap_remove((len as usize) % taken.len())).unwrap();
                }
                let out: u64 = taken.iter().map(|range| range.len()).sum();
                prop_assert_eq!(free.total() + out, total);
            }
        }
    }
}

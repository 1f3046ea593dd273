// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical memory that nobody owns yet, as a sorted list of ranges.
//!
//! A handful of ranges describe a board, VMs take large aligned pieces, and what comes back merges with its
//! neighbours; so a short sorted array does, without any allocator below it.

use arrayvec::ArrayVec;
use vambrace_memory::Pa;

/// The most ranges that can be free at once.
pub const MAX_RANGES: usize = 256;

/// A range of physical memory: `start..end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// First byte behind.
    pub end: u64,
}

impl Range {
    /// The range of `len` bytes at `start`, cut at the end of the address space.
    #[must_use]
    pub const fn new(start: u64, len: u64) -> Self {
        Self { start, end: start.saturating_add(len) }
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// Whether there is something that is in both.
    #[must_use]
    pub const fn overlaps(&self, other: Self) -> bool {
        !self.is_empty() && !other.is_empty() && self.start < other.end && other.start < self.end
    }

    /// All units of `align` bytes (a power of two) that it touches; nothing if there is nothing in it.
    #[must_use]
    pub const fn widened(&self, align: u64) -> Self {
        if self.is_empty() {
            return *self;
        }
        Self { start: self.start & !(align - 1), end: self.end.saturating_add(align - 1) & !(align - 1) }
    }

    /// The units of `align` bytes (a power of two) that lie in it whole.
    #[must_use]
    pub const fn narrowed(&self, align: u64) -> Self {
        Self { start: self.start.saturating_add(align - 1) & !(align - 1), end: self.end & !(align - 1) }
    }
}

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

/// The free memory of the board.
#[derive(Clone, Debug, Default)]
pub struct FreeMemory {
    /// Sorted, disjoint, never touching, never empty.
    ranges: ArrayVec<Range, MAX_RANGES>,
}

impl FreeMemory {
    /// No memory at all.
    #[must_use]
    pub const fn new() -> Self {
        Self { ranges: ArrayVec::new_const() }
    }

    /// Bytes free in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.ranges.iter().map(Range::len).sum()
    }

    /// The free ranges, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = Range> {
        self.ranges.iter().copied()
    }

    /// Adds a range, merging it with its neighbours.
    ///
    /// # Errors
    /// [`TooManyRanges`] when it touches no other and the list is full.
    pub fn add(&mut self, new: Range) -> Result<(), TooManyRanges> {
        if new.is_empty() {
            return Ok(());
        }
        let mut merged = new;
        self.ranges.retain(|old| {
            let touches = old.start <= merged.end && merged.start <= old.end;
            if touches {
                merged = Range { start: old.start.min(merged.start), end: old.end.max(merged.end) };
            }
            !touches
        });
        let at = self.ranges.partition_point(|old| old.start < merged.start);
        self.ranges.try_insert(at, merged).map_err(|_| TooManyRanges)
    }

    /// Takes a range out, wherever it overlaps what is free.
    ///
    /// # Errors
    /// [`TooManyRanges`] when that would split a range and the list is full; the upper part is then given up.
    pub fn remove(&mut self, hole: Range) -> Result<(), TooManyRanges> {
        if hole.is_empty() {
            return Ok(());
        }
        let mut at = 0;
        while let Some(range) = self.ranges.get_mut(at) {
            let (below, above) = (
                Range { start: range.start, end: range.end.min(hole.start) },
                Range { start: range.start.max(hole.end), end: range.end },
            );
            match (below.is_empty(), above.is_empty()) {
                (false, false) if below.end < above.start => {
                    *range = below;
                    return self.ranges.try_insert(at + 1, above).map_err(|_| TooManyRanges);
                }
                (false, false) => at += 1,
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
    pub fn take(&mut self, len: u64, align: u64, from: From) -> Option<Pa> {
        let place = |range: &Range| {
            let start = match from {
                From::Bottom => range.start.checked_next_multiple_of(align)?,
                From::Top => range.end.checked_sub(len)? & !(align - 1),
            };
            let fits = start >= range.start && start.checked_add(len)? <= range.end;
            fits.then_some(start)
        };
        let start = match from {
            From::Bottom => self.ranges.iter().find_map(place),
            From::Top => self.ranges.iter().rev().find_map(place),
        }?;
        if self.ranges.is_full()
            && !self.ranges.iter().any(|range| range.start == start || range.end == start + len)
        {
            return None;
        }
        self.remove(Range::new(start, len)).ok()?;
        Some(Pa(start))
    }

    /// Takes this very range; `None` when not all of it is free.
    pub fn take_exactly(&mut self, wanted: Range) -> Option<()> {
        let around =
            self.ranges.iter().find(|range| range.start <= wanted.start && wanted.end <= range.end)?;
        let splits = around.start < wanted.start && wanted.end < around.end;
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

    #[test]
    fn neighbours_merge() {
        let mut free = FreeMemory::new();
        for (start, len) in [(0, 10), (20, 10), (10, 10)] {
            free.add(Range::new(start, len)).unwrap();
        }
        assert_eq!(free.iter().collect::<Vec<_>>(), [Range { start: 0, end: 30 }]);
    }

    #[test]
    fn a_hole_splits() {
        let mut free = FreeMemory::new();
        free.add(Range::new(0, 100)).unwrap();
        free.remove(Range::new(40, 20)).unwrap();
        assert_eq!(
            free.iter().collect::<Vec<_>>(),
            [Range { start: 0, end: 40 }, Range { start: 60, end: 100 }]
        );
    }

    #[test]
    fn the_largest_alignment_is_honoured_from_both_ends() {
        let mut free = FreeMemory::new();
        free.add(Range::new(0x4010_0000, 2 << 30)).unwrap();
        assert_eq!(free.take(512 << 20, 2 << 20, From::Bottom), Some(Pa(0x4020_0000)));
        assert_eq!(free.take(4096, 4096, From::Top), Some(Pa(0xC00F_F000)));
        assert_eq!(free.take(4 << 30, 4096, From::Bottom), None);
    }

    #[test]
    fn a_range_is_taken_whole_or_not_at_all() {
        let mut free = FreeMemory::new();
        free.add(Range::new(0x1000, 0x1000)).unwrap();
        free.add(Range::new(0x3000, 0x1000)).unwrap();
        for outside in [Range::new(0x1800, 0x1000), Range::new(0x1000, 0x3000), Range::new(0x2000, 0)] {
            assert_eq!(free.take_exactly(outside), None);
        }
        assert_eq!(free.total(), 0x2000);
        assert_eq!(free.take_exactly(Range::new(0x1400, 0x400)), Some(()));
        assert_eq!(free.take_exactly(Range::new(0x1400, 0x400)), None);
        let left = [Range::new(0x1000, 0x400), Range::new(0x1800, 0x800), Range::new(0x3000, 0x1000)];
        assert_eq!(free.iter().collect::<Vec<_>>(), left);
        assert_eq!(free.take_exactly(Range::new(0x3000, 0x1000)), Some(()));
    }

    #[test]
    fn a_full_list_is_not_split() {
        let mut free = FreeMemory::new();
        (0..MAX_RANGES as u64).for_each(|index| free.add(Range::new(index * 0x100, 0x80)).unwrap());
        assert_eq!(free.take_exactly(Range::new(0x110, 0x10)), None);
        assert_eq!(free.take_exactly(Range::new(0x100, 0x10)), Some(()));
        assert_eq!(free.total(), MAX_RANGES as u64 * 0x80 - 0x10);
    }

    proptest! {
        #[test]
        fn nothing_is_handed_out_twice_and_all_comes_back(
            steps in prop::collection::vec((any::<bool>(), 1u64..64, 0u32..5, any::<bool>()), 1..200)
        ) {
            let mut free = FreeMemory::new();
            free.add(Range::new(0x1000, 0x1000)).unwrap();
            free.add(Range::new(0x4000, 0x2000)).unwrap();
            let total = free.total();
            let mut taken: Vec<Range> = vec![];
            for (take, len, align, top) in steps {
                if take || taken.is_empty() {
                    let from = if top { From::Top } else { From::Bottom };
                    if let Some(pa) = free.take(len * 16, 16 << align, from) {
                        prop_assert_eq!(pa.0 % (16 << align), 0);
                        let new = Range::new(pa.0, len * 16);
                        prop_assert!(taken.iter().all(|old| old.end <= new.start || new.end <= old.start));
                        taken.push(new);
                    }
                } else {
                    free.add(taken.swap_remove((len as usize) % taken.len())).unwrap();
                }
                let out: u64 = taken.iter().map(Range::len).sum();
                prop_assert_eq!(free.total() + out, total);
            }
        }
    }
}

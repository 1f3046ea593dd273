// SPDX-License-Identifier: MIT OR Apache-2.0
//! Free memory, and which of it a VM's RAM is taken from.
//!
//! This is the rule of `take_ram` in `hypervisor/src/memory/pool.rs` and of `scatter` beside it.

use vambrace_memory::addr::PAGE_SIZE;
use vambrace_wire::bundle::assigned::MAX_RAM_PIECES;

use super::{BLOCK, GIB, Piece};

/// The most pieces that a VM's RAM may be made of.
pub const MAX_PIECES: u64 = MAX_RAM_PIECES as u64;

/// Free memory: sorted ranges, none of which touches another.
#[derive(Clone)]
pub(super) struct Free(Vec<Piece>);

impl Free {
    /// One range.
    pub(super) fn new(start: u64, size: u64) -> Self {
        Self(vec![Piece { start, size }])
    }

    /// How much there is, in bytes.
    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|range| range.size).sum()
    }

    pub(super) fn remove(&mut self, hole: Piece) {
        let parts = |range: Piece| {
            let (before, behind) = (range.end().min(hole.start), range.start.max(hole.end()));
            let part = |start: u64, end: u64| Piece { start, size: end.saturating_sub(start) };
            [part(range.start, before), part(behind, range.end())]
        };
        self.0 = self.0.iter().copied().flat_map(parts).filter(|part| part.size > 0).collect();
    }

    /// From the bottom, in one piece, aligned so that the largest blocks fit.
    pub(super) fn take(&mut self, size: u64) -> Option<Piece> {
        let alignments = if size >= GIB { &[GIB, BLOCK][..] } else { &[BLOCK][..] };
        let fit = |align: u64| {
            let mut runs = self.0.iter().map(|range| whole_blocks(*range, align));
            runs.find_map(|run| (size <= run.room).then_some(run.start))
        };
        let start = alignments.iter().find_map(|align| fit(*align))?;
        let piece = Piece { start, size };
        self.remove(piece);
        Some(piece)
    }

    /// A VM's RAM: in one piece if there is such a one, else in as large blocks as there are. The pieces come in the order in which
    /// the VM has them; there are none if there is no room. With `shown_as` each is cut into so many bytes.
    pub(super) fn take_ram(&mut self, size: u64, shown_as: Option<u64>) -> Vec<Piece> {
        let mut rest = self.clone();
        let whole = rest.take(size).map(|piece| vec![piece]);
        let Some(runs) = whole.or_else(|| rest.take_in_pieces(size)) else { return Vec::new() };
        let count = |run: &Piece| shown_as.map_or(1, |size| run.size.div_ceil(size));
        if runs.iter().map(count).sum::<u64>() > MAX_PIECES {
            return Vec::new();
        }
        *self = rest;
        runs
    }

    /// The longest runs of the largest blocks first.
    fn take_in_pieces(&mut self, size: u64) -> Option<Vec<Piece>> {
        let mut left = size;
        let mut pieces = Vec::new();
        for block in [GIB, BLOCK, PAGE_SIZE] {
            while left >= block
                && let Some(piece) = self.take_blocks(left, block)
            {
                left -= piece.size;
                pieces.push(piece);
            }
        }
        (left == 0).then_some(pieces)
    }

    /// As many whole blocks in a row as there are anywhere, but no more than `most` bytes; of two places with as many the lower.
    fn take_blocks(&mut self, most: u64, block: u64) -> Option<Piece> {
        let blocks = |range: &Piece| {
            let run = whole_blocks(*range, block);
            Piece { start: run.start, size: run.room.min(most) / block * block }
        };
        // Of equals `max_by_key` takes the last.
        let largest = self.0.iter().rev().map(blocks).max_by_key(|run| run.size)?;
        (largest.size > 0).then(|| self.remove(largest))?;
        Some(largest)
    }
}

/// What is left of a range from its first aligned address on.
struct Run {
    start: u64,
    room: u64,
}

fn whole_blocks(range: Piece, align: u64) -> Run {
    let start = range.start.next_multiple_of(align);
    Run { start, room: range.end().saturating_sub(start) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const KIB: u64 = 1 << 10;

    fn piece(start: u64, size: u64) -> Piece {
        Piece { start, size }
    }

    fn free(ranges: &[(u64, u64)]) -> Free {
        Free(ranges.iter().map(|(start, size)| piece(*start, *size)).collect())
    }

    #[test]
    fn ram_is_one_piece_where_there_is_one() {
        let mut free = free(&[(MIB, 4 * MIB), (16 * MIB, 4096 * MIB)]);
        assert_eq!(free.take_ram(4 * MIB, None), [piece(16 * MIB, 4 * MIB)]);
        assert_eq!(free.take_ram(2 * MIB, None), [piece(2 * MIB, 2 * MIB)]);
        assert_eq!(free.take_ram(1024 * MIB, None), [piece(1024 * MIB, 1024 * MIB)]);
        assert_eq!(free.total(), 3074 * MIB - 4 * MIB);
    }

    #[test]
    fn a_gigabyte_in_one_piece_goes_before_its_alignment() {
        let mut free = free(&[(2 * MIB, 1026 * MIB)]);
        assert_eq!(free.take_ram(1024 * MIB, None), [piece(2 * MIB, 1024 * MIB)]);
    }

    #[test]
    fn ram_is_in_two_holes_if_neither_is_large_enough() {
        let mut free = free(&[(2 * MIB, 6 * MIB), (32 * MIB, 8 * MIB)]);
        assert_eq!(free.take_ram(12 * MIB, None), [piece(32 * MIB, 8 * MIB), piece(2 * MIB, 4 * MIB)]);
        assert_eq!(free.0, [piece(6 * MIB, 2 * MIB)]);
    }

    #[test]
    fn of_two_holes_with_as_many_blocks_as_are_wanted_the_lower_is_taken() {
        // There is no hole for 10 MiB; for what is left after the largest, either of two would do.
        let mut free = free(&[(2 * MIB, 4 * MIB), (16 * MIB, 6 * MIB), (32 * MIB, 8 * MIB)]);
        assert_eq!(free.take_ram(10 * MIB, None), [piece(32 * MIB, 8 * MIB), piece(2 * MIB, 2 * MIB)]);
    }

    #[test]
    fn large_blocks_go_first() {
        // A page too many at its end; a block in no place for one; 1 GiB; pages.
        let ranges = [
            (2 * MIB, 4 * MIB + 4 * KIB),
            (101 * MIB, 4 * MIB),
            (1024 * MIB, 1026 * MIB),
            (4000 * MIB + 4 * KIB, 8 * KIB),
        ];
        let expected = [
            piece(1024 * MIB, 1024 * MIB),
            piece(2 * MIB, 4 * MIB),
            piece(102 * MIB, 2 * MIB),
            piece(2048 * MIB, 2 * MIB),
            piece(101 * MIB, MIB),
            piece(104 * MIB, MIB),
            piece(4000 * MIB + 4 * KIB, 8 * KIB),
            piece(6 * MIB, 4 * KIB),
        ];
        let mut free = free(&ranges);
        let total = free.total();
        assert_eq!(free.take_ram(total + 4 * KIB, None), []);
        assert_eq!(free.total(), total, "what is not enough is left alone");
        assert_eq!(free.take_ram(total, None), expected);
        assert_eq!(free.total(), 0);
    }

    #[test]
    fn too_many_pieces_are_no_room() {
        let ranges: Vec<_> = (0..513).map(|index| (index * 4 * MIB, 2 * MIB)).collect();
        assert_eq!(free(&ranges).take_ram(513 * 2 * MIB, None), []);
        assert_eq!(free(&ranges).take_ram(512 * 2 * MIB, None).len(), 512);
    }

    #[test]
    fn what_is_shown_in_small_pieces_counts_as_so_many() {
        let one = [(0, 1024 * MIB)];
        assert_eq!(free(&one).take_ram(1024 * MIB, Some(2 * MIB)), [piece(0, 1024 * MIB)]);
        assert_eq!(free(&one).take_ram(1024 * MIB, Some(MIB)), []);
        // Neither of the two is whole pieces, so there is one more.
        let two = [(0, 513 * MIB), (1024 * MIB, 511 * MIB)];
        assert_eq!(free(&two).take_ram(1024 * MIB, None).len(), 4);
        assert_eq!(free(&two).take_ram(1024 * MIB, Some(2 * MIB)), []);
        assert_ne!(free(&two).take_ram(1022 * MIB, Some(2 * MIB)), []);
    }
}

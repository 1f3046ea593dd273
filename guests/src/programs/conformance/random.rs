// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random numbers that are the same in every run: SplitMix64, whose state is one word, so that a set of tables is named
//! by a number and can be made again alone.

/// A source of numbers.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The source for set `index` of the run `seed`.
    pub(super) fn new(seed: u64, index: u64) -> Self {
        let mut mixed = Self(seed);
        let seed = mixed.next();
        Self(seed ^ index.wrapping_mul(0xD6E8_FEB8_6659_FD93))
    }

    /// 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// Less than `count`, which is not 0.
    pub(super) fn below(&mut self, count: u64) -> u64 {
        self.next() % count
    }

    /// True so many times of a hundred.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// The bits of `mask`, so many times of a hundred.
    pub(super) fn mask(&mut self, mask: u64, percent: u64) -> u64 {
        if self.chance(percent) { mask } else { 0 }
    }

    /// Random bits from `low` to below `high`; none if there are none.
    pub(super) fn field(&mut self, low: u32, high: u32) -> u64 {
        if low >= high { 0 } else { self.next() & bits(high) & !bits(low) }
    }

    /// One of several.
    pub(super) fn pick<T: Copy>(&mut self, of: &[T], otherwise: T) -> T {
        if of.is_empty() {
            otherwise
        } else {
            of.get(self.below(of.len() as u64) as usize).copied().unwrap_or(otherwise)
        }
    }
}

/// A mask of the lowest `count` bits.
pub(super) const fn bits(count: u32) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

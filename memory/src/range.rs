// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ranges of addresses, a type for each space that ranges are kept of: [`PaRange`], [`IpaRange`].
//!
//! A range never wraps: its end is not below its start. So whoever has one need not check that again, and a pair of numbers
//! from a device tree or a bundle is judged once, where it becomes a range.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::addr::{Ipa, Pa};

macro_rules! range {
    ($(#[$doc:meta])* struct $name:ident of $address:ident) => {
        $(#[$doc])*
        ///
        /// From its start to its end, which is the first address behind it; so the last byte of the 64-bit space is in no range.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
        pub struct $name {
            start: $address,
            /// Never below `start`.
            end: $address,
        }

        impl $name {
            /// No address at all.
            pub const EMPTY: Self = Self { start: $address(0), end: $address(0) };

            /// The `len` bytes from `start` on; `None` if they go past the end of the 64-bit space.
            #[inline]
            #[must_use]
            pub const fn new(start: $address, len: u64) -> Option<Self> {
                match start.checked_add(len) {
                    Some(end) => Some(Self { start, end }),
                    None => None,
                }
            }

            /// The `len` bytes from `start` on, cut at the end of the 64-bit space.
            #[inline]
            #[must_use]
            pub const fn clamped(start: $address, len: u64) -> Self {
                Self { start, end: $address(start.0.saturating_add(len)) }
            }

            /// From `start` to the address before `end`; `None` if `end` is below `start`.
            #[inline]
            #[must_use]
            pub const fn between(start: $address, end: $address) -> Option<Self> {
                if start.0 <= end.0 { Some(Self { start, end }) } else { None }
            }

            /// Its first address, if it is not empty.
            #[inline]
            #[must_use]
            pub const fn start(self) -> $address {
                self.start
            }

            /// The first address behind it.
            #[inline]
            #[must_use]
            pub const fn end(self) -> $address {
                self.end
            }

            /// Its length in bytes.
            #[inline]
            #[must_use]
            pub const fn len(self) -> u64 {
                // The end is not below the start.
                self.end.0.wrapping_sub(self.start.0)
            }

            /// Whether there is nothing in it.
            #[inline]
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.start.0 == self.end.0
            }

            /// Whether an address is in it.
            #[inline]
            #[must_use]
            pub const fn contains(self, address: $address) -> bool {
                self.start.0 <= address.0 && address.0 < self.end.0
            }

            /// Whether all of `other` lies between its start and its end. For an empty one that is where this starts, too.
            #[inline]
            #[must_use]
            pub const fn contains_range(self, other: Self) -> bool {
                self.start.0 <= other.start.0 && other.end.0 <= self.end.0
            }

            /// Whether there is an address that is in both.
            #[inline]
            #[must_use]
            pub const fn overlaps(self, other: Self) -> bool {
                !self.is_empty() && !other.is_empty() && self.start.0 < other.end.0 && other.start.0 < self.end.0
            }

            /// The address `offset` bytes from its start, if the `len` bytes there are all in it.
            #[inline]
            #[must_use]
            pub const fn at(self, offset: u64, len: u64) -> Option<$address> {
                match offset.checked_add(len) {
                    // The sum lies between start and end.
                    Some(end) if end <= self.len() => Some($address(self.start.0.wrapping_add(offset))),
                    _ => None,
                }
            }

            /// What of it is below an address.
            #[inline]
            #[must_use]
            pub const fn below(self, address: $address) -> Self {
                let end = if address.0 < self.end.0 { address } else { self.end };
                Self { start: self.start, end: if end.0 < self.start.0 { self.start } else { end } }
            }

            /// What of it is at an address or above.
            #[inline]
            #[must_use]
            pub const fn from(self, address: $address) -> Self {
                let start = if self.start.0 < address.0 { address } else { self.start };
                Self { start: if self.end.0 < start.0 { self.end } else { start }, end: self.end }
            }

            /// The part from byte `offset` on, `len` bytes at most; empty behind its end.
            #[inline]
            #[must_use]
            pub const fn part(self, offset: u64, len: u64) -> Self {
                let start = $address(self.start.0.saturating_add(offset));
                self.from(start).below($address(start.0.saturating_add(len)))
            }

            /// The smallest range that has all of both and what lies between them. An empty one counts as where it is.
            #[must_use]
            pub fn joined(self, other: Self) -> Self {
                Self { start: self.start.min(other.start), end: self.end.max(other.end) }
            }

            /// All units of `align` bytes (a power of two) that it touches, cut at the last whole unit of the 64-bit space;
            /// empty if it is.
            #[must_use]
            pub const fn widened(self, align: u64) -> Self {
                if self.is_empty() {
                    return self;
                }
                let start = self.start.align_down(align);
                let end = $address(self.end.0.saturating_add(align - 1)).align_down(align);
                Self { start, end: if end.0 < start.0 { start } else { end } }
            }

            /// The units of `align` bytes (a power of two) that lie in it whole.
            #[must_use]
            pub const fn narrowed(self, align: u64) -> Self {
                let start = $address(self.start.0.saturating_add(align - 1)).align_down(align);
                let end = self.end.align_down(align);
                Self { start, end: if end.0 < start.0 { start } else { end } }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}..{}", self.start, self.end)
            }
        }
    };
}

range! {
    /// A range of the board's physical addresses: a bank of RAM, a device's registers, a reservation.
    struct PaRange of Pa
}
range! {
    /// A range of a VM's intermediate physical addresses: its RAM, its flash, the window of an emulated device.
    struct IpaRange of Ipa
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, end: u64) -> PaRange {
        PaRange::between(Pa(start), Pa(end)).unwrap()
    }

    #[test]
    fn a_range_that_wraps_is_none() {
        assert_eq!(PaRange::new(Pa(u64::MAX), 1), None);
        assert_eq!(PaRange::new(Pa(2), u64::MAX - 1), None);
        assert_eq!(PaRange::new(Pa(2), u64::MAX - 2), Some(range(2, u64::MAX)));
        assert_eq!(PaRange::clamped(Pa(2), u64::MAX), range(2, u64::MAX));
        assert_eq!(PaRange::between(Pa(2), Pa(1)), None);
        assert_eq!(PaRange::new(Pa(5), 0), PaRange::between(Pa(5), Pa(5)));
    }

    #[test]
    fn its_end_is_not_in_it() {
        let window = IpaRange::new(Ipa(0x1000), 0x100).unwrap();
        let inside = [0xFFF, 0x1000, 0x10FF, 0x1100].map(|address| window.contains(Ipa(address)));
        assert_eq!(inside, [false, true, true, false]);
        assert_eq!((window.start(), window.end(), window.len()), (Ipa(0x1000), Ipa(0x1100), 0x100));
        assert_eq!(window.to_string(), "0x1000..0x1100");
        assert_eq!(format!("{window:?}"), "IpaRange(0x1000..0x1100)");
    }

    #[test]
    fn neighbours_do_not_overlap_and_nothing_overlaps_an_empty_range() {
        let middle = range(10, 20);
        assert!(!middle.overlaps(range(0, 10)) && !middle.overlaps(range(20, 30)));
        assert!(middle.overlaps(range(0, 11)) && middle.overlaps(range(19, 30)));
        assert!(middle.overlaps(range(12, 13)) && range(12, 13).overlaps(middle));
        assert!(!middle.overlaps(range(15, 15)) && !range(15, 15).overlaps(middle));
    }

    #[test]
    fn an_offset_counts_with_all_its_bytes() {
        let memory = range(100, 110);
        assert_eq!(memory.at(9, 1), Some(Pa(109)));
        assert_eq!(memory.at(10, 0), Some(Pa(110)));
        assert_eq!(memory.at(9, 2), None);
        assert_eq!(memory.at(u64::MAX, 2), None);
        assert_eq!(memory.part(4, 3), range(104, 107));
        assert_eq!(memory.part(4, u64::MAX), range(104, 110));
        assert!(memory.part(11, 1).is_empty() && memory.part(u64::MAX, u64::MAX).is_empty());
    }

    #[test]
    fn units_at_the_end_of_the_space_do_not_wrap() {
        let top = range(u64::MAX - 1, u64::MAX);
        assert!(top.widened(4096).is_empty(), "its unit ends where no range can");
        assert!(top.narrowed(4096).is_empty());
        assert_eq!(range(1, 4097).widened(4096), range(0, 8192));
        assert_eq!(range(1, 8193).narrowed(4096), range(4096, 8192));
        assert!(range(1, 4097).narrowed(4096).is_empty());
        assert_eq!(range(5, 5).widened(4096), range(5, 5));
    }

    fn any_range() -> impl Strategy<Value = PaRange> {
        (0u64..64, 0u64..64).prop_map(|(start, len)| range(start, start + len))
    }

    proptest! {
        /// Against the set of its addresses.
        #[test]
        fn a_range_is_a_set_of_addresses(one in any_range(), other in any_range(), at in 0u64..160, log2 in 0u32..5) {
            let unit = 1 << log2;
            let units = |holds: &dyn Fn(u64) -> bool| {
                (0..160u64).filter(|address| holds(address / unit * unit)).collect::<Vec<_>>()
            };
            let all = |range: PaRange| (0..160u64).filter(|at| range.contains(Pa(*at))).collect::<Vec<_>>();
            let set = all(one);
            let of = |test: &dyn Fn(&u64) -> bool| set.iter().copied().filter(|at| test(at)).collect::<Vec<_>>();
            prop_assert_eq!(set.len() as u64, one.len());
            prop_assert_eq!(set.is_empty(), one.is_empty());
            prop_assert_eq!(all(one.below(Pa(at))), of(&|address| *address < at));
            prop_assert_eq!(all(one.from(Pa(at))), of(&|address| at <= *address));
            prop_assert_eq!(one.overlaps(other), set.iter().any(|address| other.contains(Pa(*address))));
            if !other.is_empty() {
                prop_assert_eq!(one.contains_range(other), all(other).iter().all(|address| one.contains(Pa(*address))));
            }
            prop_assert!(one.joined(other).contains_range(one) && one.joined(other).contains_range(other));
            let touched = |first: u64| (first..first + unit).any(|address| one.contains(Pa(address)));
            let whole = |first: u64| (first..first + unit).all(|address| one.contains(Pa(address)));
            prop_assert_eq!(all(one.widened(unit)), units(&touched));
            prop_assert_eq!(all(one.narrowed(unit)), units(&whole));
        }
    }
}

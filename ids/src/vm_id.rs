// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which VM.

use core::fmt;

/// Which VM: its index in the bundle, and which of those that have had that index.
///
/// VMs come and go, so an index alone may mean another VM than it meant when it was noted. The generation tells them apart: two
/// ids are equal only if they mean the same VM, and what is kept by VM is found by both. On the serial line and in a bundle a
/// VM goes by its index, as there is one of each index at a time ([`VmId::wire_index`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct VmId(u32);

impl VmId {
    /// The first VM of an index.
    #[inline]
    #[must_use]
    pub const fn first(index: u16) -> Self {
        Self(index as u32)
    }

    /// The VM that has the index after this one. After 65536 of them a generation comes again.
    #[inline]
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1 << 16))
    }

    /// Its index, as the bundle and the messages have it.
    #[inline]
    #[must_use]
    pub const fn wire_index(self) -> u16 {
        self.0 as u16
    }

    /// Its place in a list of all indexes. What is found there may be another generation's.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.wire_index() as usize
    }

    /// How many VMs have had its index before.
    #[inline]
    #[must_use]
    pub const fn generation(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// As one number, for where bytes are kept.
    #[inline]
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// What [`VmId::to_bits`] gave.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// `vm3`, and `vm3+1` for the second that has that index.
impl fmt::Debug for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vm{}", self.wire_index())?;
        match self.generation() {
            0 => Ok(()),
            generation => write!(f, "+{generation}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_after_is_another() {
        let first = VmId::first(3);
        let second = first.next();
        assert_ne!(first, second);
        assert_eq!((second.index(), second.wire_index(), second.generation()), (3, 3, 1));
        assert_eq!((first.index(), first.generation()), (3, 0));
        assert_ne!(second, VmId::first(4));
    }

    #[test]
    fn the_generation_does_not_run_into_the_index() {
        let mut id = VmId::first(u16::MAX);
        for generation in 0..=u16::MAX {
            assert_eq!((id.wire_index(), id.generation()), (u16::MAX, generation));
            id = id.next();
        }
        assert_eq!(id, VmId::first(u16::MAX));
    }

    #[test]
    fn it_is_one_word_and_is_told_in_short() {
        assert_eq!(size_of::<VmId>(), 4);
        assert_eq!(format!("{:?} {:?}", VmId::first(3), VmId::first(3).next()), "vm3 vm3+1");
        assert_eq!(VmId::from_bits(VmId::first(3).next().to_bits()), VmId::first(3).next());
    }
}

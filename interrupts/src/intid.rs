// SPDX-License-Identifier: MIT OR Apache-2.0
//! The numbers of interrupts, and where the model keeps an interrupt of a number.

use core::fmt;

use serde::{Deserialize, Serialize};

/// The first SPI.
const SPI_BASE: u32 = 32;
/// Interrupts in a bank.
const BANK: usize = 32;

/// An interrupt's number (IHI 0069, "INTIDs"): SGIs are 0 to 15, PPIs 16 to 31, SPIs 32 to 1019.
///
/// It takes 16 bits, so that an interrupt with the physical one it is linked to goes in a register. There are no LPIs, whose
/// numbers may be larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Intid(u16);

impl Intid {
    /// What a CPU interface answers if no interrupt is pending.
    pub const SPURIOUS: Self = Self(1023);

    /// The interrupt of this number. One of more than 16 bits is none: it becomes 0xFFFF.
    #[inline]
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(if number <= u16::MAX as u32 { number as u16 } else { u16::MAX })
    }

    /// The interrupt that a list register or ICC_IAR1_EL1 names, where there are no LPIs: of the number's field 16 bits are
    /// used.
    #[inline]
    #[must_use]
    pub const fn from_register(value: u64) -> Self {
        Self(value as u16)
    }

    /// The SPI of this index: 0 for INTID 32.
    #[inline]
    #[must_use]
    pub const fn spi(index: u32) -> Self {
        Self::new(index.saturating_add(SPI_BASE))
    }

    /// The number.
    #[inline]
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    /// Whether each CPU has an interrupt of this number for itself: an SGI or a PPI.
    #[inline]
    #[must_use]
    pub const fn is_private(self) -> bool {
        self.get() < SPI_BASE
    }

    /// Whether it is a PPI.
    #[inline]
    #[must_use]
    pub const fn is_ppi(self) -> bool {
        16 <= self.0 && self.is_private()
    }

    /// Whether it stands for an interrupt, rather than for there being none (IHI 0069, "Special INTIDs").
    #[inline]
    #[must_use]
    pub const fn is_interrupt(self) -> bool {
        self.0 < 1020
    }

    /// Which SPI it is, if it is one.
    #[inline]
    pub(crate) const fn spi_index(self) -> Option<SpiIndex> {
        match self.get().checked_sub(SPI_BASE) {
            Some(index) => Some(SpiIndex(index as usize)),
            None => None,
        }
    }
}

impl From<Intid> for u64 {
    fn from(intid: Intid) -> Self {
        intid.0.into()
    }
}

impl fmt::Display for Intid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which SPI, counted from the first one on; there are 32 in a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpiIndex(usize);

impl SpiIndex {
    /// The SPI at a place of a list of all of them.
    #[inline]
    pub(crate) const fn new(index: usize) -> Self {
        Self(index)
    }

    /// Interrupt `n` of a bank.
    #[inline]
    pub(crate) const fn at(bank: usize, n: u32) -> Self {
        Self(bank * BANK + n as usize)
    }

    /// Its place in a list of all SPIs.
    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0
    }

    /// Its bank.
    #[inline]
    pub(crate) const fn bank(self) -> usize {
        self.0 / BANK
    }

    /// Its place in the bank.
    #[inline]
    pub(crate) const fn n(self) -> u32 {
        (self.0 % BANK) as u32
    }

    /// Its bit in the bank's maps.
    #[inline]
    pub(crate) const fn bit(self) -> u32 {
        1 << self.n()
    }

    /// Its INTID.
    #[inline]
    pub(crate) const fn intid(self) -> Intid {
        Intid::spi(self.0 as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_spi_has_one_place() {
        assert_eq!(Intid::new(31).spi_index(), None);
        let spi = Intid::new(97).spi_index().unwrap();
        assert_eq!((spi.index(), spi.bank(), spi.n(), spi.bit()), (65, 2, 1, 2));
        assert_eq!((SpiIndex::at(2, 1), spi.intid()), (spi, Intid::new(97)));
    }

    #[test]
    fn a_number_that_is_too_large_is_no_interrupt() {
        for number in [1 << 16, 1 << 16 | 40, u32::MAX] {
            assert!(!Intid::new(number).is_interrupt());
            assert!(!Intid::spi(number).is_interrupt());
        }
    }

    #[test]
    fn kinds_have_borders() {
        let kinds = [15, 16, 31, 32, 1019, 1020].map(|number| {
            let intid = Intid::new(number);
            (intid.is_private(), intid.is_ppi(), intid.is_interrupt())
        });
        let (sgi, ppi, spi) = ((true, false, true), (true, true, true), (false, false, true));
        assert_eq!(kinds, [sgi, ppi, ppi, spi, spi, (false, false, false)]);
    }
}

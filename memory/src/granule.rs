// SPDX-License-Identifier: MIT OR Apache-2.0
//! Granules: the size of a page, and with it the shape of tables and of the addresses in them. The same for both stages.
//!
//! Source: Arm ARM, "Translation granules", "VMSAv8-64 descriptor formats".

use serde::{Deserialize, Serialize};

/// One of the two stages of translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// VA to IPA: the guest's.
    One,
    /// IPA to PA: ours.
    Two,
}

/// A size of page, and with it the shape of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Granule {
    /// 4 KiB: levels 0 to 3, and -1 with FEAT_LPA2; blocks of 1 GiB and 2 MiB, with FEAT_LPA2 also of 512 GiB.
    Kib4,
    /// 16 KiB: levels 0 to 3; blocks of 32 MiB, with FEAT_LPA2 also of 64 GiB.
    Kib16,
    /// 64 KiB: levels 1 to 3; blocks of 512 MiB, with FEAT_LPA also of 4 TiB.
    Kib64,
}

impl Granule {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Kib4, Self::Kib16, Self::Kib64];

    /// Decodes `TG0` of `TCR_EL1` and `VTCR_EL2`; `None` if reserved.
    #[must_use]
    pub const fn from_tg0(bits: u64) -> Option<Self> {
        match bits & 0b11 {
            0b00 => Some(Self::Kib4),
            0b01 => Some(Self::Kib64),
            0b10 => Some(Self::Kib16),
            _ => None,
        }
    }

    /// Decodes `TG1` of `TCR_EL1`; `None` if reserved.
    #[must_use]
    pub const fn from_tg1(bits: u64) -> Option<Self> {
        match bits & 0b11 {
            0b01 => Some(Self::Kib16),
            0b10 => Some(Self::Kib4),
            0b11 => Some(Self::Kib64),
            _ => None,
        }
    }

    /// Log2 of the page size.
    #[must_use]
    pub const fn page_shift(self) -> u32 {
        match self {
            Self::Kib4 => 12,
            Self::Kib16 => 14,
            Self::Kib64 => 16,
        }
    }

    /// Address bits that one table resolves.
    #[must_use]
    pub const fn index_bits(self) -> u32 {
        self.page_shift() - 3
    }

    /// Log2 of the bytes that an entry of `level` (-1 to 3) covers.
    #[must_use]
    pub const fn shift(self, level: i8) -> u32 {
        self.page_shift() + self.index_bits() * (3 - level) as u32
    }

    /// Log2 of how many neighbouring entries of `level` the Contiguous bit joins.
    #[must_use]
    pub const fn contiguous_shift(self, level: i8) -> u32 {
        match (self, level) {
            (Self::Kib4, _) => 4,
            (Self::Kib16, 3) => 7,
            (Self::Kib16, _) => 5,
            (Self::Kib64, _) => 5,
        }
    }
}

/// Where the bits of an output address, or of the next table's, are in a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AddressFormat {
    /// Bits 47:12 in their place.
    Plain,
    /// FEAT_LPA, 64 KiB granule: bits 47:16 in their place, 51:48 in 15:12.
    Lpa,
    /// FEAT_LPA2 with DS = 1: bits 49:12 in their place, 51:50 in 9:8, where shareability was.
    Lpa2,
}

impl AddressFormat {
    /// The address that `descriptor` holds, aligned down to 2^`align_shift` bytes.
    #[must_use]
    pub const fn address(self, descriptor: u64, align_shift: u32) -> u64 {
        let address = match self {
            Self::Plain => descriptor & 0x0000_ffff_ffff_f000,
            Self::Lpa => descriptor & 0x0000_ffff_ffff_0000 | (descriptor >> 12 & 0xf) << 48,
            Self::Lpa2 => descriptor & 0x0003_ffff_ffff_f000 | (descriptor >> 8 & 0b11) << 50,
        };
        address >> align_shift << align_shift
    }

    /// The widest address it can hold, in bits.
    #[must_use]
    pub const fn max_bits(self) -> u32 {
        match self {
            Self::Plain => 48,
            Self::Lpa | Self::Lpa2 => 52,
        }
    }

    /// The table address that a TTBR holds, for a table of 2^`size_shift` bytes: what is below its alignment does not
    /// count, and of a 52-bit address the upper bits are in 5:2, so that the table is aligned to 64 bytes at least.
    #[must_use]
    pub const fn root(self, ttbr: u64, output_bits: u32, size_shift: u32) -> u64 {
        let wide = matches!(self, Self::Lpa2) || output_bits > 48;
        if !wide {
            return (ttbr & 0x0000_ffff_ffff_fffe) >> size_shift << size_shift;
        }
        let shift = if size_shift < 6 { 6 } else { size_shift };
        (ttbr & 0x0000_ffff_ffff_ffc0) >> shift << shift | (ttbr >> 2 & 0xf) << 48
    }

    /// Whether a table of `level` may hold blocks. (Level 3 holds pages.)
    #[must_use]
    pub const fn has_blocks(self, granule: Granule, level: i8) -> bool {
        match (granule, level) {
            (_, 2) | (Granule::Kib4, 1) => true,
            (Granule::Kib4, 0) | (Granule::Kib16, 1) => matches!(self, Self::Lpa2),
            (Granule::Kib64, 1) => matches!(self, Self::Lpa),
            _ => false,
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shape of a stage-2 table tree: how many bits of IPA, where the walk starts, how wide the root is.
//!
//! With the 4 KiB granule each level resolves 9 bits. Stage 2 may start up to 4 bits into a level by laying 2 to 16
//! root tables side by side ("concatenated"), which spares a whole level: 40 bits of IPA need two tables at level 1
//! instead of a level 0. The smallest legal tree is the shallowest one, so that is what we choose.
//!
//! Source: Arm ARM, "Translation table walk properties", "Concatenated translation tables"; `VTCR_EL2`.

use crate::Pa;
use crate::addr::PAGE_SIZE;
use crate::granule::{AddressFormat, Granule};
use crate::vmid::VmidWidth;
use crate::walk::Start;

/// Smallest IPA size that every CPU accepts, in bits: `T0SZ` is at most 39 without FEAT_TTST.
pub const MIN_IPA_BITS: u32 = 25;

/// Largest IPA or physical address size with the 4 KiB granule, in bits. (52 would need FEAT_LPA2's own format.)
pub const MAX_BITS: u32 = 48;

/// The most root tables that may be concatenated.
pub const MAX_ROOT_TABLES: usize = 16;

/// A level of the walk: 0 (512 GiB an entry), 1 (1 GiB), 2 (2 MiB) or 3 (4 KiB).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableLevel(u8);

impl TableLevel {
    /// 512 GiB an entry, tables only.
    pub const L0: Self = Self(0);
    /// 1 GiB an entry.
    pub const L1: Self = Self(1);
    /// 2 MiB an entry.
    pub const L2: Self = Self(2);
    /// 4 KiB an entry, pages only.
    pub const L3: Self = Self(3);

    /// The level's number in the architecture, 0 to 3.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The bytes one entry of this level covers.
    #[must_use]
    pub const fn span(self) -> u64 {
        1 << self.shift()
    }

    /// The position of the lowest address bit that selects an entry of this level.
    #[must_use]
    pub const fn shift(self) -> u32 {
        39 - 9 * self.0 as u32
    }

    /// The level below, or `None` under level 3.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        if self.0 < 3 { Some(Self(self.0 + 1)) } else { None }
    }

    /// The level at which a walk found a block or page.
    pub(super) const fn of_leaf(level: i8) -> Option<Self> {
        match level {
            1 => Some(Self::L1),
            2 => Some(Self::L2),
            3 => Some(Self::L3),
            _ => None,
        }
    }

    /// Whether a descriptor of this level may map memory (without FEAT_LPA2 level 0 may not).
    #[must_use]
    pub const fn has_leaves(self) -> bool {
        self.0 > 0
    }
}

/// Why no table tree fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// `ID_AA64MMFR0_EL1.PARange` is one the architecture does not define.
    #[error("{bits} bits is not a physical address size of the architecture")]
    UnknownPhysicalRange {
        /// The bits passed in.
        bits: u32,
    },
    /// The VM wants more IPA space than the CPU has physical address space, or than the 4 KiB granule reaches.
    #[error(
        "the VM needs {wanted} bits of intermediate physical address, but this CPU allows at most {limit}; \
         place its memory and devices below {limit} bits"
    )]
    TooLarge {
        /// The bits wanted.
        wanted: u32,
        /// The most there can be on this machine.
        limit: u32,
    },
}

/// The shape of a table tree. Always a legal one: the fields are private and set by [`Geometry::for_machine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    ipa_bits: u32,
    pa_bits: u32,
    start: TableLevel,
}

impl Geometry {
    /// The smallest legal tree for at least `wanted_ipa_bits` of IPA.
    ///
    /// `pa_range_bits` is `ID_AA64MMFR0_EL1.PARange` in bits (the smallest of all CPUs). A wish below
    /// [`MIN_IPA_BITS`] is rounded up to it.
    ///
    /// # Errors
    /// [`GeometryError::UnknownPhysicalRange`] if no CPU has that size, [`GeometryError::TooLarge`] if the IPA space
    /// would exceed the physical one (the architecture forbids it) or 48 bits.
    pub const fn for_machine(pa_range_bits: u32, wanted_ipa_bits: u32) -> Result<Self, GeometryError> {
        let pa_bits = match pa_range_bits {
            32 | 36 | 40 | 42 | 44 | 48 => pa_range_bits,
            52 | 56 => MAX_BITS,
            bits => return Err(GeometryError::UnknownPhysicalRange { bits }),
        };
        if wanted_ipa_bits > pa_bits {
            return Err(GeometryError::TooLarge { wanted: wanted_ipa_bits, limit: pa_bits });
        }
        let ipa_bits = if wanted_ipa_bits < MIN_IPA_BITS { MIN_IPA_BITS } else { wanted_ipa_bits };
        // A level's single table resolves 9 bits, 16 of them side by side 13. Above 43 bits only level 0 is left;
        // it is legal only where PARange is at least 44, which `ipa_bits <= pa_bits` has made sure of.
        let start = match ipa_bits {
            ..=34 => TableLevel::L2,
            35..=43 => TableLevel::L1,
            _ => TableLevel::L0,
        };
        Ok(Self { ipa_bits, pa_bits, start })
    }

    /// This space, or a wider one whose tree starts at level 1 and so can map 1 GiB by an entry. For memory that comes in
    /// such pieces the tree is the smaller one: a root, where the same memory takes two tables or more at level 2.
    #[must_use]
    pub const fn with_gib_leaves(self) -> Self {
        // From here on a start at level 2 would take more than 16 tables.
        const STARTS_AT_LEVEL_1: u32 = TableLevel::L2.shift() + 9 + 4 + 1;
        match Self::for_machine(self.pa_bits, STARTS_AT_LEVEL_1) {
            Ok(wider) if self.ipa_bits < STARTS_AT_LEVEL_1 => wider,
            // Wide enough already, or more than the CPU has.
            _ => self,
        }
    }

    /// The IPA size in bits.
    #[must_use]
    pub const fn ipa_bits(self) -> u32 {
        self.ipa_bits
    }

    /// The physical address size in bits, at most 48.
    #[must_use]
    pub const fn pa_bits(self) -> u32 {
        self.pa_bits
    }

    /// The first IPA past the space.
    #[must_use]
    pub const fn ipa_end(self) -> u64 {
        1 << self.ipa_bits
    }

    /// The first physical address past the space.
    #[must_use]
    pub const fn pa_end(self) -> u64 {
        1 << self.pa_bits
    }

    /// The level the walk starts at.
    #[must_use]
    pub const fn start(self) -> TableLevel {
        self.start
    }

    /// The number of root tables side by side: 1 to 16.
    #[must_use]
    pub const fn root_tables(self) -> usize {
        let single = self.start.shift() + 9;
        if self.ipa_bits > single { 1 << (self.ipa_bits - single) } else { 1 }
    }

    /// The root's size in bytes, which is also its alignment.
    #[must_use]
    pub const fn root_size(self) -> u64 {
        self.root_tables() as u64 * PAGE_SIZE
    }

    /// Whether `root` is aligned as the architecture demands and inside the physical address space.
    #[must_use]
    pub const fn accepts_root(self, root: Pa) -> bool {
        root.is_aligned(self.root_size()) && root.0 < self.pa_end()
    }

    /// A walk of this tree.
    pub(super) const fn walk_from(self, root: Pa) -> Start {
        Start {
            granule: Granule::Kib4,
            format: AddressFormat::Plain,
            level: self.start.0 as i8,
            root_index_bits: self.ipa_bits - self.start.shift(),
            root: root.0,
            output_bits: self.pa_bits,
        }
    }

    /// `VTCR_EL2` for this tree.
    ///
    /// Walks are Inner Shareable, Write-Back Write-Allocate; the hardware does not manage access flags (HA, HD = 0).
    #[must_use]
    pub const fn vtcr(self, vmids: VmidWidth) -> u64 {
        let t0sz = 64 - self.ipa_bits as u64;
        // SL0 counts the other way round: 0 starts at level 2, 1 at level 1, 2 at level 0.
        let sl0 = 2 - self.start.0 as u64;
        let ps = match self.pa_bits {
            32 => 0b000,
            36 => 0b001,
            40 => 0b010,
            42 => 0b011,
            44 => 0b100,
            _ => 0b101,
        };
        let vs = match vmids {
            VmidWidth::Eight => 0,
            VmidWidth::Sixteen => 1 << 19,
        };
        const IRGN0_WRITE_BACK: u64 = 0b01 << 8;
        const ORGN0_WRITE_BACK: u64 = 0b01 << 10;
        const SH0_INNER: u64 = 0b11 << 12;
        const TG0_4KIB: u64 = 0b00 << 14;
        const RES1: u64 = 1 << 31;
        t0sz | sl0 << 6 | IRGN0_WRITE_BACK | ORGN0_WRITE_BACK | SH0_INNER | TG0_4KIB | ps << 16 | vs | RES1
    }
}

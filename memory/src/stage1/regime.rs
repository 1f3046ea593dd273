// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers that control stage 1 of EL1&0, and how they select and start a walk.
//!
//! Source: Arm ARM, `SCTLR_EL1`, `TCR_EL1`, `TTBR0_EL1`, `TTBR1_EL1`, `MAIR_EL1`.

use serde::{Deserialize, Serialize};

use super::{Access, El};
use crate::Va;

/// The largest output address, in bits: VMs are shown at most a 48-bit PARange.
pub(super) const MAX_OUTPUT_BITS: u32 = 48;

/// Bits of a TTBR or descriptor that can be an address.
const ADDRESS: u64 = (1 << MAX_OUTPUT_BITS) - 1;

const SCTLR_M: u64 = 1 << 0;
const SCTLR_I: u64 = 1 << 12;
const SCTLR_WXN: u64 = 1 << 19;
const SCTLR_EE: u64 = 1 << 25;
const SCTLR_EPAN: u64 = 1 << 57;
const TCR_A1: u64 = 1 << 22;
const TCR_AS: u64 = 1 << 36;
const TCR_HA: u64 = 1 << 39;
const TCR_HD: u64 = 1 << 40;

/// A size of page, and with it the shape of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granule {
    /// 4 KiB: levels 0 to 3, blocks of 1 GiB and 2 MiB.
    Kib4,
    /// 16 KiB: levels 0 to 3, blocks of 32 MiB.
    Kib16,
    /// 64 KiB: levels 1 to 3, blocks of 512 MiB.
    Kib64,
}

impl Granule {
    /// Log2 of the page size.
    pub(super) const fn page_shift(self) -> u32 {
        match self {
            Self::Kib4 => 12,
            Self::Kib16 => 14,
            Self::Kib64 => 16,
        }
    }

    /// Address bits that one table resolves.
    pub(super) const fn index_bits(self) -> u32 {
        self.page_shift() - 3
    }

    /// Log2 of the bytes that an entry of `level` (0 to 3) covers.
    pub(super) const fn shift(self, level: u8) -> u32 {
        self.page_shift() + self.index_bits() * (3 - level as u32)
    }

    /// Whether a table of `level` may hold blocks.
    pub(super) const fn has_blocks(self, level: u8) -> bool {
        matches!((self, level), (Self::Kib4, 1 | 2) | (Self::Kib16 | Self::Kib64, 2))
    }

    /// The largest TxSZ, with FEAT_TTST.
    const fn max_size_field(self) -> u64 {
        match self {
            Self::Kib4 | Self::Kib16 => 48,
            Self::Kib64 => 47,
        }
    }
}

/// The system registers of stage 1, and PSTATE.PAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Regime {
    /// `SCTLR_EL1`.
    pub sctlr: u64,
    /// `TCR_EL1`.
    pub tcr: u64,
    /// `TTBR0_EL1`.
    pub ttbr0: u64,
    /// `TTBR1_EL1`.
    pub ttbr1: u64,
    /// `MAIR_EL1`.
    pub mair: u64,
    /// `PSTATE.PAN`: privileged data accesses may not touch what EL0 can.
    pub pan: bool,
}

/// Which half of the address space, and so which of the paired fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Lower,
    Upper,
}

impl Half {
    const fn of(va: Va) -> Self {
        if va.0 & 1 << 55 == 0 { Self::Lower } else { Self::Upper }
    }

    /// The field of this half, `lower` or `upper` being the bit's position.
    const fn flag(self, tcr: u64, lower: u32, upper: u32) -> bool {
        match self {
            Self::Lower => tcr >> lower & 1 != 0,
            Self::Upper => tcr >> upper & 1 != 0,
        }
    }

    const fn size_field(self, tcr: u64) -> u64 {
        match self {
            Self::Lower => tcr & 0x3f,
            Self::Upper => tcr >> 16 & 0x3f,
        }
    }

    /// The granule; a reserved value is read as 4 KiB.
    const fn granule(self, tcr: u64) -> Granule {
        match self {
            Self::Lower => match tcr >> 14 & 0b11 {
                0b01 => Granule::Kib64,
                0b10 => Granule::Kib16,
                _ => Granule::Kib4,
            },
            Self::Upper => match tcr >> 30 & 0b11 {
                0b01 => Granule::Kib16,
                0b11 => Granule::Kib64,
                _ => Granule::Kib4,
            },
        }
    }

    /// EPD: no walks from this half's TTBR.
    const fn walks_disabled(self, tcr: u64) -> bool {
        self.flag(tcr, 7, 23)
    }

    /// E0PD: EL0 has no business in this half (FEAT_E0PD).
    const fn closed_to_el0(self, tcr: u64) -> bool {
        self.flag(tcr, 55, 56)
    }

    /// HPD clear: APTable, PXNTable and UXNTable count.
    pub(super) const fn hierarchical_permissions(self, regime: &Regime) -> bool {
        !self.flag(regime.tcr, 41, 42)
    }

    /// Whether bits 63:56 are a tag: TBI, and for instructions not TBID (FEAT_PAuth).
    const fn tagged(self, tcr: u64, access: Access) -> bool {
        let data_only = matches!(access, Access::Execute) && self.flag(tcr, 51, 52);
        self.flag(tcr, 37, 38) && !data_only
    }
}

/// Where a walk starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    pub(super) half: Half,
    pub(super) granule: Granule,
    pub(super) level: u8,
    /// Address bits that the root table resolves.
    pub(super) root_index_bits: u32,
    /// The root table.
    pub(super) table: u64,
    /// No output address may be wider.
    pub(super) output_bits: u32,
}

impl Regime {
    /// Whether stage 1 is on: `SCTLR_EL1.M`.
    #[must_use]
    pub const fn enabled(&self) -> bool {
        self.sctlr & SCTLR_M != 0
    }

    /// The current ASID: from `TTBR1_EL1` if `TCR_EL1.A1`, 8 or 16 bits by `TCR_EL1.AS`.
    #[must_use]
    pub const fn asid(&self) -> u16 {
        let ttbr = if self.tcr & TCR_A1 != 0 { self.ttbr1 } else { self.ttbr0 };
        let asid = (ttbr >> 48) as u16;
        if self.tcr & TCR_AS != 0 { asid } else { asid & 0xff }
    }

    pub(super) const fn instruction_cache(&self) -> bool {
        self.sctlr & SCTLR_I != 0
    }

    pub(super) const fn write_implies_execute_never(&self) -> bool {
        self.sctlr & SCTLR_WXN != 0
    }

    pub(super) const fn enhanced_pan(&self) -> bool {
        self.sctlr & SCTLR_EPAN != 0
    }

    pub(super) const fn big_endian_walks(&self) -> bool {
        self.sctlr & SCTLR_EE != 0
    }

    pub(super) const fn hardware_access_flag(&self) -> bool {
        self.tcr & TCR_HA != 0
    }

    /// `TCR_EL1.HD`, which needs HA: a descriptor with DBM counts as writable.
    pub(super) const fn hardware_dirty_state(&self) -> bool {
        self.tcr & TCR_HA != 0 && self.tcr & TCR_HD != 0
    }

    /// `va` with the tag, if any, taken off.
    pub(super) const fn without_tag(&self, va: Va, access: Access) -> Va {
        let half = Half::of(va);
        match (half.tagged(self.tcr, access), half) {
            (false, _) => va,
            (true, Half::Lower) => Va(va.0 & u64::MAX >> 8),
            (true, Half::Upper) => Va(va.0 | 0xff << 56),
        }
    }

    /// How to walk for `va`, or `None` if the registers allow no walk: a translation fault at level 0.
    pub(super) fn walk(&self, va: Va, access: Access, el: El) -> Option<Walk> {
        let half = Half::of(va);
        let granule = half.granule(self.tcr);
        let size_field = half.size_field(self.tcr);
        if half.walks_disabled(self.tcr)
            || (el == El::El0 && half.closed_to_el0(self.tcr))
            || !(16..=granule.max_size_field()).contains(&size_field)
        {
            return None;
        }
        let input_bits = 64 - size_field as u32;
        let above = self.without_tag(va, access).0 >> input_bits;
        let expected = match half {
            Half::Lower => 0,
            Half::Upper => u64::MAX >> input_bits,
        };
        if above != expected {
            return None;
        }
        let levels = (input_bits - granule.page_shift()).div_ceil(granule.index_bits());
        let level = 4 - levels as u8;
        let root_index_bits = input_bits - granule.shift(level);
        let ttbr = match half {
            Half::Lower => self.ttbr0,
            Half::Upper => self.ttbr1,
        };
        // Bit 0 is CnP, and bits below the root's own size are ignored.
        let table = ttbr & ADDRESS & !((8 << root_index_bits) - 1);
        Some(Walk { half, granule, level, root_index_bits, table, output_bits: self.output_bits() })
    }

    /// `TCR_EL1.IPS`; what is wider than a VM is shown counts as the widest.
    const fn output_bits(&self) -> u32 {
        match self.tcr >> 32 & 0b111 {
            0b000 => 32,
            0b001 => 36,
            0b010 => 40,
            0b011 => 42,
            0b100 => 44,
            _ => MAX_OUTPUT_BITS,
        }
    }
}

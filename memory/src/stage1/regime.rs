// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers that control stage 1 of EL1&0, and how they select and start a walk.
//!
//! Source: Arm ARM, `SCTLR_EL1`, `TCR_EL1`, `TTBR0_EL1`, `TTBR1_EL1`, `MAIR_EL1`, `HCR_EL2`.

use serde::{Deserialize, Serialize};

use super::no_walk::NoWalk;
use crate::Va;
use crate::access::{Access, El};
use crate::attributes::Shareability;
use crate::features::{Features, HardwareUpdates};
use crate::granule::{AddressFormat, Granule, Stage};
use crate::hcr;
use crate::walk::Start;

const SCTLR_M: u64 = 1 << 0;
const SCTLR_C: u64 = 1 << 2;
const SCTLR_I: u64 = 1 << 12;
const SCTLR_WXN: u64 = 1 << 19;
const SCTLR_EE: u64 = 1 << 25;
const SCTLR_EPAN: u64 = 1 << 57;
const TCR_A1: u64 = 1 << 22;
const TCR_AS: u64 = 1 << 36;
const TCR_HA: u64 = 1 << 39;
const TCR_HD: u64 = 1 << 40;
const TCR_DS_SHIFT: u32 = 59;

/// The system registers of stage 1, PSTATE.PAN, and what the CPU makes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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
    /// `HCR_EL2`, of which `DC` turns stage 1 off.
    pub hcr: u64,
    /// What the CPU implements.
    pub features: Features,
}

/// Which half of the address space, and so which of the paired fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// From address 0 up: `TTBR0_EL1`.
    Lower,
    /// Up to the last address: `TTBR1_EL1`.
    Upper,
}

impl Half {
    /// The half that bit 55 of an address selects.
    #[must_use]
    pub const fn of(va: Va) -> Self {
        if va.0 & 1 << 55 == 0 { Self::Lower } else { Self::Upper }
    }

    /// The digit in the names of its registers and fields; also the value of the bits above its addresses.
    #[must_use]
    pub const fn digit(self) -> u32 {
        match self {
            Self::Lower => 0,
            Self::Upper => 1,
        }
    }

    /// The field of this half, `lower` or `upper` being the position of its lowest bit.
    const fn field(self, tcr: u64, lower: u32, upper: u32) -> u64 {
        match self {
            Self::Lower => tcr >> lower,
            Self::Upper => tcr >> upper,
        }
    }

    const fn flag(self, tcr: u64, lower: u32, upper: u32) -> bool {
        self.field(tcr, lower, upper) & 1 != 0
    }

    /// TxSZ.
    const fn size_field(self, tcr: u64) -> u64 {
        self.field(tcr, 0, 16) & 0x3f
    }

    /// The granule.
    fn granule(self, tcr: u64, features: Features) -> Granule {
        let wanted = match self {
            Self::Lower => Granule::from_tg0(tcr >> 14),
            Self::Upper => Granule::from_tg1(tcr >> 30),
        };
        features.granule(wanted, Stage::One)
    }

    /// EPD: no walks from this half's TTBR.
    const fn walks_disabled(self, tcr: u64) -> bool {
        self.flag(tcr, 7, 23)
    }

    /// E0PD: EL0 has no business in this half (FEAT_E0PD).
    const fn closed_to_el0(self, tcr: u64) -> bool {
        self.flag(tcr, 55, 56)
    }

    /// Whether bits 63:56 are a tag: TBI, and for instructions not TBID (FEAT_PAuth).
    const fn tagged(self, tcr: u64, access: Access) -> bool {
        let data_only = matches!(access, Access::Execute) && self.flag(tcr, 51, 52);
        self.flag(tcr, 37, 38) && !data_only
    }
}

/// A walk that the registers allow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    pub(super) half: Half,
    pub(super) start: Start,
}

impl Regime {
    /// Whether stage 1 is on: `SCTLR_EL1.M`, which `HCR_EL2.DC` overrides.
    #[must_use]
    pub const fn enabled(&self) -> bool {
        self.sctlr & SCTLR_M != 0 && !self.default_cacheable()
    }

    /// The current ASID: from `TTBR1_EL1` if `TCR_EL1.A1`, 8 or 16 bits by `TCR_EL1.AS`.
    #[must_use]
    pub const fn asid(&self) -> u16 {
        let ttbr = if self.tcr & TCR_A1 != 0 { self.ttbr1 } else { self.ttbr0 };
        let asid = (ttbr >> 48) as u16;
        if self.tcr & TCR_AS != 0 { asid } else { asid & 0xff }
    }

    /// `HCR_EL2.DC`.
    pub(super) const fn default_cacheable(&self) -> bool {
        self.hcr & hcr::DC != 0
    }

    /// `SCTLR_EL1.C` or `I`: whether accesses of this kind to Normal memory may be cached.
    pub(super) const fn caches(&self, access: Access) -> bool {
        let enable = match access {
            Access::Read | Access::Write => SCTLR_C,
            Access::Execute => SCTLR_I,
        };
        self.sctlr & enable != 0
    }

    pub(super) const fn write_implies_execute_never(&self) -> bool {
        self.sctlr & SCTLR_WXN != 0
    }

    pub(super) const fn enhanced_pan(&self) -> bool {
        self.sctlr & SCTLR_EPAN != 0 && self.features.has_enhanced_pan()
    }

    pub(super) const fn big_endian_walks(&self) -> bool {
        self.sctlr & SCTLR_EE != 0
    }

    /// `TCR_EL1.HA` and `HD`, as far as the CPU has them.
    pub(super) const fn hardware_updates(&self) -> HardwareUpdates {
        self.features.hardware_updates().enabled(self.tcr, TCR_HA, TCR_HD)
    }

    /// Whether APTable, PXNTable and UXNTable count in this half: HPD (FEAT_HPDS).
    pub(super) const fn hierarchical_permissions(&self, half: Half) -> bool {
        !(half.flag(self.tcr, 41, 42) && self.features.has_hpds())
    }

    /// Shareability for a whole half, where addresses take up the descriptor's own field: `SH0`, `SH1`.
    pub(super) const fn half_shareability(&self, half: Half) -> Shareability {
        Shareability::from_bits(half.field(self.tcr, 12, 28))
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

    /// How to walk for `va`, stage 1 being on.
    ///
    /// # Errors
    /// [`NoWalk`] if the registers allow no walk.
    pub fn start(&self, va: Va, access: Access, el: El) -> Result<Start, NoWalk> {
        self.walk(va, access, el).map(|walk| walk.start)
    }

    pub(super) fn walk(&self, va: Va, access: Access, el: El) -> Result<Walk, NoWalk> {
        let half = Half::of(va);
        if half.walks_disabled(self.tcr) {
            return Err(NoWalk::Disabled { half });
        }
        if el == El::El0 && self.features.has_e0pd() && half.closed_to_el0(self.tcr) {
            return Err(NoWalk::ClosedToEl0 { half });
        }
        let granule = half.granule(self.tcr, self.features);
        let format = self.features.address_format(granule, Stage::One, self.tcr >> TCR_DS_SHIFT);
        let input_bits = self.input_bits(half, granule, format)?;
        let above = self.without_tag(va, access).0 >> input_bits;
        let expected = match half {
            Half::Lower => 0,
            Half::Upper => u64::MAX >> input_bits,
        };
        if above != expected {
            return Err(NoWalk::NotCanonical { half, input_bits });
        }
        let levels = (input_bits - granule.page_shift()).div_ceil(granule.index_bits());
        let level = 4 - levels as i8;
        let output_bits = self.features.output_bits(self.tcr >> 32, format);
        let ttbr = match half {
            Half::Lower => self.ttbr0,
            Half::Upper => self.ttbr1,
        };
        let root_index_bits = input_bits - granule.shift(level);
        let root = format.root(ttbr, output_bits, root_index_bits + 3);
        let start = Start { granule, format, level, root_index_bits, root, output_bits };
        Ok(Walk { half, start })
    }

    /// 64 - TxSZ.
    fn input_bits(&self, half: Half, granule: Granule, format: AddressFormat) -> Result<u32, NoWalk> {
        let wide =
            matches!(format, AddressFormat::Lpa2) || granule == Granule::Kib64 && self.features.has_lva();
        let smallest = if wide { 12 } else { 16 };
        let largest = self.features.largest_size_field(granule);
        let value = half.size_field(self.tcr);
        if (smallest..=largest).contains(&value) {
            Ok(64 - value as u32)
        } else {
            Err(NoWalk::Size { half, value, smallest, largest })
        }
    }
}

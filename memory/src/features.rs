// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a CPU's ID registers say about translation.
//!
//! The same tables mean different things to different CPUs: a bit is an execute-never control on one and ignored on
//! another. The walker therefore asks this type, which keeps the registers as they are, so that a description of a
//! CPU is three numbers that anyone can read off a machine.
//!
//! Source: Arm ARM, `ID_AA64MMFR0_EL1` to `ID_AA64MMFR2_EL1`; "Principles of the ID scheme for fields in ID registers".

use serde::{Deserialize, Serialize};

use crate::granule::{AddressFormat, Granule, Stage};

/// The memory model feature registers of a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Features {
    /// `ID_AA64MMFR0_EL1`.
    pub mmfr0: u64,
    /// `ID_AA64MMFR1_EL1`.
    pub mmfr1: u64,
    /// `ID_AA64MMFR2_EL1`.
    pub mmfr2: u64,
}

/// What hardware keeps up in descriptors: `ID_AA64MMFR1_EL1.HAFDBS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HardwareUpdates {
    /// Nothing.
    None,
    /// The access flag.
    AccessFlag,
    /// The access flag and the dirty state.
    DirtyState,
}

impl Features {
    /// A Cortex-A72: Armv8.0, 44 bits of physical address, granules of 4 and 64 KiB.
    pub const CORTEX_A72: Self = Self { mmfr0: 0x1124, mmfr1: 0, mmfr2: 0 };

    /// Everything that this crate knows: 52-bit addresses with every granule, hardware updates, PAN, XNX, FWB, E0PD.
    pub const FULL: Self = Self {
        mmfr0: 0x1020_0026,
        mmfr1: 2 | 2 << 4 | 1 << 12 | 3 << 20 | 1 << 28,
        mmfr2: 1 << 16 | 1 << 28 | 1 << 40 | 1 << 60,
    };

    /// What has no more than Armv8.0 had to have, with the widest addresses and all granules.
    pub const ARMV8_0: Self = Self { mmfr0: 0x0010_0025, mmfr1: 0, mmfr2: 0 };

    /// Bits of physical address: `PARange`. A value from the future counts as the widest known.
    #[must_use]
    pub const fn pa_bits(self) -> u32 {
        address_bits(self.mmfr0 & 0xf)
    }

    /// `TCR_EL1.IPS` or `VTCR_EL2.PS` in bits, but no more than the CPU and the format of its descriptors have.
    pub(crate) const fn output_bits(self, field: u64, format: AddressFormat) -> u32 {
        min(address_bits(field & 0b111), min(format.max_bits(), self.pa_bits()))
    }

    /// The granule that a control register asks for. What is reserved or not implemented is read as the smallest that is
    /// implemented.
    pub(crate) fn granule(self, wanted: Option<Granule>, stage: Stage) -> Granule {
        let implemented = |granule: &Granule| self.has_granule(*granule, stage);
        wanted
            .filter(implemented)
            .or_else(|| Granule::ALL.into_iter().find(implemented))
            .unwrap_or(Granule::Kib4)
    }

    /// The largest TxSZ.
    pub(crate) const fn largest_size_field(self, granule: Granule) -> u64 {
        match granule {
            _ if !self.has_small_tables() => 39,
            Granule::Kib4 | Granule::Kib16 => 48,
            Granule::Kib64 => 47,
        }
    }

    /// Whether tables of this granule can be walked at this stage.
    #[must_use]
    pub const fn has_granule(self, granule: Granule, stage: Stage) -> bool {
        match (granule, self.granule_field(granule, stage)) {
            (Granule::Kib16, field) => field != 0,
            (Granule::Kib4 | Granule::Kib64, field) => field != 0xf,
        }
    }

    /// FEAT_LPA2 for this granule and stage: `TCR_EL1.DS` and `VTCR_EL2.DS` mean something.
    #[must_use]
    pub const fn has_lpa2(self, granule: Granule, stage: Stage) -> bool {
        match granule {
            Granule::Kib4 => self.granule_field(granule, stage) == 1,
            Granule::Kib16 => self.granule_field(granule, stage) == 2,
            Granule::Kib64 => false,
        }
    }

    /// The `TGran` field that counts for this stage. The fields of stage 2 may refer to those of stage 1.
    const fn granule_field(self, granule: Granule, stage: Stage) -> u64 {
        let (first, second) = match granule {
            Granule::Kib4 => (28, 40),
            Granule::Kib16 => (20, 32),
            Granule::Kib64 => (24, 36),
        };
        let same_as_stage1 = self.mmfr0 >> first & 0xf;
        match stage {
            Stage::One => same_as_stage1,
            Stage::Two => match (granule, self.mmfr0 >> second & 0xf) {
                (_, 0) => same_as_stage1,
                // "Not supported" is 1 here, "supported" one more than in the field of stage 1.
                (Granule::Kib16, field) => field - 1,
                (Granule::Kib4 | Granule::Kib64, 1) => 0xf,
                (Granule::Kib4 | Granule::Kib64, field) => field - 2,
            },
        }
    }

    /// How descriptors of this granule spell addresses, `ds` being the DS bit of the stage's control register.
    #[must_use]
    pub(crate) const fn address_format(self, granule: Granule, stage: Stage, ds: u64) -> AddressFormat {
        match granule {
            Granule::Kib64 if self.pa_bits() > 48 => AddressFormat::Lpa,
            Granule::Kib4 | Granule::Kib16 if ds & 1 != 0 && self.has_lpa2(granule, stage) => {
                AddressFormat::Lpa2
            }
            _ => AddressFormat::Plain,
        }
    }

    /// FEAT_LVA: 52-bit virtual addresses with the 64 KiB granule.
    #[must_use]
    pub const fn has_lva(self) -> bool {
        self.mmfr2 >> 16 & 0xf != 0
    }

    /// FEAT_TTST: TxSZ up to 48 (47 with the 64 KiB granule).
    #[must_use]
    pub const fn has_small_tables(self) -> bool {
        self.mmfr2 >> 28 & 0xf != 0
    }

    /// FEAT_E0PD.
    #[must_use]
    pub const fn has_e0pd(self) -> bool {
        self.mmfr2 >> 60 != 0
    }

    /// FEAT_S2FWB.
    #[must_use]
    pub const fn has_fwb(self) -> bool {
        self.mmfr2 >> 40 & 0xf != 0
    }

    /// FEAT_HAFDBS.
    #[must_use]
    pub const fn hardware_updates(self) -> HardwareUpdates {
        match self.mmfr1 & 0xf {
            0 => HardwareUpdates::None,
            1 => HardwareUpdates::AccessFlag,
            _ => HardwareUpdates::DirtyState,
        }
    }

    /// `VMIDBits`: FEAT_VMID16.
    #[must_use]
    pub const fn has_vmid16(self) -> bool {
        self.mmfr1 >> 4 & 0xf != 0
    }

    /// `ASIDBits`: 16-bit ASIDs.
    #[must_use]
    pub const fn has_asid16(self) -> bool {
        self.mmfr0 >> 4 & 0xf != 0
    }

    /// FEAT_HPDS: hierarchical permissions can be disabled.
    #[must_use]
    pub const fn has_hpds(self) -> bool {
        self.mmfr1 >> 12 & 0xf != 0
    }

    /// FEAT_PAN.
    #[must_use]
    pub const fn has_pan(self) -> bool {
        self.mmfr1 >> 20 & 0xf != 0
    }

    /// FEAT_PAN3: `SCTLR_EL1.EPAN`.
    #[must_use]
    pub const fn has_enhanced_pan(self) -> bool {
        self.mmfr1 >> 20 & 0xf >= 3
    }

    /// FEAT_XNX: stage 2 tells execution at EL1 from execution at EL0.
    #[must_use]
    pub const fn has_xnx(self) -> bool {
        self.mmfr1 >> 28 & 0xf != 0
    }
}

impl HardwareUpdates {
    /// What of it the bits HA (`access_flag`) and HD (`dirty_state`) of `control` turn on; HD needs HA.
    pub(crate) const fn enabled(self, control: u64, access_flag: u64, dirty_state: u64) -> Self {
        match (self, control & access_flag != 0, control & dirty_state != 0) {
            (Self::None, _, _) | (_, false, _) => Self::None,
            (Self::DirtyState, true, true) => Self::DirtyState,
            _ => Self::AccessFlag,
        }
    }
}

/// A physical address size, as ID and control registers spell it.
pub(crate) const fn address_bits(field: u64) -> u32 {
    match field {
        0b000 => 32,
        0b001 => 36,
        0b010 => 40,
        0b011 => 42,
        0b100 => 44,
        0b101 => 48,
        _ => 52,
    }
}

const fn min(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

impl Default for Features {
    fn default() -> Self {
        Self::ARMV8_0
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers that control stage 2, and how they start a walk.
//!
//! [`Geometry`](super::Geometry) makes a `VTCR_EL2`; this reads one, as hardware would, whoever made it.
//!
//! Source: Arm ARM, `VTCR_EL2`, `VTTBR_EL2`, `HCR_EL2`; the pseudocode `AArch64.S2InvalidSL`, `AArch64.S2InconsistentSL`.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::attributes::{CacheControl, Shareability, Stage2Encoding};
use crate::features::{Features, HardwareUpdates, address_bits};
use crate::granule::{AddressFormat, Granule, Stage};
use crate::hcr;
use crate::walk::Start;

const VTCR_HA: u64 = 1 << 21;
const VTCR_HD: u64 = 1 << 22;
const VTCR_VS: u64 = 1 << 19;
const VTCR_DS_SHIFT: u32 = 32;
const VTCR_SL2: u64 = 1 << 33;

/// The system registers of stage 2, and what the CPU makes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Regime {
    /// `VTCR_EL2`.
    pub vtcr: u64,
    /// `VTTBR_EL2`.
    pub vttbr: u64,
    /// `HCR_EL2`.
    pub hcr: u64,
    /// What the CPU implements.
    pub features: Features,
}

/// Why `VTCR_EL2` allows no walk: every access is a translation fault at level 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadVtcr {
    /// T0SZ is out of bounds.
    #[error("T0SZ = {t0sz} is out of bounds: this granule on this CPU allows {smallest} to {largest}")]
    Size {
        /// T0SZ.
        t0sz: u64,
        /// The smallest allowed.
        smallest: u64,
        /// The largest allowed.
        largest: u64,
    },
    /// The start level is reserved, or needs more physical address bits than the CPU has.
    #[error("SL0 = {sl0:#b} names no level at which this CPU can start a walk with this granule")]
    Level {
        /// SL0.
        sl0: u64,
    },
    /// The start level does not fit the size of the IPA space.
    #[error("a walk from level {level} covers {smallest} to {largest} bits of IPA, not {ipa_bits}")]
    Inconsistent {
        /// The start level.
        level: i8,
        /// The bits that T0SZ asks for.
        ipa_bits: u32,
        /// The fewest bits that level covers.
        smallest: u32,
        /// The most bits it covers, with 16 tables side by side.
        largest: u32,
    },
}

/// What in the registers is not as it should be, though a walk takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// TG0 is reserved or its granule not implemented.
    #[error("TG0 = {tg0:#b} is no granule of this CPU: it is taken for {taken:?}")]
    Granule {
        /// TG0.
        tg0: u64,
        /// What it is taken for.
        taken: Granule,
    },
    /// PS is more than the CPU has.
    #[error("PS asks for more output address bits than the {pa_bits} that this CPU has")]
    OutputSize {
        /// The bits there are.
        pa_bits: u32,
    },
    /// The root is not aligned to its size.
    #[error(
        "the address in VTTBR_EL2 is no multiple of the root's size of {size:#x} bytes: the lower bits are ignored"
    )]
    Alignment {
        /// The size of the root, with all concatenated tables.
        size: u64,
    },
}

impl Regime {
    /// Whether stage 2 is on: `HCR_EL2.VM`, which `DC` implies.
    #[must_use]
    pub const fn enabled(&self) -> bool {
        self.hcr & (hcr::VM | hcr::DC) != 0
    }

    /// The VMID: 8 or 16 bits by `VTCR_EL2.VS`.
    #[must_use]
    pub const fn vmid(&self) -> u16 {
        let vmid = (self.vttbr >> 48) as u16;
        if self.vtcr & VTCR_VS != 0 && self.features.has_vmid16() { vmid } else { vmid & 0xff }
    }

    /// How `MemAttr` is to be read.
    #[must_use]
    pub const fn encoding(&self) -> Stage2Encoding {
        if self.hcr & hcr::FWB != 0 && self.features.has_fwb() {
            Stage2Encoding::Forcing
        } else {
            Stage2Encoding::Combining
        }
    }

    /// What `HCR_EL2` does to the cacheability of such an access.
    #[must_use]
    pub const fn cache_control(&self, access: Access) -> CacheControl {
        let bit = match access {
            Access::Read | Access::Write => hcr::CD,
            Access::Execute => hcr::ID,
        };
        if self.hcr & bit != 0 { CacheControl::NonCacheable } else { CacheControl::AsMapped }
    }

    /// `HCR_EL2.PTW`: stage-1 tables may not be in Device memory.
    pub(super) const fn protects_walks(&self) -> bool {
        self.hcr & hcr::PTW != 0
    }

    /// `VTCR_EL2.HA` and `HD`, as far as the CPU has them.
    pub(super) const fn hardware_updates(&self) -> HardwareUpdates {
        self.features.hardware_updates().enabled(self.vtcr, VTCR_HA, VTCR_HD)
    }

    /// Shareability of everything, where addresses take up the descriptor's own field: `SH0`.
    pub(super) const fn shareability(&self) -> Shareability {
        Shareability::from_bits(self.vtcr >> 12)
    }

    /// The bits of IPA: 64 - T0SZ.
    #[must_use]
    pub const fn ipa_bits(&self) -> u32 {
        64 - (self.vtcr & 0x3f) as u32
    }

    /// The granule. What is reserved or not implemented is read as the smallest that is implemented.
    #[must_use]
    pub fn granule(&self) -> Granule {
        self.features.granule(Granule::from_tg0(self.vtcr >> 14), Stage::Two)
    }

    fn format(&self) -> AddressFormat {
        self.features.address_format(self.granule(), Stage::Two, self.vtcr >> VTCR_DS_SHIFT)
    }

    /// How to walk.
    ///
    /// # Errors
    /// [`BadVtcr`] if the registers allow no walk.
    pub fn start(&self) -> Result<Start, BadVtcr> {
        let (granule, format) = (self.granule(), self.format());
        let t0sz = self.vtcr & 0x3f;
        let smallest = 64 - u64::from(self.features.pa_bits().min(format.max_bits()));
        let largest = self.features.largest_size_field(granule);
        if !(smallest..=largest).contains(&t0sz) {
            return Err(BadVtcr::Size { t0sz, smallest, largest });
        }
        let level = self.start_level(granule, format).ok_or(BadVtcr::Level { sl0: self.vtcr >> 6 & 0b11 })?;
        let ipa_bits = self.ipa_bits();
        // At least one bit is left to the root, and at most those of one table and of the choice among 16.
        let resolved_below = granule.shift(level);
        let (smallest, largest) = (resolved_below + 1, resolved_below + granule.index_bits() + 4);
        if !(smallest..=largest).contains(&ipa_bits) {
            return Err(BadVtcr::Inconsistent { level, ipa_bits, smallest, largest });
        }
        let output_bits = self.features.output_bits(self.vtcr >> 16, format);
        let root_index_bits = ipa_bits - resolved_below;
        let root = format.root(self.vttbr, output_bits, root_index_bits + 3);
        Ok(Start { granule, format, level, root_index_bits, root, output_bits })
    }

    /// `SL0` (and with FEAT_LPA2 `SL2`): the level, or `None` if the CPU cannot start there.
    fn start_level(&self, granule: Granule, format: AddressFormat) -> Option<i8> {
        let lpa2 = format == AddressFormat::Lpa2;
        let sl2 = lpa2 && granule == Granule::Kib4 && self.vtcr & VTCR_SL2 != 0;
        let pa_bits = self.features.pa_bits();
        match (granule, self.vtcr >> 6 & 0b11) {
            (Granule::Kib4, 0b00) if sl2 => (pa_bits >= 52).then_some(-1),
            (Granule::Kib4, _) if sl2 => None,
            (Granule::Kib4, 0b00) => Some(2),
            (Granule::Kib4, 0b01) => Some(1),
            (Granule::Kib4, 0b10) => (pa_bits >= 44).then_some(0),
            (Granule::Kib4, _) => self.features.has_small_tables().then_some(3),
            (Granule::Kib16 | Granule::Kib64, 0b00) => Some(3),
            (Granule::Kib16 | Granule::Kib64, 0b01) => Some(2),
            (Granule::Kib16, 0b10) => (pa_bits >= 42).then_some(1),
            (Granule::Kib64, 0b10) => (pa_bits >= 44).then_some(1),
            (Granule::Kib16, _) => lpa2.then_some(0),
            (Granule::Kib64, _) => None,
        }
    }

    /// What a walk passes over, but a hypervisor should not write.
    pub fn doubts(&self) -> impl Iterator<Item = Doubt> {
        let granule = self.granule();
        let tg0 = self.vtcr >> 14 & 0b11;
        let other_granule =
            (Granule::from_tg0(tg0) != Some(granule)).then_some(Doubt::Granule { tg0, taken: granule });
        let pa_bits = self.features.pa_bits();
        let too_wide =
            (address_bits(self.vtcr >> 16 & 0b111) > pa_bits).then_some(Doubt::OutputSize { pa_bits });
        let misaligned = self.start().ok().and_then(|start| {
            let size = 1_u64 << start.root_size_shift();
            let below = self.vttbr & 0x0000_ffff_ffff_fffe & (size - 1);
            (start.output_bits <= 48 && below != 0).then_some(Doubt::Alignment { size })
        });
        [other_granule, too_wide, misaligned].into_iter().flatten()
    }
}

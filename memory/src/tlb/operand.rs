// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a TLBI means, from its name and the register it takes.
//!
//! What an operand leaves open, the adversary takes as leave to forget nothing: a range whose granule is reserved, or
//! whose first address is not aligned to the level of its hint (there the architecture says UNPREDICTABLE).
//!
//! Not modelled: the hints that exist with FEAT_LPA2 alone (level 0 with 4 KiB, level 1 with 16 KiB), read as no hint.
//!
//! Source: Arm ARM, the fields of `TLBI VAE1`, `TLBI IPAS2E1` and `TLBI RVAE1`; "TLB range maintenance instructions".

use super::{Context, Instruction, Operation, Scope};
use crate::granule::Granule;
use crate::stage2::Reach;

/// A TLB invalidation, without its shareability. Those of EL1&0, but for [`Tlbi::All`], act on the current VMID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tlbi {
    /// `VMALLE1`: stage 1, and stage 1 and 2 combined, of the VM.
    Stage1,
    /// `VMALLS12E1`: everything of the VM.
    Vm,
    /// `ALLE1`: everything of every VM.
    All,
    /// `ASIDE1`: stage 1 of an ASID, except what is global.
    Asid {
        /// The ASID.
        asid: u16,
    },
    /// `VAE1` and its kind: stage 1 of addresses.
    Va {
        /// The addresses.
        addresses: Addresses,
        /// The ASID, next to which what is global goes too; `None` for every ASID.
        asid: Option<u16>,
        /// Whether the tables on the way go too.
        reach: Reach,
    },
    /// `IPAS2E1` and its kind: stage 2 of IPAs.
    Ipa {
        /// The addresses.
        addresses: Addresses,
        /// Whether the tables on the way go too.
        reach: Reach,
    },
    /// `ALLE2`: everything of EL2.
    AllEl2,
    /// `VAE2` and its kind: EL2's addresses.
    VaEl2 {
        /// The addresses.
        addresses: Addresses,
        /// Whether the tables on the way go too.
        reach: Reach,
    },
}

/// The addresses that an invalidation is about. VAs are sign-extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// What translates one address.
    One {
        /// The address.
        address: u64,
        /// Where the leaf is, if software says so (FEAT_TTL).
        hint: Option<Hint>,
    },
    /// What translates any of a range.
    Range {
        /// The first address.
        first: u64,
        /// The last.
        last: u64,
        /// The granule of the tables meant; nothing of others need go.
        granule: Granule,
        /// The level of the leaves, if software says so.
        level: Option<i8>,
    },
    /// No address for sure.
    Nothing,
}

impl Addresses {
    /// One address without a hint.
    #[must_use]
    pub const fn one(address: u64) -> Self {
        Self::One { address, hint: None }
    }
}

/// What software says about the leaf that it invalidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The granule of its tables.
    pub granule: Granule,
    /// Its level.
    pub level: i8,
}

/// The unit of a range's BaseADDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeUnit {
    /// The granule.
    Granule,
    /// 64 KiB, whatever the granule: where `DS` of `TCR_EL1` (for stage 2 `VTCR_EL2`) is set.
    Kib64,
}

impl Tlbi {
    /// Decodes a TLBI from the fields of the `SYS` instruction and its register, with 48-bit addresses ([`RangeUnit`]);
    /// `None` if it is none that is modelled.
    #[must_use]
    pub fn decode(op1: u8, crn: u8, crm: u8, op2: u8, operand: u64) -> Option<(Self, Scope)> {
        let instruction = Instruction::from_encoding(op1, crn, crm, op2)?;
        Some((Self::new(instruction.operation, operand, RangeUnit::Granule), instruction.scope))
    }

    /// What `operation` does with `operand`.
    #[must_use]
    #[rustfmt::skip]
    pub const fn new(operation: Operation, operand: u64, unit: RangeUnit) -> Self {
        use Reach::{AllLevels, LastLevel};
        let asid = (operand >> 48) as u16;
        match operation {
            Operation::Vmalle1 => Self::Stage1,
            Operation::Vmalls12e1 => Self::Vm,
            Operation::Alle1 => Self::All,
            Operation::Alle2 => Self::AllEl2,
            Operation::Aside1 => Self::Asid { asid },
            Operation::Vae1 => Self::Va { addresses: one_va(operand), asid: Some(asid), reach: AllLevels },
            Operation::Vale1 => Self::Va { addresses: one_va(operand), asid: Some(asid), reach: LastLevel },
            Operation::Vaae1 => Self::Va { addresses: one_va(operand), asid: None, reach: AllLevels },
            Operation::Vaale1 => Self::Va { addresses: one_va(operand), asid: None, reach: LastLevel },
            Operation::Rvae1 => Self::Va { addresses: vas(operand, unit), asid: Some(asid), reach: AllLevels },
            Operation::Rvale1 => Self::Va { addresses: vas(operand, unit), asid: Some(asid), reach: LastLevel },
            Operation::Rvaae1 => Self::Va { addresses: vas(operand, unit), asid: None, reach: AllLevels },
            Operation::Rvaale1 => Self::Va { addresses: vas(operand, unit), asid: None, reach: LastLevel },
            Operation::Ipas2e1 => Self::Ipa { addresses: one_ipa(operand), reach: AllLevels },
            Operation::Ipas2le1 => Self::Ipa { addresses: one_ipa(operand), reach: LastLevel },
            Operation::Ripas2e1 => Self::Ipa { addresses: ipas(operand, unit), reach: AllLevels },
            Operation::Ripas2le1 => Self::Ipa { addresses: ipas(operand, unit), reach: LastLevel },
            Operation::Vae2 => Self::VaEl2 { addresses: one_va(operand), reach: AllLevels },
            Operation::Vale2 => Self::VaEl2 { addresses: one_va(operand), reach: LastLevel },
            Operation::Rvae2 => Self::VaEl2 { addresses: vas(operand, unit), reach: AllLevels },
            Operation::Rvale2 => Self::VaEl2 { addresses: vas(operand, unit), reach: LastLevel },
        }
    }

    /// What `operation` does on a CPU with this context.
    pub(super) fn in_context(operation: Operation, operand: u64, context: &Context) -> Self {
        let (stage1, stage2) = context.range_units();
        let unit = match operation {
            Operation::Ripas2e1 | Operation::Ripas2le1 => stage2,
            _ => stage1,
        };
        Self::new(operation, operand, unit).with_asid_mask(context.asid_mask())
    }

    /// The same where ASIDs have only the bits of `mask`: with 8 bits, the upper ones of an operand are ignored.
    #[must_use]
    pub fn with_asid_mask(self, mask: u16) -> Self {
        match self {
            Self::Asid { asid } => Self::Asid { asid: asid & mask },
            Self::Va { addresses, asid, reach } => {
                Self::Va { addresses, asid: asid.map(|asid| asid & mask), reach }
            }
            other => other,
        }
    }
}

/// VA[55:12] in bits 43:0, TTL in bits 47:44.
const fn one_va(operand: u64) -> Addresses {
    Addresses::One { address: sign_extended(operand << 12, 55), hint: hint(operand) }
}

/// IPA[51:12] in bits 39:0, TTL in bits 47:44.
const fn one_ipa(operand: u64) -> Addresses {
    Addresses::One { address: (operand & ((1 << 40) - 1)) << 12, hint: hint(operand) }
}

/// A VA as the TLB knows it: bits 63:56 repeat bit 55.
pub(super) const fn canonical(va: u64) -> u64 {
    sign_extended(va, 55)
}

const fn sign_extended(value: u64, top_bit: u32) -> u64 {
    let above = 63 - top_bit;
    ((value << above) as i64 >> above) as u64
}

/// `TG` as all TLBI operands write it; 0 is reserved.
const fn granule(bits: u64) -> Option<Granule> {
    match bits & 0b11 {
        0b01 => Some(Granule::Kib4),
        0b10 => Some(Granule::Kib16),
        0b11 => Some(Granule::Kib64),
        _ => None,
    }
}

/// The level hinted at for a granule; values that are reserved say nothing.
const fn hinted_level(granule: Granule, ttl: u64) -> Option<i8> {
    match (granule, ttl & 0b11) {
        (_, 0) | (Granule::Kib16, 1) => None,
        (_, level) => Some(level as i8),
    }
}

/// The TTL field of the instructions for one address: granule, level.
const fn hint(operand: u64) -> Option<Hint> {
    let Some(granule) = granule(operand >> 46) else { return None };
    match hinted_level(granule, operand >> 44) {
        Some(level) => Some(Hint { granule, level }),
        None => None,
    }
}

const fn vas(operand: u64, unit: RangeUnit) -> Addresses {
    // BaseADDR's own top bit is the VA's, and tells the two halves of the address space apart.
    range(operand, sign_extended(operand, 36), unit)
}

const fn ipas(operand: u64, unit: RangeUnit) -> Addresses {
    range(operand, operand & ((1 << 37) - 1), unit)
}

/// The range from `base`, in its unit: TG in bits 47:46, SCALE in 45:44, NUM in 43:39, TTL in 38:37.
const fn range(operand: u64, base: u64, unit: RangeUnit) -> Addresses {
    let Some(granule) = granule(operand >> 46) else { return Addresses::Nothing };
    let first = match unit {
        RangeUnit::Granule => base << granule.page_shift(),
        RangeUnit::Kib64 => base << 16,
    };
    let level = hinted_level(granule, operand >> 37);
    if let Some(level) = level
        && first & ((1 << granule.shift(level)) - 1) != 0
    {
        return Addresses::Nothing;
    }
    let (num, scale) = (operand >> 39 & 0b1_1111, operand >> 44 & 0b11);
    let pages = (num + 1) << (5 * scale + 1);
    let last = first.saturating_add((pages << granule.page_shift()) - 1);
    Addresses::Range { first, last, granule, level }
}

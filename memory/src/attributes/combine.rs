// SPDX-License-Identifier: MIT OR Apache-2.0
//! Combining: what a stage-2 `MemAttr` field asks for, and what it makes of stage 1's memory type.
//!
//! Each combination names the rule that decided, so that an explanation and the result cannot differ.
//!
//! Source: Arm ARM, "Stage 2 memory region attributes", "Combining stage 1 and stage 2 attributes", `HCR_EL2`.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::{Cacheability, DeviceKind, MemoryType, Shareability};

/// How `MemAttr` in a stage-2 descriptor is to be read: `HCR_EL2.FWB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stage2Encoding {
    /// FWB = 0: `MemAttr` is a memory type, combined with stage 1's.
    Combining,
    /// FWB = 1 (FEAT_S2FWB): `MemAttr` can override stage 1.
    Forcing,
}

/// What a stage-2 `MemAttr` field asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stage2Type {
    /// Device memory of this or, if stage 1 says so, a more restrictive type.
    Device(DeviceKind),
    /// FWB = 0: Normal memory, cached at most so.
    Normal {
        /// At most this in the inner caches.
        inner: Cacheability,
        /// At most this in the outer caches.
        outer: Cacheability,
    },
    /// FWB = 1: Normal Non-cacheable, unless stage 1 says Device.
    NonCacheable,
    /// FWB = 1: Normal Write-Back, whatever stage 1 says.
    ForcedWriteBack,
    /// FWB = 1: what stage 1 says.
    Stage1,
}

impl Stage2Type {
    /// Decodes the four-bit `MemAttr` field; `None` for a reserved value.
    #[must_use]
    pub const fn from_mem_attr(bits: u64, encoding: Stage2Encoding) -> Option<Self> {
        match (encoding, bits & 0b1111) {
            (_, 0b0000..=0b0011) => Some(Self::Device(DeviceKind::from_bits(bits))),
            (Stage2Encoding::Forcing, 0b0101) => Some(Self::NonCacheable),
            (Stage2Encoding::Forcing, 0b0110) => Some(Self::ForcedWriteBack),
            (Stage2Encoding::Forcing, 0b0111) => Some(Self::Stage1),
            (Stage2Encoding::Forcing, _) => None,
            (Stage2Encoding::Combining, field) => match (stage2_field(field), stage2_field(field >> 2)) {
                (Some(inner), Some(outer)) => Some(Self::Normal { inner, outer }),
                _ => None,
            },
        }
    }

    /// Whether this asks for Device memory.
    #[must_use]
    pub const fn is_device(self) -> bool {
        matches!(self, Self::Device(_))
    }
}

/// Half of a `MemAttr` field for Normal memory with FWB = 0.
const fn stage2_field(bits: u64) -> Option<Cacheability> {
    match bits & 0b11 {
        0b01 => Some(Cacheability::NonCacheable),
        0b10 => Some(Cacheability::WriteThrough),
        0b11 => Some(Cacheability::WriteBack),
        _ => None,
    }
}

/// `HCR_EL2.CD` for data accesses, `HCR_EL2.ID` for instruction fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheControl {
    /// The bit is clear: as the tables say.
    AsMapped,
    /// The bit is set: stage 2 maps no memory as cacheable.
    NonCacheable,
}

/// The rule that decides a combined memory type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MemoryRule {
    /// One stage says Device, the other Normal.
    DeviceBeatsNormal,
    /// Both say Device.
    StricterDevice,
    /// Both say Normal, cacheability is combined inside and outside.
    LesserCacheability,
    /// FWB: stage 2 forces Write-Back.
    ForcedWriteBack,
    /// FWB: stage 2 leaves it to stage 1.
    AsStage1,
    /// FWB: stage 2 makes what is not Device Non-cacheable.
    ForcedNonCacheable,
    /// `HCR_EL2.CD` or `ID`.
    CachesOff,
    /// There is no stage 2.
    Stage2Off,
}

impl fmt::Display for MemoryRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DeviceBeatsNormal => "any Device type beats Normal",
            Self::StricterDevice => "both are Device: the more restrictive type wins",
            Self::LesserCacheability => {
                "both are Normal: the lesser cacheability wins, inner and outer apart"
            }
            Self::ForcedWriteBack => "FWB: stage 2 forces Normal Write-Back, whatever stage 1 says",
            Self::AsStage1 => "FWB: stage 2 leaves the type to stage 1",
            Self::ForcedNonCacheable => "FWB: stage 2 makes Normal memory Non-cacheable",
            Self::CachesOff => "HCR_EL2.CD or ID: stage 2 maps Normal memory Non-cacheable",
            Self::Stage2Off => "stage 2 is off: stage 1 alone decides",
        })
    }
}

/// The rule that decides a combined shareability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ShareabilityRule {
    /// What no cache keeps is Outer Shareable.
    UncachedIsOuter,
    /// The wider of the two.
    Wider,
}

impl fmt::Display for ShareabilityRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UncachedIsOuter => "Device and Non-cacheable memory is Outer Shareable",
            Self::Wider => "the wider shareability wins",
        })
    }
}

/// What an access is like after both stages, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Combined {
    /// The memory type.
    pub memory: MemoryType,
    /// The rule that decided it.
    pub memory_rule: MemoryRule,
    /// The shareability.
    pub shareability: Shareability,
    /// The rule that decided it.
    pub shareability_rule: ShareabilityRule,
}

impl Combined {
    /// The attributes of stage 1, where stage 2 is off.
    #[must_use]
    pub fn of_stage1(memory: MemoryType, shareability: Shareability) -> Self {
        let (shareability, shareability_rule) =
            combine_shareability_by_rule(memory, shareability, Shareability::NonShareable);
        Self { memory, memory_rule: MemoryRule::Stage2Off, shareability, shareability_rule }
    }
}

/// Combines the attributes of both stages, each as type and shareability.
#[must_use]
pub fn combine(
    stage1: (MemoryType, Shareability),
    stage2: (Stage2Type, Shareability),
    caches: CacheControl,
) -> Combined {
    let (memory, memory_rule) = stage2.0.combine_by_rule(stage1.0, caches);
    let (shareability, shareability_rule) = combine_shareability_by_rule(memory, stage1.1, stage2.1);
    Combined { memory, memory_rule, shareability, shareability_rule }
}

impl Stage2Type {
    /// The memory type an access has, given what stage 1 asks for.
    #[must_use]
    pub fn combine(self, stage1: MemoryType) -> MemoryType {
        self.combine_by_rule(stage1, CacheControl::AsMapped).0
    }

    fn combine_by_rule(self, stage1: MemoryType, caches: CacheControl) -> (MemoryType, MemoryRule) {
        let (memory, rule) = self.combine_as_mapped(stage1);
        match caches {
            CacheControl::NonCacheable if memory != memory.uncached() => {
                (memory.uncached(), MemoryRule::CachesOff)
            }
            CacheControl::NonCacheable | CacheControl::AsMapped => (memory, rule),
        }
    }

    fn combine_as_mapped(self, stage1: MemoryType) -> (MemoryType, MemoryRule) {
        match (self, stage1) {
            (Self::Stage1, _) => (stage1, MemoryRule::AsStage1),
            (Self::ForcedWriteBack, _) => (MemoryType::WRITE_BACK, MemoryRule::ForcedWriteBack),
            (Self::Device(ours), MemoryType::Device(theirs)) => {
                (MemoryType::Device(ours.min(theirs)), MemoryRule::StricterDevice)
            }
            (Self::Device(ours), MemoryType::Normal { .. }) => {
                (MemoryType::Device(ours), MemoryRule::DeviceBeatsNormal)
            }
            (Self::NonCacheable | Self::Normal { .. }, MemoryType::Device(theirs)) => {
                (MemoryType::Device(theirs), MemoryRule::DeviceBeatsNormal)
            }
            (Self::NonCacheable, MemoryType::Normal { .. }) => {
                (MemoryType::NON_CACHEABLE, MemoryRule::ForcedNonCacheable)
            }
            (
                Self::Normal { inner, outer },
                MemoryType::Normal { inner: their_inner, outer: their_outer },
            ) => {
                let memory =
                    MemoryType::Normal { inner: inner.min(their_inner), outer: outer.min(their_outer) };
                (memory, MemoryRule::LesserCacheability)
            }
        }
    }
}

/// The shareability of an access of type `combined` (the outcome of [`Stage2Type::combine`]), given both stages' `SH`.
#[must_use]
pub fn combine_shareability(
    combined: MemoryType,
    stage1: Shareability,
    stage2: Shareability,
) -> Shareability {
    combine_shareability_by_rule(combined, stage1, stage2).0
}

fn combine_shareability_by_rule(
    combined: MemoryType,
    stage1: Shareability,
    stage2: Shareability,
) -> (Shareability, ShareabilityRule) {
    if combined == combined.uncached() {
        (Shareability::OuterShareable, ShareabilityRule::UncachedIsOuter)
    } else {
        (stage1.max(stage2), ShareabilityRule::Wider)
    }
}

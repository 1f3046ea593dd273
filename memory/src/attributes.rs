// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory types, and how those of the two stages combine.
//!
//! Stage 1 says what the guest wants ([`MemoryType`], out of `MAIR_EL1`), stage 2 what we allow ([`Stage2Type`], out
//! of a descriptor's `MemAttr` field). Without FEAT_S2FWB the weaker of the two wins: a guest that maps its RAM as
//! Non-cacheable sees past our caches. With it, stage 2 can force Write-Back whatever the guest says. Allocation
//! hints and the XS attribute change no result and are not kept.
//!
//! Source: Arm ARM, "The AArch64 Virtual Memory System Architecture", sections on memory region attributes, on stage 2
//! memory region attributes, and on combining stage 1 and stage 2 attributes.

mod combine;
mod names;
#[cfg(test)]
mod tests;

pub use combine::{
    CacheControl, Combined, MemoryRule, ShareabilityRule, Stage2Encoding, Stage2Type, combine,
    combine_shareability,
};
use serde::{Deserialize, Serialize};

/// The four types of Device memory, from the most to the least restrictive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DeviceKind {
    /// No gathering, no reordering, no early write acknowledgement.
    NGnRnE,
    /// No gathering, no reordering; a write may be acknowledged early.
    NGnRE,
    /// No gathering; reordering allowed.
    NGRE,
    /// Gathering and reordering allowed.
    GRE,
}

impl DeviceKind {
    /// Decodes the two-bit field that MAIR and stage-2 descriptors share; higher bits are ignored.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        match bits & 0b11 {
            0b00 => Self::NGnRnE,
            0b01 => Self::NGnRE,
            0b10 => Self::NGRE,
            _ => Self::GRE,
        }
    }

    /// The two-bit field.
    #[must_use]
    pub const fn bits(self) -> u64 {
        match self {
            Self::NGnRnE => 0b00,
            Self::NGnRE => 0b01,
            Self::NGRE => 0b10,
            Self::GRE => 0b11,
        }
    }
}

/// How Normal memory is cached at one level, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cacheability {
    /// Not cached.
    NonCacheable,
    /// Cached; each write goes on to memory.
    WriteThrough,
    /// Cached; writes stay in the cache.
    WriteBack,
}

/// What an access to a location is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MemoryType {
    /// Device memory: accesses have side effects.
    Device(DeviceKind),
    /// Normal memory.
    Normal {
        /// Cacheability in the inner caches.
        inner: Cacheability,
        /// Cacheability in the outer caches.
        outer: Cacheability,
    },
}

impl MemoryType {
    /// Normal memory, Write-Back in the inner and outer caches: ordinary RAM.
    pub const WRITE_BACK: Self =
        Self::Normal { inner: Cacheability::WriteBack, outer: Cacheability::WriteBack };

    /// Normal memory, cached nowhere.
    pub const NON_CACHEABLE: Self =
        Self::Normal { inner: Cacheability::NonCacheable, outer: Cacheability::NonCacheable };

    /// Decodes one byte of `MAIR_EL1`.
    ///
    /// An encoding the architecture calls UNPREDICTABLE is read as the most restrictive type that it may behave as.
    #[must_use]
    pub const fn from_mair(byte: u8) -> Self {
        match byte {
            // 0b0000_dd00, and 0b0000_dd01 with FEAT_XS.
            0x00..=0x0f => Self::Device(DeviceKind::from_bits(byte as u64 >> 2)),
            // Tagged Normal (FEAT_MTE2): Write-Back.
            0xf0 => Self::WRITE_BACK,
            // Write-Through with XS = 0 (FEAT_XS).
            0xa0 => Self::Normal { inner: Cacheability::WriteThrough, outer: Cacheability::WriteThrough },
            _ => Self::Normal { inner: mair_nibble(byte & 0xf), outer: mair_nibble(byte >> 4) },
        }
    }

    /// The type of attribute `index` (`AttrIndx`, modulo 8) in `mair`.
    #[must_use]
    pub const fn from_mair_index(mair: u64, index: u64) -> Self {
        Self::from_mair((mair >> ((index & 0b111) * 8)) as u8)
    }

    /// The same with caches turned off: `SCTLR_EL1.C` or `I` = 0. Device memory is not cached anyway.
    #[must_use]
    pub const fn uncached(self) -> Self {
        match self {
            Self::Device(_) => self,
            Self::Normal { .. } => Self::NON_CACHEABLE,
        }
    }

    /// The shareability that an access of this type has where `wanted` is asked for: what no cache keeps is Outer
    /// Shareable whatever is asked.
    #[must_use]
    pub fn shareability(self, wanted: Shareability) -> Shareability {
        if self == self.uncached() { Shareability::OuterShareable } else { wanted }
    }

    /// Whether this is Device memory.
    #[must_use]
    pub const fn is_device(self) -> bool {
        matches!(self, Self::Device(_))
    }
}

/// Half a byte of MAIR for Normal memory.
const fn mair_nibble(nibble: u8) -> Cacheability {
    match nibble {
        // 0b0000 is UNPREDICTABLE here, 0b0100 is Non-cacheable.
        0b0000 | 0b0100 => Cacheability::NonCacheable,
        // Write-Through, transient and not.
        0b0001..=0b0011 | 0b1000..=0b1011 => Cacheability::WriteThrough,
        // Write-Back, transient and not.
        _ => Cacheability::WriteBack,
    }
}

/// Who must see accesses in order: the `SH` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Shareability {
    /// One PE.
    NonShareable,
    /// All PEs that the hypervisor runs on.
    InnerShareable,
    /// And other observers.
    OuterShareable,
}

impl Shareability {
    /// Decodes the two-bit `SH` field; the reserved value is read as Outer Shareable.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        match bits & 0b11 {
            0b00 => Self::NonShareable,
            0b11 => Self::InnerShareable,
            _ => Self::OuterShareable,
        }
    }
}

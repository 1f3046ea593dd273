// SPDX-License-Identifier: MIT OR Apache-2.0
//! One thing a TLB remembers, and which TLB invalidations it does not survive.
//!
//! An entry serves a range of input addresses and comes from one table descriptor, its *source*. The two differ where a
//! TLB keeps a large block in pieces, as it must when stage 2 maps the block's IPAs in smaller ones: whoever invalidates
//! an address of the block means all the pieces, for software cannot know of them. A contiguous run of descriptors may
//! be kept as one entry, whose source is then the run.
//!
//! Tables (walk-cache entries) of stage 1 belong to an ASID always. Only leaves can be global.
//!
//! [`Tlbi::forgets`] is exact in one direction: what it answers "yes" to must go. Hardware may forget more, and an
//! adversary does not.
//!
//! Source: Arm ARM, the descriptions of the TLBI instructions ("Invalidates cached copies of translation table
//! entries from TLBs that meet all the following requirements"); "Use of ASIDs and VMIDs to reduce TLB maintenance
//! requirements".

use core::cmp::Ordering;

use super::operand::canonical;
use super::{Addresses, Tlbi};
use crate::granule::Granule;
use crate::stage2::Reach;
use crate::{Pa, Va};

/// What an entry is a copy of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlbEntryKind {
    /// A table of stage 2 (a walk cache). Its output is the table's physical address.
    Stage2Table,
    /// A block or page of stage 2. Its output is the descriptor.
    Stage2Leaf,
    /// A table of stage 1 (a walk cache). Its output is the table's IPA; for EL2 its physical address.
    Stage1Table,
    /// A block or page of stage 1. Its output is the IPA; for EL2 the physical address.
    Stage1Leaf,
    /// Stage 1 and 2 together. Its output is the physical address.
    Combined,
}

impl TlbEntryKind {
    /// Whether stage 1 had a part in it: what is invalidated by VA and ASID.
    #[must_use]
    pub const fn has_stage1(self) -> bool {
        matches!(self, Self::Stage1Table | Self::Stage1Leaf | Self::Combined)
    }

    const fn is_table(self) -> bool {
        matches!(self, Self::Stage2Table | Self::Stage1Table)
    }
}

/// Whom an entry serves. Non-secure state alone, and EL2 with `HCR_EL2.E2H` = 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// The EL1&0 regime of a VM.
    El1 {
        /// The VMID.
        vmid: u16,
        /// The ASID. `None` for global leaves, and for stage 2, which knows no ASID.
        asid: Option<u16>,
    },
    /// The EL2 regime, which has neither ASID nor VMID.
    El2,
}

impl Tag {
    /// Whether an access made under `current` (for EL1&0, with the current ASID) can use entries tagged with this.
    #[must_use]
    pub fn serves(self, current: Self) -> bool {
        match (self, current) {
            (Self::El1 { vmid, asid }, Self::El1 { vmid: current, asid: current_asid }) => {
                vmid == current && (asid.is_none() || asid == current_asid)
            }
            (Self::El2, Self::El2) => true,
            (Self::El1 { .. }, Self::El2) | (Self::El2, Self::El1 { .. }) => false,
        }
    }
}

/// A range of input addresses, never empty. VAs are sign-extended from bit 55, so that a tag does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// Its size in bytes.
    pub size: u64,
    /// Its first address.
    pub first: u64,
}

impl Extent {
    /// What a descriptor of `level` that serves `address` covers.
    #[must_use]
    pub const fn of_level(granule: Granule, level: i8, address: u64) -> Self {
        Self::aligned(granule.shift(level), address)
    }

    /// What the contiguous run of descriptors of `level` around `address` covers.
    #[must_use]
    pub const fn of_run(granule: Granule, level: i8, address: u64) -> Self {
        Self::aligned(granule.shift(level) + granule.contiguous_shift(level), address)
    }

    const fn aligned(shift: u32, address: u64) -> Self {
        let size = 1 << shift;
        Self { size, first: address & !(size - 1) }
    }

    /// The last address.
    #[must_use]
    pub const fn last(self) -> u64 {
        self.first.saturating_add(self.size - 1)
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub const fn contains(self, address: u64) -> bool {
        self.first <= address && address <= self.last()
    }

    /// Whether it shares an address with those from `first` to `last`.
    #[must_use]
    pub const fn meets(self, first: u64, last: u64) -> bool {
        self.first <= last && first <= self.last()
    }
}

/// The descriptor, or contiguous run of them, that an entry is a copy of. A combined entry's is that of stage 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The granule of its tables.
    pub granule: Granule,
    /// Its level.
    pub level: i8,
    /// What it covers.
    pub extent: Extent,
}

impl Source {
    /// A descriptor of `level` for `address`.
    #[must_use]
    pub const fn new(granule: Granule, level: i8, address: u64) -> Self {
        Self { granule, level, extent: Extent::of_level(granule, level, address) }
    }

    /// A contiguous run of descriptors of `level` around `address`.
    #[must_use]
    pub const fn contiguous(granule: Granule, level: i8, address: u64) -> Self {
        Self { granule, level, extent: Extent::of_run(granule, level, address) }
    }
}

impl Ord for Source {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |source: &Self| (source.extent, source.granule.page_shift(), source.level);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Source {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Something a TLB holds. The order of the fields is that of [`Entries`](super::Entries).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlbEntry {
    /// What it is a copy of.
    pub kind: TlbEntryKind,
    /// Whom it serves.
    pub tag: Tag,
    /// The input addresses it serves: VAs, or IPAs if `kind` is of stage 2.
    pub extent: Extent,
    /// What it was made from.
    pub source: Source,
    /// Where it leads, as `kind` says, for the first address.
    pub output: u64,
    /// A combined entry's stage-2 descriptor; otherwise 0.
    pub stage2: u64,
}

impl TlbEntry {
    /// A copy of one descriptor (or run): anything but a combined entry.
    #[must_use]
    pub const fn new(kind: TlbEntryKind, tag: Tag, source: Source, output: u64) -> Self {
        Self { kind, tag, extent: source.extent, source, output, stage2: 0 }
    }

    /// Where a combined entry leads from `va`, which it serves.
    pub(super) const fn output_at(&self, va: Va) -> Pa {
        Pa(self.output + (canonical(va.0) - self.extent.first))
    }
}

impl Tlbi {
    /// Whether `entry` must go when this is executed with `vmid` current.
    #[must_use]
    pub fn forgets(self, vmid: u16, entry: &TlbEntry) -> bool {
        match entry.tag {
            Tag::El2 => match self {
                Self::AllEl2 => true,
                Self::VaEl2 { addresses, reach } => addresses.reach(entry, reach),
                _ => false,
            },
            Tag::El1 { vmid: own, asid } => match self {
                Self::All => true,
                _ => own == vmid && self.forgets_of_vm(entry, asid),
            },
        }
    }

    /// The same for an entry of the current VMID.
    fn forgets_of_vm(self, entry: &TlbEntry, own_asid: Option<u16>) -> bool {
        let stage1 = entry.kind.has_stage1();
        match self {
            Self::All | Self::Vm => true,
            Self::Stage1 => stage1,
            // Stage 2 has none, and what is global neither.
            Self::Asid { asid } => own_asid == Some(asid),
            Self::Va { addresses, asid, reach } => {
                let of_asid = own_asid.is_none() || asid.is_none() || own_asid == asid;
                stage1 && of_asid && addresses.reach(entry, reach)
            }
            Self::Ipa { addresses, reach } => !stage1 && addresses.reach(entry, reach),
            Self::AllEl2 | Self::VaEl2 { .. } => false,
        }
    }
}

impl Addresses {
    /// Whether an invalidation of these addresses, and of tables by `reach`, is sure to meet `entry`.
    fn reach(self, entry: &TlbEntry, reach: Reach) -> bool {
        if entry.kind.is_table() && reach == Reach::LastLevel {
            return false;
        }
        let source = entry.source;
        // Tables above the level hinted at, leaves of that level.
        let at_level = |level: i8| match entry.kind.is_table() {
            true => source.level < level,
            false => source.level == level,
        };
        match self {
            Self::One { address, hint } => {
                source.extent.contains(address)
                    && hint.is_none_or(|hint| hint.granule == source.granule && at_level(hint.level))
            }
            Self::Range { first, last, granule, level } => {
                source.extent.meets(first, last) && granule == source.granule && level.is_none_or(at_level)
            }
            Self::Nothing => false,
        }
    }
}

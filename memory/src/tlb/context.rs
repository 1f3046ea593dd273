// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a CPU translates by, from the registers, and how the guest's stage 1 and our stage 2 combine.

use alloc::vec::Vec;

use super::operand::canonical;
use super::stage1::Stage1Table;
use super::stage2::{align_down, output, span};
use super::{Extent, RangeUnit, Source, Tag, TlbEntry, TlbEntryKind, Tlbi};
use crate::granule::Granule;
use crate::{Ipa, Pa, Va};

const VTCR_VS: u64 = 1 << 19;
const VTCR_DS: u64 = 1 << 32;
const TCR_AS: u64 = 1 << 36;
const TCR_DS: u64 = 1 << 59;

/// A leaf of a guest's stage 1: `size` bytes at `va` lead to `ipa`.
///
/// The size may be any, for short: the level (for the TTL hint) is that of the largest 4 KiB-granule block that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first virtual address.
    pub va: Va,
    /// Where it leads.
    pub ipa: Ipa,
    /// The size in bytes.
    pub size: u64,
    /// The ASID it belongs to; `None` if global.
    pub asid: Option<u16>,
}

impl Window {
    /// Every address is its own IPA: stage 1 off, or a kernel's linear map.
    pub const IDENTITY: Self = Self { va: Va(0), ipa: Ipa(0), size: 1 << 48, asid: None };

    const fn source(&self) -> Source {
        let level = match self.size {
            0..0x20_0000 => 3,
            0x20_0000..0x4000_0000 => 2,
            _ => 1,
        };
        let extent = Extent { first: canonical(self.va.0), size: self.size };
        Source { granule: Granule::Kib4, level, extent }
    }
}

/// What a CPU translates by: `VTTBR_EL2`, `VTCR_EL2`, and the guest's stage 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    vmid: u16,
    pub(super) root: Pa,
    pub(super) start: u8,
    ipa_bits: u32,
    vtcr: u64,
    tcr: u64,
    windows: Vec<Window>,
    /// `TTBR0_EL1`, if there are tables of stage 1.
    ttbr0: Option<u64>,
}

impl Context {
    /// Decodes the two registers (4 KiB granule). The guest has 16-bit ASIDs; see [`Context::with_tcr`].
    #[must_use]
    pub fn from_registers(vtcr: u64, vttbr: u64, windows: Vec<Window>) -> Self {
        Self {
            vmid: (vttbr >> 48) as u16 & width_mask(vtcr & VTCR_VS),
            root: Pa(vttbr & 0x0000_ffff_ffff_fffe),
            start: (2_u64.saturating_sub(vtcr >> 6 & 0b11)) as u8,
            ipa_bits: 64 - (vtcr & 0x3f) as u32,
            vtcr,
            tcr: TCR_AS,
            windows,
            ttbr0: None,
        }
    }

    /// The same with this `TCR_EL1`, of which AS (16 bits of ASID instead of 8) and DS count.
    #[must_use]
    pub fn with_tcr(self, tcr: u64) -> Self {
        Self { tcr, ..self }
    }

    /// The same with tables of stage 1 (4 KiB granule) under this `TTBR0_EL1`, whose ASID is the current one; their size
    /// is `T0SZ` (16 to 39) of `tcr`. They lie in the VM's memory.
    #[must_use]
    pub fn with_stage1(self, tcr: u64, ttbr0: u64) -> Self {
        Self { tcr, ttbr0: Some(ttbr0), ..self }
    }

    /// The root of the stage-1 tables, if there are any, and the tag of what is found under it and not global.
    pub(super) fn stage1_root(&self) -> Option<(Stage1Table, Tag)> {
        let ttbr0 = self.ttbr0?;
        Some((Stage1Table::root(self.tcr, ttbr0), self.tag((ttbr0 >> 48) as u16)))
    }

    /// The VMID, of 8 bits unless `VTCR_EL2.VS` is set.
    #[must_use]
    pub const fn vmid(&self) -> u16 {
        self.vmid
    }

    /// How entries are tagged that serve an access with `asid` in the guest's TTBR.
    #[must_use]
    pub const fn tag(&self, asid: u16) -> Tag {
        Tag::El1 { vmid: self.vmid, asid: Some(asid & self.asid_mask()) }
    }

    pub(super) const fn asid_mask(&self) -> u16 {
        width_mask(self.tcr & TCR_AS)
    }

    /// The unit of BaseADDR in range invalidations, of stage 1 and of stage 2.
    pub(super) const fn range_units(&self) -> (RangeUnit, RangeUnit) {
        (range_unit(self.tcr & TCR_DS), range_unit(self.vtcr & VTCR_DS))
    }

    /// The entries of the root, all concatenated tables together.
    pub(super) const fn root_entries(&self) -> u64 {
        1 << self.ipa_bits.saturating_sub(39 - 9 * self.start as u32)
    }

    /// Whether `VTCR_EL2.PS` allows stage 2 to lead to `pa`.
    pub(super) const fn reaches(&self, pa: Pa) -> bool {
        let bits = match self.vtcr >> 16 & 0b111 {
            0 => 32,
            1 => 36,
            2 => 40,
            3 => 42,
            4 => 44,
            _ => 48,
        };
        pa.0 >> bits == 0
    }

    /// The stage-1 leaves of the windows.
    pub(super) fn stage1_leaves(&self) -> impl Iterator<Item = TlbEntry> {
        self.windows.iter().map(|window| {
            let asid = window.asid.map(|asid| asid & self.asid_mask());
            let tag = Tag::El1 { vmid: self.vmid, asid };
            TlbEntry::new(TlbEntryKind::Stage1Leaf, tag, window.source(), window.ipa.0)
        })
    }
}

const fn width_mask(wide: u64) -> u16 {
    if wide != 0 { u16::MAX } else { u8::MAX as u16 }
}

const fn range_unit(ds: u64) -> RangeUnit {
    if ds != 0 { RangeUnit::Kib64 } else { RangeUnit::Granule }
}

/// The combined entry that two leaves give rise to, if the one of stage 1 leads into the one of stage 2.
pub(super) fn combine(stage1: &TlbEntry, stage2: &TlbEntry) -> Option<TlbEntry> {
    let (window, leaf) = (stage1.extent, stage2.extent);
    let ipa = stage1.output;
    let first = leaf.first.max(ipa);
    let end = (leaf.first + leaf.size).min(ipa + window.size);
    let size = end.checked_sub(first).filter(|&size| size > 0)?;
    let level = stage2.source.level as u8;
    Some(TlbEntry {
        kind: TlbEntryKind::Combined,
        tag: stage1.tag,
        extent: Extent { size, first: window.first + (first - ipa) },
        source: stage1.source,
        output: output(stage2.output, level, first - leaf.first).0,
        stage2: stage2.output,
    })
}

/// The IPAs whose stage 2 an invalidation by IPA makes the walkers look at again; `None` if they are many.
pub(super) const fn ipa_of(op: Tlbi) -> Option<Ipa> {
    match op {
        Tlbi::Ipa { addresses: super::Addresses::One { address, .. }, .. } => Some(Ipa(address)),
        _ => None,
    }
}

/// A stage-2 entry of the model's own tables: 4 KiB granule.
pub(super) const fn stage2_entry(kind: TlbEntryKind, vmid: u16, level: u8, ipa: u64, value: u64) -> TlbEntry {
    let extent = Extent { size: span(level), first: align_down(ipa, span(level)) };
    let source = Source { granule: Granule::Kib4, level: level as i8, extent };
    TlbEntry::new(kind, Tag::El1 { vmid, asid: None }, source, value)
}

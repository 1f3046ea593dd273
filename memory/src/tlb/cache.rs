// SPDX-License-Identifier: MIT OR Apache-2.0
//! One CPU's TLB: everything it has seen and not been made to forget.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{Tlbi, Violation};
use crate::stage2::Reach;
use crate::{Ipa, Pa, Va};

/// Bits of a leaf that may change only by break-before-make: output address, memory type, shareability, Contiguous.
const BREAK_BEFORE_MAKE: u64 = 0x0000_ffff_ffff_f000 | 0b1111 << 2 | 0b11 << 8 | 1 << 52;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// The bytes that an entry of stage-2 level `level` covers.
pub(super) const fn span(level: u8) -> u64 {
    1 << (39 - 9 * level as u32)
}

pub(super) const fn align_down(address: u64, size: u64) -> u64 {
    address & !(size - 1)
}

/// A descriptor as the architecture reads it, decoded here independently of the code under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Fault,
    Table(Pa),
    Leaf,
}

pub(super) const fn decode(descriptor: u64, level: u8) -> Decoded {
    match (descriptor & 0b11, level) {
        (0b11, 0..=2) => Decoded::Table(Pa(descriptor & ADDRESS)),
        (0b11, 3) | (0b01, 1 | 2) => Decoded::Leaf,
        _ => Decoded::Fault,
    }
}

/// Where a leaf leads, `offset` bytes in.
pub(super) const fn output(descriptor: u64, level: u8, offset: u64) -> Pa {
    Pa(align_down(descriptor & ADDRESS, span(level)) + offset)
}

/// What identifies a combined entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CombinedKey {
    pub(super) vmid: u16,
    pub(super) va: u64,
    pub(super) size: u64,
    /// `None` for a global entry.
    pub(super) asid: Option<u16>,
}

/// What a combined entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Combined {
    pub(super) pa: Pa,
    /// The stage-2 leaf it was made from.
    pub(super) descriptor: u64,
}

/// VMID, level, first IPA.
pub(super) type TableKey = (u16, u8, u64);
/// VMID, first IPA, level.
pub(super) type LeafKey = (u16, u64, u8);

#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Walk caches: the tables that the entry of a level at an IPA may lead to.
    pub(super) tables: BTreeMap<TableKey, Vec<Pa>>,
    /// Stage-2 translations.
    pub(super) leaves: BTreeMap<LeafKey, Vec<u64>>,
    /// Translations of both stages.
    pub(super) combined: BTreeMap<CombinedKey, Vec<Combined>>,
}

impl Cache {
    /// Caches a table; returns whether it is new.
    pub(super) fn insert_table(&mut self, key: TableKey, table: Pa, violations: &mut Vec<Violation>) -> bool {
        let (vmid, level, ipa) = key;
        let tables = self.tables.entry(key).or_default();
        if tables.contains(&table) {
            return false;
        }
        let leaves = self.leaves.get(&(vmid, ipa, level)).into_iter().flatten().copied();
        for old in tables.iter().map(|other| other.0 | 0b11).chain(leaves) {
            let new = table.0 | 0b11;
            violations.push(Violation::BreakBeforeMake { vmid, ipa: Ipa(ipa), old, new });
        }
        tables.push(table);
        true
    }

    /// Caches a stage-2 translation; returns whether it is new.
    pub(super) fn insert_leaf(&mut self, key: LeafKey, new: u64, violations: &mut Vec<Violation>) -> bool {
        let (vmid, ipa, level) = key;
        if self.leaves.get(&key).is_some_and(|known| known.contains(&new)) {
            return false;
        }
        let larger = (1..level).filter_map(|other| {
            let key = (vmid, align_down(ipa, span(other)), other);
            self.leaves.get(&key).map(|known| (other, known))
        });
        let others = self
            .leaves
            .range((vmid, ipa, 0)..(vmid, ipa + span(level), 0))
            .map(|(&(_, _, other), known)| (other, known));
        let leaves =
            larger.chain(others).flat_map(|(other, known)| known.iter().map(move |&old| (other, old)));
        let conflicts = leaves
            .filter(|&(other, old)| other != level || (old ^ new) & BREAK_BEFORE_MAKE != 0)
            .map(|(_, old)| old)
            .chain(self.tables.get(&(vmid, level, ipa)).into_iter().flatten().map(|table| table.0 | 0b11));
        violations.extend(conflicts.map(|old| Violation::BreakBeforeMake { vmid, ipa: Ipa(ipa), old, new }));
        self.leaves.entry(key).or_default().push(new);
        true
    }

    /// Caches a translation of both stages.
    pub(super) fn insert_combined(
        &mut self,
        key: CombinedKey,
        new: Combined,
        violations: &mut Vec<Violation>,
    ) {
        if self.combined.get(&key).is_some_and(|known| known.contains(&new)) {
            return;
        }
        let CombinedKey { vmid, va, size, asid } = key;
        let first = CombinedKey { vmid, va, size: 0, asid: None };
        let end = CombinedKey { vmid, va: va + size, size: 0, asid: None };
        let same_asid = |other: Option<u16>| asid.is_none() || other.is_none() || other == asid;
        for (other, known) in self.combined.range(first..end).filter(|(other, _)| same_asid(other.asid)) {
            let differing = known.iter().filter(|old| {
                other.size != size
                    || old.pa.0 != new.pa.0 + (other.va - va)
                    || (old.descriptor ^ new.descriptor) & BREAK_BEFORE_MAKE & !ADDRESS != 0
            });
            violations.extend(differing.map(|old| Violation::CombinedConflict {
                vmid,
                va: Va(va),
                old: old.pa,
                new: new.pa,
            }));
        }
        self.combined.entry(key).or_default().push(new);
    }

    /// Forgets what `op` drops of stage 1 and of combined entries.
    pub(super) fn forget_combined(&mut self, vmid: u16, op: Tlbi) {
        self.combined.retain(|key, _| {
            let ours = key.vmid == vmid;
            let holds = |va: Va| key.va <= va.0 && va.0 < key.va + key.size;
            let dropped = match op {
                Tlbi::Ipa { .. } => false,
                Tlbi::Stage1 | Tlbi::Vm => ours,
                Tlbi::All => true,
                Tlbi::Va { va, asid } => ours && holds(va) && key.asid.is_none_or(|own| own == asid),
                Tlbi::VaAllAsids { va } => ours && holds(va),
                Tlbi::Asid { asid } => ours && key.asid == Some(asid),
            };
            !dropped
        });
    }

    /// Forgets what `op` drops of stage 2.
    pub(super) fn forget_stage2(&mut self, vmid: u16, op: Tlbi) {
        match op {
            Tlbi::Ipa { ipa, leaf, reach } => {
                for level in 0..=3 {
                    let base = align_down(ipa.0, span(level));
                    if leaf.is_none_or(|hint| hint == level) {
                        self.leaves.remove(&(vmid, base, level));
                    }
                    if reach == Reach::AllLevels {
                        self.tables.remove(&(vmid, level, base));
                    }
                }
            }
            Tlbi::Vm => {
                self.leaves.retain(|key, _| key.0 != vmid);
                self.tables.retain(|key, _| key.0 != vmid);
            }
            Tlbi::All => {
                self.leaves.clear();
                self.tables.clear();
            }
            Tlbi::Stage1 | Tlbi::Va { .. } | Tlbi::VaAllAsids { .. } | Tlbi::Asid { .. } => {}
        }
    }
}

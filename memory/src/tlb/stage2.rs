// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stage-2 descriptors as the model's walkers read them, on purpose not by the code under test; and which of them may
//! not live side by side.

use alloc::vec::Vec;

use super::{Entries, Tag, TlbEntry, TlbEntryKind, Violation};
use crate::{Ipa, Pa, Va};

/// Bits of a leaf that may change only by break-before-make: output address, memory type, shareability, Contiguous.
const BREAK_BEFORE_MAKE: u64 = 0x0000_ffff_ffff_f000 | 0b1111 << 2 | 0b11 << 8 | 1 << 52;
pub(super) const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// The bytes that an entry of stage-2 level `level` covers.
pub(super) const fn span(level: u8) -> u64 {
    1 << (39 - 9 * level as u32)
}

pub(super) const fn align_down(address: u64, size: u64) -> u64 {
    address & !(size - 1)
}

/// What a descriptor is.
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

/// Caches an entry of stage 2; returns whether it is new. Objects if it may not live beside one that is there.
pub(super) fn insert_stage2(entries: &mut Entries, new: TlbEntry, violations: &mut Vec<Violation>) -> bool {
    let Tag::El1 { vmid, .. } = new.tag else { return false };
    if !entries.insert(new) {
        return false;
    }
    let descriptor = |entry: &TlbEntry| match entry.kind {
        TlbEntryKind::Stage2Table => entry.output | 0b11,
        _ => entry.output,
    };
    let mut object = |old: &TlbEntry| {
        let (old, new_descriptor) = (descriptor(old), descriptor(&new));
        let ipa = Ipa(new.extent.first);
        violations.push(Violation::BreakBeforeMake { vmid, ipa, old, new: new_descriptor });
    };
    let tables = entries.at(TlbEntryKind::Stage2Table, new.tag, new.extent);
    match new.kind {
        TlbEntryKind::Stage2Table => {
            let leaves = entries.at(TlbEntryKind::Stage2Leaf, new.tag, new.extent);
            tables.chain(leaves).filter(|old| **old != new).for_each(&mut object);
        }
        _ => {
            tables.for_each(&mut object);
            let leaves =
                entries.meeting(TlbEntryKind::Stage2Leaf, new.tag, new.extent.first, new.extent.last());
            let differs = |old: &&TlbEntry| {
                old.extent != new.extent || (old.output ^ new.output) & BREAK_BEFORE_MAKE != 0
            };
            leaves.iter().filter(differs).for_each(&mut object);
        }
    }
    true
}

/// Caches a combined entry. Objects if an access could use another that says otherwise.
pub(super) fn insert_combined(entries: &mut Entries, new: TlbEntry, violations: &mut Vec<Violation>) {
    let Tag::El1 { vmid, asid } = new.tag else { return };
    if !entries.insert(new) {
        return;
    }
    let asids = match asid {
        Some(_) => [None, asid].into(),
        None => entries.asids(TlbEntryKind::Combined, vmid),
    };
    for asid in asids {
        let tag = Tag::El1 { vmid, asid };
        for old in entries.meeting(TlbEntryKind::Combined, tag, new.extent.first, new.extent.last()) {
            // Pieces of other sizes are no conflict: where stage 2 is to blame, its own entries conflict.
            let offset = |entry: &TlbEntry| entry.output.wrapping_sub(entry.extent.first);
            let elsewhere = offset(&old) != offset(&new);
            if elsewhere || (old.stage2 ^ new.stage2) & BREAK_BEFORE_MAKE & !ADDRESS != 0 {
                let va = Va(new.extent.first);
                let (old, new) = (Pa(old.output), Pa(new.output));
                violations.push(Violation::CombinedConflict { vmid, va, old, new });
            }
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes a case in which model and CPU differ as plain as it can be while they still do: descriptors go, then fields of
//! the registers and of the descriptors that are left go back to zero, one at a time.

use vambrace_memory::translation::Registers;

use super::compare::{self, Case, Difference, Verdict};
use super::machine;
use super::pool::Pool;
use super::tables::Set;

/// A register's field.
type Field = (fn(&mut Registers) -> &mut u64, u64);

const FIELDS: [Field; 29] = [
    // WXN, EPAN.
    (|of| &mut of.sctlr, 1 << 19),
    (|of| &mut of.sctlr, 1 << 57),
    // PTW, DC, CD, ID, FWB.
    (|of| &mut of.hcr, 1 << 2),
    (|of| &mut of.hcr, 1 << 12),
    (|of| &mut of.hcr, 1 << 32),
    (|of| &mut of.hcr, 1 << 33),
    (|of| &mut of.hcr, 1 << 46),
    // Walk attributes, A1, AS, TBI, HA, HD, HPD, TBID, E0PD.
    (|of| &mut of.tcr, 0x3f << 8),
    (|of| &mut of.tcr, 0x3f << 24),
    (|of| &mut of.tcr, 1 << 22),
    (|of| &mut of.tcr, 1 << 36),
    (|of| &mut of.tcr, 1 << 37),
    (|of| &mut of.tcr, 1 << 38),
    (|of| &mut of.tcr, 1 << 39),
    (|of| &mut of.tcr, 1 << 40),
    (|of| &mut of.tcr, 1 << 41),
    (|of| &mut of.tcr, 1 << 42),
    (|of| &mut of.tcr, 0b11 << 51),
    (|of| &mut of.tcr, 0b11 << 55),
    // Walk attributes, VS, HA, HD.
    (|of| &mut of.vtcr, 0x3f << 8),
    (|of| &mut of.vtcr, 1 << 19),
    (|of| &mut of.vtcr, 1 << 21),
    (|of| &mut of.vtcr, 1 << 22),
    // ASIDs, VMID.
    (|of| &mut of.ttbr0, 0xffff << 48),
    (|of| &mut of.ttbr1, 0xffff << 48),
    (|of| &mut of.vttbr, 0xffff << 48),
    // All but attribute 0, by halves.
    (|of| &mut of.mair, 0xff_ffff_ff00),
    (|of| &mut of.mair, 0xffff_ff00_0000_0000),
    (|of| &mut of.sctlr, 1 << 2 | 1 << 12),
];

/// Fields of descriptors: attributes of tables, bits for software, XN, Contiguous, DBM, nG, SH, AP, `AttrIndx`.
const DESCRIPTOR_FIELDS: [u64; 16] = [
    1 << 63,
    1 << 62,
    1 << 61,
    1 << 60,
    1 << 59,
    0xf << 55,
    1 << 54,
    1 << 53,
    1 << 52,
    1 << 51,
    1 << 11,
    0b11 << 8,
    1 << 7,
    1 << 6,
    0b11 << 4,
    0b11 << 2,
];

/// Shrinks the set and its tables in the pool; `None` if the case does not happen again from the start.
pub(super) fn shrink(pool: &mut Pool, set: &mut Set, case: Case) -> Option<Difference> {
    let mut difference = differs(pool, set, case)?;
    for index in 0..pool.slots().len() {
        retain(pool, set, case, index, 0, &mut difference);
    }
    let with_pan = set.registers.pan;
    set.registers.pan = false;
    match differs(pool, set, case) {
        Some(smaller) => difference = smaller,
        None => set.registers.pan = with_pan,
    }
    for (register, mask) in FIELDS {
        let before = set.registers;
        *register(&mut set.registers) &= !mask;
        match differs(pool, set, case) {
            Some(smaller) => difference = smaller,
            None => set.registers = before,
        }
    }
    for index in 0..pool.slots().len() {
        for mask in DESCRIPTOR_FIELDS {
            retain(pool, set, case, index, !mask, &mut difference);
        }
    }
    pool.restore();
    machine::program(&set.registers, set.stub.va);
    Some(difference)
}

/// Keeps only the bits of `mask` in a descriptor, if they differ then too.
fn retain(pool: &mut Pool, set: &Set, case: Case, index: usize, mask: u64, difference: &mut Difference) {
    let Some(slot) = pool.slots().get(index).copied() else { return };
    if slot.is_kept || slot.raw & mask == slot.raw {
        return;
    }
    pool.change(index, slot.raw & mask);
    match differs(pool, set, case) {
        Some(smaller) => *difference = smaller,
        None => pool.change(index, slot.raw),
    }
}

/// Tries the case from the start.
fn differs(pool: &Pool, set: &Set, case: Case) -> Option<Difference> {
    pool.restore();
    machine::program(&set.registers, set.stub.va);
    if case.kind == compare::CaseKind::Access && !compare::is_enterable(pool, set) {
        return None;
    }
    match compare::check(pool, set, case) {
        Verdict::Differs(difference) => Some(difference),
        Verdict::Same(_) | Verdict::Departs(_) | Verdict::LeftOut => None,
    }
}

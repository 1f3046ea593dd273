// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the CPU at hand does not do what the architecture says. For QEMU's CPUs each entry says which rule it is, and
//! what QEMU does instead; such a case is counted under the entry's name.

use vambrace_memory::access::{Access, El};
use vambrace_memory::attributes::{DeviceKind, MemoryType, Stage2Type};
use vambrace_memory::granule::{AddressFormat, Stage};
use vambrace_memory::par::Report;
use vambrace_memory::stage1::Half;
use vambrace_memory::stage2::BadVtcr;
use vambrace_memory::translation::{self, Registers, Stages};
use vambrace_memory::walk::{self, WalkEntry, Start, WalkStep};
use vambrace_memory::{Va, hcr};

use super::compare::{Answer, Case, CaseKind};
use super::pool::Pool;
use super::random::bits;
use super::registers::{SCTLR_CACHES, SCTLR_WXN};
use super::tables::Set;
use crate::exceptions;

/// A translation fault at level 0.
const TRANSLATION: u8 = 0x04;
const TCR_HA_HD: u64 = 0b11 << 39;

/// A known departure: its index in [`ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Departure(pub(super) usize);

/// A case in which model and CPU differ, or are known to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances<'a> {
    pub(super) pool: &'a Pool,
    pub(super) set: &'a Set,
    pub(super) case: Case,
    pub(super) model: Answer,
}

/// A rule that the CPU does not follow.
pub(super) struct Rule {
    /// For the count at the end.
    pub(super) name: &'static str,
    when: When,
}

/// How a departure is known.
enum When {
    /// From what the model foresees: the case must not be tried.
    Foreseen(fn(&Circumstances<'_>) -> bool),
    /// From what the CPU answers.
    Seen(fn(&Circumstances<'_>, Answer) -> bool),
}

/// All of them.
pub(super) const ALL: [Rule; 17] = [
    Rule { name: "AT and stage-2 permissions", when: When::Foreseen(at_stops_qemu) },
    Rule {
        name: "upper address bits and a small IPS or PS",
        when: When::Foreseen(wide_address_in_descriptor),
    },
    Rule { name: "upper address bits of a root", when: When::Foreseen(wide_root) },
    Rule { name: "roots of less than 64 bytes", when: When::Foreseen(small_root) },
    Rule { name: "output beyond IPS or PS in a large block", when: When::Foreseen(output_too_wide) },
    Rule { name: "bits below the address of a large block", when: When::Seen(bits_below_block) },
    Rule { name: "AT and dirty state", when: When::Seen(at_marks_dirty) },
    Rule { name: "stage-2 T0SZ below the minimum", when: When::Foreseen(input_too_wide) },
    Rule { name: "SCTLR_EL1.C", when: When::Seen(caches_off) },
    Rule { name: "level of HCR_EL2.PTW's faults", when: When::Seen(protected_walk) },
    Rule { name: "HCR_EL2.PTW without stage 2", when: When::Seen(protected_without_stage2) },
    Rule { name: "HCR_EL2.CD with FWB", when: When::Seen(caches_off_and_forced) },
    Rule { name: "FWB and two kinds of Device", when: When::Seen(forced_device) },
    Rule { name: "Device over Normal", when: When::Seen(device_over_normal) },
    Rule { name: "reserved MemAttr or SH", when: When::Seen(reserved_attributes) },
    Rule { name: "WXN under PAN", when: When::Seen(wxn_under_pan) },
    Rule { name: "execution from writable-clean pages", when: When::Seen(writable_clean) },
];

/// The departure that keeps a case from being tried.
pub(super) fn foreseen(of: &Circumstances<'_>) -> Option<Departure> {
    ALL.iter().position(|rule| matches!(rule.when, When::Foreseen(holds) if holds(of))).map(Departure)
}

/// The departure that explains the CPU's answer.
pub(super) fn find(of: &Circumstances<'_>, machine: Answer) -> Option<Departure> {
    ALL.iter()
        .position(|rule| matches!(rule.when, When::Seen(explains) if explains(of, machine)))
        .map(Departure)
}

/// `AT S12E..` whose stage 2 has no permission reports a permission fault of stage 2, as for any other fault. QEMU
/// 10.0 ends itself there: it asserts that the attributes are not stage 2's alone before it looks whether there was a
/// fault. Loads and stores show the same faults.
fn at_stops_qemu(of: &Circumstances<'_>) -> bool {
    const PERMISSION: core::ops::RangeInclusive<u8> = 0x0c..=0x0f;
    of.case.kind == CaseKind::Translate(Stages::Both)
        && matches!(of.model, Answer::Reports(Report::Fault { status, stage2: true, stage1_walk: false })
            if PERMISSION.contains(&status))
}

/// On a CPU with 52 bits of physical address, a descriptor of the 64 KiB granule holds bits 51:48 of the address in bits
/// 15:12, and with DS a descriptor of the others bits 51:50 in bits 9:8, whatever IPS or PS says; with a smaller output
/// size they must be 0, or there is an address size fault. QEMU looks at them only where the output size is 52 bits.
fn wide_address_in_descriptor(of: &Circumstances<'_>) -> bool {
    if !is_address_size_fault(of.model) {
        return false;
    }
    let ignored = |_, start: Start, entry: WalkEntry| {
        let seen = match start.format {
            AddressFormat::Lpa2 => entry.output & bits(50),
            AddressFormat::Plain | AddressFormat::Lpa => entry.output & bits(48),
        };
        start.output_bits <= 48 && entry.output >> start.output_bits != 0 && seen >> start.output_bits == 0
    };
    meets(of, ignored)
}

/// With DS a TTBR holds bits 51:48 of the root's address in bits 5:2, whatever IPS or PS says. QEMU looks at them only
/// where the output size is 52 bits.
fn wide_root(of: &Circumstances<'_>) -> bool {
    let is_wide = |(start, _): (Start, u64)| start.output_bits <= 48 && start.root >> 48 != 0;
    is_address_size_fault(of.model) && starts(of).any(is_wide)
}

/// Where a TTBR holds 52 bits of address, the root is aligned to 64 bytes at least, since bits 5:2 are the upper ones.
/// QEMU leaves those of bits 5:2 in the address that the root's own size does not clear.
fn small_root(of: &Circumstances<'_>) -> bool {
    starts(of)
        .any(|(start, ttbr)| start.output_bits > 48 && ttbr & 0x3c & !bits(start.root_size_shift()) != 0)
}

/// Where the walks of both stages start, each with its TTBR.
fn starts(of: &Circumstances<'_>) -> impl Iterator<Item = (Start, u64)> {
    let (registers, va) = (&of.set.registers, Va(of.case.va));
    let ttbr = match Half::of(va) {
        Half::Lower => registers.ttbr0,
        Half::Upper => registers.ttbr1,
    };
    let stage1 = registers.stage1().start(va, of.case.access, of.case.el).ok();
    let stage2 = registers.stage2().start().ok();
    [stage1.map(|start| (start, ttbr)), stage2.map(|start| (start, registers.vttbr))].into_iter().flatten()
}

fn is_address_size_fault(answer: Answer) -> bool {
    let is = |status: u8| status & 0x3c == 0 || status == 0x29;
    match answer {
        Answer::Reports(Report::Fault { status, .. }) => is(status),
        Answer::Faults { esr, .. } => is((esr & 0x3f) as u8),
        _ => false,
    }
}

/// An output address wider than IPS or PS is an address size fault; of a block larger than that size, which only
/// FEAT_LPA2 and FEAT_LPA have, the offset counts as well. QEMU looks at the descriptor only.
fn output_too_wide(of: &Circumstances<'_>) -> bool {
    let reaches_over = |_, start: Start, entry: WalkEntry| {
        is_large_block(start, entry) && entry.output >> start.output_bits == 0
    };
    is_address_size_fault(of.model) && meets(of, reaches_over)
}

/// Bits of a descriptor below the alignment of its block are reserved and not looked at. QEMU compares them with the
/// output size.
fn bits_below_block(of: &Circumstances<'_>, machine: Answer) -> bool {
    let is_set = |_, start: Start, entry: WalkEntry| {
        let below = entry.raw & bits(start.granule.shift(entry.level));
        is_large_block(start, entry) && below >> start.output_bits != 0
    };
    is_address_size_fault(machine) && meets(of, is_set)
}

fn is_large_block(start: Start, entry: WalkEntry) -> bool {
    entry.kind == walk::DescriptorKind::Block && start.granule.shift(entry.level) > start.output_bits
}

/// `AT` marks nothing dirty, so that stage 2 need not let it write to the table for that. QEMU treats it as a store.
fn at_marks_dirty(of: &Circumstances<'_>, machine: Answer) -> bool {
    let refused = matches!(machine, Answer::Reports(Report::Fault { status, stage1_walk: true, .. })
        if status & 0x3c == 0x0c);
    refused
        && of.case.kind != CaseKind::Access
        && of.case.access == Access::Write
        && of.set.registers.tcr & TCR_HA_HD == TCR_HA_HD
}

/// Whether the walk meets a descriptor that is so.
fn meets(of: &Circumstances<'_>, is_so: impl Fn(Stage, Start, WalkEntry) -> bool) -> bool {
    let mut found = false;
    let mut starts = (None, None);
    let mut witness = |step: WalkStep| match step {
        WalkStep::Stage1Start { start, .. } => starts.0 = start,
        WalkStep::Stage2Start { start, .. } => starts.1 = start,
        WalkStep::Stage1(entry) => found |= starts.0.is_some_and(|start| is_so(Stage::One, start, entry)),
        WalkStep::Stage2(entry) => found |= starts.1.is_some_and(|start| is_so(Stage::Two, start, entry)),
        WalkStep::Leaf { .. } | WalkStep::Stage2End { .. } => {}
    };
    let Case { va, access, el, .. } = of.case;
    let registers = Registers { pan: false, ..of.set.registers };
    let _ = translation::translate(of.pool, &registers, Va(va), access, el, &mut witness);
    found
}

/// A T0SZ of stage 2 below its minimum, which the physical address size gives, is a translation fault at level 0 or is
/// taken for the minimum. QEMU takes 16 for the minimum whatever the physical address size, and walks.
fn input_too_wide(of: &Circumstances<'_>) -> bool {
    let features = of.set.registers.features;
    let at_level_0 = match of.model {
        Answer::Reports(Report::Fault { status, stage2, .. }) => stage2 && status == TRANSLATION,
        Answer::Faults { taken_by, esr, .. } => taken_by == 2 && (esr & 0x3f) as u8 == TRANSLATION,
        _ => false,
    };
    at_level_0
        && features.pa_bits() < 48
        && matches!(of.set.registers.stage2().start(), Err(BadVtcr::Size { t0sz: 16.., .. }))
}

/// `SCTLR_EL1.C` = 0 makes all data accesses to Normal memory Non-cacheable at stage 1. QEMU has no caches, and reports
/// what the tables say.
fn caches_off(of: &Circumstances<'_>, machine: Answer) -> bool {
    of.set.registers.sctlr & SCTLR_CACHES == 0 && of.case.kind != CaseKind::Access && only_attributes(of, machine)
}

/// Both succeed and lead to the same address.
fn only_attributes(of: &Circumstances<'_>, machine: Answer) -> bool {
    match (of.model, machine) {
        (
            Answer::Reports(Report::Success { address, .. }),
            Answer::Reports(Report::Success { address: other, .. }),
        ) => address == other,
        _ => false,
    }
}

/// `HCR_EL2.PTW`: a walk of stage 1 that stage 2 leads to Device memory is a permission fault of stage 2 at the level of
/// the block or page. QEMU forgets to set the level, and reports 0.
fn protected_walk(of: &Circumstances<'_>, machine: Answer) -> bool {
    if of.set.registers.hcr & hcr::PTW == 0 {
        return false;
    }
    const PERMISSION: u8 = 0x0c;
    match (of.model, machine) {
        (
            Answer::Reports(Report::Fault { status, stage2: true, stage1_walk: true }),
            Answer::Reports(Report::Fault { status: PERMISSION, stage2: true, stage1_walk: true }),
        ) => status & !0b11 == PERMISSION,
        (
            Answer::Faults { taken_by: 2, esr, far, hpfar },
            Answer::Faults { taken_by: 2, esr: other, far: address, hpfar: page },
        ) => {
            (esr & !0b11, far, hpfar) == (other, address, page)
                && exceptions::fault_status(other) == u64::from(PERMISSION)
        }
        _ => false,
    }
}

/// With stage 2 off there is no stage 2 that could lead a walk to Device memory, and `HCR_EL2.PTW` has no effect. QEMU
/// takes the stage that is off for one that says Device, and refuses every walk.
fn protected_without_stage2(of: &Circumstances<'_>, machine: Answer) -> bool {
    if of.set.registers.hcr & (hcr::PTW | hcr::VM | hcr::DC) != hcr::PTW {
        return false;
    }
    match machine {
        Answer::Reports(report) => report == Report::Fault { status: 0x0c, stage2: true, stage1_walk: true },
        Answer::Faults { taken_by, esr, .. } => taken_by == 2 && esr & 0xbf == 0x8c,
        _ => false,
    }
}

/// `HCR_EL2.CD` makes all Normal memory Non-cacheable for data, whether stage 2 forces another type (FWB) or not. QEMU
/// looks at the bit only without FWB.
fn caches_off_and_forced(of: &Circumstances<'_>, machine: Answer) -> bool {
    const BOTH: u64 = hcr::FWB | hcr::CD;
    of.set.registers.hcr & BOTH == BOTH
        && only_attributes(of, machine)
        && matches!(of.model, Answer::Reports(Report::Success { memory: MemoryType::NON_CACHEABLE, .. }))
}

/// With FWB, where both stages say Device the more restrictive kind wins, as without it. QEMU takes stage 2's.
fn forced_device(of: &Circumstances<'_>, machine: Answer) -> bool {
    if of.set.registers.hcr & hcr::FWB == 0 || !only_attributes(of, machine) {
        return false;
    }
    let model = device_kind(of.model);
    model.is_some() && device_kind(machine) > model
}

fn device_kind(answer: Answer) -> Option<DeviceKind> {
    match answer {
        Answer::Reports(Report::Success { memory: MemoryType::Device(kind), .. }) => Some(kind),
        _ => None,
    }
}

/// Where one stage says Device and the other Normal, the result is that kind of Device. QEMU compares the lower half of the
/// byte that stands for Normal memory as if it were a kind of Device too, and may come to a more restrictive one.
fn device_over_normal(of: &Circumstances<'_>, machine: Answer) -> bool {
    let registers = Registers { pan: false, ..of.set.registers };
    if registers.hcr & hcr::FWB != 0 || !only_attributes(of, machine) {
        return false;
    }
    let Case { va, access, el, .. } = of.case;
    let Ok(outcome) = translation::translate(of.pool, &registers, Va(va), access, el, &mut ()) else {
        return false;
    };
    let is_mixed =
        outcome.stage2.is_some_and(|stage2| stage2.memory.is_device() != outcome.stage1.memory.is_device());
    is_mixed && device_kind(machine).is_some() && device_kind(machine) < device_kind(of.model)
}

/// What reserved values of `MemAttr` and `SH` stand for is CONSTRAINED UNPREDICTABLE: QEMU makes another choice than the
/// model.
fn reserved_attributes(of: &Circumstances<'_>, machine: Answer) -> bool {
    let encoding = of.set.registers.stage2().encoding();
    let is_reserved = |stage, start: Start, entry: WalkEntry| {
        let shareability = start.format != AddressFormat::Lpa2 && entry.raw >> 8 & 0b11 == 0b01;
        let memory = stage == Stage::Two && Stage2Type::from_mem_attr(entry.raw >> 2, encoding).is_none();
        matches!(entry.kind, walk::DescriptorKind::Block | walk::DescriptorKind::Page) && (shareability || memory)
    };
    only_attributes(of, machine) && meets(of, is_reserved)
}

/// WXN keeps EL1 from executing what it could write, and PAN, which is for data only, changes nothing about that. QEMU
/// takes what PAN denies for not writable, and so for executable.
fn wxn_under_pan(of: &Circumstances<'_>, _: Answer) -> bool {
    let Registers { sctlr, pan, .. } = of.set.registers;
    let is_privileged_fetch = of.case.access == Access::Execute && of.case.el == El::El1;
    pan && sctlr & SCTLR_WXN != 0 && is_privileged_fetch && is_permission_fault_of_stage1(of.model)
}

fn is_permission_fault_of_stage1(answer: Answer) -> bool {
    matches!(answer, Answer::Faults { taken_by: 1, esr, .. } if esr & 0x3c == 0x0c)
}

/// A page that hardware makes writable on the first write (DBM, with HA and HD) has the effective value 0 of AP[2]: it
/// is writable, so with WXN nobody executes from it, and EL1 never does if EL0 can write it. QEMU clears AP[2] only for
/// a store, and lets such a page be executed until it is dirty.
fn writable_clean(of: &Circumstances<'_>, _: Answer) -> bool {
    is_permission_fault_of_stage1(of.model)
        && of.case.access == Access::Execute
        && of.set.registers.tcr & TCR_HA_HD == TCR_HA_HD
}

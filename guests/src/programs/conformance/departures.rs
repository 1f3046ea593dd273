// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the CPU at hand does not do what the architecture says. For QEMU's CPUs each entry says which rule it is, and
//! what QEMU does instead; such a case is counted under the entry's name.

use vambrace_memory::access::Access;
use vambrace_memory::attributes::{DeviceKind, MemoryType};
use vambrace_memory::granule::AddressFormat;
use vambrace_memory::par::Report;
use vambrace_memory::translation::{self, Registers, Stages};
use vambrace_memory::walk::{Entry, Start, Step};
use vambrace_memory::{Va, hcr};

use super::compare::{Answer, Case, Kind};
use super::pool::Pool;
use super::random::bits;
use super::registers::SCTLR_CACHES;
use super::tables::Set;

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
pub(super) const ALL: [Rule; 8] = [
    Rule { name: "AT and stage-2 permissions", when: When::Foreseen(at_stops_qemu) },
    Rule {
        name: "upper address bits and a small IPS or PS",
        when: When::Foreseen(wide_address_in_descriptor),
    },
    Rule { name: "SCTLR_EL1.C", when: When::Seen(caches_off) },
    Rule { name: "level of HCR_EL2.PTW's faults", when: When::Seen(protected_walk) },
    Rule { name: "HCR_EL2.PTW without stage 2", when: When::Seen(protected_without_stage2) },
    Rule { name: "FWB and two kinds of Device", when: When::Seen(forced_device) },
    Rule { name: "Device over Normal", when: When::Seen(device_over_normal) },
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
    of.case.kind == Kind::Translate(Stages::Both)
        && matches!(of.model, Answer::Reports(Report::Fault { status, stage2: true, stage1_walk: false })
            if PERMISSION.contains(&status))
}

/// On a CPU with 52 bits of physical address, a descriptor of the 64 KiB granule holds bits 51:48 of the address in bits
/// 15:12, and with DS a descriptor of the others bits 51:50 in bits 9:8, whatever IPS or PS says; with a smaller output
/// size they must be 0, or there is an address size fault. QEMU looks at them only where the output size is 52 bits.
fn wide_address_in_descriptor(of: &Circumstances<'_>) -> bool {
    let refused = |status: u8| status & 0x3c == 0;
    let is_address_size = match of.model {
        Answer::Reports(Report::Fault { status, .. }) => refused(status),
        Answer::Faults { esr, .. } => refused((esr & 0x3f) as u8),
        _ => false,
    };
    if !is_address_size {
        return false;
    }
    let mut found = false;
    let mut starts = (None, None);
    let ignored = |start: Option<Start>, entry: Entry| {
        start.is_some_and(|start| {
            let seen = match start.format {
                AddressFormat::Lpa2 => entry.output & bits(50),
                AddressFormat::Plain | AddressFormat::Lpa => entry.output & bits(48),
            };
            start.output_bits <= 48
                && entry.output >> start.output_bits != 0
                && seen >> start.output_bits == 0
        })
    };
    let mut witness = |step: Step| match step {
        Step::Stage1Start { start, .. } => starts.0 = start,
        Step::Stage2Start { start, .. } => starts.1 = start,
        Step::Stage1(entry) => found |= ignored(starts.0, entry),
        Step::Stage2(entry) => found |= ignored(starts.1, entry),
        Step::Leaf { .. } | Step::Stage2End { .. } => {}
    };
    let Case { va, access, el, .. } = of.case;
    let _ = translation::translate(of.pool, &of.set.registers, Va(va), access, el, &mut witness);
    found
}

/// `SCTLR_EL1.C` = 0 makes all data accesses to Normal memory Non-cacheable at stage 1. QEMU has no caches, and reports
/// what the tables say.
fn caches_off(of: &Circumstances<'_>, machine: Answer) -> bool {
    of.set.registers.sctlr & SCTLR_CACHES == 0 && of.case.kind != Kind::Access && only_attributes(of, machine)
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
        ) => (esr & !0b11, far, hpfar) == (other, address, page) && other & 0x3f == u64::from(PERMISSION),
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

/// A page that hardware makes writable on the first write (DBM, with HA and HD) has the effective value 0 of AP[2]: it
/// is writable, so with WXN nobody executes from it, and EL1 never does if EL0 can write it. QEMU clears AP[2] only for
/// a store, and lets such a page be executed until it is dirty.
fn writable_clean(of: &Circumstances<'_>, _: Answer) -> bool {
    let refused = matches!(of.model, Answer::Faults { taken_by: 1, esr, .. } if esr & 0x3c == 0x0c);
    refused && of.case.access == Access::Execute && of.set.registers.tcr & TCR_HA_HD == TCR_HA_HD
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! One case: what the model says, what the CPU does, and whether that is the same.

use vambrace_memory::access::{Access, El};
use vambrace_memory::fault::{Fault, Taken};
use vambrace_memory::par::Report;
use vambrace_memory::stage2::PhysicalMemory;
use vambrace_memory::translation::{self, Stages};
use vambrace_memory::{Pa, Va};

use super::departures::{self, Circumstances, Departure};
use super::machine::{self, Return, Translated};
use super::pool::{Pool, landing_word};
use super::registers::SCTLR_EE;
use super::stub;
use super::tables::Set;
use crate::exceptions;

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CaseKind {
    /// An address translation instruction.
    Translate(Stages),
    /// A load, store or fetch.
    Access,
}

/// One case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    /// What is tried.
    pub(super) kind: CaseKind,
    /// The address.
    pub(super) va: u64,
    /// For reading, writing or execution.
    pub(super) access: Access,
    /// For which exception level.
    pub(super) el: El,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// `AT` reports this.
    Reports(Report),
    /// `AT` takes an external abort with this status code, on a walk; in stage 2 for stage 1 or not.
    Aborts {
        /// DFSC.
        status: u8,
        /// S1PTW.
        stage1_walk: bool,
    },
    /// The access takes place, and this is what it reads or leaves in memory or runs into.
    Takes(u64),
    /// The access faults.
    Faults {
        /// The level that takes the exception.
        taken_by: u8,
        /// The syndrome, without what describes the instruction.
        esr: u64,
        /// The address.
        far: u64,
        /// The IPA's page, where it is defined.
        hpfar: Option<u64>,
    },
    /// EL1 came back in no way that was foreseen.
    Wild(Return),
}

/// The outcome of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Both say this.
    Same(Answer),
    /// They differ, and are known to.
    Departs(Departure),
    /// They differ.
    Differs(Difference),
    /// The outcome is not ours to know, or would do harm.
    LeftOut,
}

/// What each says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// The model.
    pub(super) model: Answer,
    /// The CPU.
    pub(super) machine: Answer,
}

/// What the syndrome's bits 24:10 say beside the fault, and EA.
const NOT_COMPARED: u64 = 0x7fff << 10 | 1 << 9;
const CLASS_BRK: u64 = 0x3C;
const CLASS_HVC: u64 = 0x16;
const CLASS_DATA_ABORT_SAME: u64 = 0x25;

/// Whether EL1 can be entered at all.
pub(super) fn is_enterable(pool: &Pool, set: &Set) -> bool {
    let code =
        translation::translate(pool, &set.registers, Va(set.stub.va), Access::Execute, El::El1, &mut ());
    !pool.take_strayed() && code.is_ok_and(|outcome| outcome.pa.0 == set.stub.pa)
}

/// Tries one case. The registers are set, and the TLB knows nothing that is no longer so.
pub(super) fn check(pool: &Pool, set: &Set, case: Case) -> Verdict {
    let foreseen = match case.kind {
        CaseKind::Translate(stages) => Some(foresee_report(pool, set, case, stages)),
        CaseKind::Access => foresee_access(pool, set, case),
    };
    let Some(model) = foreseen.filter(|_| !pool.take_strayed()) else { return Verdict::LeftOut };
    let circumstances = Circumstances { pool, set, case, model };
    if let Some(departure) = departures::foreseen(&circumstances) {
        return Verdict::Departs(departure);
    }
    let machine = match case.kind {
        CaseKind::Translate(stages) => observe_report(case, stages),
        CaseKind::Access => observe_access(pool, set, case, model),
    };
    let difference = Difference { model, machine };
    if agree(difference) {
        return Verdict::Same(model);
    }
    departures::find(&circumstances, machine).map_or(Verdict::Differs(difference), Verdict::Departs)
}

/// `HPFAR_EL2` counts only where it is defined.
fn agree(Difference { model, machine }: Difference) -> bool {
    match (model, machine) {
        (
            Answer::Faults { taken_by, esr, far, hpfar: None },
            Answer::Faults { taken_by: by, esr: syndrome, far: address, .. },
        ) => (taken_by, esr, far) == (by, syndrome, address),
        _ => model == machine,
    }
}

fn foresee_report(pool: &Pool, set: &Set, case: Case, stages: Stages) -> Answer {
    match translation::at(pool, &set.registers, Va(case.va), case.access, case.el, stages) {
        // An external abort on the walk is taken, not reported.
        Report::Fault { status, stage1_walk, .. } if is_external(status) => {
            Answer::Aborts { status, stage1_walk }
        }
        report => Answer::Reports(report),
    }
}

const fn is_external(status: u8) -> bool {
    matches!(status, 0x13..=0x17)
}

fn observe_report(case: Case, stages: Stages) -> Answer {
    match machine::translate(stages, case.access, case.el, case.va) {
        Translated::Par(par) => Answer::Reports(Report::from_register(par)),
        Translated::Exception(esr) if exceptions::class(esr) == CLASS_DATA_ABORT_SAME => {
            Answer::Aborts { status: exceptions::fault_status(esr) as u8, stage1_walk: esr & 1 << 7 != 0 }
        }
        Translated::Exception(esr) => Answer::Wild(Return { x0: 0, el2: [esr, 0, 0], el1: [0; 2] }),
    }
}

/// What an access will do; `None` where it would reach something else than the landing.
fn foresee_access(pool: &Pool, set: &Set, case: Case) -> Option<Answer> {
    let Case { va, access, el, .. } = case;
    match translation::translate(pool, &set.registers, Va(va), access, el, &mut ()) {
        Ok(outcome) if pool.lands(outcome.pa.0) => Some(Answer::Takes(match access {
            Access::Read => in_order(set, pool.read(outcome.pa)?),
            Access::Write => in_order(set, mark(outcome.pa)),
            Access::Execute => brk_number(pool, outcome.pa),
        })),
        Ok(_) => None,
        Err(fault) => Some(foreseen_fault(fault, access, el)),
    }
}

fn foreseen_fault(fault: Fault, access: Access, el: El) -> Answer {
    // A load for EL0 is made at EL1; a fetch for EL0 at EL0.
    let taken = match (fault.is_stage2(), access, el) {
        (true, _, _) | (false, Access::Execute, El::El0) => Taken::FromLowerEl,
        (false, _, _) => Taken::FromSameEl,
    };
    Answer::Faults {
        taken_by: if fault.is_stage2() { 2 } else { 1 },
        esr: fault.syndrome(access, taken) & !NOT_COMPARED,
        far: fault.va.0,
        hpfar: fault.hpfar(),
    }
}

/// Data at EL1 is in the order of SCTLR_EL1.EE.
const fn in_order(set: &Set, value: u64) -> u64 {
    if set.registers.sctlr & SCTLR_EE != 0 { value.swap_bytes() } else { value }
}

/// What is stored at `pa`: something else than is there.
const fn mark(pa: Pa) -> u64 {
    !landing_word(pa.0 & 0xffff)
}

fn brk_number(pool: &Pool, pa: Pa) -> u64 {
    (pa.0 - pool.landing()) / 4
}

fn observe_access(pool: &Pool, set: &Set, case: Case, model: Answer) -> Answer {
    let Case { va, access, el, .. } = case;
    let level = if access == Access::Execute { el } else { El::El1 };
    let value = match (access, model) {
        (Access::Write, Answer::Takes(value)) => value,
        _ => 0,
    };
    let back = machine::enter(&set.registers, stub::entry(set.stub, access, el, va), level, value, va);
    let [esr, far, hpfar] = back.el2;
    let class = exceptions::class(esr);
    match (class, esr & 0xffff) {
        (CLASS_BRK, number) if access == Access::Execute => Answer::Takes(number),
        (CLASS_HVC, stub::DONE) if access == Access::Read => Answer::Takes(back.x0),
        (CLASS_HVC, stub::DONE) if access == Access::Write => Answer::Takes(stored(pool, set, case)),
        // EL1's synchronous vectors.
        (CLASS_HVC, vector) if vector == stub::VECTOR + 4 || vector == stub::VECTOR + 8 => {
            Answer::Faults { taken_by: 1, esr: back.el1[0] & !NOT_COMPARED, far: back.el1[1], hpfar: None }
        }
        _ if matches!(class, 0x20 | 0x24) => {
            Answer::Faults { taken_by: 2, esr: esr & !NOT_COMPARED, far, hpfar: Some(hpfar) }
        }
        _ => Answer::Wild(back),
    }
}

/// What a store has left where the model says it goes; undone.
fn stored(pool: &Pool, set: &Set, case: Case) -> u64 {
    let Case { va, el, .. } = case;
    match translation::translate(pool, &set.registers, Va(va), Access::Write, el, &mut ()) {
        Ok(outcome) if pool.lands(outcome.pa.0) => {
            let value = pool.get(outcome.pa.0);
            pool.set(outcome.pa.0, landing_word(outcome.pa.0 & 0xffff));
            in_order(set, value)
        }
        _ => 0,
    }
}

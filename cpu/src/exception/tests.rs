// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::*;
use crate::pstate::*;

const VBAR: u64 = 0xFFFF_8000_1000_0800;
const ALL: PstateFeatures = PstateFeatures { pan: true, ssbs: true, mte: true };
const NONE: PstateFeatures = PstateFeatures { pan: false, ssbs: false, mte: false };

fn take(
    pstate: u64,
    sctlr: u64,
    exception: Exception,
    features: PstateFeatures,
) -> (TrapFrame, El1Registers) {
    let mut frame = TrapFrame { pc: 0x1234, pstate, ..TrapFrame::default() };
    frame.set(5, 55);
    let mut el1 = El1Registers { vbar: VBAR, sctlr, far: 0xFA2, ..El1Registers::default() };
    take_to_el1(&mut frame, &mut el1, exception, features);
    assert_eq!((el1.elr, el1.spsr), (0x1234, pstate), "the return state is what it was");
    assert_eq!(frame.get(5), 55, "general-purpose registers stay");
    (frame, el1)
}

fn abort(access: AbortedAccess, va: Option<u64>, walk_level: Option<WalkLevel>) -> Exception {
    Exception::ExternalAbort(ExternalAbort { access, va: va.map(Va), walk_level })
}

#[test]
fn the_vector_follows_the_level_and_the_kind() {
    let serror = Exception::SError { iss: 0 };
    for (pstate, group) in [(EL1T, 0x000), (EL1H, 0x200), (EL0T, 0x400), (AARCH32, 0x600)] {
        assert_eq!(take(pstate, 0, Exception::Undefined, NONE).0.pc, VBAR + group);
        assert_eq!(take(pstate, 0, serror, NONE).0.pc, VBAR + group + 0x180);
    }
}

#[test]
fn the_low_bits_of_vbar_do_not_count() {
    let mut frame = TrapFrame { pstate: EL1H, ..TrapFrame::default() };
    let mut el1 = El1Registers { vbar: 0x87FF, ..El1Registers::default() };
    take_to_el1(&mut frame, &mut el1, Exception::Undefined, NONE);
    assert_eq!(frame.pc, 0x8200);
}

#[test]
fn undefined_says_unknown_and_leaves_far_alone() {
    for pstate in [EL0T, EL1H, AARCH32 | T] {
        let (_, el1) = take(pstate, 0, Exception::Undefined, NONE);
        assert_eq!((el1.esr, el1.far), (1 << 25, 0xFA2));
    }
}

#[test]
fn the_syndrome_of_an_external_abort() {
    use AbortedAccess::{CacheMaintenance, Data, Fetch};
    let read = Data(Direction::Read);
    let write = Data(Direction::Write);
    let table = [
        (EL0T, read, Some(7), None, 0x9200_0010),
        (EL1H, read, Some(7), None, 0x9600_0010),
        (EL1T, write, Some(7), None, 0x9600_0050),
        (AARCH32 | T, write, Some(7), None, 0x9200_0050),
        (EL1H, read, None, None, 0x9600_0410),
        (EL1H, CacheMaintenance, Some(7), None, 0x9600_0150),
        (EL0T, Fetch, Some(7), None, 0x8200_0010),
        (EL1H, Fetch, Some(7), None, 0x8600_0010),
        (EL1H, Fetch, Some(7), Some(WalkLevel::L0), 0x8600_0014),
        (EL1H, write, Some(7), Some(WalkLevel::L3), 0x9600_0057),
    ];
    for (pstate, access, va, walk, esr) in table {
        let (_, el1) = take(pstate, 0, abort(access, va, walk), NONE);
        assert_eq!(el1.esr, esr, "{access:?} at {pstate:#x}");
        assert_eq!(el1.far, va.unwrap_or(0xFA2));
    }
}

#[test]
fn a_reflected_exception_is_as_if_el1_had_taken_it() {
    let reflect = |pstate, class, length| {
        let syndrome = Syndrome::new(class, length, 0x22);
        let (_, el1) = take(pstate, 0, Exception::Reflected { syndrome, far: 0xBAD }, NONE);
        (Syndrome(el1.esr).class(), Syndrome(el1.esr).length(), el1.far)
    };
    let four = InstructionLength::Four;
    assert_eq!(reflect(EL0T, class::BREAKPOINT_LOWER, four), (class::BREAKPOINT_LOWER, four, 0xFA2));
    assert_eq!(reflect(EL1H, class::BREAKPOINT_LOWER, four), (class::BREAKPOINT_SAME, four, 0xFA2));
    assert_eq!(reflect(EL1H, class::STEP_LOWER, four), (class::STEP_SAME, four, 0xFA2));
    assert_eq!(reflect(EL1H, class::WATCHPOINT_LOWER, four), (class::WATCHPOINT_SAME, four, 0xBAD));
    assert_eq!(reflect(EL1H, class::BRK64, four), (class::BRK64, four, 0xFA2));
    let two = InstructionLength::Two;
    assert_eq!(reflect(AARCH32, class::BKPT32, two), (class::BKPT32, two, 0xFA2));
}

#[test]
fn an_serror_keeps_its_iss() {
    let (_, el1) = take(EL0T, 0, Exception::SError { iss: 0x100_0002 }, NONE);
    assert_eq!(el1.esr, 0xBF00_0002);
}

#[test]
fn pan_follows_span() {
    let pan = |pstate, sctlr, features| take(pstate, sctlr, Exception::Undefined, features).0.pstate & PAN;
    assert_eq!(pan(EL0T, 0, ALL), PAN, "SPAN clear: set");
    assert_eq!(pan(EL0T, SCTLR_SPAN, ALL), 0, "SPAN set: as it was");
    assert_eq!(pan(EL1H | PAN, SCTLR_SPAN, ALL), PAN);
    assert_eq!(pan(EL0T, 0, NONE), 0);
}

#[test]
fn ssbs_follows_dssbs() {
    let ssbs = |sctlr, features| take(EL1H | SSBS, sctlr, Exception::Undefined, features).0.pstate & SSBS;
    assert_eq!(ssbs(SCTLR_DSSBS, ALL), SSBS);
    assert_eq!(ssbs(0, ALL), 0);
    assert_eq!(ssbs(SCTLR_DSSBS, NONE), 0);
}

#[test]
fn tco_is_set_where_there_is_mte() {
    assert_eq!(take(EL1H, 0, Exception::Undefined, ALL).0.pstate & TCO, TCO);
    assert_eq!(take(EL1H, 0, Exception::Undefined, NONE).0.pstate & TCO, 0);
}

proptest! {
    #[test]
    fn the_handler_starts_as_the_architecture_says(
        pstate: u64, sctlr: u64, vbar: u64, iss: u32, esr: u64, far: u64
    ) {
        for exception in [
            Exception::Undefined,
            Exception::SError { iss },
            Exception::Reflected { syndrome: Syndrome(esr), far },
        ] {
            let mut frame = TrapFrame { pc: far, pstate, ..TrapFrame::default() };
            let mut el1 = El1Registers { vbar, sctlr, ..El1Registers::default() };
            take_to_el1(&mut frame, &mut el1, exception, NONE);
            prop_assert_eq!(frame.pstate, EL1H | DAIF | pstate & (NZCV | DIT));
            prop_assert_eq!(frame.pc & !0x7FF, vbar & !0x7FF);
            prop_assert_eq!(frame.pc & 0x7F, 0);
            prop_assert_eq!((el1.elr, el1.spsr), (far, pstate));
        }
    }
}

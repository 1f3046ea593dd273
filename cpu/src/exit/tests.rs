// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::*;
use crate::syndrome::describe;

const FOUR: InstructionLength = InstructionLength::Four;

fn esr(class: u8, iss: u32) -> u64 {
    Syndrome::new(class, FOUR, iss).0
}

fn data_abort(iss: u32, far: u64, hpfar: u64) -> DataAbort {
    match Exit::decode(esr(class::DATA_ABORT_LOWER, iss), far, hpfar) {
        Exit::DataAbort(abort) => abort,
        other => panic!("{other:?}"),
    }
}

#[test]
fn calls_carry_their_immediate() {
    assert_eq!(Exit::decode(0x5A00_0000, 0, 0), Exit::Hvc { immediate: 0 });
    assert_eq!(Exit::decode(0x5A00_BEEF, 0, 0), Exit::Hvc { immediate: 0xBEEF });
    assert_eq!(Exit::decode(0x5E00_0001, 0, 0), Exit::Smc { immediate: 1 });
}

#[test]
fn waits() {
    let wait = |iss| match Exit::decode(esr(class::WAIT, iss), 0, 0) {
        Exit::Wait(wait) => (wait.instruction, wait.timeout),
        other => panic!("{other:?}"),
    };
    assert_eq!(wait(0x1E0_0000), (WaitInstruction::Wfi, None));
    assert_eq!(wait(0x1E0_0001), (WaitInstruction::Wfe, None));
    assert_eq!(wait(7 << 5 | 1 << 2 | 0b10), (WaitInstruction::Wfit, Some(7)));
    assert_eq!(wait(31 << 5 | 1 << 2 | 0b11), (WaitInstruction::Wfet, Some(31)));
    assert_eq!(wait(7 << 5 | 0b11), (WaitInstruction::Wfet, None), "RV is clear");
    assert_eq!(Wait::WFI, Syndrome(0x07E0_0000), "as hardware reports it");
}

#[test]
fn a_trapped_register_access() {
    // MSR ICC_SGI1R_EL1, X18 as hardware reports it.
    let exit = Exit::decode(0x623A_3256, 0, 0);
    let expected =
        SystemRegisterAccess { register: SysReg::ICC_SGI1R_EL1, rt: 18, direction: Direction::Write };
    assert_eq!(exit, Exit::SystemRegister(expected));
    // MRS XZR, ID_AA64MMFR2_EL1.
    let exit = Exit::decode(esr(class::SYSTEM, SysReg::ID_AA64MMFR2_EL1.to_iss() | 31 << 5 | 1), 0, 0);
    let expected =
        SystemRegisterAccess { register: SysReg::ID_AA64MMFR2_EL1, rt: 31, direction: Direction::Read };
    assert_eq!(exit, Exit::SystemRegister(expected));
}

#[test]
fn a_load_from_a_device() {
    // LDR W3, [X1] at IPA 0x0900_0018: translation fault, level 1.
    let iss = 1 << 24 | 2 << 22 | 3 << 16 | 0x05;
    let abort = data_abort(iss, 0xFFFF_8000_1234_5018, 0x9000 << 4);
    assert_eq!(abort.va, Some(Va(0xFFFF_8000_1234_5018)));
    assert_eq!(abort.ipa, Some(Ipa(0x0900_0018)));
    assert_eq!(abort.status, FaultStatus::Translation(1));
    assert_eq!(abort.direction, Direction::Read);
    assert!(!abort.on_walk && !abort.cache_maintenance);
    assert_eq!(abort.syndrome.iss(), iss);
    let word = DataTransfer { log2_bytes: 2, register: 3, sign_extends: false, is_64_bit: false };
    assert_eq!(abort.transfer(), Some(word));
    // LDRSB X31 of the same address.
    let byte = DataTransfer { log2_bytes: 0, register: 31, sign_extends: true, is_64_bit: true };
    let iss = 1 << 24 | 1 << 21 | 31 << 16 | 1 << 15 | 0x05;
    assert_eq!(data_abort(iss, 0xFFFF_8000_1234_5018, 0x9000 << 4).transfer(), Some(byte));
}

#[test]
fn a_store_pair() {
    let abort = data_abort(1 << 6 | 0x06, 0x10, 0x4_0000);
    assert_eq!(abort.transfer(), None);
    assert_eq!(abort.direction, Direction::Write);
    assert_eq!(abort.ipa, Some(Ipa(0x0400_0010)));
}

#[test]
fn hpfar_holds_56_bits_of_address() {
    assert_eq!(data_abort(0x04, 0xFFF, u64::MAX).ipa, Some(Ipa(0xFF_FFFF_FFFF_FFFF)));
}

#[test]
fn the_ipa_is_known_only_where_hpfar_is_valid() {
    for status in 0..64 {
        let access = data_abort(status, 0x123, 0x10).ipa;
        let walk = data_abort(1 << 7 | status, 0x123, 0x10).ipa;
        match FaultStatus::decode(status as u8) {
            FaultStatus::Translation(_) | FaultStatus::AccessFlag(_) | FaultStatus::AddressSize(_) => {
                assert_eq!((access, walk), (Some(Ipa(0x1123)), Some(Ipa(0x1000))));
            }
            FaultStatus::Permission(_) => assert_eq!((access, walk), (None, Some(Ipa(0x1000)))),
            _ => assert_eq!((access, walk), (None, None)),
        }
    }
}

#[test]
fn an_external_abort_may_not_know_its_address() {
    assert_eq!(data_abort(1 << 10 | 0x10, 0x123, 0).va, None);
    assert_eq!(data_abort(0x10, 0x123, 0).va, Some(Va(0x123)));
    // FnV is RES0 for all others.
    assert_eq!(data_abort(1 << 10 | 0x04, 0x123, 0).va, Some(Va(0x123)));
}

#[test]
fn cache_maintenance_is_no_store_of_data() {
    let abort = data_abort(1 << 8 | 1 << 6 | 0x05, 0, 0);
    assert!(abort.cache_maintenance);
}

#[test]
fn each_class_that_has_a_variant() {
    let decode = |class| Exit::decode(esr(class, 0), 0, 0);
    assert_eq!(decode(class::FP), Exit::FpAccess);
    assert_eq!(decode(class::SVE), Exit::SveAccess);
    assert_eq!(decode(class::SME), Exit::SmeAccess);
    assert_eq!(decode(class::POINTER_AUTH), Exit::PointerAuth);
    assert_eq!(decode(class::ILLEGAL_STATE), Exit::IllegalState);
    assert!(matches!(decode(class::SERROR), Exit::SError(_)));
    assert!(matches!(decode(class::CP15_32), Exit::Coprocessor(_)));
    assert!(matches!(decode(class::INSTRUCTION_ABORT_LOWER), Exit::InstructionAbort(_)));
    for class in [class::BREAKPOINT_LOWER, class::STEP_LOWER, class::WATCHPOINT_LOWER, class::BRK64] {
        assert!(matches!(decode(class), Exit::Debug(_)));
    }
    for class in [class::UNKNOWN, class::ERET, class::MOPS, 0x3F] {
        assert_eq!(decode(class), Exit::Other(Syndrome(esr(class, 0))));
    }
}

proptest! {
    #[test]
    fn any_syndrome_decodes(esr: u64, far: u64, hpfar: u64) {
        let _ = Exit::decode(esr, far, hpfar);
        prop_assert!(!describe(esr).to_string().is_empty());
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
use vambrace_memory::Va;
use vambrace_memory::access::Access;
use vambrace_memory::fault::{Fault, FaultKind, Origin, Taken};

use super::*;
use crate::exit::{Direction, SystemRegisterAccess};
use crate::sysreg::SysReg;

fn words(class: u8, iss: u32) -> String {
    describe(Syndrome::new(class, InstructionLength::Four, iss).0).to_string()
}

#[test]
fn fields() {
    let syndrome = Syndrome(0x9384_8007);
    assert_eq!(syndrome.class(), class::DATA_ABORT_LOWER);
    assert_eq!(syndrome.length(), InstructionLength::Four);
    assert_eq!(syndrome.iss(), 0x184_8007);
    assert_eq!(syndrome.fault_status(), FaultStatus::Translation(3));
    // ISS2 is above and does not count.
    assert_eq!(Syndrome(0x9384_8007 | 0x1F << 32).class(), class::DATA_ABORT_LOWER);
    assert_eq!(Syndrome::new(0x24, InstructionLength::Four, 0x184_8007), syndrome);
}

#[test]
fn a_data_abort_in_words() {
    let iss = 1 << 24 | 2 << 22 | 0x06;
    assert_eq!(
        words(class::DATA_ABORT_LOWER, iss),
        "data abort from a lower exception level: translation fault, level 2, read of 4 bytes"
    );
    assert_eq!(
        words(class::DATA_ABORT_LOWER, 1 << 24 | 1 << 6 | 0x0F),
        "data abort from a lower exception level: permission fault, level 3, write of 1 byte"
    );
    assert_eq!(
        words(class::DATA_ABORT_SAME, 1 << 7 | 0x10),
        "data abort from the same exception level: synchronous external abort, read, in a stage 1 table walk"
    );
    assert_eq!(
        words(class::DATA_ABORT_LOWER, 1 << 8 | 1 << 6 | 0x2B),
        "data abort from a lower exception level: translation fault, level -1, cache maintenance"
    );
}

#[test]
fn other_exceptions_in_words() {
    assert_eq!(words(class::HVC64, 0x4A48), "HVC #0x4a48");
    assert_eq!(words(class::WAIT, 1), "WFE trapped");
    assert_eq!(words(class::SYSTEM, 0x3A_3256), "trapped write of ICC_SGI1R_EL1");
    assert_eq!(words(class::SYSTEM, 0x3F_FFFF), "trapped read of S3_7_C15_C15_7");
    assert_eq!(
        words(class::INSTRUCTION_ABORT_LOWER, 0x04),
        "instruction abort from a lower exception level: translation fault, level 0"
    );
    assert_eq!(words(class::UNKNOWN, 0), "undefined instruction, or a reason without a class");
    assert_eq!(words(0x3F, 5), "exception of unknown class 0x3f, ISS 0x5");
}

#[test]
fn each_fault_status_has_one_code() {
    let mut seen = Vec::new();
    for code in 0..64 {
        let status = FaultStatus::decode(code);
        assert!(!seen.contains(&status), "{status:?} twice");
        seen.push(status);
    }
    assert_eq!(FaultStatus::decode(0x2A), FaultStatus::Translation(-2));
    assert_eq!(FaultStatus::decode(0x17), FaultStatus::ExternalOnWalk(3));
}

/// Syndromes as hardware has reported them, field by field.
#[test]
fn fields_are_where_the_architecture_has_them() {
    // LDR W4, [X1]: translation fault, level 3.
    let load = Syndrome(0x9384_8007);
    for (field, value) in [
        (field::EC, 0x24),
        (field::IL, 1),
        (field::ISS, 0x184_8007),
        (field::ISV, 1),
        (field::SAS, 2),
        (field::SSE, 0),
        (field::SRT, 4),
        (field::SF, 1),
        (field::WNR, 0),
        (field::FAULT_STATUS, 7),
    ] {
        assert_eq!(field.of(load), value, "{field:?}");
        assert_eq!(field.is_set(load), value != 0);
        assert_eq!(field.with(value), load.0 & field.mask());
    }
    // MSR ICC_SGI1R_EL1, X18.
    let write = Syndrome(0x623A_3256);
    for (field, value) in [
        (field::OP0, 3),
        (field::OP1, 0),
        (field::CRN, 12),
        (field::CRM, 11),
        (field::OP2, 5),
        (field::RT, 18),
        (field::READ, 0),
    ] {
        assert_eq!(field.of(write), value, "{field:?}");
    }
    assert_eq!(field::CRM.part(2, 0).of(write), 0b011);
    assert_eq!(field::CRM.part(3, 3).of(write), 1);
    assert_eq!(field::RT.iss_with(31), 31 << 5);
    assert_eq!(field::SAS.with(7), 3 << 22, "what does not fit is cut off");
}

#[test]
fn a_pattern_is_of_one_register_and_one_direction() {
    let write = SystemRegisterAccess::pattern(SysReg::ICC_SGI1R_EL1, Direction::Write);
    assert!(write.matches(Syndrome(0x623A_3256)));
    assert!(write.matches(Syndrome(0x623A_3256 ^ field::RT.mask())), "whatever Rt is");
    for bit in (0..32).filter(|bit| field::RT.mask() >> bit & 1 == 0) {
        assert!(!write.matches(Syndrome(0x623A_3256 ^ 1 << bit)), "bit {bit}");
    }
}

#[test]
fn calls_are_told_apart_and_from_everything_else() {
    for number in 0..64 {
        let conduit = match number {
            class::HVC64 => Some(Conduit::Hvc),
            class::SMC64 => Some(Conduit::Smc),
            _ => None,
        };
        assert_eq!(Syndrome::new(number, InstructionLength::Four, 0x1FF_FFFF).conduit(), conduit);
    }
}

/// The model of the translation spells syndromes out by itself, since it is below this crate.
#[test]
fn the_translation_models_faults_read_as_they_are_meant() {
    for (kind, status) in [
        (FaultKind::Translation, FaultStatus::Translation(2)),
        (FaultKind::AccessFlag, FaultStatus::AccessFlag(2)),
        (FaultKind::Permission, FaultStatus::Permission(2)),
        (FaultKind::AddressSize, FaultStatus::AddressSize(2)),
        (FaultKind::ExternalAbortOnWalk, FaultStatus::ExternalOnWalk(2)),
    ] {
        let fault = Fault { kind, level: 2, origin: Origin::Stage1, va: Va(0) };
        let syndrome = Syndrome(fault.syndrome(Access::Write, Taken::FromSameEl));
        assert_eq!((syndrome.class(), syndrome.fault_status()), (class::DATA_ABORT_SAME, status));
        assert!(field::WNR.is_set(syndrome) && field::IL.is_set(syndrome));
        let fetch = Syndrome(fault.syndrome(Access::Execute, Taken::FromLowerEl));
        assert_eq!((fetch.class(), field::WNR.of(fetch)), (class::INSTRUCTION_ABORT_LOWER, 0));
    }
}

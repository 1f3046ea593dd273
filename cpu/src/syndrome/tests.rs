// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;

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

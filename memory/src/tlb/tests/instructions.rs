// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each TLBI, by its encoding: what goes out of the zoo, and that all else stays.

use super::zoo::{HERE, IPA, RangeOperand, one, taken, zoo};
use super::*;

/// Stage-1 leaves and combined entries of ASID 5 that translate `HERE`.
const LEAVES_5: &[&str] = &["leaf 5", "block 5", "run 5", "64 KiB leaf 5", "combined 5", "piece of block 5"];
const TABLES_5: &[&str] = &["table 5", "root table 5"];
const ELSEWHERE_5: &[&str] = &["next leaf 5", "far table 5", "next combined 5"];
const LEAVES_6: &[&str] = &["leaf 6", "combined 6"];
const TABLES_6: &[&str] = &["table 6"];
const GLOBAL: &[&str] = &["global leaf", "global combined"];
const GLOBAL_ELSEWHERE: &[&str] = &["next global leaf"];
/// What two pages of the 4 KiB granule mean, next to the above, and without the leaf of the other granule.
const NEXT_5: &[&str] = &["next leaf 5", "next combined 5"];
const OTHER_GRANULE: &str = "64 KiB leaf 5";

const STAGE2_LEAVES: &[&str] = &["stage-2 leaf", "stage-2 block", "stage-2 run", "64 KiB stage-2 leaf"];
const STAGE2_TABLES: &[&str] = &["stage-2 table", "root stage-2 table"];
const STAGE2_ELSEWHERE: &[&str] = &["next stage-2 leaf", "stage-2 leaf at the VA", "far stage-2 table"];
const STAGE2_NEXT: &[&str] = &["next stage-2 leaf"];
const OTHER_STAGE2_GRANULE: &str = "64 KiB stage-2 leaf";

const EL2_LEAVES: &[&str] = &["EL2 leaf", "EL2 block"];
const EL2_TABLES: &[&str] = &["EL2 table"];
const EL2_ELSEWHERE: &[&str] = &["next EL2 leaf", "far EL2 table"];

/// The instruction by the name of its test, in all three scopes, takes exactly these.
#[track_caller]
fn takes(name: &str, operand: u64, expected: &[&[&str]]) {
    let mut expected: Vec<&str> = expected.concat();
    expected.sort_unstable();
    for suffix in ["", "IS", "OS"] {
        let name = format!("{}{suffix}", name.to_uppercase());
        let instruction = Instruction::all().find(|found| found.to_string() == name).unwrap();
        let (op1, crn, crm, op2) = instruction.encoding();
        let (op, _) = Tlbi::decode(op1, crn, crm, op2, operand).unwrap();
        let mut found = taken(op);
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
    }
}

/// `expected` without what is of another granule than the range.
fn without<'a>(name: &str, expected: &[&'a str]) -> Vec<&'a str> {
    expected.iter().copied().filter(|found| *found != name).collect()
}

#[test]
fn vmalle1() {
    let all = &[LEAVES_5, TABLES_5, ELSEWHERE_5, LEAVES_6, TABLES_6, GLOBAL, GLOBAL_ELSEWHERE];
    takes("vmalle1", 0, all);
}

#[test]
fn vae1() {
    takes("vae1", one(HERE, 5), &[LEAVES_5, TABLES_5, GLOBAL]);
}

#[test]
fn vale1() {
    takes("vale1", one(HERE, 5), &[LEAVES_5, GLOBAL]);
}

#[test]
fn vaae1() {
    takes("vaae1", one(HERE, 0), &[LEAVES_5, TABLES_5, LEAVES_6, TABLES_6, GLOBAL]);
}

#[test]
fn vaale1() {
    takes("vaale1", one(HERE, 0), &[LEAVES_5, LEAVES_6, GLOBAL]);
}

#[test]
fn aside1() {
    takes("aside1", 5 << 48, &[LEAVES_5, TABLES_5, ELSEWHERE_5]);
    takes("aside1", 6 << 48, &[LEAVES_6, TABLES_6]);
}

#[test]
fn rvae1() {
    let leaves = without(OTHER_GRANULE, LEAVES_5);
    let expected = &[&leaves, NEXT_5, TABLES_5, GLOBAL, GLOBAL_ELSEWHERE];
    takes("rvae1", RangeOperand::two_pages(HERE, 5).bits(), expected);
}

#[test]
fn rvale1() {
    let leaves = without(OTHER_GRANULE, LEAVES_5);
    let expected = &[&leaves, NEXT_5, GLOBAL, GLOBAL_ELSEWHERE];
    takes("rvale1", RangeOperand::two_pages(HERE, 5).bits(), expected);
}

#[test]
fn rvaae1() {
    let leaves = without(OTHER_GRANULE, LEAVES_5);
    let expected = &[&leaves, NEXT_5, TABLES_5, LEAVES_6, TABLES_6, GLOBAL, GLOBAL_ELSEWHERE];
    takes("rvaae1", RangeOperand::two_pages(HERE, 0).bits(), expected);
}

#[test]
fn rvaale1() {
    let leaves = without(OTHER_GRANULE, LEAVES_5);
    let expected = &[&leaves, NEXT_5, LEAVES_6, GLOBAL, GLOBAL_ELSEWHERE];
    takes("rvaale1", RangeOperand::two_pages(HERE, 0).bits(), expected);
}

#[test]
fn vmalls12e1() {
    let stage1 = [LEAVES_5, TABLES_5, ELSEWHERE_5, LEAVES_6, TABLES_6, GLOBAL, GLOBAL_ELSEWHERE].concat();
    takes("vmalls12e1", 0, &[&stage1, STAGE2_LEAVES, STAGE2_TABLES, STAGE2_ELSEWHERE]);
}

#[test]
fn alle1() {
    let all = zoo().iter().map(|(name, _)| *name).filter(|name| !name.contains("EL2")).collect::<Vec<_>>();
    takes("alle1", 0, &[&all]);
}

#[test]
fn ipas2e1() {
    takes("ipas2e1", one(IPA, 0), &[STAGE2_LEAVES, STAGE2_TABLES]);
}

#[test]
fn ipas2le1() {
    takes("ipas2le1", one(IPA, 0), &[STAGE2_LEAVES]);
}

#[test]
fn ripas2e1() {
    let leaves = without(OTHER_STAGE2_GRANULE, STAGE2_LEAVES);
    takes("ripas2e1", RangeOperand::two_pages(IPA, 0).bits(), &[&leaves, STAGE2_NEXT, STAGE2_TABLES]);
}

#[test]
fn ripas2le1() {
    let leaves = without(OTHER_STAGE2_GRANULE, STAGE2_LEAVES);
    takes("ripas2le1", RangeOperand::two_pages(IPA, 0).bits(), &[&leaves, STAGE2_NEXT]);
}

#[test]
fn vae2() {
    takes("vae2", one(HERE, 0), &[EL2_LEAVES, EL2_TABLES]);
}

#[test]
fn vale2() {
    takes("vale2", one(HERE, 0), &[EL2_LEAVES]);
}

#[test]
fn alle2() {
    takes("alle2", 0, &[EL2_LEAVES, EL2_TABLES, EL2_ELSEWHERE]);
}

#[test]
fn rvae2() {
    let expected = &[EL2_LEAVES, EL2_TABLES, &["next EL2 leaf"]];
    takes("rvae2", RangeOperand::two_pages(HERE, 0).bits(), expected);
}

#[test]
fn rvale2() {
    takes("rvale2", RangeOperand::two_pages(HERE, 0).bits(), &[EL2_LEAVES, &["next EL2 leaf"]]);
}

#[test]
fn each_instruction_has_a_test_here() {
    let source = include_str!("instructions.rs");
    for instruction in Instruction::all().filter(|instruction| instruction.scope == Scope::Local) {
        let header = format!("#[test]\nfn {}() {{", instruction.to_string().to_lowercase());
        assert!(source.contains(&header), "{instruction}");
    }
}

/// The words that LLVM's assembler makes of them.
#[rustfmt::skip]
const WORDS: [(&str, u32); 63] = [
    ("VMALLE1", 0xd508_871f), ("VMALLE1IS", 0xd508_831f), ("VMALLE1OS", 0xd508_811f),
    ("VAE1", 0xd508_8720), ("VAE1IS", 0xd508_8320), ("VAE1OS", 0xd508_8120),
    ("ASIDE1", 0xd508_8740), ("ASIDE1IS", 0xd508_8340), ("ASIDE1OS", 0xd508_8140),
    ("VAAE1", 0xd508_8760), ("VAAE1IS", 0xd508_8360), ("VAAE1OS", 0xd508_8160),
    ("VALE1", 0xd508_87a0), ("VALE1IS", 0xd508_83a0), ("VALE1OS", 0xd508_81a0),
    ("VAALE1", 0xd508_87e0), ("VAALE1IS", 0xd508_83e0), ("VAALE1OS", 0xd508_81e0),
    ("RVAE1", 0xd508_8620), ("RVAE1IS", 0xd508_8220), ("RVAE1OS", 0xd508_8520),
    ("RVAAE1", 0xd508_8660), ("RVAAE1IS", 0xd508_8260), ("RVAAE1OS", 0xd508_8560),
    ("RVALE1", 0xd508_86a0), ("RVALE1IS", 0xd508_82a0), ("RVALE1OS", 0xd508_85a0),
    ("RVAALE1", 0xd508_86e0), ("RVAALE1IS", 0xd508_82e0), ("RVAALE1OS", 0xd508_85e0),
    ("IPAS2E1", 0xd50c_8420), ("IPAS2E1IS", 0xd50c_8020), ("IPAS2E1OS", 0xd50c_8400),
    ("RIPAS2E1", 0xd50c_8440), ("RIPAS2E1IS", 0xd50c_8040), ("RIPAS2E1OS", 0xd50c_8460),
    ("IPAS2LE1", 0xd50c_84a0), ("IPAS2LE1IS", 0xd50c_80a0), ("IPAS2LE1OS", 0xd50c_8480),
    ("RIPAS2LE1", 0xd50c_84c0), ("RIPAS2LE1IS", 0xd50c_80c0), ("RIPAS2LE1OS", 0xd50c_84e0),
    ("ALLE2", 0xd50c_871f), ("ALLE2IS", 0xd50c_831f), ("ALLE2OS", 0xd50c_811f),
    ("VAE2", 0xd50c_8720), ("VAE2IS", 0xd50c_8320), ("VAE2OS", 0xd50c_8120),
    ("ALLE1", 0xd50c_879f), ("ALLE1IS", 0xd50c_839f), ("ALLE1OS", 0xd50c_819f),
    ("VALE2", 0xd50c_87a0), ("VALE2IS", 0xd50c_83a0), ("VALE2OS", 0xd50c_81a0),
    ("VMALLS12E1", 0xd50c_87df), ("VMALLS12E1IS", 0xd50c_83df), ("VMALLS12E1OS", 0xd50c_81df),
    ("RVAE2", 0xd50c_8620), ("RVAE2IS", 0xd50c_8220), ("RVAE2OS", 0xd50c_8520),
    ("RVALE2", 0xd50c_86a0), ("RVALE2IS", 0xd50c_82a0), ("RVALE2OS", 0xd50c_85a0),
];

#[test]
fn encodings_are_those_of_an_assembler() {
    let field = |word: u32, shift: u32, bits: u32| (word >> shift & ((1 << bits) - 1)) as u8;
    for (name, word) in WORDS {
        assert_eq!(word >> 19, 0b1_1010_1010_0001, "{name} is SYS with op0 = 1");
        let fields = (field(word, 16, 3), field(word, 12, 4), field(word, 8, 4), field(word, 5, 3));
        let instruction = Instruction::from_encoding(fields.0, fields.1, fields.2, fields.3);
        assert_eq!(instruction.map(|found| found.to_string()).as_deref(), Some(name));
        assert_eq!(instruction.map(Instruction::encoding), Some(fields), "{name}");
    }
    assert_eq!(Instruction::all().count(), WORDS.len());
}

#[test]
fn nothing_else_decodes() {
    let mut found = 0;
    for (op1, crn) in (0..8).flat_map(|op1| (0..16).map(move |crn| (op1, crn))) {
        for (crm, op2) in (0..16).flat_map(|crm| (0..8).map(move |op2| (crm, op2))) {
            found += usize::from(Tlbi::decode(op1, crn, crm, op2, 0).is_some());
        }
    }
    assert_eq!(found, WORDS.len());
}

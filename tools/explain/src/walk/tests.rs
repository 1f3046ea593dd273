// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walks that are explained, from the command line to the words.

mod errors;
mod shapes;

use serde_json::Value;
use vambrace_memory::stage2::PhysicalMemory;
use vambrace_memory::translation::Registers;
use vambrace_memory::{Pa, hcr};

use super::*;
use vambrace_memory::access::{Access as Does, El};
use vambrace_svg as svg;

const EXAMPLES: [Example; 4] = [Example::Mapped, Example::FaultS1, Example::FaultS2, Example::FaultPtw];

/// Without colours.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn parsed(line: &str) -> WalkArguments {
    use crate::arguments::Topic;
    use crate::command_line::{Arguments, Command};
    use clap::Parser;
    let words = ["vambrace", "explain", "walk"].into_iter().chain(line.split_whitespace());
    match Arguments::try_parse_from(words).unwrap().command {
        Some(Command::Explain(question)) => match question.topic {
            Some(Topic::Walk(walk)) => *walk,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn printed(line: &str) -> String {
    match answer(&parsed(line)).unwrap() {
        Output::Print(text) => plain(&text),
        Output::File(..) => panic!("printed"),
    }
}

#[test]
fn the_examples_in_text() {
    for (name, expected) in [
        ("mapped", include_str!("tests/mapped.txt")),
        ("fault-s1", include_str!("tests/fault-s1.txt")),
        ("fault-s2", include_str!("tests/fault-s2.txt")),
        ("fault-ptw", include_str!("tests/fault-ptw.txt")),
    ] {
        let text = printed(&format!("--example {name}"));
        // To accept a change: cargo run -- explain walk --example NAME > tools/explain/src/walk/tests/NAME.txt
        assert!(text == expected, "{name} has changed:\n{text}");
    }
}

#[test]
fn json_of_a_walk_that_succeeds() {
    let json: Value = serde_json::from_str(&printed("--example mapped --json")).unwrap();
    assert_eq!(json["va"], "0xaaaad0e51238");
    assert_eq!((&json["access"], &json["el"]), (&Value::from("write"), &Value::from("el0")));
    assert_eq!(json["levels"].as_array().unwrap().len(), 4);
    let leaf = &json["levels"][3];
    assert_eq!(leaf["descriptor"]["kind"], "page");
    assert_eq!(leaf["descriptor"]["input_bits"], serde_json::json!([20, 12]));
    assert_eq!(leaf["stage2"]["descriptors"].as_array().unwrap().len(), 4);
    assert_eq!(leaf["stage2"]["pa"], "0x40126288");
    let uxn = &leaf["descriptor"]["fields"][0];
    assert_eq!((&uxn["name"], &uxn["value"]), (&Value::from("UXN"), &Value::from(1)));
    let outcome = &json["outcome"];
    assert_eq!(
        (&outcome["result"], &outcome["pa"]),
        (&Value::from("translated"), &Value::from("0x4015c238"))
    );
    assert_eq!(outcome["permissions"]["el0"]["write"], true);
}

#[test]
fn json_of_a_fault_on_a_stage_1_table() {
    let json: Value = serde_json::from_str(&printed("--example fault-ptw --json")).unwrap();
    let outcome = &json["outcome"];
    assert_eq!(outcome["result"], "fault");
    assert_eq!((&outcome["stage"], &outcome["stage1_walk"]), (&Value::from(2), &Value::from(true)));
    assert_eq!(outcome["esr"], "0x920000c7");
    assert_eq!(outcome["hpfar"], "0x401030");
    assert_eq!(outcome["par"], "0xb0f");
    assert_eq!(json["levels"][2]["descriptor"], Value::Null);
    assert_eq!(json["output"], Value::Null);
}

#[test]
fn pictures_are_well_formed_and_nothing_overlaps() {
    for example in EXAMPLES {
        svg::check::sound(&picture::draw(&example.explain())).unwrap();
    }
}

/// The pictures in the documents are what the command draws.
#[test]
fn the_documents_pictures_are_current() {
    let (good, bad) = (Example::Mapped.explain(), Example::FaultPtw.explain());
    for (name, ours, theirs) in [
        ("walk.svg", picture::draw(&good), include_str!("../../../../docs/walk.svg")),
        ("walk-fault.svg", picture::draw(&bad), include_str!("../../../../docs/walk-fault.svg")),
    ] {
        assert!(ours == theirs, "docs/{name} is old: draw it anew as docs/explain.md says");
    }
}

/// What is proposed against a fault of the example with `change` made to its registers.
fn fix_hints(example: Example, change: impl Fn(&mut Registers), access: Does, el: El) -> Vec<String> {
    let (image, mut registers) = example.build();
    change(&mut registers);
    let question = Question { va: Va(0xaaaa_d0e5_1238), access, el };
    match Report::new(&image, &registers, question, &[]).outcome {
        report::WalkOutcome::Fault(fault) => fault.fix_hints,
        report::WalkOutcome::Translated(_) => panic!("no fault"),
    }
}

#[test]
fn each_fix_hint_helps() {
    let at = "of the level 3 descriptor of stage 1 at IPA 0x40026288";
    assert_eq!(
        fix_hints(Example::Mapped, |_| (), Does::Execute, El::El0),
        [format!("clear UXN (bit 54) {at}")]
    );
    // EL1 executes nothing that EL0 can write: two bits are in the way, and either of two will do for the second.
    let both = fix_hints(Example::Mapped, |_| (), Does::Execute, El::El1);
    assert_eq!(
        both,
        [
            format!("clear AP[1] (bit 6) {at}, and clear PXN (bit 53) {at}"),
            format!("set AP[2] (bit 7) {at}, and clear PXN (bit 53) {at}"),
        ]
    );
    let pan = fix_hints(Example::Mapped, |registers| registers.pan = true, Does::Read, El::El1);
    assert_eq!(pan, [format!("clear AP[1] (bit 6) {at}"), "clear PSTATE.PAN".to_owned()]);
    let uncertain = |registers: &mut Registers| registers.sctlr |= 1 << 19;
    let wxn = fix_hints(Example::Mapped, uncertain, Does::Execute, El::El0);
    assert!(wxn.contains(&format!("set AP[2] (bit 7) {at}, and clear UXN (bit 54) {at}")), "{wxn:?}");
    let s2 = fix_hints(Example::FaultS2, |_| (), Does::Write, El::El1);
    assert_eq!(s2, ["set S2AP[1] (bit 7) of the level 3 descriptor of stage 2 at PA 0x400112e0"]);
}

#[test]
fn registers_that_allow_no_walk_are_named() {
    for (change, words) in [
        ((|registers| registers.tcr |= 1 << 7) as fn(&mut Registers), "TCR_EL1.EPD0 is set"),
        (|registers| registers.tcr &= !0x3f, "TCR_EL1.T0SZ = 0 is out of bounds"),
        (|registers| registers.tcr = registers.tcr & !0x3f | 25, "not canonical"),
        (|registers| registers.vtcr |= 0x3f, "VTCR_EL2 allows no walk: T0SZ = 63 is out of bounds"),
        (|registers| registers.vtcr = registers.vtcr & !0xff | 34, "outside the IPA space of 30 bits"),
        (|registers| registers.hcr |= hcr::PTW, ""),
    ] {
        let (image, mut registers) = Example::Mapped.build();
        change(&mut registers);
        let question = Question { va: Va(0xaaaa_d0e5_1238), access: Does::Read, el: El::El0 };
        let report = Report::new(&image, &registers, question, &[]);
        match &report.outcome {
            report::WalkOutcome::Fault(fault) => {
                assert!(fault.why.contains(words) && !words.is_empty(), "{}", fault.why);
            }
            report::WalkOutcome::Translated(_) => assert_eq!(words, "", "no fault"),
        }
        svg::check::sound(&picture::draw(&report)).unwrap();
    }
}

/// The image is the memory that a dump of it would be.
#[test]
fn a_dump_and_a_file_of_registers_give_what_the_example_gives() {
    let (image, registers) = Example::Mapped.build();
    let words = (0..0x4_0000_u64).map(|word| image.read(Pa(0x4000_0000 + word * 8)).unwrap());
    let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    let folder = tempfile::tempdir().unwrap();
    let (dump, json) = (folder.path().join("ram.bin"), folder.path().join("registers.json"));
    std::fs::write(&dump, &bytes).unwrap();
    let Registers { sctlr, tcr, ttbr0, mair, hcr, vtcr, vttbr, features, .. } = registers;
    let text = format!(
        r#"{{"SCTLR_EL1": {sctlr}, "tcr": "{tcr:#x}", "ttbr0_el1": {ttbr0}, "mair": {mair}, "HCR_EL2": "{hcr:#x}",
            "vtcr": {vtcr}, "vttbr": 0, "mmfr0": {}, "cpu": "max", "pan": false}}"#,
        features.mmfr0
    );
    std::fs::write(&json, text).unwrap();
    let line = format!(
        "0xaaaa_d0e5_1238 --el 0 --access write --image {} --registers {} --vttbr {vttbr:#x}",
        dump.display(),
        json.display()
    );
    let text = printed(&line);
    assert!(text.contains("\nPA 0x4015c238, by way of IPA 0x4005c238"), "{text}");
    // In two parts, the second of which is at an address of its own.
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    std::fs::write(&first, &bytes[..0x10_0000]).unwrap();
    std::fs::write(&second, &bytes[0x10_0000..]).unwrap();
    let both = format!("--image {} --image {}@0x4010_0000", first.display(), second.display());
    let parts = printed(&line.replace(&format!("--image {}", dump.display()), &both));
    assert_eq!(parts, text);
}

/// Memory with single descriptors in place of what is there.
struct Changed {
    image: Image,
    words: Vec<(u64, u64)>,
    /// Whether all descriptors of stage 1 are in big-endian order: those from this address on.
    swapped_from: Option<u64>,
}

impl PhysicalMemory for Changed {
    fn read(&self, pa: Pa) -> Option<u64> {
        let word = self.words.iter().find(|(at, _)| *at == pa.0);
        let word = word.map(|(_, word)| *word).or_else(|| self.image.read(pa))?;
        Some(if self.swapped_from.is_some_and(|from| pa.0 >= from) { word.swap_bytes() } else { word })
    }
}

fn fix_hints_with(words: &[(u64, u64)], big_endian: bool, features: Option<u64>) -> Vec<String> {
    let (image, mut registers) = Example::Mapped.build();
    let words = words.to_vec();
    let memory = Changed { image, words, swapped_from: big_endian.then_some(0x4010_0000) };
    registers.sctlr |= u64::from(big_endian) << 25;
    registers.features.mmfr1 = features.unwrap_or(registers.features.mmfr1);
    let question = Question { va: Va(0xaaaa_d0e5_1238), access: Does::Write, el: El::El0 };
    match Report::new(&memory, &registers, question, &[]).outcome {
        report::WalkOutcome::Fault(fault) => fault.fix_hints,
        report::WalkOutcome::Translated(_) => Vec::new(),
    }
}

#[test]
fn access_flags_tables_and_big_endian_tables_have_their_fix_hints() {
    let (leaf, table) = ((0x4012_6288, 0x0060_0000_4005_cb47_u64), (0x4011_5438, 0x4002_6003 | 0b11 << 61));
    let flag = "set AF (bit 10) of the level 3 descriptor of stage 1 at IPA 0x40026288";
    for big_endian in [false, true] {
        assert_eq!(fix_hints_with(&[], big_endian, None), [""; 0], "the example itself works");
        assert_eq!(fix_hints_with(&[leaf], big_endian, None), [flag, "set TCR_EL1.HA (bit 39)"]);
        // A CPU whose hardware sets no access flags.
        assert_eq!(fix_hints_with(&[leaf], big_endian, Some(0)), [flag]);
        let at = "of the level 2 descriptor of stage 1 at IPA 0x40015438";
        let both = format!("clear APTable[0] (bit 61) {at}, and clear APTable[1] (bit 62) {at}");
        assert_eq!(fix_hints_with(&[table], big_endian, None), [both]);
    }
    let stage2 = (0x4001_12e0, 0x4015_c3ff_u64);
    let words = fix_hints_with(&[stage2], false, None);
    assert_eq!(words[0], "set AF (bit 10) of the level 3 descriptor of stage 2 at PA 0x400112e0");
}

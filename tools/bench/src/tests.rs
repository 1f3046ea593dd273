// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report, from figures that are made up.

use super::record::{Comparison, Record};
use super::*;
use vambrace_svg::check;

fn figures(median: u64) -> Figures {
    Figures { min: median - 1, median, max: median + 1 }
}

/// Every operation at its target, or at 500.
fn report(cpu: &str, change: impl Fn(&str, u64) -> u64) -> Report {
    let readings = |of: &dyn Fn(&str, u64) -> u64| -> Readings {
        OPERATIONS
            .iter()
            .map(|operation| {
                let figure = of(operation.name, operation.target.unwrap_or(500));
                (operation.name.to_owned(), figures(figure))
            })
            .collect()
    };
    let mut native = readings(&|_, _| 2);
    native.remove("switch");
    let options = Options { cpu: cpu.to_owned(), rounds: 10, ..Options::default() };
    let sections = Sections { text: 200_000, rodata: 40_000, data: 16, bss: 100_000 };
    let bare = Bare { hypervisor: vec![0; 245_760], sections, ..Bare::default() };
    let footprint = Footprint {
        beyond_image: 1 << 20,
        target: 1 << 20,
        verdict: Verdict::Met,
        vm: change("vm", 20_000),
        ..Footprint::default()
    };
    Report::new(&options, (10, 0), &readings(&change), &native, &bare, footprint)
}

#[test]
fn targets_are_met_up_to_the_last_instruction() {
    let met = report(PROCESSOR, |_, figure| figure);
    assert!(met.meets_all());
    assert!(met.text().ends_with("every target is met\n"), "{}", met.text());
    let missed = report(PROCESSOR, |name, figure| figure + u64::from(name == "switch"));
    assert!(!missed.meets_all());
    let table = missed.text();
    let line = table.lines().find(|line| line.starts_with("switch of vCPUs when one sleeps"));
    let words: Vec<&str> = line.unwrap_or_default().split_whitespace().skip(6).collect();
    assert_eq!(words, ["-", "700", "701", "702", "700", "MISSED"]);
    assert!(missed.text().ends_with("1 target is missed\n"));
}

#[test]
fn an_image_that_is_too_large_is_a_missed_target() {
    let mut report = report(PROCESSOR, |_, figure| figure);
    report.image.verdict = Verdict::new(IMAGE_TARGET + 1, Some(IMAGE_TARGET));
    assert!(!report.meets_all());
}

#[test]
fn too_much_memory_is_a_missed_target_and_more_than_before_is_worse() {
    let mut missed = report(PROCESSOR, |_, figure| figure);
    missed.footprint.beyond_image += 1;
    missed.footprint.verdict = Verdict::new(missed.footprint.beyond_image, Some(missed.footprint.target));
    assert!(!missed.meets_all());
    assert!(missed.text().contains("1025 KiB, at most 1024 KiB: MISSED\n"), "{}", missed.text());
    let record = Record::new(&report(PROCESSOR, |_, figure| figure));
    assert!(record.compare(&missed).worse[0].contains("is the target, which 1,048,576 met"));
    let more = report(PROCESSOR, |name, figure| if name == "vm" { 22_001 } else { figure });
    assert_eq!(
        record.compare(&more).worse,
        ["one more VM of a vCPU, bytes: 22,001, more than a tenth worse than the recorded 20,000"]
    );
}

#[test]
fn other_processors_have_no_targets() {
    let report = report("max", |_, figure| figure * 10);
    assert!(report.meets_all());
    assert!(report.text().ends_with("the operations' targets are for cortex-a72\n"));
    assert!(report.operations.iter().all(|row| row.verdict == Verdict::NoTarget));
    check::sound(&report.svg()).unwrap();
    assert!(!report.svg().contains("Xen"));
}

#[test]
fn the_json_has_the_keys_that_are_documented() {
    let value: serde_json::Value =
        serde_json::from_str(&report(PROCESSOR, |_, figure| figure).json()).unwrap();
    assert_eq!(value["format"], 2);
    let row = &value["operations"][0];
    let expected = serde_json::json!({
        "name": "id-register", "what": "read of a trapped ID register", "native": 2,
        "vambrace": { "min": 79, "median": 80, "max": 81 }, "target": 80, "verdict": "met",
        "instruction_profile": null,
    });
    assert_eq!(*row, expected);
    let image = serde_json::json!({
        "bytes": 245_760, "sections": { "text": 200_000, "rodata": 40_000, "data": 16, "bss": 100_000 },
        "target": 262_144, "verdict": "met",
    });
    assert_eq!(value["image"], image);
    let footprint = &value["footprint"];
    for key in ["beyond_image", "target", "verdict", "vm", "vcpu", "cpu"] {
        assert!(!footprint[key].is_null(), "{key}");
    }
    for key in ["total", "image", "map", "stacks", "heap", "values", "tables", "loaded"] {
        assert_eq!(footprint["at_boot"][key], 0, "{key}");
        assert_eq!(footprint["with_two_vms"][key], 0, "{key}");
    }
}

#[test]
fn the_picture_is_sound_and_cuts_nothing() {
    let picture = report(PROCESSOR, |name, figure| if name == "affinity-info" { 6000 } else { figure }).svg();
    check::sound(&picture).unwrap();
    assert!(picture.contains(">6,000<"));
    assert!(!picture.contains("first instruction"));
}

#[test]
fn the_others_were_measured_at_operations_that_there_are() {
    let names = others::OTHERS.iter().flat_map(|other| other.figures).map(|(name, _)| *name);
    for name in names {
        assert!(OPERATIONS.iter().any(|operation| operation.name == name), "{name}");
    }
}

#[test]
fn a_document_gets_the_same_figures() {
    let text = report(PROCESSOR, |name, figure| figure + u64::from(name == "switch")).markdown();
    for line in [
        "| HVC, PSCI_VERSION | 2 | 80 | 80 | met |",
        "| switch of vCPUs when one sleeps | - | 701 | 700 | missed |",
        "| PL011 status read | 2 | 500 | - | |",
        "| image, bytes | - | 245,760 | 262,144 | met |",
    ] {
        assert!(text.lines().any(|said| said == line), "{text}");
    }
}

#[test]
fn what_is_watched_is_a_table_of_its_own() {
    let mut report = report(PROCESSOR, |_, figure| figure);
    assert_eq!(report.profile_markdown(), "");
    report.operations[0].instruction_profile = Some(profile::InstructionProfile {
        instructions: 1074,
        barriers: 3,
        ..profile::InstructionProfile::default()
    });
    let lines: Vec<String> = report.profile_markdown().lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("| operation | EL2 | exits | MRS | MSR | barriers | "));
    assert!(lines[2].starts_with("| read of a trapped ID register | 1,074 | 0 | 0 | 0 | 3 | "));
    assert_eq!(lines.len(), 3);
    assert!(report.text().contains("\nEL2 in the median round "));
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["operations"][0]["instruction_profile"]["barriers"], 3);
}

#[test]
fn numbers_have_their_thousands_apart() {
    for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(text::grouped(number), text);
    }
}

#[test]
fn a_record_comes_back_as_it_was() {
    let record = Record::new(&report(PROCESSOR, |_, figure| figure));
    assert_eq!(Record::parse(&record.text()).unwrap(), record);
    assert!(record.text().starts_with("# SPDX"));
}

#[test]
fn a_tenth_more_is_as_good_and_more_is_not() {
    let record = Record::new(&report(PROCESSOR, |_, figure| figure));
    let with =
        |median| report(PROCESSOR, move |name, figure| if name == "vm-reset" { median } else { figure });
    assert_eq!(record.compare(&with(550)), Comparison::default());
    let worse = record.compare(&with(551));
    assert_eq!(
        worse.worse,
        ["a VM's reset, 64 MiB of RAM: 551, more than a tenth worse than the recorded 500"]
    );
    let better = record.compare(&with(449));
    assert_eq!(better.told, ["a VM's reset, 64 MiB of RAM: 449, better than the recorded 500"]);
    assert!(better.worse.is_empty());
}

#[test]
fn a_target_that_was_met_may_not_be_missed_and_one_that_was_not_is_told() {
    let switch =
        |median| report(PROCESSOR, move |name, figure| if name == "switch" { median } else { figure });
    let met = Record::new(&switch(700)).compare(&switch(701));
    assert_eq!(
        met.worse,
        ["switch of vCPUs when one sleeps: 701, and at most 700 is the target, which 700 met"]
    );
    let missed = Record::new(&switch(6000)).compare(&switch(6001));
    assert!(missed.worse.is_empty());
    assert_eq!(missed.told, ["switch of vCPUs when one sleeps: 6,001, still above the target 700"]);
}

#[test]
fn what_is_not_recorded_is_told_and_what_is_not_measured_is_missed() {
    let whole = report(PROCESSOR, |_, figure| figure);
    let mut part = whole.clone();
    part.operations.retain(|row| row.name != "switch");
    assert_eq!(
        Record::new(&part).compare(&whole).told,
        ["switch of vCPUs when one sleeps: 700, not recorded yet"]
    );
    assert_eq!(Record::new(&whole).compare(&part).worse, ["switch: is not measured any more"]);
}

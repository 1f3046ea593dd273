// SPDX-License-Identifier: MIT OR Apache-2.0
//! Records and reports that are made up.

use std::num::NonZeroU64;

use super::*;
use crate::Options;
use crate::record::{Comparison, Record};
use vambrace_manifest::diagnostic::Source;
use vambrace_manifest::{self as manifest, BoardOptions};

fn system(boot: u64, forks: u64) -> System {
    let phases = PHASES.iter().zip([boot, forks, 1_000_000, 1_000_000]).map(|(description, vambrace)| {
        let mut exits = Exits::default();
        exits.add("HVC".to_owned());
        description.phase((1_000_000, vambrace), exits, true)
    });
    System { kernel: "6.12".into(), release: "6.12.94".into(), cpus: 1, phases: phases.collect() }
}

#[test]
fn ratios_have_six_places_everywhere() {
    let ratio = Ratio::new(1_001_000_999, 1_000_000_000);
    assert_eq!(ratio.to_string(), "1.001000");
    assert_eq!(serde_json::to_string(&ratio).unwrap(), "1.001");
    assert_eq!(serde_json::from_str::<Ratio>("1.001").unwrap(), ratio);
    assert_eq!(Ratio::new(7, 0).to_string(), "7.000000");
}

#[test]
fn a_ratio_up_to_its_target_meets_it() {
    let met = system(1_001_000, 1_005_000);
    assert!(met.phases.iter().all(|phase| phase.verdict != Verdict::Missed));
    let missed = system(1_001_001, 1_005_001);
    let verdicts: Vec<Verdict> = missed.phases.iter().map(|phase| phase.verdict).collect();
    assert_eq!(verdicts, [Verdict::Missed, Verdict::Missed, Verdict::NoTarget, Verdict::NoTarget]);
}

#[test]
fn the_json_has_the_keys_that_are_documented() {
    let value = serde_json::to_value(system(1_001_000, 1)).unwrap();
    let boot = serde_json::json!({
        "name": "boot", "what": PHASES[0].what, "native": 1_000_000, "vambrace": 1_001_000, "ratio": 1.001,
        "target": 1.001, "verdict": "met", "exits": 1, "causes": [{ "cause": "HVC", "count": 1 }],
    });
    assert_eq!(value["phases"][0], boot);
    assert_eq!(
        (&value["kernel"], &value["release"], &value["cpus"]),
        (&"6.12".into(), &"6.12.94".into(), &1.into())
    );
}

#[test]
fn a_ratio_may_be_as_much_worse_as_its_phase_says() {
    let record = Record::default().with_systems(&[system(1_000_400, 1_000_000)]);
    assert_eq!(Record::parse(&record.text()).unwrap(), record);
    assert_eq!(record.compare_systems(&[system(1_000_900, 1_000_000)]), Comparison::default());
    let worse = record.compare_systems(&[system(1_000_901, 1_000_000)]).worse;
    assert_eq!(worse, ["linux-6.12-boot: 1.000901, and 1.000400 is recorded"]);
    let missed = record.compare_systems(&[system(1_001_501, 1_000_000)]).worse;
    assert!(missed[1].ends_with("at most 1.001000 is the target, which 1.000400 met"), "{missed:?}");
    let near = record.compare_systems(&[system(1_001_500, 1_000_000)]);
    assert_eq!(near.told, ["linux-6.12-boot: 1.001500, above the target 1.001000"]);
    assert_eq!(record.compare_systems(&[]).worse.len(), 4);
    let still =
        Record::default().with_systems(&[system(1_002_000, 1)]).compare_systems(&[system(1_002_000, 1)]);
    assert_eq!(still.told, ["linux-6.12-boot: 1.002000, above the target 1.001000"]);
}

#[test]
fn the_tables_name_system_and_causes() {
    let system = system(1_001_001, 1);
    assert!(system.text().contains("Linux 6.12.94, 1 CPU"), "{}", system.text());
    assert!(system.text().contains("MISSED\n  1 HVC\n"), "{}", system.text());
    let markdown = markdown(&[system]);
    assert!(markdown.contains("| 1,000,000 | 1,001,001 | 1.001001 | 1.001000 | missed | 1 |"), "{markdown}");
}

#[test]
fn the_manifest_has_no_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let initrd = folder.path().join("initrd");
    std::fs::write(&initrd, b"070701").unwrap();
    for ram_pieces in [None, NonZeroU64::new(512)] {
        let options = Options { cpu: "max".to_owned(), ram_pieces, ..Options::default() };
        let text = machine::manifest(&options, "6.12", &initrd, 2);
        let source = Source { path: "bench.toml".into(), text };
        let (manifest, warnings) = manifest::parse(source, &BoardOptions::default()).unwrap();
        assert!(warnings.is_empty(), "{warnings}");
        assert_eq!((manifest.board.cpus, manifest.vms[0].vcpus.len()), (2, 2));
    }
}

/// What QEMU writes of an exception.
fn exception(kind: &str, from: u8, to: u8, esr: &str, far: &str) -> String {
    let far = if far.is_empty() { String::new() } else { format!("...with FAR {far}\n") };
    format!(
        "Taking exception {kind} on CPU 0\n...from EL{from} to EL{to}\n...with ESR 0x0/{esr}\n{far}\
         ...with SPSR 0x3c5\n...with ELR 0xffff800008c8e6c0\n...to EL{to} PC 0x40239400 PSTATE 0x3c9\n"
    )
}

#[test]
fn exits_are_counted_by_phase_and_cause() {
    const RETURN: &str = "Exception return from AArch64 EL2 to AArch64 EL1 PC 0x40200000\n";
    let devices = exits::Devices::read(
        "systems: boot 1\r\n0xffff800008010000-0xffff800008d00000 13565952 paging_init+0x130/0x610 \
         phys=0x0000000040210000 vmap\r\n0xffff80000a020000-0xffff80000a031000   69632 of_iomap+0xdc/0xf0 \
         phys=0x0000000008000000 ioremap\r\n",
    );
    let mark =
        |number: u16| exception("2 [SVC]", 0, 1, &format!("{:#x}", 0x5600_0000 + u32::from(number)), "");
    let acknowledge =
        |interrupt| format!("gicv3_icc_iar1_read GICv3 ICC_IAR1 read cpu 0x0 value {interrupt:#x}\n");
    let record = [
        // Before the kernel began, and of EL2's own.
        exception("13 [Hypervisor Call]", 1, 2, "0x5a000000", ""),
        RETURN.to_owned(),
        exception("13 [Hypervisor Call]", 1, 2, "0x5a000000", ""),
        exception("4 [Data Abort]", 1, 2, "0x93c08046", "0xffff80000a026108"),
        exception("4 [Data Abort]", 1, 2, "0x93c08006", "0xffff80000a026108"),
        exception("4 [Data Abort]", 1, 2, "0x93800006", "0xffff80000a040000"),
        exception("5 [IRQ]", 1, 2, "0x93800006", ""),
        acknowledge(27),
        acknowledge(1023),
        exception("5 [IRQ]", 2, 2, "0x93800006", ""),
        acknowledge(26),
        exception("4 [Data Abort]", 0, 1, "0x92000006", "0x1000"),
        mark(0xED00),
        exception("13 [Hypervisor Call]", 1, 2, "0x5a000000", ""),
        mark(0xBE03),
        exception("1 [Undefined Instruction]", 1, 2, "0x62300029", ""),
        // No number of a phase.
        mark(0xED99),
        exception("1 [Undefined Instruction]", 0, 2, "0x1fe00000", ""),
        exception("13 [Hypervisor Call]", 1, 2, "0x5a000000", ""),
    ]
    .concat();
    let phases = exits::read(&record, &devices);
    let counted = |phase: usize| -> Vec<(String, u64)> {
        let causes = phases[phase].clone().causes();
        causes.into_iter().map(|cause| (cause.cause, cause.count)).collect()
    };
    let expected = [
        ("HVC", 1),
        ("data abort from a lower exception level: translation fault, level 2, read of 4 bytes", 1),
        ("interrupt of the virtual timer", 1),
        ("read of the distributor", 1),
        ("write of the distributor", 1),
    ];
    assert_eq!(counted(0), expected.map(|(cause, count)| (cause.to_owned(), count)));
    assert_eq!((phases[1].total(), phases[2].total(), phases[3].total()), (0, 0, 3));
    assert_eq!(counted(3)[1].0, "first use of SIMD and floating point");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Crowds, and their tables from figures that are made up.

use std::path::PathBuf;

use vambrace_wire::message::{BootEpoch, MemoryUse};

use super::*;
use vambrace_manifest::diagnostic::Source;
use vambrace_manifest::{self as manifest, BoardOptions};

fn parse(text: String) -> manifest::Manifest {
    let source = Source { path: PathBuf::from("bench.toml"), text };
    let (manifest, warnings) = manifest::parse(source, &BoardOptions::default()).unwrap();
    assert!(warnings.is_empty(), "{warnings}");
    manifest
}

#[test]
fn the_manifests_have_no_mistakes_and_so_many_vms() {
    for (cpus, vms) in [(1, 1), (4, 256), (64, 64)] {
        let crowd = Crowd { cpus, vms };
        for suite in [Suite::One, Suite::Shared] {
            let manifest = parse(crowd.suite_manifest(&Options::default(), suite));
            assert_eq!(manifest.vms.len(), usize::from(vms));
        }
        assert_eq!(parse(crowd.successor_manifest("max")).vms.len(), usize::from(vms) + 2);
    }
    parse(Crowd { cpus: 2, vms: 1 }.suite_manifest(&Options::default(), Suite::Pair));
}

#[test]
fn making_a_vm_is_told_with_the_memory_at_its_end() {
    let mut outcome = RunOutcome::new(&["first".to_owned(), "second".to_owned()]);
    assert_eq!(created(&outcome), None);
    outcome.vms[1].boot_epochs = vec![BootEpoch { began: 2000, copied: 2100, started: 2400, ended: 9000 }];
    outcome.vms[1].console = b"bench: first-instruction 7\r\n".to_vec();
    let memory = MemoryUse { image: 1, map: 2, stacks: 4, heap: 8, values: 16, tables: 32, loaded: 64 };
    outcome.memory = vec![(3, MemoryUse::default()), (2, memory)];
    assert_eq!(created(&outcome), Some((407, 1 + 4 + 16 + 32)));
}

#[test]
fn each_crowd_is_a_column() {
    let point = |cpus, vms, figure| Point {
        crowd: Crowd { cpus, vms },
        operations: [("switch".to_owned(), figure)].into(),
        create: 50_000,
        memory: 600_000,
    };
    let scale = Scale {
        format: FORMAT,
        qemu: "10.0".to_owned(),
        cpu: "max".to_owned(),
        vms: vec![point(1, 1, 2670), point(1, 256, 20_775), point(4, 1, 2670)],
        cpus: vec![point(64, 64, 2741)],
    };
    let lines: Vec<String> = scale.markdown().lines().map(str::to_owned).collect();
    assert_eq!(lines[0], "| on 1 CPU | 1 VM | 256 VMs |");
    assert!(lines.contains(&"| switch of vCPUs when one sleeps | 2,670 | 20,775 |".to_owned()));
    assert!(!lines.iter().any(|line| line.contains("IPI")), "{lines:?}");
    assert!(
        scale
            .text()
            .lines()
            .any(|line| line.split_whitespace().eq(["a", "VM", "for", "each", "CPU", "64", "CPUs"]))
    );
    let json: serde_json::Value = serde_json::from_str(&scale.json()).unwrap();
    let expected = serde_json::json!({
        "cpus": 1, "vms": 256, "operations": { "switch": 20_775 }, "create": 50_000, "memory": 600_000,
    });
    assert_eq!(json["vms"][1], expected);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arrows point down only: `hypervisor` and the tools stand on `machine`, that on the four wings, they and `wire` on
//! `ids` and `state`, and those on nothing.

use std::collections::{BTreeMap, BTreeSet};

use vambrace_manifest::workspace;

/// What each crate may stand on, tests included. A crate comes after all that it stands on, so there are no circles.
const ALLOWED: [(&str, &[&str]); 19] = [
    ("channel", &[]),
    ("ids", &[]),
    ("state", &[]),
    ("memory", &["ids"]),
    ("wire", &["ids"]),
    ("interrupts", &["ids", "state"]),
    ("cpu", &["ids", "memory", "state"]),
    ("io", &["memory", "state"]),
    ("machine", &["cpu", "ids", "memory", "interrupts", "io", "state", "wire"]),
    ("hypervisor", &["cpu", "ids", "memory", "interrupts", "io", "machine", "wire"]),
    ("guests", &["channel", "memory"]),
    ("tools/manifest", &["machine", "memory", "wire"]),
    ("tools/svg", &[]),
    ("tools/setup", &["tools/manifest"]),
    ("tools/explain", &["cpu", "machine", "memory", "tools/manifest", "tools/svg"]),
    ("tools/runner", &["machine", "wire", "tools/manifest", "tools/setup"]),
    (
        "tools/bench",
        &["cpu", "io", "machine", "wire", "tools/manifest", "tools/runner", "tools/setup", "tools/svg"],
    ),
    (
        "tools/vambrace",
        &["cpu", "wire", "tools/bench", "tools/explain", "tools/manifest", "tools/runner", "tools/setup"],
    ),
    ("tests", &["wire", "tools/bench", "tools/manifest", "tools/runner", "tools/setup", "tools/vambrace"]),
];

/// What a folder's file Cargo.toml says.
fn description(folder: &str) -> toml::Table {
    let text = std::fs::read_to_string(workspace().join(folder).join("Cargo.toml"));
    text.unwrap_or_default().parse().unwrap_or_default()
}

/// The workspace's packages by their names, with their folders.
fn members() -> BTreeMap<String, String> {
    let root = description("");
    let folders = root.get("workspace").and_then(|it| it.get("members")?.as_array()).into_iter().flatten();
    let member = |folder: &str| {
        let name = description(folder).get("package")?.get("name")?.as_str()?.to_owned();
        Some((name, folder.to_owned()))
    };
    folders.filter_map(|folder| member(folder.as_str()?)).collect()
}

#[test]
fn no_crate_stands_on_one_above_it() {
    let members = members();
    for (folder, allowed) in ALLOWED {
        let description = description(folder);
        let used: BTreeSet<&str> = ["dependencies", "dev-dependencies", "build-dependencies"]
            .iter()
            .filter_map(|section| description.get(*section)?.as_table())
            .flat_map(|table| table.keys())
            .filter_map(|package| members.get(package).map(String::as_str))
            .collect();
        let wrong: Vec<_> = used.iter().filter(|used| !allowed.contains(used)).collect();
        assert!(wrong.is_empty(), "{folder} must not depend on {wrong:?}");
    }
}

#[test]
fn every_crate_has_its_row_below_those_that_it_stands_on() {
    let rows: Vec<&str> = ALLOWED.iter().map(|(folder, _)| *folder).collect();
    let listed: BTreeSet<String> = rows.iter().copied().map(str::to_owned).collect();
    assert_eq!(
        listed,
        members().into_values().collect(),
        "the table has a row for each crate of the workspace"
    );
    for (at, (folder, allowed)) in ALLOWED.iter().enumerate() {
        for below in *allowed {
            assert!(rows[..at].contains(below), "{folder} stands on {below}, whose row is not above it");
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arrows point down only: `vambrace`, the command, and `hypervisor` stand on `machine`, that on the four wings, `wire` on nothing.

use std::collections::BTreeSet;

use vambrace::setup::workspace;

const PREFIX: &str = "vambrace-";

/// What each crate may stand on, tests included.
const ALLOWED: [(&str, &[&str]); 11] = [
    ("channel", &[]),
    ("memory", &[]),
    ("wire", &[]),
    ("interrupts", &[]),
    ("cpu", &["memory"]),
    ("io", &["memory"]),
    ("machine", &["cpu", "memory", "interrupts", "io", "wire"]),
    ("hypervisor", &["cpu", "memory", "interrupts", "io", "machine", "wire"]),
    ("guests", &["channel", "memory"]),
    ("tools/vambrace", &["cpu", "io", "machine", "memory", "wire"]),
    ("tests", &["tools/vambrace", "wire"]),
];

#[test]
fn no_crate_stands_on_one_above_it() {
    for (name, allowed) in ALLOWED {
        let path = workspace().join(name).join("Cargo.toml");
        let description: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let used: BTreeSet<&str> = ["dependencies", "dev-dependencies", "build-dependencies"]
            .iter()
            .filter_map(|section| description.get(*section)?.as_table())
            .flat_map(|table| table.keys())
            .filter_map(|crate_name| match crate_name.as_str() {
                "vambrace" => Some("tools/vambrace"),
                other => other.strip_prefix(PREFIX),
            })
            .collect();
        let wrong: Vec<_> = used.iter().filter(|used| !allowed.contains(used)).collect();
        assert!(wrong.is_empty(), "{name} must not depend on {wrong:?}");
    }
}

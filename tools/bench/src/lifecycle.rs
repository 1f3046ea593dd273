// SPDX-License-Identifier: MIT OR Apache-2.0
//! What it takes to make a VM and to do away with it.
//!
//! EL2 notes when the parts of a VM's boot epoch began and tells it when that is over; the guest adds what passed
//! between being switched on and its first instruction. One VM is there from the start, the other is made when that one is
//! gone, so that neither figure has anything of the board's own start.

use super::suite::{Readings, Testbed};
use super::{BenchError, Figures};
use vambrace_runner::RunOutcome;

const MIB: u64 = 1;
const GIB: u64 = 1024 * MIB;

/// A VM that comes after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Case {
    /// Of both VMs, in MiB.
    memory: [u64; 2],
    /// What is read of the first one's end.
    destroyed: Option<&'static str>,
    /// What is read of the second one's beginning.
    created: &'static str,
}

/// The second VM has the memory of the first, which is clear: what is read of its beginning has no clearing in it. How long
/// clearing 4 GiB takes at the end says no more than 1 GiB.
const CASES: [Case; 3] = [
    Case { memory: [64 * MIB, 64 * MIB], destroyed: Some("destroy-64mib"), created: "create-64mib" },
    Case { memory: [GIB, GIB], destroyed: Some("destroy-1gib"), created: "create-1gib" },
    Case { memory: [4 * GIB, 4 * GIB], destroyed: None, created: "create-4gib" },
];

/// Parts, of the first case: copying the image, clearing the memory.
const COPY: &str = "create-copy";
const CLEAR: &str = "destroy-clear";

/// Measures all of it.
pub(super) fn measure(machine: &Testbed<'_>) -> Result<Readings, BenchError> {
    let mut readings = Readings::new();
    for case in CASES {
        let outcome = machine.run_vms("a VM made after another", case.manifest(&machine.options.cpu))?;
        let read = case.read(&outcome).ok_or_else(|| BenchError::Unfinished {
            suite: case.created.to_owned(),
            how: format!("{:?}: {:?}", outcome.summary.ending, outcome.vms),
        })?;
        for (name, figure) in read {
            readings.entry(name.to_owned()).or_insert(Figures::once(figure));
        }
    }
    Ok(readings)
}

impl Case {
    fn manifest(self, cpu: &str) -> String {
        let [first, second] = self.memory;
        let board = first.max(second) + 2 * GIB;
        let vm = |name: &str, memory: u64, more: &str| {
            format!(
                "\n[[vm]]\nname = \"{name}\"\nkernel = \"guest:bench\"\nmemory = \"{memory}MiB\"\n\
                 cmdline = \"suite=boot\"\n{more}"
            )
        };
        format!("[board]\ncpu = {cpu:?}\ncpus = 1\nmemory = \"{board}MiB\"\n")
            + &vm("first", first, "")
            + &vm("second", second, "after = \"first\"\n")
    }

    /// What happened, in instructions.
    fn read(self, outcome: &RunOutcome) -> Option<Vec<(&'static str, u64)>> {
        let (first, second) = (outcome.vm("first")?, outcome.vm("second")?);
        let (end, beginning) = (first.boot_epochs.last()?, second.boot_epochs.first()?);
        let (cleared, gone) = first.gone?;
        let since_switched_on: u64 = second.text().lines().find_map(|line| {
            line.trim_end().rsplit_once("bench: first-instruction ").and_then(|(_, count)| count.parse().ok())
        })?;
        let mut read = vec![
            (self.created, beginning.started.checked_sub(beginning.began)? + since_switched_on),
            (COPY, beginning.started.checked_sub(beginning.copied)?),
            (CLEAR, cleared.checked_sub(end.ended)?),
        ];
        if let Some(name) = self.destroyed {
            read.push((name, gone.checked_sub(end.ended)?));
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use vambrace_wire::message::BootEpoch;

    use super::*;
    use vambrace_manifest::diagnostic::Source;
    use vambrace_manifest::{self as manifest, BoardOptions};

    #[test]
    fn the_manifests_have_no_mistakes() {
        for case in CASES {
            let source = Source { path: PathBuf::from("bench.toml"), text: case.manifest("max") };
            let (manifest, warnings) = manifest::parse(source, &BoardOptions::default()).unwrap();
            assert!(warnings.is_empty(), "{warnings}");
            assert_eq!(manifest.vms[1].memory.0, case.memory[1] << 20);
        }
    }

    #[test]
    fn parts_are_told_from_the_whole() {
        let mut outcome = RunOutcome::new(&["first".to_owned(), "second".to_owned()]);
        outcome.vms[0].boot_epochs = vec![BootEpoch { began: 0, copied: 1, started: 2, ended: 1000 }];
        outcome.vms[0].gone = Some((1500, 1510));
        outcome.vms[1].boot_epochs =
            vec![BootEpoch { began: 2000, copied: 2100, started: 2400, ended: 9000 }];
        assert_eq!(CASES[0].read(&outcome), None);
        outcome.vms[1].console = b"bench: first-instruction 7\r\nbench: done\r\n".to_vec();
        let expected =
            [("create-64mib", 407), ("create-copy", 300), ("destroy-clear", 500), ("destroy-64mib", 510)];
        assert_eq!(CASES[0].read(&outcome).unwrap(), expected);
    }
}

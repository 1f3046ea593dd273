// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a VM leaves in system registers, the next one on the CPU does not find.

use vambrace_runner::Exit;
use vambrace_tests::{Bench, Case, Scenario, Verdict};

/// Without RAS and fine-grained traps; with RAS; with both.
const PROCESSORS: [&str; 3] = ["cortex-a72", "cortex-a76", "max"];

pub(crate) fn cases() -> Vec<Case> {
    let on = |cpu: &'static str| {
        let name = format!("leftovers::of_registers_on_{}", cpu.replace('-', "_"));
        Case::new(name, move |bench| of_registers(bench, cpu))
    };
    PROCESSORS.map(on).into()
}

fn of_registers(bench: &Bench, cpu: &str) -> Verdict {
    let vm = |name: &str, rest: &str| {
        format!(
            "[[vm]]\nname = \"{name}\"\nkernel = \"guest:leftovers\"\nmemory = \"64MiB\"\ncpus = [0]\n{rest}\n"
        )
    };
    let record = bench.run(&Scenario::new(
        [
            format!("[board]\ncpu = \"{cpu}\"\ncpus = 1\n"),
            vm("before", ""),
            vm("soils", "cmdline = \"soil\"\nafter = \"before\""),
            vm("behind", "after = \"soils\""),
        ]
        .concat(),
    ))?;
    for vm in ["before", "soils", "behind"] {
        record.passes(vm, "leftovers")?;
    }
    let (before, behind) = (record.vm("before")?.text(), record.vm("behind")?.text());
    let other: Vec<_> = before.lines().zip(behind.lines()).filter(|(was, is)| was != is).collect();
    record.ensure(other.is_empty(), || format!("the VM between shows: {other:?}"))?;
    record.ensure(before == behind, || "one VM finds more registers than the other".into())?;
    record.exits(Exit::Success)
}

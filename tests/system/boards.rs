// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boards whose device tree says something else than QEMU's own.

use vambrace::exit::Exit;
use vambrace_tests::{Bench, Case, Scenario, Tree, Verdict};
use vambrace_wire::message::VmState;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("boards::cpus_that_do_not_start", cpus_that_do_not_start),
        Case::new("boards::what_is_loaded_is_reserved", what_is_loaded_is_reserved),
    ]
}

/// The device tree lists four CPUs, and the board has two: no vCPU comes to one of the others, however empty they are, and
/// a VM that is pinned there is not made.
fn cpus_that_do_not_start(bench: &Bench) -> Verdict {
    let mut manifest = "[board]\ncpus = 4\n".to_owned();
    for index in 0..4 {
        manifest.push_str(&format!(
            "[[vm]]\nname = \"vm{index}\"\nkernel = \"guest:hello\"\nmemory = \"8MiB\"\nvcpus = 2\n"
        ));
    }
    manifest.push_str("[[vm]]\nname = \"pinned\"\nkernel = \"guest:hello\"\nmemory = \"8MiB\"\ncpus = [3]\n");
    let tree = Tree::new(|_| {})?;
    let arguments = [&tree.qemu_args()[..], &["-smp".to_owned(), "2".to_owned()]].concat();
    let record = bench.run(&Scenario::new(manifest).with_qemu_args(&arguments).within(120))?;
    for index in 0..4 {
        let states = &record.vm(&format!("vm{index}"))?.states;
        record.ensure(states[..] == [VmState::Running, VmState::Off], || {
            format!("vm{index} went through {states:?}")
        })?;
    }
    for told in [
        "CPU 2 (0x2) does not start, so no vCPU is given to it",
        "CPU 3 (0x3) does not start, so no vCPU is given to it",
        "pinned cannot be made: a vCPU is pinned to a physical CPU that does not run",
    ] {
        let is_told = record.outcome.log.iter().any(|line| line.1.starts_with(told));
        record.ensure(is_told, || format!("nothing says {told:?}"))?;
    }
    record.exits(Exit::NotMade)
}

/// U-Boot lists what it has loaded among the memory reservations, initrd and device tree: they are read all the same.
fn what_is_loaded_is_reserved(bench: &Bench) -> Verdict {
    const MANIFEST: &str = r#"
        [board]
        memory = "128MiB"
        [[vm]]
        name = "vm0"
        kernel = "guest:hello"
        memory = "8MiB"
    "#;
    // QEMU puts the initrd in the middle of memory, and the device tree behind it.
    let tree = Tree::with_reservations(&[(0x4400_0000, 0x4500_0000)])?;
    let record = bench.run(&Scenario::new(MANIFEST).with_qemu_args(&tree.qemu_args()))?;
    record.says("vm0", "guest: hello from EL1")?;
    record.exits(Exit::Success)
}

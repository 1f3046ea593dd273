// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boards whose device tree says something else than QEMU's own.

use dtoolkit::model::{DeviceTreeNode, DeviceTreeProperty};
use vambrace_runner::Exit;
use vambrace_tests::{Bench, Case, Failed, Need, PATIENCE, Record, Scenario, Tree, Verdict};
use vambrace_wire::message::VmState;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("boards::cpus_that_do_not_start", cpus_that_do_not_start),
        Case::new("boards::what_is_loaded_is_reserved", what_is_loaded_is_reserved),
        Case::new("boards::console_by_alias_on_a_bus", console_by_alias_on_a_bus),
        Case::new("boards::console_that_is_no_pl011", console_that_is_no_pl011),
        Case::new("boards::memory_in_too_many_pieces", memory_in_too_many_pieces),
        Case::new("boards::versal", versal).needs(Need::Qemu(10)),
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
        "CPU 2 (0x2) does not start, so no vCPU is given to it: the firmware says of CPU_ON: ",
        "CPU 3 (0x3) does not start, so no vCPU is given to it: the firmware says of CPU_ON: ",
        "pinned cannot be made: a vCPU is pinned to CPU 3, which did not start",
    ] {
        record.is_told(told)?;
    }
    record.ensure(record.outcome.summary.cpus == Some(2), || {
        format!("two CPUs run, and it says {:?}", record.outcome.summary.cpus)
    })?;
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

/// A small VM on a board that says to be so.
fn hello_on(bench: &Bench, tree: &Tree) -> Result<Record, Failed> {
    const MANIFEST: &str = "[[vm]]\nname = \"vm0\"\nkernel = \"guest:hello\"\nmemory = \"8MiB\"\n";
    let record = bench.run(&Scenario::new(MANIFEST).with_qemu_args(&tree.qemu_args()))?;
    record.says("vm0", "guest: hello from EL1")?;
    record.exits(Exit::Success)?;
    Ok(record)
}

/// The UART is below a bus that shows its addresses elsewhere, as on most boards, and `/chosen` names it by an alias.
fn console_by_alias_on_a_bus(bench: &Bench) -> Verdict {
    let property = |name, cells: &[u32]| DeviceTreeProperty::new_unchecked(name, cells);
    let tree = Tree::new(|tree| {
        let Some(mut uart) = tree.root.remove_child("pl011@9000000") else { return };
        uart.add_property(property("reg", &[0x1000, 0x1000]));
        let mut bus = DeviceTreeNode::new_unchecked("soc");
        bus.add_property(property("#address-cells", &[1]));
        bus.add_property(property("#size-cells", &[1]));
        bus.add_property(property("ranges", &[0, 0, 0x08FF_F000, 0x10_0000]));
        bus.add_child(uart);
        tree.root.add_child(bus);
        if let Some(aliases) = tree.root.child_mut("aliases") {
            aliases.add_property(DeviceTreeProperty::new_unchecked("serial0", "/soc/pl011@9000000"));
        }
        if let Some(chosen) = tree.root.child_mut("chosen") {
            chosen.add_property(DeviceTreeProperty::new_unchecked("stdout-path", "serial0:115200n8"));
        }
    })?;
    let record = hello_on(bench, &tree)?;
    let warnings = record.outcome.log.iter().filter(|line| line.1.contains("stdout-path")).count();
    record.ensure(warnings == 0, || "the console that is used is said not to be".to_owned())
}

/// `/chosen` names what EL2 has no driver for: it speaks where it can, and says why.
fn console_that_is_no_pl011(bench: &Bench) -> Verdict {
    let tree = Tree::new(|tree| {
        if let Some(chosen) = tree.root.child_mut("chosen") {
            chosen.add_property(DeviceTreeProperty::new_unchecked("stdout-path", "/pl031@9010000"));
        }
    })?;
    let record = hello_on(bench, &tree)?;
    record.is_told("what /chosen/stdout-path names is not a PL011")
}

/// Another board, with a device tree that QEMU makes for it: AMD's Versal, which has its memory at 0, its PL011 and its GIC
/// elsewhere, and two CPUs.
fn versal(bench: &Bench) -> Verdict {
    const MANIFEST: &str = r#"
        [[vm]]
        name = "smp"
        kernel = "guest:smp"
        memory = "8MiB"
        vcpus = 4
        [[vm]]
        name = "gic"
        kernel = "guest:gic"
        memory = "8MiB"
        vcpus = 4
        [[vm]]
        name = "timer"
        kernel = "guest:timer"
        memory = "8MiB"
    "#;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (manifest, image) = (path("m.toml"), path("vambrace.img"));
    std::fs::write(&manifest, MANIFEST)?;
    bench.vambrace(&["build", &manifest, "-o", &image])?.finish(PATIENCE)?.exits_with(0)?;
    let board = ["-machine", "xlnx-versal-virt", "-m", "2G", "-kernel", &image];
    let finished = bench.plain_qemu(board)?.finish(PATIENCE)?;
    finished.exits_with(0)?;
    for said in
        ["up with 2 CPUs, 3 VMs", "guest: smp ok", "guest: gic ok", "guest: timer ok", "all VMs have ended"]
    {
        finished.says(said)?;
    }
    Ok(())
}

/// What goes wrong between the first instruction and the console is told, too.
fn memory_in_too_many_pieces(bench: &Bench) -> Verdict {
    // Each takes a page out of another block of 2 MiB.
    let kept: Vec<_> =
        (0..60).map(|index| 0x4900_0000 + index * 0x20_0000).map(|at| (at, at + 0x1000)).collect();
    let tree = Tree::with_reservations(&kept)?;
    let image = tempfile::NamedTempFile::new()?;
    std::fs::write(image.path(), &bench.bare.hypervisor)?;
    let image = image.path().display().to_string();
    let [dtb, path] = &tree.qemu_args();
    let board =
        ["-machine", "virt,virtualization=on,gic-version=3", "-cpu", "cortex-a72", "-smp", "4", "-m", "512M"];
    let mut process = bench.plain_qemu([&board[..], &["-kernel", &image, dtb, path]].concat())?;
    process.wait_for(
        "vambrace cannot start: the board's memory and reservations are in so many pieces",
        PATIENCE,
    )
}

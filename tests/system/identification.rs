// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a VM's devices and CPU say that they are, against what QEMU's say: a VM looks like `virt`.

use std::collections::BTreeMap;

use vambrace_runner::Exit;
use vambrace_tests::{Bench, Case, Failed, Need, PATIENCE, Scenario, Verdict, ensure};

/// A register that a VM and QEMU's machine differ in.
struct Departure {
    name: &'static str,
    why: &'static str,
}

/// Every difference there may be, each with its reason. One that is there no more is an error too.
const DEPARTURES: &[Departure] = &[
    Departure {
        name: "gicd+0x4",
        why: "GICD_TYPER: fewer SPIs, no LPIs, 10 bits of INTID, affinity level 3",
    },
    Departure { name: "gicr+0x8", why: "GICR_TYPER: no LPIs, and the DPG bits of GICR_CTLR" },
    Departure { name: "virtio-1+0xc", why: "VendorID: the device is ours, with features of its own" },
    Departure { name: "virtio-2+0xc", why: "VendorID: the device is ours, with features of its own" },
    Departure { name: "virtio-3+0xc", why: "VendorID: the device is ours, with features of its own" },
    Departure { name: "virtio-4+0xc", why: "VendorID: the device is ours, with features of its own" },
    Departure { name: "s3_0_c0_c1_1", why: "ID_PFR1_EL1: no AArch32 at EL1" },
    Departure { name: "s3_0_c0_c1_2", why: "ID_DFR0_EL1: no PMU" },
    Departure { name: "s3_0_c0_c2_4", why: "ID_ISAR4_EL1: no SMC in AArch32" },
    Departure { name: "s3_0_c0_c4_0", why: "ID_AA64PFR0_EL1: no AArch32 at EL1" },
    Departure { name: "s3_0_c0_c5_0", why: "ID_AA64DFR0_EL1: no PMU, no OS Double Lock" },
    Departure { name: "s3_0_c0_c7_0", why: "ID_AA64MMFR0_EL1: no Secure state to tell from" },
];

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("identification::as_on_qemus_virt", compare).needs(Need::Qemu(10))]
}

type Registers = BTreeMap<String, String>;

fn compare(bench: &Bench) -> Verdict {
    let (here, there) = (as_guest(bench)?, natively(bench)?);
    let missing = |a: &Registers, b: &Registers| {
        a.keys().filter(|name| !b.contains_key(*name)).cloned().collect::<Vec<_>>()
    };
    let (only_here, only_there) = (missing(&here, &there), missing(&there, &here));
    ensure(only_here.is_empty() && only_there.is_empty(), || {
        format!("only here: {only_here:?}, only without hypervisor: {only_there:?}")
    })?;
    let differing: Vec<(&String, &String, &String)> = here
        .iter()
        .filter_map(|(name, value)| Some((name, value, there.get(name)?)))
        .filter(|(_, here, there)| here != there)
        .collect();
    let is_known = |name: &str| DEPARTURES.iter().any(|departure| departure.name == name);
    let unknown: Vec<_> = differing.iter().filter(|(name, ..)| !is_known(name)).collect();
    ensure(unknown.is_empty(), || format!("(register, here, without hypervisor): {unknown:#?}"))?;
    let settled =
        DEPARTURES.iter().find(|departure| !differing.iter().any(|(name, ..)| *name == departure.name));
    ensure(settled.is_none(), || {
        settled.map_or_else(String::new, |it| {
            format!("{} is the same on both, and was not: {}", it.name, it.why)
        })
    })
}

/// What a VM with every device says.
fn as_guest(bench: &Bench) -> Result<Registers, Failed> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("disk.img"), [0; 4096])?;
    let manifest = r#"
        [board]
        cpu = "cortex-a72"
        [[network]]
        name = "lan"
        [[vm]]
        name = "vm"
        kernel = "guest:identification"
        memory = "64MiB"
        devices = ["pl011", "pl031", "virtio-rng", "virtio-console"]
        [[vm.disk]]
        image = "disk.img"
        [[vm.network]]
        name = "lan"
        "#;
    let path = folder.path().join("scenario.toml");
    std::fs::write(&path, manifest)?;
    let record = bench.run(&Scenario::of_file(&path)?.counted())?;
    record.passes("vm", "identification")?;
    record.exits(Exit::Success)?;
    Ok(registers(&record.vm("vm")?.text()))
}

/// What QEMU's own machine says.
fn natively(bench: &Bench) -> Result<Registers, Failed> {
    let image = tempfile::NamedTempFile::new()?;
    std::fs::write(image.path(), bench.guest("identification")?)?;
    let image = image.path().display().to_string();
    let machine: [&[&str]; 4] = [
        &["-machine", "virt,gic-version=3", "-cpu", "cortex-a72", "-m", "64M", "-smp", "1", "-nic", "none"],
        // The devices as virtio 1 has them, as the VM's are.
        &[
            "-global",
            "virtio-mmio.force-legacy=false",
            "-device",
            "virtio-rng-device",
            "-device",
            "virtio-serial-device",
        ],
        &[
            "-device",
            "virtio-net-device",
            "-blockdev",
            "null-co,node-name=disk",
            "-device",
            "virtio-blk-device,drive=disk",
        ],
        &["-icount", "shift=0,sleep=off", "-kernel", &image],
    ];
    let finished = bench.plain_qemu(machine.concat())?.finish(PATIENCE)?;
    finished.exits_with(0)?.says("guest: identification ok")?;
    Ok(registers(&finished.out))
}

/// The lines `guest: id NAME VALUE`.
fn registers(text: &str) -> Registers {
    let pairs = text.lines().filter_map(|line| line.strip_prefix("guest: id ")?.trim_end().split_once(' '));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

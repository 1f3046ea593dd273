// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boards that the hypervisor cannot start on: each gets a clear message, not silence.

use vambrace_tests::{Bench, Case, Failed, PATIENCE, Process, Verdict};
use vambrace_wire::bundle::{MAGIC, VERSION};

const BOARD: [&str; 6] = ["-cpu", "cortex-a72", "-smp", "2", "-m", "512M"];
const WITH_EL2: [&str; 2] = ["-machine", "virt,virtualization=on,gic-version=3"];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("start::at_el1", |bench| {
            let machine = ["-machine", "virt,gic-version=3"];
            says(bench, &machine, Boot::Kernel, "was entered at EL1, but a hypervisor needs EL2")
        }),
        Case::new("start::without_a_device_tree", |bench| {
            says(bench, &WITH_EL2, Boot::Loader, "there is no device tree at the address in x0")
        }),
        Case::new("start::without_a_bundle", |bench| {
            says(
                bench,
                &WITH_EL2,
                Boot::Kernel,
                "there is no bundle, neither as the initrd nor behind the image",
            )
        }),
        Case::new("start::with_a_damaged_bundle", damaged),
        Case::new("start::with_gicv2", |bench| {
            let machine = ["-machine", "virt,virtualization=on,gic-version=2"];
            says(bench, &machine, Boot::Kernel, "the device tree has no GICv3")
        }),
    ]
}

/// How QEMU starts the image.
enum Boot {
    /// By the Linux boot protocol.
    Kernel,
    /// As a mere program: all registers are zero.
    Loader,
}

fn says(bench: &Bench, machine: &[&str], boot: Boot, message: &str) -> Verdict {
    let folder = tempfile::tempdir()?;
    let image = folder.path().join("hypervisor.img");
    std::fs::write(&image, &bench.bare.hypervisor)?;
    let image = image.display().to_string();
    let loader = format!("loader,file={image},addr=0x40200000,cpu-num=0,force-raw=on");
    let boot = match boot {
        Boot::Kernel => ["-kernel", &image],
        Boot::Loader => ["-device", &loader],
    };
    start(bench, machine, &boot)?.wait_for(message, PATIENCE)
}

fn start(bench: &Bench, machine: &[&str], boot: &[&str]) -> Result<Process, Failed> {
    bench.plain_qemu([machine, &BOARD, boot].concat())
}

fn damaged(bench: &Bench) -> Verdict {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (kernel, initrd) = (path("hypervisor.img"), path("bundle.img"));
    std::fs::write(&kernel, &bench.bare.hypervisor)?;
    // Of the format that is read, and then what follows in the header.
    let header = |rest: &[u8]| [&MAGIC[..], &VERSION.to_le_bytes(), rest].concat();
    for (first, message) in [
        (b"#!ipxe".to_vec(), "no bundle here"),
        (b"VAMBUNDL\xFF".to_vec(), "the bundle has version 255"),
        (header(b"\0\0\0\0\0\0\0\0\0\0\x10"), "the bundle is cut short"),
        (header(b"\x04\0\0\0\x78\x56\x34\x12\x40"), "the bundle's directory is damaged"),
    ] {
        let mut bytes = first;
        bytes.resize(64, 0);
        std::fs::write(&initrd, bytes)?;
        start(bench, &WITH_EL2, &["-kernel", &kernel, "-initrd", &initrd])?.wait_for(message, PATIENCE)?;
    }
    Ok(())
}

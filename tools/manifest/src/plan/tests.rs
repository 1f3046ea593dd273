// SPDX-License-Identifier: MIT OR Apache-2.0
use dtoolkit::fdt::Fdt;
use dtoolkit::{Node, Property};
use vambrace_machine::devices::Device;
use vambrace_wire::bundle::Bundle;
use vambrace_wire::bundle::assigned::{RamPlacement, Trigger};
use vambrace_wire::bundle::channel::ChannelAccess;
use vambrace_wire::bundle::io::{Backing, VirtioDevice};

use super::*;
use crate::diagnostic::Source;
use crate::images::fakes::image;
use crate::manifest::{self, BoardOptions};

/// Images of the usual sizes, and of little content.
pub(crate) struct FakeImages;

impl Images for FakeImages {
    fn debian_kernel(&self, version: Option<&str>) -> Result<Vec<u8>, ImagesError> {
        match version {
            None | Some("6.1" | "6.12") => Ok(image(0, 40 << 20, 0xA)),
            Some(_) => Err(ImagesError::NoSuch { known: vec!["debian:6.1".into(), "debian:6.12".into()] }),
        }
    }

    fn debian_u_boot(&self) -> Result<Vec<u8>, ImagesError> {
        Ok(vec![0x14; 4096])
    }

    fn demo_initrd(&self) -> Result<Vec<u8>, ImagesError> {
        Ok(vec![0x1F; 100_001])
    }

    fn debian_modules(&self, _version: Option<&str>) -> Result<Vec<u8>, ImagesError> {
        Ok(b"070701 drivers".to_vec())
    }

    fn debian_initrd(&self) -> Result<Vec<u8>, ImagesError> {
        Ok(vec![0x2F; 4096])
    }

    fn guest(&self, name: &str) -> Result<Vec<u8>, ImagesError> {
        match name {
            "hello" => Ok(image(0, 1 << 20, 0)),
            "broken" => Err(ImagesError::Failed("the compiler is ill".into())),
            _ => Err(ImagesError::NoSuch { known: vec!["guest:hello".into(), "guest:heartbeat".into()] }),
        }
    }

    fn cmdline(&self, vm: &Vm) -> String {
        format!("{} vambrace.name={}", vm.cmdline, vm.name).trim_start().to_owned()
    }
}

fn property(tree: &[u8], path: &str, name: &str) -> Vec<u8> {
    let node = Fdt::new(tree).unwrap().find_node(path).unwrap();
    node.property(name).unwrap_or_else(|| panic!("no {path}/{name}")).value().to_vec()
}

fn manifest(text: &str) -> Manifest {
    let source = Source { path: "manifest.toml".into(), text: text.to_owned() };
    manifest::parse(source, &BoardOptions::default()).unwrap_or_else(|error| panic!("{error}")).0
}

const TWO: &str = r#"
[[vm]]
name = "a"
kernel = "debian"
initrd = "demo"
memory = "512MiB"
cmdline = "quiet"
vcpus = 2
[[vm]]
name = "b"
kernel = "debian"
initrd = "demo"
memory = "512MiB"
cpus = [3]
weight = 200
devices = ["pl011"]
after = "a"
"#;

#[test]
fn a_kernel_lies_where_qemu_puts_it() {
    let plan = plan(&manifest(TWO), &FakeImages).unwrap();
    let vm = &plan.vms[0];
    let at = |load: &Load| (load.ipa, plan.blobs[usize::from(load.blob)].len());
    assert_eq!(at(&vm.loads[0]), (0x4020_0000, 4096));
    assert_eq!(at(&vm.loads[1]), (0x4800_0000, 100_001));
    assert_eq!(vm.loads[2].ipa, 0x4000_0000);
    assert_eq!((vm.entry, vm.boot_argument, vm.flash), (0x4020_0000, 0x4000_0000, false));

    let tree = &plan.blobs[usize::from(vm.loads[2].blob)];
    assert_eq!(property(tree, "/chosen", "bootargs"), b"quiet vambrace.name=a\0");
    assert_eq!(property(tree, "/chosen", "linux,initrd-start"), 0x4800_0000u64.to_be_bytes());
    assert_eq!(property(tree, "/chosen", "linux,initrd-end"), (0x4800_0000u64 + 100_001).to_be_bytes());
}

#[test]
fn a_vm_trusted_with_dma_lies_below_the_hypervisor_and_has_each_page_once() {
    let text = include_str!("trusted.toml");
    let manifest = manifest(text);
    let vm = &plan(&manifest, &FakeImages).unwrap().vms[0];
    assert_eq!(vm.placement, RamPlacement::OneToOne);
    assert_eq!(vm.registers, [Registers { ipa: 0x0A00_1000, pa: 0x0A00_1000, len: 0x1000 }]);
    assert_eq!(vm.slots, [0x0A00_1200, 0x0A00_1400]);
    let intids: Vec<u32> = vm.interrupts.iter().map(|interrupt| interrupt.physical).collect();
    assert_eq!(intids, [57, 58]);
    assert_eq!(vm.interrupts[0].trigger, Trigger::Edge, "as the board's tree says");
}

#[test]
fn a_partition_becomes_sectors_of_the_boards_disk() {
    let folder = tempfile::tempdir().unwrap();
    super::partition::tests::disk(folder.path());
    let text = r#"
        [[board.disk]]
        name = "store"
        image = "disk.img"
        [[vm]]
        name = "a"
        kernel = "guest:hello"
        [[vm.disk]]
        board = "store"
        partition = "root"
    "#;
    let source = Source { path: folder.path().join("vms.toml"), text: text.to_owned() };
    let (manifest, _) = manifest::parse(source, &BoardOptions::default()).unwrap();
    let plan = plan(&manifest, &FakeImages).unwrap();
    let VirtioDevice::Disk(disk) = &plan.vms[0].virtio[0] else { panic!("{:?}", plan.vms[0].virtio) };
    assert_eq!((&disk.backing, disk.sectors), (&Backing::Board { disk: 0, first: 6144 }, 16384));
}

#[test]
fn a_channel_is_told_to_each_of_its_members() {
    let text = r#"
        [[channel]]
        name = "control"
        size = "64KiB"
        members = ["b"]
        readers = ["a"]
        [[vm]]
        name = "a"
        kernel = "guest:hello"
        [[vm]]
        name = "b"
        kernel = "guest:hello"
        [[vm]]
        name = "stranger"
        kernel = "guest:hello"
    "#;
    let plan = plan(&manifest(text), &FakeImages).unwrap();
    assert_eq!(plan.channels, [Channel { name: "control".into(), size: 64 << 10 }]);
    let end = |number, access| Membership { channel: 0, number, members: 2, access };
    let ends: Vec<_> = plan.vms.iter().map(|vm| vm.channels.as_slice()).collect();
    let (a, b) = (end(1, ChannelAccess::ReadOnly), end(0, ChannelAccess::ReadWrite));
    assert_eq!(ends, [&[a][..], &[b], &[]]);
}

#[test]
fn what_starts_a_disk_has_drivers_before_it() {
    let text = "[[vm]]\nname = \"a\"\nkernel = \"debian\"\ninitrd = \"debian\"\n";
    let plan = plan(&manifest(text), &FakeImages).unwrap();
    let initrd = &plan.blobs[usize::from(plan.vms[0].loads[1].blob)];
    let drivers = FakeImages.debian_modules(None).unwrap();
    assert_eq!(**initrd, [drivers, FakeImages.debian_initrd().unwrap()].concat());
}

#[test]
fn seeds_lie_in_the_tree() {
    let plan = plan(&manifest(TWO), &FakeImages).unwrap();
    let vm = &plan.vms[0];
    let mut tree = plan.blobs[usize::from(vm.loads[2].blob)].to_vec();
    let [rng, kaslr] = vm.seeds.as_slice() else { panic!("two seeds") };
    for (seed, byte) in [(rng, 1), (kaslr, 2)] {
        tree[(seed.ipa - RAM.0) as usize..][..usize::from(seed.len)].fill(byte);
    }
    assert_eq!(property(&tree, "/chosen", "rng-seed"), [1; 32]);
    assert_eq!(property(&tree, "/chosen", "kaslr-seed"), [2; 8]);
}

#[test]
fn what_the_manifest_says_is_in_the_bundle() {
    let bytes = build(&manifest(TWO), &FakeImages).unwrap();
    let bundle = Bundle::open(&bytes).unwrap();
    let [a, b] = bundle.directory.vms.as_slice() else { panic!("two VMs") };
    assert_eq!((a.name.as_str(), a.memory, a.weight, a.after), ("a", 512 << 20, 100, None));
    assert_eq!(a.vcpus, [VcpuConfig { cpu: None }; 2]);
    assert_eq!((b.name.as_str(), b.weight, b.after), ("b", 200, Some(0)));
    assert_eq!(b.vcpus, [VcpuConfig { cpu: Some(3) }]);
    assert_eq!(b.devices, devices::set(&[Device::Pl011]));
    // The kernel and the RAM disk are there once, the two trees differ.
    assert_eq!(bundle.directory.blobs.len(), 4);
    assert_eq!((a.loads[0].blob, a.loads[1].blob), (b.loads[0].blob, b.loads[1].blob));
}

#[test]
fn equal_images_are_carried_once_whatever_their_names() {
    let folder = tempfile::TempDir::new().unwrap();
    for name in ["one", "two"] {
        fs::write(folder.path().join(name), image(0, 1 << 20, 0)).unwrap();
    }
    let text = r#"
    [[vm]]
    name = "a"
    kernel = "one"
    [[vm]]
    name = "b"
    kernel = "two"
    [[vm]]
    name = "c"
    kernel = "guest:hello"
    "#;
    let source = Source { path: folder.path().join("manifest.toml"), text: text.to_owned() };
    let (manifest, _) = manifest::parse(source, &BoardOptions::default()).unwrap();
    let plan = plan(&manifest, &FakeImages).unwrap();
    let kernels: Vec<u16> = plan.vms.iter().map(|vm| vm.loads[0].blob).collect();
    assert_eq!(kernels, [0, 0, 0]);
}

#[test]
fn firmware_starts_in_flash_and_finds_the_tree_in_ram() {
    let plan = plan(&manifest("[[vm]]\nname = \"a\"\nfirmware = \"debian:u-boot\"\n"), &FakeImages).unwrap();
    let vm = &plan.vms[0];
    assert!(vm.flash);
    assert_eq!((vm.entry, vm.boot_argument), (0, 0x4000_0000));
    assert_eq!(vm.loads.iter().map(|load| load.ipa).collect::<Vec<_>>(), [0, 0x4000_0000]);
}

#[test]
fn an_image_that_cannot_be_got_is_no_fault_of_the_manifest() {
    let error =
        plan(&manifest("[[vm]]\nname = \"a\"\nkernel = \"guest:broken\"\n"), &FakeImages).unwrap_err();
    assert!(matches!(&error, PlanError::Image { what, .. } if what == "guest:broken"), "{error}");
    assert_eq!(error.source().unwrap().to_string(), "the compiler is ill");
}

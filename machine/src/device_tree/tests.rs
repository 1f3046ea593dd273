// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;

const DEVICES: DeviceSet = crate::devices::DEFAULT;

fn description() -> Description<'static> {
    let (memory, cmdline) = (512 << 20, "quiet");
    let (virtio, assigned, channels) = (0, &[], &[]);
    Description { memory, vcpus: 2, devices: DEVICES, virtio, assigned, channels, cmdline, initrd: None }
}

/// Writes the tree and reads it back.
fn written(vm: &Description<'_>) -> Tree {
    let tree = DeviceTree::new(vm).unwrap();
    Tree::from_fdt(&Fdt::new(&tree.bytes).unwrap())
}

fn bytes_of(tree: &Tree, path: &str, property: &str) -> Option<Vec<u8>> {
    let node = tree.find_node(path).unwrap_or_else(|| panic!("no {path}"));
    (&node).property(property).map(|property| property.value().to_vec())
}

fn cells_of(tree: &Tree, path: &str, property: &str) -> Vec<u32> {
    let bytes = bytes_of(tree, path, property).unwrap_or_else(|| panic!("no {path}/{property}"));
    bytes.as_chunks::<4>().0.iter().map(|cell| u32::from_be_bytes(*cell)).collect()
}

fn texts_of(tree: &Tree, path: &str, property: &str) -> Vec<String> {
    let bytes = bytes_of(tree, path, property).unwrap_or_else(|| panic!("no {path}/{property}"));
    let (last, body) = bytes.split_last().unwrap();
    assert_eq!(*last, 0, "{path}/{property} ends with NUL");
    body.split(|byte| *byte == 0).map(|text| String::from_utf8(text.to_vec()).unwrap()).collect()
}

#[test]
fn says_what_qemus_virt_says() {
    let tree = written(&description());
    assert_eq!(texts_of(&tree, "/", "compatible"), ["linux,dummy-virt"]);
    assert_eq!(cells_of(&tree, "/", "interrupt-parent"), cells_of(&tree, "/intc@8000000", "phandle"));
    assert_eq!(cells_of(&tree, "/memory@40000000", "reg"), [0, 0x4000_0000, 0, 0x2000_0000]);
    assert_eq!(texts_of(&tree, "/psci", "compatible"), ["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]);
    assert_eq!(texts_of(&tree, "/psci", "method"), ["hvc"]);
    assert_eq!(cells_of(&tree, "/timer", "interrupts"), [1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4]);
    assert!(bytes_of(&tree, "/timer", "always-on").is_some());
    assert_eq!(texts_of(&tree, "/pl011@9000000", "compatible"), ["arm,pl011", "arm,primecell"]);
    assert_eq!(cells_of(&tree, "/pl011@9000000", "reg"), [0, 0x0900_0000, 0, 0x1000]);
    assert_eq!(cells_of(&tree, "/pl011@9000000", "interrupts"), [0, 1, 4]);
    assert_eq!(texts_of(&tree, "/pl011@9000000", "clock-names"), ["uartclk", "apb_pclk"]);
    assert_eq!(cells_of(&tree, "/pl011@9000000", "clocks").len(), 2);
    assert_eq!(texts_of(&tree, "/pl031@9010000", "clock-names"), ["apb_pclk"]);
    assert_eq!(cells_of(&tree, "/pl031@9010000", "interrupts"), [0, 2, 4]);
    assert_eq!(cells_of(&tree, "/apb-pclk", "clock-frequency"), [24_000_000]);
    assert_eq!(cells_of(&tree, "/apb-pclk", "phandle"), cells_of(&tree, "/pl031@9010000", "clocks"));
    assert_eq!(texts_of(&tree, "/chosen", "stdout-path"), ["/pl011@9000000"]);
    assert_eq!(texts_of(&tree, "/aliases", "serial0"), ["/pl011@9000000"]);
    assert_eq!(texts_of(&tree, "/chosen", "bootargs"), ["quiet"]);
}

#[test]
fn every_vcpu_is_named_by_its_affinity() {
    let tree = written(&Description { vcpus: 512, ..description() });
    assert_eq!(tree.find_node("/cpus").unwrap().children().count(), 512);
    for (path, affinity) in
        [("/cpus/cpu@0", 0), ("/cpus/cpu@f", 0xF), ("/cpus/cpu@100", 0x100), ("/cpus/cpu@1f0f", 0x1F0F)]
    {
        assert_eq!(cells_of(&tree, path, "reg"), [affinity]);
        assert_eq!(texts_of(&tree, path, "enable-method"), ["psci"]);
    }
}

#[test]
fn redistributors_go_on_in_a_second_region() {
    let one = written(&Description { vcpus: 123, ..description() });
    assert_eq!(cells_of(&one, "/intc@8000000", "#redistributor-regions"), [1]);
    assert_eq!(
        cells_of(&one, "/intc@8000000", "reg"),
        [0, 0x0800_0000, 0, 0x1_0000, 0, 0x080A_0000, 0, 0x00F6_0000]
    );
    let two = written(&Description { vcpus: 125, ..description() });
    assert_eq!(cells_of(&two, "/intc@8000000", "#redistributor-regions"), [2]);
    assert_eq!(cells_of(&two, "/intc@8000000", "reg")[8..], [0x40, 0, 0, 0x4_0000]);
}

#[test]
fn the_initrd_is_where_it_was_put() {
    let initrd = Some((Ipa(0x4800_0000), Ipa(0x48AB_CDEF)));
    let tree = written(&Description { initrd, ..description() });
    assert_eq!(cells_of(&tree, "/chosen", "linux,initrd-start"), [0, 0x4800_0000]);
    assert_eq!(cells_of(&tree, "/chosen", "linux,initrd-end"), [0, 0x48AB_CDEF]);
    assert!(bytes_of(&written(&description()), "/chosen", "linux,initrd-start").is_none());
}

#[test]
fn a_vm_without_devices_has_none_in_its_tree() {
    let tree = written(&Description { devices: DeviceSet::EMPTY, ..description() });
    let names: Vec<_> = tree.root.children().map(|child| child.name().to_owned()).collect();
    assert_eq!(names, ["chosen", "memory@40000000", "cpus", "psci", "timer", "intc@8000000", "apb-pclk"]);
    assert!(bytes_of(&tree, "/chosen", "stdout-path").is_none());
}

#[test]
fn filling_the_seeds_changes_the_seeds_and_nothing_else() {
    let mut tree = DeviceTree::new(&description()).unwrap();
    let before = Tree::from_fdt(&Fdt::new(&tree.bytes).unwrap());
    assert_eq!(tree.seeds.iter().map(|seed| seed.len).collect::<Vec<_>>(), [32, 8]);
    for (fill, seed) in (1..).zip(&tree.seeds) {
        tree.bytes[seed.offset..][..usize::from(seed.len)].fill(fill);
    }
    let mut after = Tree::from_fdt(&Fdt::new(&tree.bytes).unwrap());
    assert_eq!(bytes_of(&after, "/chosen", "rng-seed").unwrap(), [1; 32]);
    assert_eq!(bytes_of(&after, "/chosen", "kaslr-seed").unwrap(), [2; 8]);

    let chosen = after.find_node_mut("/chosen").unwrap();
    for (name, len) in SEEDS {
        chosen.property_mut(name).unwrap().set_value(vec![0u8; usize::from(len)]);
    }
    assert_eq!(before, after);
}

#[test]
fn the_largest_tree_is_far_from_the_limit() {
    let cmdline = "x".repeat(2048);
    let tree = DeviceTree::new(&Description { vcpus: 512, cmdline: &cmdline, ..description() }).unwrap();
    assert!(tree.bytes.len() < MAX_LEN / 8, "{} bytes", tree.bytes.len());
}

#[test]
fn each_virtio_device_has_a_slot() {
    let tree = written(&Description { virtio: 2, ..description() });
    for (path, at, spi) in
        [("/virtio_mmio@a000000", 0x0A00_0000, 16), ("/virtio_mmio@a000200", 0x0A00_0200, 17)]
    {
        assert_eq!(texts_of(&tree, path, "compatible"), ["virtio,mmio"]);
        assert_eq!(cells_of(&tree, path, "reg"), [0, at, 0, 0x200]);
        assert_eq!(cells_of(&tree, path, "interrupts"), [0, spi, 4]);
    }
    assert!(tree.find_node("/virtio_mmio@a000400").is_none());
}

#[test]
fn a_device_of_the_board_comes_without_what_it_refers_to_there() {
    let mut device = DeviceTreeNode::new("pl061@9030000").unwrap();
    for (name, value) in
        [("phandle", 1u32), ("interrupt-parent", 0x8002), ("clocks", 0x8000), ("#gpio-cells", 2)]
    {
        device.add_property(DeviceTreeProperty::new(name, value).unwrap());
    }
    device.add_property(DeviceTreeProperty::new("clock-names", "apb_pclk").unwrap());
    let tree = written(&Description { assigned: &[device], ..description() });
    let path = "/pl061@9030000";
    assert_eq!(bytes_of(&tree, path, "phandle"), None);
    assert_eq!(bytes_of(&tree, path, "interrupt-parent"), None);
    assert_eq!(cells_of(&tree, path, "clocks"), [CLOCK_PHANDLE]);
    assert_eq!(cells_of(&tree, path, "#gpio-cells"), [2]);
}

#[test]
fn a_channel_is_told_with_its_doorbell_and_who_the_vm_is_there() {
    use vambrace_wire::bundle::channel::{ChannelAccess, Membership};
    let end = |name, access| ChannelEnd {
        name,
        size: 0x1_0000,
        membership: Membership { channel: 7, number: 1, members: 3, access },
    };
    let channels = [end("control", ChannelAccess::ReadWrite), end("log", ChannelAccess::ReadOnly)];
    let tree = written(&Description { channels: &channels, ..description() });
    let path = "/channel@21000000";
    assert_eq!(texts_of(&tree, path, "compatible"), ["vambrace,channel"]);
    assert_eq!(cells_of(&tree, path, "reg"), [0, 0x2100_0000, 0, 0x1_0000, 0, 0x0B00_1000, 0, 0x1000]);
    assert_eq!(cells_of(&tree, path, "interrupts"), [0, 49, 4]);
    assert_eq!(texts_of(&tree, path, "label"), ["log"]);
    assert_eq!(cells_of(&tree, path, "vambrace,member"), [1]);
    assert_eq!(cells_of(&tree, path, "vambrace,members"), [3]);
    assert!(bytes_of(&tree, path, "read-only").is_some());
    assert!(bytes_of(&tree, "/channel@20000000", "read-only").is_none());
}

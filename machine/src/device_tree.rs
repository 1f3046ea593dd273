// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device tree that a guest boots with.
//!
//! It describes what [`crate::layout`] lays out, in the words QEMU uses for its `virt` board, so that
//! whatever boots there finds here what it looks for. What we do not emulate is not in it: no PCIe, no flash
//! (firmware executes from it but need not program it), no PMU.
//!
//! It is written on the developer's computer, where it can be checked and compared, and travels in the bundle
//! as one more image. Only the random seeds change from one start to the next: [`DeviceTree::seeds`] says
//! where they lie, and EL2 overwrites those bytes without understanding the tree.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree as Tree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node, Property, ToPropertyValue};
use vambrace_ids::VcpuId;
use vambrace_memory::Ipa;
use vambrace_wire::bundle::DeviceSet;
use vambrace_wire::bundle::channel::{ChannelAccess, Membership};

pub use dtoolkit::error::ModelError;

use crate::devices::Device;
use crate::layout;

/// The largest device tree that the Linux arm64 boot protocol allows, in bytes.
pub const MAX_LEN: usize = 2 << 20;

/// What the tree says about a VM beyond the address map that all VMs share.
#[derive(Clone, Copy, Debug)]
pub struct Description<'a> {
    /// RAM in bytes, from [`layout::RAM`] on.
    pub memory: u64,
    /// How many vCPUs; at least 1.
    pub vcpus: u16,
    /// Which platform devices the VM has.
    pub devices: DeviceSet,
    /// How many virtio devices the VM has; they are told apart by their registers.
    pub virtio: usize,
    /// The nodes of the board's devices that belong to it, as the board's tree has them at its root: they have the same
    /// addresses and SPIs.
    pub assigned: &'a [DeviceTreeNode],
    /// The channels that it is a member of, in their order.
    pub channels: &'a [ChannelEnd<'a>],
    /// The kernel's command line (`/chosen/bootargs`); without NUL characters.
    pub cmdline: &'a str,
    /// Where the initial RAM disk lies: first byte and first byte after it.
    pub initrd: Option<(Ipa, Ipa)>,
}

/// A VM's end of a channel, as its tree tells it (`docs/channel.md`).
#[derive(Clone, Copy, Debug)]
pub struct ChannelEnd<'a> {
    /// The channel's name.
    pub name: &'a str,
    /// Bytes of memory.
    pub size: u64,
    /// The VM's number, and whether it may write.
    pub membership: Membership,
}

/// A device tree in its flattened form (DTB).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceTree {
    /// The flattened tree.
    pub bytes: Vec<u8>,
    /// The properties to be filled with fresh random bytes at each start.
    pub seeds: Vec<SeedProperty>,
}

/// Where a random seed lies in a flattened tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedProperty {
    /// Its first byte, counted from the tree's first.
    pub offset: usize,
    /// How many bytes.
    pub len: u16,
}

/// The tree's own names for its interrupt controller and its clock.
const GIC_PHANDLE: u32 = 1;
const CLOCK_PHANDLE: u32 = 2;

/// The clock of the UART and the RTC, in Hz, as on `virt`.
const CLOCK_HZ: u32 = 24_000_000;

/// Interrupt specifier cells (binding `arm,gic-v3`): the kind, and level-sensitive active high.
const GIC_SPI: u32 = 0;
const GIC_PPI: u32 = 1;
const LEVEL_HIGH: u32 = 4;

/// The first PPI's INTID.
const PPI_BASE: u32 = 16;

/// The seeds and their lengths in bytes: what Linux mixes into its entropy pool, and what it and U-Boot
/// randomise their own addresses with.
const SEEDS: [(&str, u16); 2] = [("rng-seed", 32), ("kaslr-seed", 8)];

impl DeviceTree {
    /// Writes the tree for a VM.
    ///
    /// # Errors
    /// [`ModelError`] for a name the format does not allow; the names are all ours, so it would be our
    /// error.
    pub fn new(vm: &Description<'_>) -> Result<Self, ModelError> {
        let mut tree = Tree::new();
        for property in root_properties()? {
            tree.root.add_property(property);
        }
        let mut nodes =
            Vec::from([chosen(vm)?, memory(vm)?, cpus(vm)?, psci()?, timer()?, gic(vm)?, clock()?]);
        if Device::Pl011.is_in(vm.devices) {
            nodes.push(node("aliases", [text("serial0", &format!("/{}", name_of(Device::Pl011)))?])?);
        }
        for device in Device::ALL.into_iter().filter(|device| device.is_in(vm.devices)) {
            nodes.push(platform(device)?);
        }
        for slot in 0..vm.virtio as u32 {
            nodes.push(virtio(slot)?);
        }
        for (index, channel) in (0..).zip(vm.channels) {
            nodes.push(self::channel(index, channel)?);
        }
        for device in vm.assigned {
            nodes.push(carried_over(device)?);
        }
        for child in nodes {
            tree.root.add_child(child);
        }
        let bytes = tree.to_dtb();
        let seeds = find_seeds(&bytes);
        Ok(Self { bytes, seeds })
    }
}

fn root_properties() -> Result<[DeviceTreeProperty; 6], ModelError> {
    Ok([
        text("compatible", "linux,dummy-virt")?,
        text("model", "linux,dummy-virt")?,
        value("#address-cells", 2u32)?,
        value("#size-cells", 2u32)?,
        value("interrupt-parent", GIC_PHANDLE)?,
        flag("dma-coherent")?,
    ])
}

/// What the firmware tells the kernel (Devicetree Specification, "/chosen").
fn chosen(vm: &Description<'_>) -> Result<DeviceTreeNode, ModelError> {
    let mut chosen = node("chosen", [])?;
    if Device::Pl011.is_in(vm.devices) {
        chosen.add_property(text("stdout-path", &format!("/{}", name_of(Device::Pl011)))?);
    }
    if !vm.cmdline.is_empty() {
        chosen.add_property(text("bootargs", vm.cmdline)?);
    }
    if let Some((start, end)) = vm.initrd {
        chosen.add_property(value("linux,initrd-start", start.0)?);
        chosen.add_property(value("linux,initrd-end", end.0)?);
    }
    for (name, len) in SEEDS {
        chosen.add_property(value(name, alloc::vec![0u8; usize::from(len)])?);
    }
    Ok(chosen)
}

fn memory(vm: &Description<'_>) -> Result<DeviceTreeNode, ModelError> {
    let name = format!("memory@{:x}", layout::RAM.0);
    node(&name, [text("device_type", "memory")?, reg(&[(layout::RAM.0, vm.memory)])?])
}

/// The CPUs, known to PSCI by the affinity fields of their MPIDR.
fn cpus(vm: &Description<'_>) -> Result<DeviceTreeNode, ModelError> {
    // Affinity levels 0 to 2 fit one cell, and no VM has enough vCPUs to need level 3.
    let mut cpus = node("cpus", [value("#address-cells", 1u32)?, value("#size-cells", 0u32)?])?;
    for index in 0..vm.vcpus {
        let affinity = layout::affinity(VcpuId::new(index));
        cpus.add_child(node(
            &format!("cpu@{affinity:x}"),
            [
                text("device_type", "cpu")?,
                // Which core it is, the guest reads in MIDR_EL1: it is the one the board has.
                text("compatible", "arm,armv8")?,
                cells("reg", &[(affinity & 0x00FF_FFFF) as u32])?,
                text("enable-method", "psci")?,
            ],
        )?);
    }
    Ok(cpus)
}

/// PSCI (binding `arm,psci`); the function numbers are for clients that know only PSCI 0.1.
fn psci() -> Result<DeviceTreeNode, ModelError> {
    node(
        "psci",
        [
            texts("compatible", &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"])?,
            text("method", "hvc")?,
            value("cpu_suspend", 0xC400_0001u32)?,
            value("cpu_off", 0x8400_0002u32)?,
            value("cpu_on", 0xC400_0003u32)?,
        ],
    )
}

/// The generic timer (binding `arm,arch_timer`), in the binding's order: secure physical, physical, virtual,
/// hypervisor. The first and the last are not for a VM, but the order has to be kept.
fn timer() -> Result<DeviceTreeNode, ModelError> {
    let (physical, own) = (layout::PHYSICAL_TIMER_INTID.get(), layout::VIRTUAL_TIMER_INTID.get());
    let intids = [29, physical, own, 26];
    let specifiers: Vec<u32> =
        intids.into_iter().flat_map(|intid| [GIC_PPI, intid - PPI_BASE, LEVEL_HIGH]).collect();
    node(
        "timer",
        [
            texts("compatible", &["arm,armv8-timer", "arm,armv7-timer"])?,
            cells("interrupts", &specifiers)?,
            flag("always-on")?,
        ],
    )
}

/// The GICv3 (binding `arm,gic-v3`); with many vCPUs its redistributors lie in two regions.
fn gic(vm: &Description<'_>) -> Result<DeviceTreeNode, ModelError> {
    let count = u64::from(vm.vcpus);
    let (low, high) = (count.min(layout::GICR_COUNT), count.saturating_sub(layout::GICR_COUNT));
    let mut frames = Vec::from([
        (layout::GICD.start().0, layout::GICD.len()),
        (layout::GICR.0, low * layout::GICR_STRIDE),
    ]);
    if high > 0 {
        frames.push((layout::GICR_HIGH.0, high * layout::GICR_STRIDE));
    }
    node(
        &format!("intc@{:x}", layout::GICD.start().0),
        [
            text("compatible", "arm,gic-v3")?,
            flag("interrupt-controller")?,
            value("#interrupt-cells", 3u32)?,
            value("#address-cells", 0u32)?,
            value("#redistributor-regions", frames.len() as u32 - 1)?,
            reg(&frames)?,
            value("phandle", GIC_PHANDLE)?,
        ],
    )
}

fn clock() -> Result<DeviceTreeNode, ModelError> {
    node(
        "apb-pclk",
        [
            text("compatible", "fixed-clock")?,
            value("#clock-cells", 0u32)?,
            value("clock-frequency", CLOCK_HZ)?,
            text("clock-output-names", "clk24mhz")?,
            value("phandle", CLOCK_PHANDLE)?,
        ],
    )
}

/// A platform device, as the [list](crate::devices) has it.
fn platform(device: Device) -> Result<DeviceTreeNode, ModelError> {
    let described = device.node();
    let frames: Vec<_> = device.frames().map(|frame| (frame.start().0, frame.len())).collect();
    let mut node = node(
        &name_of(device),
        [
            texts("compatible", described.compatible)?,
            reg(&frames)?,
            cells("interrupts", &[GIC_SPI, device.spi(), LEVEL_HIGH])?,
        ],
    )?;
    if !described.clocks.is_empty() {
        node.add_property(cells("clocks", &alloc::vec![CLOCK_PHANDLE; described.clocks.len()])?);
        node.add_property(texts("clock-names", described.clocks)?);
    }
    Ok(node)
}

/// A slot of virtio-mmio (binding `virtio,mmio`).
fn virtio(slot: u32) -> Result<DeviceTreeNode, ModelError> {
    let place = layout::VIRTIO.place(slot.into());
    node(
        &format!("virtio_mmio@{:x}", place.start().0),
        [
            text("compatible", "virtio,mmio")?,
            reg(&[(place.start().0, place.len())])?,
            cells("interrupts", &[GIC_SPI, layout::VIRTIO.spi(slot), LEVEL_HIGH])?,
            flag("dma-coherent")?,
        ],
    )
}

/// A channel (binding `vambrace,channel`, in `docs/channel.md`).
fn channel(index: u32, end: &ChannelEnd<'_>) -> Result<DeviceTreeNode, ModelError> {
    let memory = layout::CHANNEL.0 + u64::from(index) * layout::CHANNEL_STRIDE;
    let doorbell = layout::DOORBELLS.place(index.into());
    let Membership { number, members, access, .. } = end.membership;
    let mut node = node(
        &format!("channel@{memory:x}"),
        [
            text("compatible", "vambrace,channel")?,
            reg(&[(memory, end.size), (doorbell.start().0, doorbell.len())])?,
            cells("interrupts", &[GIC_SPI, layout::DOORBELLS.spi(index), LEVEL_HIGH])?,
            text("label", end.name)?,
            value("vambrace,member", u32::from(number))?,
            value("vambrace,members", u32::from(members))?,
        ],
    )?;
    if access == ChannelAccess::ReadOnly {
        node.add_property(flag("read-only")?);
    }
    Ok(node)
}

/// A node of the board's tree, in the VM's: without what refers to other nodes there, and with our clock.
fn carried_over(device: &DeviceTreeNode) -> Result<DeviceTreeNode, ModelError> {
    let mut node = device.clone();
    for gone in ["phandle", "linux,phandle", "interrupt-parent", "clocks"] {
        node.remove_property(gone);
    }
    let names = node.property("clock-names").map(|names| names.value().split(|byte| *byte == 0).count());
    if let Some(count) = names {
        // Each name ends with a NUL, so there is one piece more.
        node.add_property(cells("clocks", &alloc::vec![CLOCK_PHANDLE; count.saturating_sub(1)])?);
    }
    Ok(node)
}

fn name_of(device: Device) -> String {
    format!("{}@{:x}", device.node().name, device.base().0)
}

/// Finds the seeds in a flattened tree.
fn find_seeds(bytes: &[u8]) -> Vec<SeedProperty> {
    let Some(chosen) = Fdt::new(bytes).ok().and_then(|fdt| fdt.find_node("/chosen")) else {
        return Vec::new();
    };
    SEEDS
        .iter()
        .filter_map(|&(name, len)| {
            let property = chosen.property(name)?;
            // The value is a part of `bytes`: how far into it is the difference of the addresses.
            let offset = property.value().as_ptr().addr().checked_sub(bytes.as_ptr().addr())?;
            Some(SeedProperty { offset, len })
        })
        .collect()
}

fn node(
    name: &str,
    properties: impl IntoIterator<Item = DeviceTreeProperty>,
) -> Result<DeviceTreeNode, ModelError> {
    let mut node = DeviceTreeNode::new(name)?;
    for property in properties {
        node.add_property(property);
    }
    Ok(node)
}

fn value(name: &str, value: impl ToPropertyValue) -> Result<DeviceTreeProperty, ModelError> {
    DeviceTreeProperty::new(name, value)
}

fn flag(name: &str) -> Result<DeviceTreeProperty, ModelError> {
    value(name, [0u8; 0])
}

fn text(name: &str, text: &str) -> Result<DeviceTreeProperty, ModelError> {
    value(name, text)
}

/// A list of strings, each ended by NUL.
fn texts(name: &str, texts: &[&str]) -> Result<DeviceTreeProperty, ModelError> {
    let list: Vec<u8> = texts.iter().flat_map(|text| text.bytes().chain([0])).collect();
    value(name, list)
}

fn cells(name: &str, cells: &[u32]) -> Result<DeviceTreeProperty, ModelError> {
    value(name, cells)
}

/// `reg` with two cells of address and two of size.
fn reg(frames: &[(u64, u64)]) -> Result<DeviceTreeProperty, ModelError> {
    let bytes: Vec<u8> =
        frames.iter().flat_map(|(start, size)| [start.to_be_bytes(), size.to_be_bytes()]).flatten().collect();
    value("reg", bytes)
}

#[cfg(test)]
mod tests;

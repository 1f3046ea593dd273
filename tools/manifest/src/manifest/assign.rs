// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices of the board that are handed over to one VM.
//!
//! The board's device tree says what there is: for QEMU's `virt` it is kept here, with its second UART, since `check` needs
//! no QEMU. What a device may be is decided by default deny: of the kinds in `KNOWN` it is known that they do nothing but
//! answer loads and stores and raise interrupts. Whatever else there is might read and write memory by itself, and nothing
//! would keep it to its VM's. Of these, virtio-mmio slots can be had by whoever trusts them with all memory (`slots.rs`).

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::model::DeviceTreeNode;
use dtoolkit::{Node, Property};
use toml::Spanned;
use vambrace_machine::devices::Device;
use vambrace_machine::layout;
use vambrace_memory::addr::PAGE_SIZE;
use vambrace_wire::bundle::DeviceSet;
use vambrace_wire::bundle::assigned::{Interrupt, Registers, Trigger};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, nearest};

/// The device tree of QEMU's `virt`, with two UARTs.
static VIRT: &[u8] = include_bytes!("virt.dtb");

/// Kinds of device that master no DMA.
const KNOWN: [&str; 3] = ["arm,pl011", "arm,pl031", "arm,pl061"];

/// A kind that does if it is told to, and can be told to stop.
const VIRTIO: &str = "virtio,mmio";

/// Others that do.
const MASTERS: [&str; 2] = ["pci-host-ecam-generic", "qemu,fw-cfg-mmio"];

/// Kinds that are the hypervisor's own.
const OWN: [&str; 5] = ["arm,gic-v3", "arm,armv8-timer", "arm,psci-1.0", "arm,psci-0.2", "arm,armv8-pmuv3"];

/// Properties that refer to other nodes, and what becomes of them is not known.
const REFERENCES: [&str; 7] =
    ["dmas", "gpios", "interrupts-extended", "iommus", "pinctrl-0", "power-domains", "resets"];

/// A device of the board that belongs to a VM.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// Its path in the board's device tree.
    pub path: String,
    /// Its registers, in whole pages.
    pub registers: Vec<Registers>,
    /// Its interrupts.
    pub interrupts: Vec<Interrupt>,
    /// Where its registers begin, if it is a virtio-mmio slot.
    pub slot: Option<u64>,
    /// Its node.
    pub(crate) node: DeviceTreeNode,
    /// Where it is named.
    pub(crate) span: Span,
}

/// The devices that a VM's `assign` names.
pub(super) fn devices(
    paths: Option<Spanned<Vec<Spanned<String>>>>,
    trust: Option<&Span>,
    own: DeviceSet,
    diagnostics: &mut Diagnostics,
) -> Vec<Assigned> {
    let Ok(board) = Fdt::new(VIRT) else { return Vec::new() };
    let paths = paths.map(Spanned::into_inner).unwrap_or_default();
    let mut devices: Vec<Assigned> = Vec::new();
    for path in paths {
        match device(board, path, trust) {
            Ok(device) => {
                if let Some(wrong) = virtual_twin(&device, own) {
                    diagnostics.push(wrong);
                }
                devices.push(device);
            }
            Err(wrong) => diagnostics.push(*wrong),
        }
    }
    devices
}

fn device(
    board: Fdt<'static>,
    path: Spanned<String>,
    trust: Option<&Span>,
) -> Result<Assigned, Box<Diagnostic>> {
    let span = path.span();
    let path = path.into_inner();
    let Some(node) = path.starts_with('/').then(|| board.find_node(&path)).flatten() else {
        return Err(Box::new(no_such(board, &path, span)));
    };
    let refused = |why: &str| {
        let title = format!("`{path}` cannot be assigned");
        Box::new(Diagnostic::new(Code::NotAssignable, title).label(span.clone(), why))
    };
    if is_own(board, node, &path) {
        return Err(refused("the hypervisor itself needs it"));
    }
    let kinds: Vec<&str> = node.compatible().into_iter().flatten().collect();
    const DMA: &str = "it masters DMA, and no SMMU stands before it";
    let is_slot = kinds.contains(&VIRTIO);
    if is_slot && trust.is_none() {
        let trusting = "write `dma = \"trusted\"` for this VM: then its RAM is mapped one to one, and the device may read \
                        and write all memory of the board";
        let mend = "or let the hypervisor drive it, as in [[board.disk]]";
        return Err(Box::new(refused(DMA).help(trusting).help(mend)));
    }
    if kinds.iter().any(|kind| MASTERS.contains(kind)) {
        let mend = "such a device could read and write all memory, also when its VM has ended, and nothing is known to stop it";
        return Err(Box::new(refused(DMA).help(mend)));
    }
    if !is_slot && !kinds.iter().any(|kind| KNOWN.contains(kind)) {
        let why = format!("it is not known whether a device of its kind masters DMA: {}", kinds.join(", "));
        return Err(Box::new(refused(&why).help(format!("known are {}", KNOWN.join(", ")))));
    }
    if let Some(reference) = REFERENCES.iter().find(|name| node.property(name).is_some()) {
        return Err(refused(&format!("it needs another device: `{reference}`")));
    }
    let registers = registers(node);
    if registers.is_empty() {
        return Err(refused("it has no registers"));
    }
    let first = node.reg().ok().flatten().and_then(|mut frames| frames.next()?.address().ok());
    let slot = first.filter(|_| is_slot);
    let node_copy = DeviceTreeNode::from_node(&node);
    Ok(Assigned { registers, interrupts: interrupts(node), slot, node: node_copy, path, span })
}

fn no_such(board: Fdt<'static>, path: &str, span: Span) -> Diagnostic {
    let wrong = Diagnostic::new(Code::NotAssignable, format!("the board has no device `{path}`"));
    let wrong = wrong.label(span.clone(), "a path of the board's device tree");
    let paths: Vec<String> = board.root().children().map(|node| format!("/{}", node.name())).collect();
    match nearest(path, paths.iter().map(String::as_str)) {
        Some(near) => wrong.fix(format!("did you mean `{near}`?"), span, format!("\"{near}\"")),
        None => {
            let is_known = |node: &FdtNode<'_>| {
                node.compatible().into_iter().flatten().any(|kind| KNOWN.contains(&kind))
            };
            let known = board.root().children().filter(is_known);
            let names = known.map(|node| format!("/{}", node.name()));
            let names: Vec<String> = names.filter(|path| !is_console(board, path)).collect();
            wrong.help(format!("there is {}", names.join(", ")))
        }
    }
}

/// Whether EL2 uses a node, or it is none of a device.
fn is_own(board: Fdt<'static>, node: FdtNode<'_>, path: &str) -> bool {
    let kind = node.name_without_address();
    is_console(board, path)
        || ["memory", "cpus", "chosen", "psci", "timer"].contains(&kind)
        || node.compatible().into_iter().flatten().any(|kind| OWN.contains(&kind))
}

/// Whether a path is that of the hypervisor's own console.
fn is_console(board: Fdt<'static>, path: &str) -> bool {
    let chosen = board.find_node("/chosen");
    chosen.and_then(|chosen| chosen.property("stdout-path")?.value_as::<&str>().ok()) == Some(path)
}

/// A device whose place is taken by a virtual one of the VM's.
fn virtual_twin(device: &Assigned, own: DeviceSet) -> Option<Diagnostic> {
    let is_there = |at: u64| device.registers.iter().any(|registers| registers.ipa == at);
    let mut twins = Device::ALL.into_iter().filter(|device| device.is_in(own));
    let twin = twins.find(|twin| is_there(twin.base().0))?.word();
    Some(
        Diagnostic::new(
            Code::AssignedTwice,
            format!("the VM has a virtual `{twin}` in the place of `{}`", device.path),
        )
        .label(device.span.clone(), "")
        .help(format!("leave \"{twin}\" out of `devices`")),
    )
}

/// The device's registers: the VM sees them where the board has them.
fn registers(node: FdtNode<'_>) -> Vec<Registers> {
    let frames = node.reg().ok().flatten().into_iter().flatten();
    let pages = frames.filter_map(|frame| {
        let (start, size): (u64, u64) = (frame.address().ok()?, frame.size().ok()?);
        let first = start / PAGE_SIZE * PAGE_SIZE;
        let len = start.checked_add(size)?.checked_next_multiple_of(PAGE_SIZE)? - first;
        (len > 0).then_some(Registers { ipa: first, pa: first, len })
    });
    pages.collect()
}

/// The device's interrupts, which are SPIs: binding `arm,gic-v3`, three cells each.
fn interrupts(node: FdtNode<'_>) -> Vec<Interrupt> {
    const EDGE: u32 = 1;
    let Some(property) = node.property("interrupts") else { return Vec::new() };
    let cell = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 4).and_then(|cell| cell.try_into().ok()).map(u32::from_be_bytes)
    };
    let interrupts = property.value().chunks_exact(12).filter_map(|cells| {
        let (kind, number, flags) = (cell(cells, 0)?, cell(cells, 4)?, cell(cells, 8)?);
        let intid = number.checked_add(layout::SPI_BASE)?;
        let trigger = if flags == EDGE { Trigger::Edge } else { Trigger::Level };
        (kind == 0).then_some(Interrupt { physical: intid, intid, trigger })
    });
    interrupts.collect()
}

/// Reports devices that two VMs want, or whose registers share a page.
pub(super) fn check_conflicts<'a>(
    all: impl Iterator<Item = (&'a str, &'a Assigned)>,
    diagnostics: &mut Diagnostics,
) {
    let mut seen: Vec<(&str, &Assigned)> = Vec::new();
    for (vm, device) in all {
        let meets = |other: &Assigned| {
            let overlaps = |a: &Registers, b: &Registers| a.pa < b.pa + b.len && b.pa < a.pa + a.len;
            let shares = |a: &Registers| other.registers.iter().any(|b| overlaps(a, b));
            device.registers.iter().any(shares)
                || device.interrupts.iter().any(|a| other.interrupts.iter().any(|b| a.physical == b.physical))
        };
        // Two slots of one VM may share a page.
        let clashes =
            |(owner, other): &&(&str, &Assigned)| meets(other) && (vm != *owner || device.path == other.path);
        if let Some((owner, other)) = seen.iter().find(clashes) {
            diagnostics.push(
                Diagnostic::new(
                    Code::AssignedTwice,
                    if device.path == other.path || device.slot.is_none() {
                        format!("`{}` belongs to VM `{owner}` already", device.path)
                    } else {
                        format!(
                            "`{}` shares a page with `{}`, which belongs to VM `{owner}`",
                            device.path, other.path
                        )
                    },
                )
                .label(device.span.clone(), format!("and to VM `{vm}` here"))
                .label(other.span.clone(), "first here"),
            );
        }
        seen.push((vm, device));
    }
}

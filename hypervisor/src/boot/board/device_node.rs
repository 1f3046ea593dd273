// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a node stands in the device tree: the buses between it and the root decide whether it can be used, which addresses
//! it has for the CPUs, and who takes its interrupts. The words are the Devicetree Specification's.

use arrayvec::ArrayVec;
use dtoolkit::fdt::FdtNode;
use dtoolkit::{Node, Property};
use vambrace_memory::{Pa, PaRange};

use super::{big_endian, ranges};

/// Nodes that lie deeper are not looked at.
const MAX_DEPTH: usize = 8;

/// The most cells of an address or a size that are read ("Standard Properties", #address-cells).
const MAX_CELLS: u32 = 4;

/// A node with all that lie above it, but for the root.
#[derive(Clone, Debug)]
pub(super) struct DeviceNode<'a> {
    root: FdtNode<'a>,
    /// From the root's child down; empty for the root.
    path: ArrayVec<FdtNode<'a>, MAX_DEPTH>,
}

impl<'a> DeviceNode<'a> {
    /// A child of the root.
    pub(super) fn below_root(root: FdtNode<'a>, node: FdtNode<'a>) -> Self {
        Self { root, path: [node].into_iter().collect() }
    }

    /// The root itself.
    pub(super) fn of_root(root: FdtNode<'a>) -> Self {
        Self { root, path: ArrayVec::new() }
    }

    /// The node at a path below this one. Unit addresses may be left out ("Path Names").
    pub(super) fn below(mut self, path: &str) -> Option<Self> {
        for name in path.split('/') {
            let above = self.node();
            let exact = above.children().find(|node| node.name() == name);
            let node = exact.or_else(|| above.children().find(|node| node.name_without_address() == name))?;
            self.path.try_push(node).ok()?;
        }
        Some(self)
    }

    /// The first node that `is_it`, in the order of the tree.
    pub(super) fn first(root: FdtNode<'a>, is_it: &impl Fn(&Self) -> bool) -> Option<Self> {
        let mut device = Self::of_root(root);
        device.search(root, is_it).then_some(device)
    }

    /// Goes down from a node, the last of the path. Leaves the path at what was found.
    fn search(&mut self, above: FdtNode<'a>, is_it: &impl Fn(&Self) -> bool) -> bool {
        for node in above.children() {
            if self.path.try_push(node).is_err() {
                return false;
            }
            if is_it(self) || self.search(node, is_it) {
                return true;
            }
            self.path.pop();
        }
        false
    }

    /// The node itself.
    pub(super) fn node(&self) -> FdtNode<'a> {
        self.path.last().copied().unwrap_or(self.root)
    }

    /// Whether it and all above it are there to be used.
    pub(super) fn is_usable(&self) -> bool {
        self.path.iter().all(|node| is_okay(*node))
    }

    /// Its registers, at the CPUs' addresses; those that a bus does not show are left out.
    pub(super) fn registers(&self) -> impl Iterator<Item = PaRange> {
        ranges(self.node()).filter_map(|registers| self.translate(registers))
    }

    /// Addresses of its bus, as the root has them.
    fn translate(&self, registers: PaRange) -> Option<PaRange> {
        let (_, buses) = self.path.split_last()?;
        buses.iter().rev().try_fold(registers, |range, bus| through(*bus, range))
    }

    /// The node that takes its interrupts, by its phandle: its own choice, or that of the nearest above it ("interrupt-parent").
    pub(super) fn interrupt_parent(&self) -> Option<u32> {
        let all = self.path.iter().rev().chain([&self.root]);
        all.copied().find_map(|node| number(node, "interrupt-parent"))
    }
}

/// Addresses below a bus, as it shows them above ("ranges"): unchanged if the property is empty, not at all without it.
fn through(bus: FdtNode<'_>, range: PaRange) -> Option<PaRange> {
    if bus.property("ranges")?.value().is_empty() {
        return Some(range);
    }
    let cells = |name, usual| number(bus, name).unwrap_or(usual);
    if cells("#address-cells", 2) > MAX_CELLS || !(1..=MAX_CELLS).contains(&cells("#size-cells", 1)) {
        return None;
    }
    bus.ranges().ok()??.find_map(|window| {
        let child: u64 = window.child_bus_address().ok()?;
        let parent: u64 = window.parent_bus_address().ok()?;
        let len: u64 = window.length().ok()?;
        let offset = range.start().0.checked_sub(child)?;
        let start = PaRange::clamped(Pa(parent), len).at(offset, range.len())?;
        PaRange::new(start, range.len())
    })
}

/// Whether a node says that it can be used ("status").
pub(super) fn is_okay(node: FdtNode<'_>) -> bool {
    node.property("status").is_none_or(|status| matches!(status.value(), b"okay\0" | b"ok\0"))
}

/// A property of one handle.
pub(super) fn number(node: FdtNode<'_>, name: &str) -> Option<u32> {
    u32::try_from(big_endian(node.property(name)?.value())?).ok()
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts as device trees describe them, by the binding of the GICv3.

use arrayvec::ArrayVec;
use dtoolkit::fdt::FdtNode;
use dtoolkit::{Node, Property};
use vambrace_interrupts::Intid;

use super::big_endian;
use super::device_node::{DeviceNode, number};

/// The most interrupts of a node that are read.
const MOST: usize = 16;

/// The interrupt controller, as those that interrupt it see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Controller {
    phandle: Option<u32>,
    /// Cells for each interrupt: three, or four where PPIs are for some CPUs only.
    cells: usize,
}

impl Controller {
    /// The GIC at a node.
    pub(super) fn of(node: FdtNode<'_>) -> Self {
        let cells = number(node, "#interrupt-cells").filter(|cells| (3..=4).contains(cells)).unwrap_or(3);
        Self { phandle: number(node, "phandle"), cells: cells as usize }
    }

    /// The node's interrupts as INTIDs, in their order; `None` for one that is not the GIC's, or of a kind that is not known.
    pub(super) fn interrupts(self, device: &DeviceNode<'_>) -> ArrayVec<Option<Intid>, MOST> {
        let node = device.node();
        if let Some(property) = node.property("interrupts-extended") {
            // Each names its controller; how many cells another's has is not known.
            let entries = property.value().chunks_exact((1 + self.cells) * 4);
            let ours = entries.map_while(|entry| {
                let (controller, interrupt) = entry.split_at_checked(4)?;
                let is_ours = big_endian(controller)? == u64::from(self.phandle?);
                is_ours.then(|| intid(interrupt))
            });
            return ours.take(MOST).collect();
        }
        let Some(property) = node.property("interrupts") else { return ArrayVec::new() };
        // A tree that says nothing means the only controller.
        if device.interrupt_parent().is_some_and(|parent| Some(parent) != self.phandle) {
            return ArrayVec::new();
        }
        property.value().chunks_exact(self.cells * 4).map(intid).take(MOST).collect()
    }
}

/// One interrupt: type, number, flags. Those of the extended ranges (GICv3.1) are not known here.
fn intid(cells: &[u8]) -> Option<Intid> {
    let number = u32::try_from(big_endian(cells.get(4..8)?)?).ok()?;
    let (first, most) = match big_endian(cells.get(..4)?)? {
        0 => (32, 988),
        1 => (16, 16),
        _ => return None,
    };
    (number < most).then_some(Intid::new(first + number))
}

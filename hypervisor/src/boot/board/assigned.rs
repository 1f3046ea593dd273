// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether the board has what a bundle assigns to a VM.
//!
//! The command that made the bundle knew one board, and this may be another: a page without a device would be an SError for
//! its guest, and one with another device would be that device in the wrong hands. So each page and each interrupt is looked
//! up in the tree of the board that is there, and what EL2 uses itself is nobody else's.

use dtoolkit::fdt::{Fdt, FdtNode};
use vambrace_interrupts::Intid;
use vambrace_memory::{Pa, PaRange};
use vambrace_wire::bundle::assigned::{Interrupt, Registers};

use super::device_node::DeviceNode;
use super::interrupts::Controller;
use super::{Board, BoardKind, Nodes};

const PAGE: u64 = 4096;

/// Something is assigned that the board does not have, or not to give away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOnBoard {
    /// No device has such registers.
    #[error(
        "registers at {} are assigned to it, and the board's device tree has no device there that is in use{}",
        .registers, .kind.advice(SECOND_UART)
    )]
    Registers {
        /// The pages.
        registers: PaRange,
        /// Whose tree it is.
        kind: BoardKind,
    },
    /// EL2 uses them itself.
    #[error("{} is assigned to it, but that is {} here, which stays the hypervisor's", .0, .1)]
    Own(PaRange, &'static str),
    /// None of the devices has such an interrupt.
    #[error(
        "interrupt {} (SPI {}) is assigned to it, and by the board's device tree none of its devices has that",
        .0, .0.get().saturating_sub(32)
    )]
    Interrupt(Intid),
}

const SECOND_UART: &str =
    "; QEMU's board has a second UART at 0x9040000 if there is a second -serial (QEMU 9.1 or newer)";

impl Board {
    /// Whether registers and interrupts that are assigned to a VM are those of devices in this board's sound device tree.
    ///
    /// # Errors
    /// [`NotOnBoard`], for the first that is not.
    pub fn has_devices(
        &self,
        tree: &[u8],
        registers: &[Registers],
        interrupts: &[Interrupt],
    ) -> Result<(), NotOnBoard> {
        let root = Fdt::new_unchecked(tree).root();
        for wanted in registers.iter().map(assigned_range) {
            if let Some((_, what)) = self.own().find(|(own, _)| own.overlaps(wanted)) {
                return Err(NotOnBoard::Own(wanted, what));
            }
            if device_at(root, wanted).is_none() {
                return Err(NotOnBoard::Registers { registers: wanted, kind: BoardKind::of_root(root) });
            }
        }
        let gic = Nodes::find(root).gic.map(Controller::of);
        for interrupt in interrupts {
            let physical = Intid::new(interrupt.physical);
            let is_own = self.uart.is_some_and(|uart| uart.intid == Some(physical));
            let has_it = |device: &DeviceNode<'_>| {
                let intids = gic.map(|gic| gic.interrupts(device)).unwrap_or_default();
                let is_assigned =
                    |range: PaRange| registers.iter().any(|part| range.overlaps(assigned_range(part)));
                intids.contains(&Some(physical)) && device.is_usable() && device.registers().any(is_assigned)
            };
            if is_own || DeviceNode::first(root, &has_it).is_none() {
                return Err(NotOnBoard::Interrupt(physical));
            }
        }
        Ok(())
    }

    /// What EL2 drives or hands out itself.
    fn own(&self) -> impl Iterator<Item = (PaRange, &'static str)> {
        let gic = [self.gic.distributor].into_iter().chain(self.gic.redistributors.iter().copied());
        let uart = self.uart.map(|uart| PaRange::clamped(uart.base, PAGE));
        let memory = self.memory.iter().map(|bank| (*bank, "memory"));
        let named = |what: &'static str| move |range: PaRange| (range.widened(PAGE), what);
        gic.map(named("the interrupt controller")).chain(uart.map(named("the console"))).chain(memory)
    }
}

/// Where the board has registers that a bundle assigns to a VM.
#[must_use]
pub const fn assigned_range(registers: &Registers) -> PaRange {
    PaRange::clamped(Pa(registers.pa), registers.len)
}

/// The device that is in use and has all of these pages.
fn device_at(root: FdtNode<'_>, pages: PaRange) -> Option<DeviceNode<'_>> {
    let is_it = |device: &DeviceNode<'_>| {
        let mut frames = device.registers().map(|frame| frame.widened(PAGE));
        frames.any(|frame| frame.contains_range(pages)) && device.is_usable()
    };
    DeviceNode::first(root, &is_it).filter(|_| !pages.is_empty())
}

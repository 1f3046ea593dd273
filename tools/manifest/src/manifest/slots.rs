// SPDX-License-Identifier: MIT OR Apache-2.0
//! The board's virtio-mmio slots: what is in them, who drives it, and who may not be near.
//!
//! A VM is given registers in whole pages, and eight slots share one. So whoever has one slot reaches seven others, and these
//! must not be the hypervisor's or another VM's. And since such a device takes the addresses that its driver tells it for the
//! board's, its VM must have its RAM at the same addresses as the board.

use toml::Spanned;
use vambrace_machine::layout;
use vambrace_memory::addr::PAGE_SIZE;
use vambrace_wire::bundle::io::Uplink;

use super::file;
use super::io::Network;
use super::resolve::{PartialBoard, PartialVm};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span};

/// Slots of QEMU's `virt`, which are where a VM has its own.
const COUNT: u64 = 32;
/// How many share a page.
const IN_A_PAGE: u64 = PAGE_SIZE / SIZE;
/// Bytes of a slot.
const SIZE: u64 = layout::VIRTIO.place(0).len();

/// A virtio-mmio slot of the board, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VirtioSlot(u64);

/// A device in a slot of the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardDevice {
    /// Which slot.
    pub slot: VirtioSlot,
    /// What QEMU puts there, as `-device` takes it, without the bus.
    pub qemu: String,
    /// Where the slot is named.
    span: Span,
}

impl VirtioSlot {
    /// The slot that a path of the board's device tree means.
    fn at_path(path: &str) -> Option<Self> {
        let address = u64::from_str_radix(path.strip_prefix("/virtio_mmio@")?, 16).ok()?;
        Self::at(address)
    }

    /// The slot whose registers are at an address.
    pub(super) fn at(address: u64) -> Option<Self> {
        let offset = address.checked_sub(layout::VIRTIO.range().start().0)?;
        let number = offset / SIZE;
        (number < COUNT && offset % SIZE == 0).then_some(Self(number))
    }

    /// Where its registers are.
    fn base(self) -> u64 {
        layout::VIRTIO.place(self.0).start().0
    }

    /// QEMU's name for the bus that it is.
    #[must_use]
    pub fn bus(self) -> String {
        format!("virtio-mmio-bus.{}", self.0)
    }

    fn page(self) -> u64 {
        self.0 / IN_A_PAGE
    }
}

impl std::fmt::Display for VirtioSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/virtio_mmio@{:x}", self.base())
    }
}

/// What `[[board.device]]` puts into slots.
pub(super) fn devices(
    sections: Vec<Spanned<file::BoardDevice>>,
    diagnostics: &mut Diagnostics,
) -> Vec<BoardDevice> {
    let mut devices: Vec<BoardDevice> = Vec::new();
    for section in sections.into_iter().map(Spanned::into_inner) {
        let Some(path) = section.slot else { continue };
        let span = path.span();
        let bad = |title: String| Diagnostic::new(Code::BadSlot, title).label(span.clone(), "");
        let Some(slot) = VirtioSlot::at_path(path.get_ref()) else {
            let title = format!("the board has no virtio-mmio slot `{}`", path.get_ref());
            let (first, last) = (VirtioSlot(0), VirtioSlot(COUNT - 1));
            diagnostics
                .push(bad(title).help(format!("they are `{first}` to `{last}`, {SIZE:#x} bytes each")));
            continue;
        };
        if let Some(other) = devices.iter().find(|other| other.slot == slot) {
            let title = format!("two devices are to be in slot `{slot}`");
            diagnostics.push(bad(title).label(other.span.clone(), "the first"));
            continue;
        }
        // Without what goes there, which is told by then, the slot is taken all the same.
        let qemu = section.qemu.map(Spanned::into_inner).unwrap_or_default();
        devices.push(BoardDevice { slot, qemu, span });
    }
    devices
}

/// Reports slots that are too near to somebody else's, and RAM that cannot lie one to one.
pub(super) fn check(
    board: &PartialBoard,
    vms: &[PartialVm],
    networks: &[Network],
    diagnostics: &mut Diagnostics,
) {
    let own = driven_by_us(board, networks);
    for vm in vms {
        for device in &vm.assigned {
            let Some(slot) = device.slot.and_then(VirtioSlot::at) else { continue };
            let shares = |other: &VirtioSlot| other.page() == slot.page();
            let why = if let Some(other) = own.iter().find(|other| shares(other)) {
                format!("the hypervisor drives a disk or the network card of the board in `{other}`")
            } else if (0..vm.virtio.len() as u64).any(|index| shares(&VirtioSlot(index))) {
                "the VM's own virtio devices are there too".to_owned()
            } else {
                continue;
            };
            let title = format!("`{slot}` cannot be assigned: {IN_A_PAGE} slots share a page");
            let wrong = Diagnostic::new(Code::BadSlot, title).label(device.span.clone(), why);
            let is_free = |page: &u64| {
                own.iter().all(|slot| slot.page() != *page) && (vm.virtio.len() as u64) <= page * IN_A_PAGE
            };
            diagnostics.push(match (0..COUNT / IN_A_PAGE).find(is_free) {
                Some(page) => {
                    wrong.help(format!("take `{}` or one of those behind it", VirtioSlot(page * IN_A_PAGE)))
                }
                None => wrong,
            });
        }
    }
    check_one_to_one(vms, diagnostics);
}

/// Slots of what the hypervisor drives: they are put into free ones, disks first.
fn driven_by_us(board: &PartialBoard, networks: &[Network]) -> Vec<VirtioSlot> {
    let uplinks = networks.iter().filter(|network| network.uplink == Uplink::Board).count();
    free(&board.devices).take(board.disks.len() + uplinks.min(1)).collect()
}

/// Slots in which `[[board.device]]` puts nothing, the last one first.
pub fn free(devices: &[BoardDevice]) -> impl Iterator<Item = VirtioSlot> {
    let is_free = |slot: &VirtioSlot| devices.iter().all(|device| device.slot != *slot);
    (0..COUNT).rev().map(VirtioSlot).filter(is_free)
}

fn check_one_to_one(vms: &[PartialVm], diagnostics: &mut Diagnostics) {
    let mut first: Option<&Span> = None;
    for (vm, span) in vms.iter().filter_map(|vm| Some((vm, vm.trust.as_ref()?))) {
        let wrong = |title: &str| Diagnostic::new(Code::OneToOne, title).label(span.clone(), "");
        if let Some(first) = first {
            let title = "two VMs cannot have their RAM one to one: both have it at the same address";
            diagnostics.push(wrong(title).label(first.clone(), "the first"));
        }
        first.get_or_insert(span);
        if let Some(after) = &vm.after {
            let title = "RAM one to one is taken when the board starts, so this VM cannot wait for another";
            diagnostics.push(wrong(title).label(after.span(), "leave this out"));
        }
        if vm.assigned.iter().all(|device| device.slot.is_none()) {
            let title = "no device of this VM needs `dma = \"trusted\"`";
            diagnostics.push(
                Diagnostic::new(Code::NeedlessTrust, title)
                    .label(span.clone(), "its RAM is mapped one to one for nothing")
                    .help("leave it out, or name a virtio-mmio slot in `assign`"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_its_path_and_its_bus() {
        let slot = VirtioSlot::at_path("/virtio_mmio@a001200").unwrap();
        assert_eq!(
            (slot.to_string().as_str(), slot.bus().as_str()),
            ("/virtio_mmio@a001200", "virtio-mmio-bus.9")
        );
        assert_eq!((slot.page(), VirtioSlot(7).page(), VirtioSlot(8).page()), (1, 0, 1));
        for none in [
            "/virtio_mmio@a001100",
            "/virtio_mmio@a004000",
            "/virtio_mmio@9fffe00",
            "/pl061@a001200",
            "a001200",
        ] {
            assert_eq!(VirtioSlot::at_path(none), None, "{none}");
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices of a VM, each in its slot, and which of them have work.

use alloc::boxed::Box;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use vambrace_interrupts::{Intid, LineLevel};
use vambrace_io::bus::MmioDevice;
use vambrace_io::virtio::block::format::ID_LEN;
use vambrace_io::virtio::block::{self, Block};
use vambrace_io::virtio::console::{Console, Size};
use vambrace_io::virtio::mmio::Virtio;
use vambrace_io::virtio::net::{Mac, Net};
use vambrace_io::virtio::queue::Fault;
use vambrace_io::virtio::rng::Rng;
use vambrace_wire::bundle::io::{DiskAccess, VirtioDevice};

use crate::layout;

/// 2 to the power of this many sectors are a block of a disk of ours: 4 KiB.
const BLOCK_EXPONENT: u8 = 3;

/// A device in its slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum DeviceSlot {
    Entropy(Virtio<Rng>),
    Console(Box<Virtio<Console>>),
    Disk(Box<Virtio<Block>>),
    Network(Virtio<Net>),
}

impl DeviceSlot {
    fn new(device: &VirtioDevice) -> Self {
        match device {
            VirtioDevice::Entropy => Self::Entropy(Virtio::<Rng>::new()),
            VirtioDevice::Console => Self::Console(Box::new(Virtio::<Console>::new(Size::default()))),
            VirtioDevice::Disk(disk) => {
                let mut id = [0; ID_LEN];
                id.iter_mut().zip(disk.name.bytes()).for_each(|(to, byte)| *to = byte);
                let access = match disk.access {
                    DiskAccess::ReadWrite => block::BlockAccess::ReadWrite,
                    DiskAccess::ReadOnly => block::BlockAccess::ReadOnly,
                };
                let settings =
                    block::Settings { sectors: disk.sectors, access, id, block_exponent: BLOCK_EXPONENT };
                Self::Disk(Box::new(Virtio::<Block>::new(settings)))
            }
            VirtioDevice::Network(port) => Self::Network(Virtio::<Net>::new(Mac(port.mac), port.mtu)),
        }
    }

    fn mmio(&mut self) -> &mut dyn MmioDevice {
        match self {
            Self::Entropy(device) => device,
            Self::Console(device) => &mut **device,
            Self::Disk(device) => &mut **device,
            Self::Network(device) => device,
        }
    }

    pub(super) fn irq_asserted(&self) -> bool {
        match self {
            Self::Entropy(device) => device.irq_asserted(),
            Self::Console(device) => device.irq_asserted(),
            Self::Disk(device) => device.irq_asserted(),
            Self::Network(device) => device.irq_asserted(),
        }
    }

    pub(super) fn is_notified(&self) -> bool {
        match self {
            Self::Entropy(device) => device.is_notified(),
            Self::Console(device) => device.is_notified(),
            Self::Disk(device) => device.is_notified(),
            Self::Network(device) => device.is_notified(),
        }
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        match self {
            Self::Entropy(device) => device.fault(),
            Self::Console(device) => device.fault(),
            Self::Disk(device) => device.fault(),
            Self::Network(device) => device.fault(),
        }
    }
}

/// A VM's virtio devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slots {
    pub(super) slots: Vec<DeviceSlot>,
    /// Bit `n`: the device in slot `n` has work.
    pub(super) due: u32,
    /// Bit `n`: it has, once the backend is ready.
    pub(super) for_backend: u32,
    /// Whose poll is next.
    next: u32,
}

impl Slots {
    pub(crate) fn new(devices: &[VirtioDevice]) -> Self {
        Self { slots: devices.iter().map(DeviceSlot::new).collect(), due: 0, for_backend: 0, next: 0 }
    }

    /// The registers of the device in a slot.
    pub(crate) fn registers(&mut self, slot: usize) -> Option<&mut dyn MmioDevice> {
        self.slots.get_mut(slot).map(DeviceSlot::mmio)
    }

    /// Notes after an access whether the device has work now.
    pub(crate) fn note(&mut self, slot: usize) {
        if self.slots.get(slot).is_some_and(DeviceSlot::is_notified) {
            self.due |= bit(slot);
        }
    }

    pub(crate) fn reset(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.mmio().reset());
        // What a disk is still busy with is waited for.
        self.due |= core::mem::take(&mut self.for_backend);
    }

    pub(super) fn line(&self, slot: usize) -> Option<LineLevel> {
        let is_high = self.slots.get(slot)?.irq_asserted();
        Some(if is_high { LineLevel::High } else { LineLevel::Low })
    }

    /// The slot whose poll it is: the next one after the last that has work.
    pub(super) fn take_turn(&mut self) -> Option<usize> {
        let later = self.due & u32::MAX.checked_shl(self.next).unwrap_or(0);
        let due = if later != 0 { later } else { self.due };
        if due == 0 {
            return None;
        }
        let slot = due.trailing_zeros();
        self.next = (slot + 1) % u32::BITS;
        self.due &= !(1 << slot);
        Some(slot as usize)
    }

    pub(super) fn consoles(&self) -> u32 {
        let slots = self.slots.iter().enumerate();
        slots.filter(|(_, slot)| matches!(slot, DeviceSlot::Console(_))).fold(0, |set, (at, _)| set | bit(at))
    }
}

pub(super) fn bit(slot: usize) -> u32 {
    1u32.checked_shl(slot as u32).unwrap_or(0)
}

/// Which SPI the device in a slot has.
pub(super) fn intid(slot: usize) -> Intid {
    Intid::spi(layout::VIRTIO_SPI + slot as u32)
}

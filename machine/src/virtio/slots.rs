// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices of a VM, each in its slot, and which of them have work.

use alloc::boxed::Box;
use alloc::vec::Vec;

use serde::de::{EnumAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use vambrace_interrupts::{Intid, LineLevel};
use vambrace_io::bus::MmioDevice;
use vambrace_io::virtio::block::format::ID_LEN;
use vambrace_io::virtio::block::{self, Block, InFlight};
use vambrace_io::virtio::console::{Console, Size};
use vambrace_io::virtio::mmio::Virtio;
use vambrace_io::virtio::net::{Mac, Net};
use vambrace_io::virtio::queue::Fault;
use vambrace_io::virtio::rng::Rng;
use vambrace_memory::Ipa;
use vambrace_state::{Part, Restore, restore_fields, variant};
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

/// What a device is, whatever its driver has made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceShape {
    /// An entropy device.
    Entropy,
    /// A console.
    Console,
    /// A disk.
    Disk(block::Settings),
    /// A network card.
    Network {
        /// Its address.
        mac: Mac,
        /// The largest packet, in bytes.
        mtu: u16,
    },
}

impl DeviceSlot {
    fn shape(&self) -> DeviceShape {
        match self {
            Self::Entropy(_) => DeviceShape::Entropy,
            Self::Console(_) => DeviceShape::Console,
            Self::Disk(disk) => DeviceShape::Disk(disk.settings().clone()),
            Self::Network(card) => DeviceShape::Network { mac: card.mac(), mtu: card.mtu() },
        }
    }

    /// What stands behind the device has forgotten what it had pending.
    fn detach(&mut self) {
        match self {
            Self::Disk(disk) => disk.resubmit(),
            Self::Entropy(_) | Self::Console(_) | Self::Network(_) => {}
        }
    }
}

impl Restore for DeviceSlot {
    fn restore<'de, D: Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error> {
        from.deserialize_enum("DeviceSlot", &["Entropy", "Console", "Disk", "Network"], Variant(self))
    }
}

/// Reads the device that is there.
struct Variant<'a>(&'a mut DeviceSlot);

impl<'de> Visitor<'de> for Variant<'_> {
    type Value = ();

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the device of this slot")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, from: A) -> Result<(), A::Error> {
        match self.0 {
            DeviceSlot::Entropy(device) => variant(from, 0, Part(device)),
            DeviceSlot::Console(device) => variant(from, 1, Part(&mut **device)),
            DeviceSlot::Disk(device) => variant(from, 2, Part(&mut **device)),
            DeviceSlot::Network(device) => variant(from, 3, Part(device)),
        }
    }
}

restore_fields!(Slots { parts slots, whole due, whole for_backend, whole next });

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

    /// What each device is, and where its registers lie.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = (Ipa, DeviceShape)> {
        let bases = (0..).map(|slot| layout::VIRTIO.place(slot).start());
        bases.zip(self.slots.iter().map(DeviceSlot::shape))
    }

    /// The requests that disks have begun and not returned, with their slots.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = (usize, InFlight)> {
        self.slots.iter().enumerate().flat_map(|(at, slot)| {
            let disk = if let DeviceSlot::Disk(disk) = slot { Some(disk) } else { None };
            disk.into_iter().flat_map(|disk| disk.in_flight()).map(move |request| (at, request))
        })
    }

    /// What stands behind the devices has forgotten what it had pending: all that waited for it has work.
    pub(crate) fn detach(&mut self) {
        self.slots.iter_mut().for_each(DeviceSlot::detach);
        self.due |= core::mem::take(&mut self.for_backend);
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
    layout::VIRTIO.intid(slot as u32)
}

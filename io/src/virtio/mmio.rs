// SPDX-License-Identifier: MIT OR Apache-2.0
//! The transport virtio-mmio, version 2 (virtio 1.2, 4.2): what a guest sees of any device.
//!
//! Registers answer aligned 32-bit accesses and nothing else, as 4.2.2.2 tells drivers; the device's own configuration
//! answers up to 32 bits at any offset. The legacy layout (4.2.4) is not there: its registers read as zero.
//!
//! The status is a one-way street until a reset: bits are set, in the order of 3.1.1, and none is cleared. FEATURES_OK stays
//! clear if the driver takes what was not offered, or no VERSION_1. Only between DRIVER_OK and an error does the device
//! touch guest memory.

use serde::{Deserialize, Serialize};
use vambrace_state::{Restore, restore_fields};

use super::feature;
use super::queue::{Fault, MAX_SIZE, Queue};
use super::transport::Transport;
use crate::bus::{MmioDevice, Width};
use registers::status;

pub mod registers;

/// The most bytes of a device's own configuration.
pub const CONFIG_LEN: usize = 0x60;

const MAGIC: u32 = u32::from_le_bytes(*b"virt");
const VERSION: u32 = 2;
/// Nobody's: no PCI vendor, no device tree binding gives it a meaning.
const VENDOR: u32 = u32::from_le_bytes(*b"vmbr");

/// What a kind of device adds to the transport: who it is, what it offers, what its configuration says. Its work is a
/// function of its own, since each kind needs other things for it.
pub trait Device {
    /// Which kind of device it is (5).
    const ID: u32;
    /// How many queues it has, at most two.
    const QUEUES: usize;
    /// Its name in reports.
    const LABEL: &'static str;

    /// The features of its kind that it offers; those of every device come on top.
    fn features(&self) -> u64;

    /// Whether what the driver takes of the offered features makes sense (2.2.2): whether each comes with those that it
    /// requires.
    fn accepts(&self, features: u64) -> bool {
        let _ = features;
        true
    }

    /// Its configuration, from the first byte on; what it does not write reads as zero.
    fn configuration(&self, to: &mut [u8; CONFIG_LEN]) {
        let _ = to;
    }

    /// The driver has left: forgets what it asked for.
    fn reset(&mut self);

    /// The driver has stopped a queue: forgets what came by it.
    fn queue_stopped(&mut self, queue: usize);
}

/// A virtio device: the transport's state and the device's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Virtio<D> {
    pub(super) transport: Transport,
    pub(super) device: D,
}

restore_fields!(Virtio<D: Restore> { part transport, part device });

impl Transport {
    fn read_register(&self, offset: u64, device: u32, offered: u64) -> u32 {
        let queue = self.queues.get(self.queue_sel as usize);
        match offset {
            registers::MAGIC_VALUE => MAGIC,
            registers::VERSION => VERSION,
            registers::DEVICE_ID => device,
            registers::VENDOR_ID => VENDOR,
            registers::DEVICE_FEATURES => half(offered, self.device_features_sel),
            registers::QUEUE_NUM_MAX => queue.map_or(0, |_| u32::from(MAX_SIZE)),
            registers::QUEUE_READY => queue.map_or(0, |queue| u32::from(queue.ready)),
            registers::INTERRUPT_STATUS => self.interrupts,
            registers::STATUS => self.status,
            // 4.2.2: a region that does not exist has the length and the address -1.
            registers::SHM_LEN_LOW..=registers::SHM_BASE_HIGH => u32::MAX,
            registers::CONFIG_GENERATION => self.generation,
            _ => 0,
        }
    }

    /// Takes the writes that need nothing of the device.
    fn write_register(&mut self, offset: u64, value: u32) {
        match offset {
            registers::DEVICE_FEATURES_SEL => self.device_features_sel = value,
            registers::DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            registers::DRIVER_FEATURES => self.take_features(value),
            registers::QUEUE_SEL => self.queue_sel = value,
            registers::QUEUE_NOTIFY => self.notify(value),
            registers::INTERRUPT_ACK => self.interrupts &= !value,
            registers::QUEUE_NUM => {
                // What does not fit is no size either.
                self.set_up(|queue| queue.size = u16::try_from(value).unwrap_or(0));
            }
            registers::QUEUE_DESC_LOW => self.set_up(|queue| set_low(&mut queue.descriptors, value)),
            registers::QUEUE_DESC_HIGH => self.set_up(|queue| set_high(&mut queue.descriptors, value)),
            registers::QUEUE_DRIVER_LOW => self.set_up(|queue| set_low(&mut queue.available, value)),
            registers::QUEUE_DRIVER_HIGH => self.set_up(|queue| set_high(&mut queue.available, value)),
            registers::QUEUE_DEVICE_LOW => self.set_up(|queue| set_low(&mut queue.used, value)),
            registers::QUEUE_DEVICE_HIGH => self.set_up(|queue| set_high(&mut queue.used, value)),
            _ => {}
        }
    }

    fn take_features(&mut self, value: u32) {
        if self.status & status::FEATURES_OK != 0 {
            return;
        }
        match self.driver_features_sel {
            0 => set_low(&mut self.features, value),
            1 => set_high(&mut self.features, value),
            _ => self.features_beyond |= value,
        }
    }

    fn notify(&mut self, queue: u32) {
        if self.live(queue as usize).is_some() {
            self.notified |= 1 << queue;
        }
    }

    /// Changes a queue that is not in use (4.2.2.2: while QueueReady is 0).
    fn set_up(&mut self, change: impl FnOnce(&mut Queue)) {
        if let Some(queue) = self.queues.get_mut(self.queue_sel as usize).filter(|queue| !queue.ready) {
            change(queue);
        }
    }

    /// Starts the selected queue, or says that it cannot be one.
    fn start_queue(&mut self) {
        let queue = self.queues.get_mut(self.queue_sel as usize).filter(|queue| !queue.ready);
        if let Some(Err(fault)) = queue.map(Queue::start) {
            self.fail(fault);
        }
    }
}

impl<D: Device> Virtio<D> {
    pub(super) fn with_device(device: D) -> Self {
        Self { transport: Transport::new(D::QUEUES), device }
    }

    /// Whether the interrupt line is high: it is a level, to be looked at after each call.
    #[must_use]
    pub fn irq_asserted(&self) -> bool {
        self.transport.interrupts != 0
    }

    /// Whether the driver has notified the device since it last worked: a poll is due.
    #[must_use]
    pub fn is_notified(&self) -> bool {
        self.transport.notified != 0
    }

    /// What the driver did wrong, if the device needs a reset.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.transport.fault
    }

    fn offered(&self) -> u64 {
        self.device.features() | feature::COMMON
    }

    fn read_configuration(&self, offset: u64, width: Width) -> u64 {
        if width == Width::Doubleword {
            return 0;
        }
        let mut bytes = [0; CONFIG_LEN];
        self.device.configuration(&mut bytes);
        let byte = |at: u64| bytes.get(usize::try_from(at).unwrap_or(usize::MAX)).copied().unwrap_or(0);
        (0..width.bytes()).rev().fold(0, |value, at| value << 8 | u64::from(byte(offset.saturating_add(at))))
    }

    fn write_status(&mut self, value: u32) {
        use status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FAILED, FEATURES_OK};
        if value == 0 {
            return self.reset();
        }
        let agreed = self.transport.status & FEATURES_OK != 0;
        let mut set = value & (ACKNOWLEDGE | DRIVER | FAILED);
        if agreed || self.can_agree() {
            set |= value & FEATURES_OK;
        }
        if agreed && value & DRIVER_OK != 0 {
            set |= DRIVER_OK;
        }
        let is_first = set & !self.transport.status & DRIVER_OK != 0;
        self.transport.status |= set;
        if is_first {
            // Drivers fill queues before they say so, and some of them notify too early to be heard.
            (0..D::QUEUES as u32).for_each(|queue| self.transport.notify(queue));
        }
    }

    /// Whether what the driver takes was offered, is of virtio 1.0 and makes sense (2.2.2, 6.1).
    fn can_agree(&self) -> bool {
        let features = self.transport.features;
        let is_offered = features & !self.offered() == 0 && self.transport.features_beyond == 0;
        is_offered && features & feature::VERSION_1 != 0 && self.device.accepts(features)
    }

    fn write_queue_ready(&mut self, value: u32) {
        let selected = self.transport.queue_sel as usize;
        if value & 1 != 0 {
            self.transport.start_queue();
        } else if let Some(queue) = self.transport.queues.get_mut(selected) {
            queue.stop();
            self.transport.notified &= !(1 << selected);
            self.device.queue_stopped(selected);
        }
    }
}

impl<D: Device> MmioDevice for Virtio<D> {
    fn read(&mut self, offset: u64, width: Width) -> u64 {
        match offset.checked_sub(registers::CONFIG) {
            Some(offset) => self.read_configuration(offset, width),
            None if width == Width::Word && offset.is_multiple_of(4) => {
                u64::from(self.transport.read_register(offset, D::ID, self.offered()))
            }
            None => 0,
        }
    }

    fn write(&mut self, offset: u64, width: Width, value: u64) {
        if width != Width::Word {
            return;
        }
        match offset {
            registers::STATUS => self.write_status(value as u32),
            registers::QUEUE_READY => self.write_queue_ready(value as u32),
            _ => self.transport.write_register(offset, value as u32),
        }
    }

    fn label(&self) -> &'static str {
        D::LABEL
    }

    fn reset(&mut self) {
        let generation = self.transport.generation;
        self.transport = Transport { generation, ..Transport::new(D::QUEUES) };
        self.device.reset();
    }
}

/// The 32 bits of the features that `select` names.
fn half(features: u64, select: u32) -> u32 {
    match select {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

fn set_low(address: &mut u64, value: u32) {
    *address = *address & !u64::from(u32::MAX) | u64::from(value);
}

fn set_high(address: &mut u64, value: u32) {
    *address = *address & u64::from(u32::MAX) | u64::from(value) << 32;
}

#[cfg(test)]
mod tests;

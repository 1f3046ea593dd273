// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtio console's port 0 (virtio 1.2, 5.3), as little of it as a terminal needs.

use core::fmt;
use core::ptr::NonNull;

use virtio_drivers::PAGE_SIZE;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceStatus, DeviceType, Transport};

use super::{Key, Terminal};
use crate::machine::Machine;
use crate::programs::virtio::memory::{Memory, page};

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const SIZE: usize = 4;

/// The first virtio-mmio slot, the distance to the next, and its interrupt, as on QEMU's `virt`.
const SLOTS: u64 = 0x0A00_0000;
const STRIDE: u64 = 0x200;
const FIRST_INTID: u32 = 48;
/// VIRTIO_F_VERSION_1.
const VERSION_1: u64 = 1 << 32;

type Queue = VirtQueue<Memory, SIZE>;

/// The port.
pub(super) struct Port {
    transport: MmioTransport<'static>,
    receive: Queue,
    transmit: Queue,
    buffer: &'static mut [u8; PAGE_SIZE],
    /// The buffer is with the device, under this number.
    token: Option<u16>,
    /// What of the buffer is yet to be read.
    unread: core::ops::Range<usize>,
}

impl Port {
    /// The first console and its interrupt.
    pub(super) fn find(machine: &Machine) -> Option<(Self, u32)> {
        machine.devices("virtio,mmio").find_map(|(base, size)| {
            let header = NonNull::new(core::ptr::with_exposed_provenance_mut::<VirtIOHeader>(base as usize))?;
            // SAFETY: the device tree's registers, mapped as a device, and nobody else's.
            let transport = unsafe { MmioTransport::new(header, size as usize) }.ok()?;
            let intid = FIRST_INTID + ((base - SLOTS) / STRIDE) as u32;
            (transport.device_type() == DeviceType::Console).then(|| Some((Self::new(transport)?, intid)))?
        })
    }

    fn new(mut transport: MmioTransport<'static>) -> Option<Self> {
        let agreed = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::FEATURES_OK;
        transport.set_status(DeviceStatus::empty());
        transport.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
        transport.write_driver_features(VERSION_1);
        transport.set_status(agreed);
        let receive = Queue::new(&mut transport, RECEIVE, false, false).ok()?;
        let transmit = Queue::new(&mut transport, TRANSMIT, false, false).ok()?;
        transport.set_status(agreed | DeviceStatus::DRIVER_OK);
        let buffer = page().try_into().ok()?;
        let mut port = Self { transport, receive, transmit, buffer, token: None, unread: 0..0 };
        port.offer();
        Some(port)
    }

    /// Gives the buffer to the device.
    fn offer(&mut self) {
        // SAFETY: the buffer lives for ever, and is not read before it is given back.
        self.token = unsafe { self.receive.add(&[], &mut [self.buffer.as_mut_slice()]) }.ok();
        self.transport.notify(RECEIVE);
    }
}

impl Terminal for Port {
    fn read(&mut self) -> Option<Key> {
        if self.unread.is_empty()
            && let Some(token) = self.token.filter(|token| self.receive.peek_used() == Some(*token))
        {
            // SAFETY: the buffer that was given for this number.
            let len = unsafe { self.receive.pop_used(token, &[], &mut [self.buffer.as_mut_slice()]) };
            self.unread = 0..len.unwrap_or(0) as usize;
            self.token = None;
        }
        let byte = *self.buffer.get(self.unread.next()?)?;
        if self.unread.is_empty() {
            self.offer();
        }
        Some(Key::Byte(byte))
    }

    fn acknowledge(&mut self) {
        self.transport.ack_interrupt();
    }
}

impl fmt::Write for Port {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let sent = self.transmit.add_notify_wait_pop(&[text.as_bytes()], &mut [], &mut self.transport);
        sent.map(|_| ()).map_err(|_| fmt::Error)
    }
}

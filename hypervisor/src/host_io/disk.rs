// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtio disk of the board: its registers, its queue and the memory of its requests. What is asked of it, and for whom, is
//! in [`vambrace_hypervisor::host_io::board_disk`].

use alloc::boxed::Box;

use vambrace_hypervisor::host_io::board_disk::{
    self, Buffer, Data, Direction, DiskQueue, Features, NoSlot, Owner, QUEUE, SHARED, Vms,
};
use vambrace_ids::VmId;
use vambrace_io::virtio::block::disk::DiskStep;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::{InterruptStatus, Transport};

use super::PATIENCE;
use super::dma::{self, Dma};
use crate::arch::timeout::Timeout;

const REQUESTS: u16 = 0;
/// The most bytes of an operation: as many as a VM's devices move in one piece.
pub(super) const DATA: usize = crate::devices::BUFFER;

/// A disk of the board.
pub(crate) type BoardDisk = board_disk::BoardDisk<'static, Registers>;

/// The disk's registers and its queue.
pub(crate) struct Registers {
    transport: MmioTransport<'static>,
    queue: Box<VirtQueue<Dma, QUEUE>>,
}

/// Starts a disk, and asks for its name. At boot: it waits for that.
pub(super) fn start(mut transport: MmioTransport<'static>) -> Option<BoardDisk> {
    let features = transport.begin_init(Features::all());
    let capacity = transport.read_consistent(|| {
        let half = |offset: usize| transport.read_config_space::<u32>(offset).map(u64::from);
        Ok(half(0)? | half(4)? << 32)
    });
    let capacity = capacity.ok()?;
    let queue = queue(&mut transport)?;
    transport.finish_init();
    let mut disk = BoardDisk::new(Registers { transport, queue }, features, capacity);
    for _ in 0..SHARED {
        disk.add_slot(buffer()).ok()?;
    }
    // A moment's owner; what it had is the first VM's.
    let us = attach(&mut disk, NO_VM).ok()?;
    let is_asked = disk.ask_for_name(us) == DiskStep::Pending;
    let has_come = is_asked && Timeout::of_seconds(PATIENCE).waits_for(|| !collect(&mut disk).is_empty());
    let is_there = has_come && disk.take_name(us) == DiskStep::Done;
    disk.detach(us);
    is_there.then_some(disk)
}

/// Apart: it passes over the stack as a value, 4 KiB of it.
#[inline(never)]
fn queue(transport: &mut MmioTransport<'static>) -> Option<Box<VirtQueue<Dma, QUEUE>>> {
    VirtQueue::new(transport, REQUESTS, false, false).map(Box::new).ok()
}

/// Memory for a request. It is never given back: a disk may write to it late.
fn buffer() -> Option<Buffer<'static>> {
    Buffer::new(dma::take(Buffer::size(DATA))?.get_mut(..Buffer::size(DATA))?, DATA)
}

/// Of no VM: a bundle has fewer.
const NO_VM: VmId = VmId::first(u16::MAX);

/// A disk of a VM's lies on this one.
pub(crate) fn attach(disk: &mut BoardDisk, vm: VmId) -> Result<Owner, NoSlot> {
    disk.attach(vm, buffer)
}

/// Ends the interrupt, and what requests are done. Says whose.
pub(super) fn collect(disk: &mut BoardDisk) -> Vms {
    let _: InterruptStatus = disk.link().transport.ack_interrupt();
    disk.collect()
}

impl DiskQueue for Registers {
    fn submit(&mut self, buffer: &mut Buffer<'_>, data: Data) -> Option<u16> {
        // SAFETY: buffers are static memory, and left alone until `complete` has taken the token out.
        let token =
            unsafe { with_parts(buffer, data, |inputs, outputs| self.queue.add(inputs, outputs)) }.ok()?;
        if self.queue.should_notify() {
            self.transport.notify(REQUESTS);
        }
        Some(token)
    }

    fn next_completed(&mut self) -> Option<u16> {
        self.queue.peek_used()
    }

    fn complete(&mut self, token: u16, buffer: &mut Buffer<'_>, data: Data) -> Option<u32> {
        // SAFETY: the buffer that was added with this token.
        unsafe {
            with_parts(buffer, data, |inputs, outputs| self.queue.pop_used(token, inputs, outputs)).ok()
        }
    }
}

/// Calls with a request's parts: those that the disk reads, and those that it writes.
///
/// # Safety
/// As for what is called.
unsafe fn with_parts<R>(
    buffer: &mut Buffer<'_>,
    data: Data,
    call: impl for<'a> FnOnce(&'a [&'a [u8]], &'a mut [&'a mut [u8]]) -> R,
) -> R {
    let Buffer { header, status, data: bytes } = buffer;
    let (bytes, _) = bytes.split_at_mut(data.len.min(bytes.len()));
    match data.direction {
        Direction::ToDisk => call(&[header, bytes], &mut [status]),
        Direction::FromDisk => call(&[header], &mut [bytes, status]),
        Direction::None => call(&[header], &mut [status]),
    }
}

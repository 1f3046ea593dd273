// SPDX-License-Identifier: MIT OR Apache-2.0
//! The backends of VMs' virtio devices, and how they are polled.
//!
//! A poll is bounded ([`POLL_QUOTA`]), and done by a CPU on behalf of the vCPU that it runs: whatever a VM's devices do is in that
//! vCPU's time. After a poll that was not enough the guest goes on for as long as the poll took, so devices never take more
//! than half of it.

pub(crate) mod assigned;
pub(crate) mod channels;
pub(crate) mod disk;
pub(crate) mod network;

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering};

use vambrace_hypervisor::memory::room;
use vambrace_ids::VmId;
use vambrace_io::virtio::net::MAX_FRAME;
use vambrace_io::virtio::quota::Quota;
use vambrace_machine::virtio::{Backends, PollStep};
use vambrace_wire::bundle::Bundle;
use vambrace_wire::bundle::io::{Backing, VirtioDevice};

use crate::arch::flag::Flag;
use crate::arch::lock::SpinMutex;
use crate::console::Held;
use crate::devices::disk::{DiskError, Progress, VmDisk};
use crate::devices::network::{Card, NetworkPort, Taken};
use crate::host_io::random;
use crate::vm::exit_host::ConsoleFlush;
use crate::vm::registry;
use crate::vm::shared::VmShared;
use crate::{console, host_io};

/// As much as a VM's devices do in one poll: some ten thousand instructions, or a hundred thousand with a large copy.
const POLL_QUOTA: Quota = Quota { requests: 64, bytes: 128 << 10 };

/// A buffer for frames and for pieces of disks.
pub(crate) const BUFFER: usize = MAX_FRAME.next_multiple_of(4096);

/// What a VM's virtio devices stand on.
#[derive(Debug)]
pub(crate) struct Devices {
    /// Some device has work.
    due: AtomicBool,
    /// What devices waited for is there.
    backend_is_ready: Flag,
    /// Frames wait for network cards.
    frames_wait: Flag,
    /// By slot.
    disks: SpinMutex<Box<[Option<VmDisk>]>>,
    /// Some of them lie on a disk of the board.
    on_board: bool,
    /// By slot.
    cards: Box<[Option<Card>]>,
    /// They are nobody's any more.
    is_detached: AtomicBool,
}

/// What a poll has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    /// Nothing is left to do.
    Over,
    /// There is more to do.
    NotOver,
}

impl Devices {
    /// Takes what the devices of VM `vm` need.
    pub(crate) fn new(
        vm: VmId,
        devices: &[VirtioDevice],
        bundle: &Bundle<'static>,
    ) -> Result<Self, DiskError> {
        let disk = |device: &VirtioDevice| match device {
            VirtioDevice::Disk(disk) => VmDisk::new(vm, disk, bundle).map(Some),
            _ => Ok(None),
        };
        let card = |device: &VirtioDevice| match device {
            VirtioDevice::Network(port) => Card::attach(port),
            _ => None,
        };
        Ok(Self {
            due: AtomicBool::new(false),
            backend_is_ready: Flag::new(),
            frames_wait: Flag::new(),
            disks: SpinMutex::new(devices.iter().map(disk).collect::<Result<_, _>>()?),
            on_board: devices.iter().any(is_on_board),
            cards: devices.iter().map(card).collect(),
            is_detached: AtomicBool::new(false),
        })
    }

    /// How much of the heap [`Devices::new`] takes.
    pub(crate) fn room(devices: &[VirtioDevice]) -> usize {
        let count = devices.len();
        let cards = devices.iter().filter(|device| matches!(device, VirtioDevice::Network(_))).count();
        room::list(count, size_of::<Option<VmDisk>>())
            + room::list(count, size_of::<Option<Card>>())
            + cards * Card::room()
    }

    /// Whether there are any.
    pub(crate) fn is_empty(&self) -> bool {
        self.cards.is_empty()
    }

    /// Some device has work.
    pub(crate) fn set_due(&self) {
        self.due.store(true, Ordering::Release);
    }

    /// What devices have waited for is there: the VM's next poll sees it. Whoever says so needs no lock of the VM's.
    pub(crate) fn note_backend(&self) {
        self.backend_is_ready.set();
    }

    /// Frames wait for network cards: the VM's next poll takes them.
    pub(crate) fn note_frames(&self) {
        self.frames_wait.set();
    }

    /// Whether some device has work.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.due.load(Ordering::Relaxed)
    }

    /// Does the next part of what has to be done to the disks before the VM starts, of up to `most` bytes.
    pub(crate) fn prepare(&self, most: u64) -> Progress {
        self.step(|disk| disk.prepare(most))
    }

    /// Clears the next part of what the VM has written to its disks, of up to `most` bytes. It is over.
    pub(crate) fn clear(&self, most: u64) -> Progress {
        self.step(|disk| disk.clear(most))
    }

    /// Does one step for the first disk that has any left.
    fn step(&self, step: impl FnMut(&mut VmDisk) -> Progress) -> Progress {
        let mut disks = self.disks.lock();
        let did = disks.iter_mut().flatten().map(step).find(|progress| *progress == Progress::More);
        did.unwrap_or(Progress::Over)
    }

    /// The VM is over: its network cards' ports are free.
    pub(crate) fn detach(&self) {
        // Others may have the ports from now on.
        if !self.is_detached.swap(true, Ordering::AcqRel) {
            self.ports().for_each(|(_, port)| network::detach(port));
        }
    }

    /// The ports that the VM's network cards are attached to, with their slots.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (usize, NetworkPort)> {
        self.cards().map(|(slot, card)| (slot, card.port()))
    }

    fn cards(&self) -> impl Iterator<Item = (usize, &Card)> {
        self.cards.iter().enumerate().filter_map(|(slot, card)| Some((slot, card.as_ref()?)))
    }

    /// The network card in a slot.
    pub(crate) fn card(&self, slot: usize) -> Option<&Card> {
        self.cards.get(slot)?.as_ref()
    }
}

fn is_on_board(device: &VirtioDevice) -> bool {
    matches!(device, VirtioDevice::Disk(disk) if matches!(disk.backing, Backing::Board { .. }))
}

impl Drop for Devices {
    fn drop(&mut self) {
        self.detach();
    }
}

/// Polls the VM's virtio devices.
pub(crate) fn poll(handle: &VmShared, buffer: &mut [u8]) -> (Polled, ConsoleFlush) {
    let devices = &handle.devices;
    // Acquire, as whoever sets it has put something there before.
    devices.due.swap(false, Ordering::AcqRel);
    let mut quota = POLL_QUOTA;
    let mut flush = ConsoleFlush::NotNeeded;
    handle.apply_controls();
    if handle.lifecycle.get().is_paused() {
        // All of it is due when the VM goes on.
        return (Polled::Over, flush);
    }
    assigned::deliver(handle);
    // One that begins to wait in this poll is told in the next: who wakes it also says that there is work.
    if devices.backend_is_ready.take() {
        handle.vm.lock().backend_is_ready();
    }
    if handle.link.take_request() {
        serve_line(handle);
    }
    console::receive_held(registry::hear);
    take_frames(handle, &mut quota);
    loop {
        let (step, moved) = {
            let mut vm = handle.vm.lock();
            let mut disks = devices.disks.lock();
            let mut backend = Backend { handle, disks: &mut disks, flush: &mut flush };
            vm.serve_virtio(&handle.memory.lock(), &mut backend, buffer, &mut quota)
        };
        handle.notify(&moved);
        if devices.on_board {
            // What this one is done with may be what another waits for.
            host_io::wake_waiting();
        }
        match step {
            PollStep::Done => {}
            // Work that has come up meanwhile, of which nobody was told.
            PollStep::Idle if devices.is_due() => return (Polled::NotOver, flush),
            PollStep::Idle => return (Polled::Over, flush),
            PollStep::Spent => {
                devices.set_due();
                return (Polled::NotOver, flush);
            }
            PollStep::Frame { slot, frame } => {
                if let Some(card) = devices.card(slot) {
                    let copied = network::forward(card.port(), &frame);
                    quota.bytes = quota.bytes.saturating_sub(copied);
                }
            }
        }
    }
}

/// Gives the VM the frames that came for it while it was busy.
fn take_frames(handle: &VmShared, quota: &mut Quota) {
    let devices = &handle.devices;
    if !devices.frames_wait.take() {
        return;
    }
    for (slot, card) in devices.cards() {
        if card.take_waiting(handle, slot, quota) == Taken::Some {
            devices.note_frames();
            devices.set_due();
        }
    }
}

/// The serial line has something for the VM, or room for what it has written.
fn serve_line(handle: &VmShared) {
    let mut vm = handle.vm.lock();
    let mut moved = handle.link.deliver(&mut vm);
    moved.extend(&vm.output_has_room(|bytes| console::print(handle.id, bytes)));
    let waiting = vm.waiting_input();
    drop(vm);
    handle.notify(&moved);
    if handle.link.input_taken(handle.id, waiting) == Held::Something {
        handle.devices.set_due();
    }
}

/// The machine, as a VM's devices see it.
struct Backend<'a> {
    handle: &'a VmShared,
    disks: &'a mut [Option<VmDisk>],
    flush: &'a mut ConsoleFlush,
}

impl Backends for Backend<'_> {
    type Disk = VmDisk;

    fn disk(&mut self, slot: usize) -> Option<&mut VmDisk> {
        self.disks.get_mut(slot)?.as_mut()
    }

    fn entropy(&mut self, to: &mut [u8]) -> usize {
        random::fill(to).map_or(0, |()| to.len())
    }

    fn print(&mut self, bytes: &[u8]) -> usize {
        console::print(self.handle.id, bytes)
    }

    fn flush_soon(&mut self) {
        *self.flush = ConsoleFlush::Soon;
    }

    fn input_taken(&mut self, waiting: usize) {
        if self.handle.link.input_taken(self.handle.id, waiting) == Held::Something {
            self.handle.devices.set_due();
        }
    }

    fn guest_error(&mut self, text: core::fmt::Arguments<'_>) {
        self.handle.note_guest_error(text);
    }
}

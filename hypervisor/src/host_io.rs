// SPDX-License-Identifier: MIT OR Apache-2.0
//! The board's own virtio devices, for VMs' disks and networks that lead outside.
//!
//! They are looked for only if the bundle asks for them, or if there is no other entropy. Their interrupts come to the CPU
//! that boots; what they bring is handed to the VMs, which work on it in their own time.

use alloc::vec::Vec;
use core::ptr::NonNull;

use vambrace_hypervisor::boot::board::{VirtioSlot, assigned_range};
use vambrace_hypervisor::host_io::board_disk::Conduct;
use vambrace_ids::VmId;
use vambrace_interrupts::Intid;
use vambrace_io::virtio::net::{Frame, Mac, Offload};
use vambrace_wire::bundle::Directory;
use vambrace_wire::bundle::io::Uplink;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceType, Transport};

use crate::arch::lock::SpinMutex;
use crate::console;
use crate::devices::network;
use crate::gic::Distributor;
use crate::memory::HeapUp;
use crate::system;
use crate::vm::registry;
use card::{Card, ROOM};
use disk::BoardDisk;
use random::Entropy;

pub(crate) mod card;
pub(crate) mod clock;
pub(crate) mod disk;
mod dma;
mod entropy;
pub(crate) mod random;

/// A device of the board and its interrupt.
struct Found<D> {
    intid: Intid,
    device: SpinMutex<D>,
}

impl<D> Found<D> {
    fn new(intid: Intid, device: D) -> Self {
        Self { intid, device: SpinMutex::new(device) }
    }
}

/// How long the boot waits for a device of the board, in seconds. One that works answers within a millisecond; but it may be a
/// model on a computer with much else to do.
const PATIENCE: u64 = 60;

/// Frames that one interrupt brings at most. The rest come with another, which EL2 asks for itself: the card sends none for
/// frames behind one that has not been taken yet (virtio 1.2, 2.7.10).
const FRAMES_AT_ONCE: usize = 64;

/// The board's disks and network card, and who asks for an interrupt again.
pub(crate) struct HostIo {
    disks: Vec<Found<BoardDisk>>,
    card: Option<Found<Card>>,
    distributor: Distributor,
}

/// Finds and starts what the bundle asks for. Its interrupts are to be enabled.
///
/// # Safety
/// `slots` must be the board's virtio-mmio devices, mapped as Device memory, and nobody else's.
#[inline(never)]
pub(crate) unsafe fn start(
    _: &HeapUp,
    entropy: &Entropy,
    slots: &[VirtioSlot],
    directory: &Directory,
    distributor: Distributor,
) -> HostIo {
    let mut disks: Vec<Option<Found<BoardDisk>>> = directory.disks.iter().map(|_| None).collect();
    let mut card = None;
    let wants_card = directory.networks.iter().any(|network| network.uplink == Uplink::Board);
    let is_assigned = |slot: &&VirtioSlot| {
        let registers = directory.vms.iter().flat_map(|vm| &vm.registers);
        registers.clone().any(|it| assigned_range(it).contains(slot.registers.start()))
    };
    for slot in slots.iter().filter(|slot| !is_assigned(slot)) {
        let at = core::ptr::with_exposed_provenance_mut::<VirtIOHeader>(slot.registers.start().0 as usize);
        // Nothing is at address 0.
        let Some(header) = NonNull::new(at) else { continue };
        // A slot without a device says so in its registers.
        // SAFETY: as the caller says.
        let Ok(transport) = (unsafe { MmioTransport::new(header, slot.registers.len() as usize) }) else {
            continue;
        };
        let started = match transport.device_type() {
            DeviceType::Block if !disks.is_empty() => disk::start(transport).map(|disk| {
                let wanted = directory.disks.iter().position(|wanted| disk.is_called(&wanted.name));
                if let Some(place) = wanted.and_then(|at| disks.get_mut(at)) {
                    *place = Some(Found::new(slot.intid, disk));
                }
            }),
            DeviceType::Network if wants_card && card.is_none() => Card::start(transport).map(|started| {
                card = Some(Found::new(slot.intid, started));
            }),
            DeviceType::EntropySource if entropy.is_missing() => {
                entropy::seed(transport).map(|seed| entropy.seed_from(seed))
            }
            _ => Some(()),
        };
        if started.is_none() {
            console::warning!("the board's virtio device at {} does not start", slot.registers.start());
        }
    }
    if wants_card && card.is_none() {
        crate::panic::fail(format_args!("the board has no network card for the network with an uplink"));
    }
    let mut found = Vec::with_capacity(disks.len());
    for (disk, wanted) in disks.into_iter().zip(&directory.disks) {
        match disk {
            Some(disk) => found.push(disk),
            None => crate::panic::fail(format_args!(
                "the board has no disk with the serial number {}",
                wanted.name
            )),
        }
    }
    HostIo { disks: found, card, distributor }
}

impl HostIo {
    /// The interrupts by which they say that something is there.
    pub(crate) fn intids(&self) -> impl Iterator<Item = Intid> {
        let disks = self.disks.iter().map(|disk| disk.intid);
        disks.chain(self.card.iter().map(|card| card.intid))
    }

    /// The address of the board's network card.
    pub(crate) fn card_address(&self) -> Option<Mac> {
        Some(self.card.as_ref()?.device.lock().mac())
    }
}

/// What is wanted of the board's devices, if any is.
fn host_io() -> Option<&'static HostIo> {
    system::get()?.host_io.as_ref()
}

/// Whether any of the board's virtio devices is asked for: by the bundle, or since there is no entropy.
pub(crate) fn is_wanted(entropy: &Entropy, directory: &Directory) -> bool {
    entropy.is_missing()
        || !directory.disks.is_empty()
        || directory.networks.iter().any(|network| network.uplink == Uplink::Board)
}

/// Sends a frame by the board's network card. Says how many have found no room, of those that it is on a wire.
pub(crate) fn send(frame: &Frame<'_>) -> usize {
    match host_io().and_then(|host_io| host_io.card.as_ref()) {
        Some(card) => card.device.lock().send(frame),
        None => 1,
    }
}

/// A disk of the board.
pub(crate) fn disk(index: u16) -> Option<&'static SpinMutex<BoardDisk>> {
    host_io()?.disks.get(usize::from(index)).map(|found| &found.device)
}

/// VMs' disks have got on: the VMs look at them.
fn wake(vms: &[VmId]) {
    for vm in vms {
        if let Some(handle) = registry::find(*vm) {
            handle.backend_is_ready();
        }
    }
}

/// A place for a request may have become free: whoever waits for one is told. So is the user, of a disk that does what it should
/// not. No VM's lock may be held.
pub(crate) fn wake_waiting() {
    // No device of the board is wanted.
    let Some(host_io) = host_io() else { return };
    for found in &host_io.disks {
        let (woken, news) = {
            let mut disk = found.device.lock();
            (disk.take_woken(), disk.news())
        };
        match news {
            None | Some(Conduct::Sound) => {}
            Some(Conduct::Short) => {
                console::warning!("a disk of the board gives less than it is asked for: such requests fail");
            }
            Some(Conduct::Astray) => {
                console::warning!("a disk of the board ends requests that were not made: it is used no more");
            }
        }
        wake(&woken);
    }
}

/// Serves an interrupt, if it is one of ours.
pub(crate) fn interrupt(intid: Intid) {
    // No device of the board is wanted, and the interrupt is nobody's.
    let Some(host_io) = host_io() else { return };
    for found in host_io.disks.iter().filter(|found| found.intid == intid) {
        let owners = disk::collect(&mut found.device.lock());
        wake(&owners);
    }
    wake_waiting();
    if let Some(card) = host_io.card.as_ref().filter(|card| card.intid == intid)
        && receive_frames(&card.device) == FramesTaken::NotAll
    {
        host_io.distributor.set_pending(intid);
    }
}

/// Whether all frames that the card has are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FramesTaken {
    All,
    NotAll,
}

/// Hands on what the board's card has received.
fn receive_frames(card: &SpinMutex<Card>) -> FramesTaken {
    card.lock().end_interrupt();
    let mut buffer = [0; ROOM];
    for _ in 0..FRAMES_AT_ONCE {
        let Some(len) = card.lock().receive(&mut buffer) else { return FramesTaken::All };
        let bytes = buffer.get(..len).unwrap_or_default();
        network::from_uplink(&Frame { bytes, offload: Offload::default() });
    }
    FramesTaken::NotAll
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Networks between VMs: a switch each, and which card is attached to which port.
//!
//! A frame comes from its sender's devices' poll, in a buffer of the CPU's, or from the board's card. The switch says who
//! gets it, and each of them gets it at once if nobody holds its VM's lock or its RAM's. If somebody does, it waits in a queue of the
//! card's, and the VM takes it in its own devices' poll. So nobody waits for another VM's lock.

use alloc::boxed::Box;
use alloc::sync::Weak;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use vambrace_hypervisor::invariant;
use vambrace_hypervisor::memory::room;
use vambrace_io::virtio::net::{Frame, FrameQueue, MAX_FRAME, Mac};
use vambrace_io::virtio::quota::Quota;
use vambrace_io::virtio::switch::{self, Addresses, MAX_PORTS, Policy, Rate, Switch};
use vambrace_wire::bundle::io::{self, PortAddresses, Uplink};

use crate::arch::lock::SpinMutex;
use crate::arch::sysreg::{CntfrqEl0, CntpctEl0, Read};
use crate::host_io::{self, HostIo};
use crate::memory::HeapUp;
use crate::system;
use crate::vm::shared::{VmHandle, VmShared};

/// A learned address that has sent nothing for so many seconds is forgotten.
const AGE: u64 = 300;

/// A port of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NetworkPort {
    network: u16,
    port: switch::SwitchPort,
}

/// What is attached to a port.
#[derive(Clone, Debug)]
enum Attached {
    /// A VM's card, in this slot.
    Vm { handle: Weak<VmShared>, slot: usize },
    /// The board's card.
    Board,
}

#[derive(Debug)]
struct Network {
    switch: SpinMutex<Box<Switch>>,
    attached: SpinMutex<[Option<Attached>; MAX_PORTS]>,
}

/// All networks of the bundle.
#[derive(Debug)]
pub(crate) struct Networks {
    networks: Vec<Network>,
    /// The port that the board's card is attached to.
    uplink: Option<NetworkPort>,
}

/// Sets the networks up, one with the board's card as its uplink; once, before the first VM.
pub(crate) fn start(_: &HeapUp, networks: &[io::Network], host_io: Option<&HostIo>) -> Networks {
    let age = AGE.saturating_mul(frequency().get());
    let network = |_| Network {
        switch: SpinMutex::new(Box::new(Switch::new(age))),
        attached: SpinMutex::new([const { None }; MAX_PORTS]),
    };
    let mut this = Networks { networks: networks.iter().map(network).collect(), uplink: None };
    let uplink = (0..).zip(networks).find(|(_, network)| network.uplink == Uplink::Board);
    if let (Some((index, _)), Some(mac)) = (uplink, host_io.and_then(HostIo::card_address))
        && let Some(network) = this.networks.get(usize::from(index))
        && let Some(port) = network.add(index, Policy { mac, addresses: Addresses::Any, rate: None })
    {
        network.set(port, Some(Attached::Board));
        this.uplink = Some(port);
    }
    this
}

/// A frame has come by the board's network card.
pub(crate) fn from_uplink(frame: &Frame<'_>) {
    if let Some(port) = system::get().and_then(|system| system.networks.uplink) {
        forward(port, frame);
    }
}

fn frequency() -> NonZeroU64 {
    NonZeroU64::new(CntfrqEl0.read()).unwrap_or(NonZeroU64::MIN)
}

fn network(index: u16) -> Option<&'static Network> {
    system::get()?.networks.networks.get(usize::from(index))
}

/// A VM's network card, on the network's side.
#[derive(Debug)]
pub(crate) struct Card {
    port: NetworkPort,
    /// What came while the VM was busy. Its lock is held for as long as it takes to copy one frame; the VM's own and
    /// its RAM's may be held when it is taken, and only be tried while it is held.
    waiting: SpinMutex<FrameQueue>,
}

impl Card {
    /// Finds a port for a VM's card. `None` when there is none, or another card has its address: then the cable leads
    /// nowhere.
    pub(crate) fn attach(card: &io::PortConfig) -> Option<Self> {
        let port = attach(card)?;
        Some(Self { port, waiting: SpinMutex::new(FrameQueue::new()) })
    }

    /// How much of the heap [`Card::attach`] takes.
    pub(crate) fn room() -> usize {
        FrameQueue::PIECES.map(|len| room::piece(len, align_of::<usize>())).iter().sum()
    }

    /// The port that it is attached to.
    pub(crate) fn port(&self) -> NetworkPort {
        self.port
    }

    /// Gives the VM, whose card it is in `slot`, a frame, or lets it wait, as it does while the VM is paused. `None` if it is lost.
    fn receive(&self, handle: &VmShared, slot: usize, frame: &Frame<'_>) -> Option<()> {
        let mut waiting = self.waiting.lock();
        if waiting.is_empty()
            && let Some(mut vm) = handle.vm.try_lock()
            && !vm.lifecycle().is_paused()
            && let Some(memory) = handle.memory.try_lock()
        {
            let moved = vm.receive_frame(slot, &memory, frame).ok()?;
            drop((memory, vm, waiting));
            handle.notify(&moved);
            return Some(());
        }
        waiting.push(frame).ok()?;
        drop(waiting);
        handle.frames_wait();
        Some(())
    }

    /// Gives the VM what has waited, in its own time: as much as `quota` has bytes for.
    pub(crate) fn take_waiting(&self, handle: &VmShared, slot: usize, quota: &mut Quota) -> Taken {
        while quota.bytes > 0 {
            let mut vm = handle.vm.lock();
            if vm.lifecycle().is_paused() {
                return Taken::Some;
            }
            // Before the queue, for whose lock senders wait.
            let memory = handle.memory.lock();
            let mut waiting = self.waiting.lock();
            let Some(frame) = waiting.front() else { return Taken::All };
            quota.bytes = quota.bytes.saturating_sub(frame.bytes.len() as u64);
            let received = vm.receive_frame(slot, &memory, &frame);
            waiting.pop();
            drop((waiting, memory, vm));
            match received {
                Ok(moved) => handle.notify(&moved),
                Err(_) => note_lost(self.port),
            }
        }
        Taken::Some
    }
}

/// How much of what has waited a VM has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// All of it.
    All,
    /// There may be more.
    Some,
}

fn note_lost(port: NetworkPort) {
    if let Some(network) = network(port.network) {
        network.switch.lock().lost(port.port);
    }
}

/// Finds a port for a VM's card.
fn attach(card: &io::PortConfig) -> Option<NetworkPort> {
    let policy = Policy {
        mac: Mac(card.mac),
        addresses: match card.addresses {
            PortAddresses::Own => Addresses::Own,
            PortAddresses::Any => Addresses::Any,
        },
        rate: card.rate.map(|bytes_per_second| Rate {
            bytes_per_second,
            burst: MAX_FRAME as u64,
            frequency: frequency().get(),
        }),
    };
    network(card.network)?.add(card.network, policy)
}

/// The VM's cards are there: frames go to them from now on.
pub(crate) fn connect(handle: &VmHandle) {
    for (slot, port) in handle.devices.ports() {
        let attached = Attached::Vm { handle: VmHandle::downgrade(handle), slot };
        set(port, Some(attached));
    }
}

/// A port is free again.
pub(crate) fn detach(port: NetworkPort) {
    set(port, None);
    if let Some(network) = network(port.network) {
        network.switch.lock().remove(port.port);
    }
}

fn set(port: NetworkPort, attached: Option<Attached>) {
    let Some(network) = network(port.network) else { invariant!("a port is of a network") };
    network.set(port, attached);
}

/// Gives a frame that comes in by a port to whom it is for. Says how many bytes that was, in all copies.
pub(crate) fn forward(from: NetworkPort, frame: &Frame<'_>) -> u64 {
    let Some(network) = network(from.network) else { invariant!("a port is of a network") };
    let len = frame.bytes.len() as u64;
    let to = network.switch.lock().forward(from.port, frame, CntpctEl0.read());
    let mut copied = 0;
    for port in to.iter() {
        let is_delivered = network.deliver(port, frame);
        let mut switch = network.switch.lock();
        if is_delivered.is_some() {
            switch.delivered(port, len);
            copied += len;
        } else {
            switch.lost(port);
        }
    }
    copied
}

impl Network {
    /// Adds a port to the network, which has this index.
    fn add(&self, index: u16, policy: Policy) -> Option<NetworkPort> {
        let port = self.switch.lock().add(policy, CntpctEl0.read());
        match port {
            Ok(port) => Some(NetworkPort { network: index, port }),
            Err(error) => {
                crate::console::warning!("a network card is not attached: {error}");
                None
            }
        }
    }

    fn set(&self, port: NetworkPort, attached: Option<Attached>) {
        if let Some(place) = self.attached.lock().get_mut(usize::from(port.port.0)) {
            *place = attached;
        }
    }

    fn deliver(&self, port: switch::SwitchPort, frame: &Frame<'_>) -> Option<()> {
        let attached = self.attached.lock().get(usize::from(port.0))?.clone()?;
        match attached {
            Attached::Board => (host_io::send(frame) == 0).then_some(()),
            Attached::Vm { handle, slot } => {
                let handle = handle.upgrade()?;
                handle.devices.card(slot)?.receive(&handle, slot, frame)
            }
        }
    }
}

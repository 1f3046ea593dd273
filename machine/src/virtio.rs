// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VM's virtio devices: which there are, and when each has its poll.
//!
//! The driver's store to a register changes the device and no more. What it asks for is work of its own, since it may
//! take long, and needs what a VM does not hold: disks, other VMs ([`Backends`]). So it is only noted here as due, and done
//! by [`Vm::serve_virtio`], a step at a time, when the VM has the CPU: whoever asks for much pays for it with the time of
//! its own vCPUs. A frame that a guest sends comes out of a step, since nobody may hold two VMs' locks.

use vambrace_interrupts::VcpuSet;
use vambrace_io::virtio::block::InFlight;
use vambrace_io::virtio::block::disk::DiskBackend;
use vambrace_io::virtio::console::Terminal;
use vambrace_io::virtio::net::{Frame, Sent, Undelivered};
use vambrace_io::virtio::quota::{After, Quota};
use vambrace_memory::GuestMemory;

use crate::lifecycle::Lifecycle;
use crate::vm::Vm;
use crate::vm::console::{Console, Unfinished};
use slots::{DeviceSlot, bit, intid};

pub use slots::DeviceShape;
pub(crate) use slots::Slots;

mod slots;

/// The backends of a VM's virtio devices.
pub trait Backends {
    /// A disk.
    type Disk: DiskBackend;

    /// The disk in a slot.
    fn disk(&mut self, slot: usize) -> Option<&mut Self::Disk>;

    /// Fills `to` from the front with random bytes, and says how many.
    fn entropy(&mut self, to: &mut [u8]) -> usize;

    /// Sends bytes of the VM's console on, and says how many: fewer than all when there is no room for more. Call
    /// [`Vm::output_has_room`] when there is.
    fn print(&mut self, bytes: &[u8]) -> usize;

    /// The console has unfinished output: call [`Vm::flush_console`] soon.
    fn flush_soon(&mut self);

    /// The guest has taken input from its console, and so much still waits there ([`Vm::waiting_input`]).
    fn input_taken(&mut self, waiting: usize);

    /// One line about an error that the guest made, as [`crate::host::Report::guest_error`].
    fn guest_error(&mut self, text: core::fmt::Arguments<'_>);
}

/// What a step of the devices' work has come to.
#[derive(Debug)]
#[must_use]
pub enum PollStep<'a> {
    /// A guest sends this frame from a slot. There may be more to do.
    Frame {
        /// The slot.
        slot: usize,
        /// The frame.
        frame: Frame<'a>,
    },
    /// A device had its poll. There may be more to do.
    Done,
    /// The quota is spent, and there is more to do.
    Spent,
    /// Nothing is to be done.
    Idle,
}

/// A virtio console's other end: the VM's console, and its keys unless a UART gets them.
struct Line<'a, B> {
    console: &'a mut Console,
    keys: Keys,
    backends: &'a mut B,
}

/// Who gets what is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    Here,
    Elsewhere,
}

impl<B: Backends> Terminal for Line<'_, B> {
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes.iter().copied();
        let unfinished = self.console.put_each(&mut rest, &mut |line: &[u8]| self.backends.print(line));
        if unfinished == Unfinished::Since {
            self.backends.flush_soon();
        }
        bytes.len() - rest.len()
    }

    fn read(&mut self, to: &mut [u8]) -> usize {
        match self.keys {
            Keys::Here => self.console.take_input(to),
            Keys::Elsewhere => 0,
        }
    }
}

fn is_spent(quota: &Quota) -> bool {
    quota.requests == 0 || quota.bytes == 0
}

impl Vm {
    /// Whether a virtio device has work: [`Vm::serve_virtio`] is to be called until there is none.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.virtio.due != 0 && self.lifecycle == Lifecycle::Running
    }

    /// The requests that the VM's disks have begun and not returned, with their slots: what waits for a backend when the VM is
    /// paused.
    pub fn in_flight(&self) -> impl Iterator<Item = (usize, InFlight)> {
        self.virtio.in_flight()
    }

    /// The backends of virtio devices have got on: those that waited for it have work.
    pub fn backend_is_ready(&mut self) {
        self.virtio.due |= core::mem::take(&mut self.virtio.for_backend);
    }

    /// There is room for output again: virtio consoles that waited for it have work.
    pub(crate) fn output_is_ready(&mut self) {
        let consoles = self.virtio.consoles() & self.virtio.for_backend;
        self.virtio.for_backend &= !consoles;
        self.virtio.due |= consoles;
    }

    /// Keys have come: virtio consoles look whether they are theirs.
    pub(crate) fn offer_keys(&mut self) {
        self.virtio.due |= self.virtio.consoles();
    }

    /// Lets the next device that has work do some, through `buffer`. The vCPUs in the set are to be notified.
    ///
    /// One call does as much as `quota` allows at most, or one frame.
    pub fn serve_virtio<'a>(
        &mut self,
        memory: &impl GuestMemory,
        backends: &mut impl Backends,
        buffer: &'a mut [u8],
        quota: &mut Quota,
    ) -> (PollStep<'a>, VcpuSet) {
        if self.lifecycle != Lifecycle::Running {
            return (PollStep::Idle, VcpuSet::new());
        }
        if self.virtio.due != 0 && is_spent(quota) {
            return (PollStep::Spent, VcpuSet::new());
        }
        let Some(at) = self.virtio.take_turn() else { return (PollStep::Idle, VcpuSet::new()) };
        let keys = if self.devices.pl011.is_some() { Keys::Elsewhere } else { Keys::Here };
        let Some(slot) = self.virtio.slots.get_mut(at) else { return (PollStep::Done, VcpuSet::new()) };
        let fault = slot.fault();
        let before = *quota;
        let mut sent = None;
        let after = match slot {
            DeviceSlot::Entropy(device) => {
                device.serve(memory, &mut |to: &mut [u8]| backends.entropy(to), quota)
            }
            DeviceSlot::Console(device) => {
                let console = &mut self.console;
                let waiting = console.input().len();
                let after =
                    device.serve(memory, &mut Line { console, keys, backends: &mut *backends }, quota);
                if self.console.input().len() != waiting {
                    backends.input_taken(self.console.input().len());
                }
                after
            }
            DeviceSlot::Disk(device) => match backends.disk(at) {
                Some(disk) => device.serve(memory, disk, buffer, quota),
                None => After::Idle,
            },
            DeviceSlot::Network(device) => match device.send(memory, buffer, quota) {
                Sent::Nothing(after) => after,
                Sent::Lost => After::More,
                Sent::Frame(frame) => {
                    sent = Some(frame);
                    After::More
                }
            },
        };
        let new_fault = slot.fault().filter(|_| fault.is_none());
        if *quota == before {
            // Each look costs something: while this vCPU works, another may ask for it again and again.
            quota.requests = quota.requests.saturating_sub(1);
        }
        match after {
            After::Idle => {}
            After::More => self.virtio.due |= bit(at),
            After::Backend => self.virtio.for_backend |= bit(at),
        }
        if let Some(fault) = new_fault {
            backends.guest_error(format_args!("virtio device in slot {at} needs a reset: {fault}"));
        }
        let moved = self.update_virtio_line(at);
        let step = match (sent, after) {
            (Some(frame), _) => PollStep::Frame { slot: at, frame },
            (None, _) if self.virtio.due != 0 && is_spent(quota) => PollStep::Spent,
            (None, _) => PollStep::Done,
        };
        (step, moved)
    }

    /// Gives the network card in a slot a frame. The vCPUs are to be notified.
    ///
    /// # Errors
    /// [`Undelivered`] when it is lost.
    pub fn receive_frame(
        &mut self,
        slot: usize,
        memory: &impl GuestMemory,
        frame: &Frame<'_>,
    ) -> Result<VcpuSet, Undelivered> {
        // While it stops its memory may be somebody else's already. While it is paused nothing of it changes.
        if self.lifecycle != Lifecycle::Running {
            return Err(Undelivered::Down);
        }
        let Some(DeviceSlot::Network(device)) = self.virtio.slots.get_mut(slot) else {
            return Err(Undelivered::Down);
        };
        device.receive(memory, frame)?;
        Ok(self.update_virtio_line(slot))
    }

    /// Brings the line of the virtio device in a slot to the GIC.
    pub(crate) fn update_virtio_line(&mut self, slot: usize) -> VcpuSet {
        match self.virtio.line(slot) {
            Some(level) => self.gic.set_spi_level(intid(slot), level),
            None => VcpuSet::new(),
        }
    }

    /// Brings all virtio devices' lines to the GIC.
    pub(crate) fn update_all_virtio_lines(&mut self) -> VcpuSet {
        let mut notify = VcpuSet::new();
        for slot in 0..self.virtio.slots.len() {
            notify.extend(&self.update_virtio_line(slot));
        }
        notify
    }
}

#[cfg(test)]
pub(crate) mod tests;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A paused VM as bytes, and back.
//!
//! # What a VM consists of
//!
//! | what | where it lies | in the bytes |
//! |---|---|---|
//! | lifecycle, virtual time, power states, interrupt controller, devices, console, result | [`Vm`] | as it is |
//! | registers, physical timer, pending SError, what it does when the VM goes on | [`Vcpu`] | as it is |
//! | list registers | the interrupt controller, since each vCPU was put | as they are; taken back into the model when it is restored |
//! | requests in flight | [`Vm`]: the chain and how far it is; the disk: the operation | to be submitted again |
//! | input on its way | [`Inbox`] | as it is |
//! | frames on their way | a queue of each card | each frame, with what its sender has left to do |
//! | what was written to a disk in RAM | the disk | each block that was written |
//! | RAM | the VM's memory | each page that is not zero |
//!
//! Nothing else is the VM's: what others keep of it (that its devices have work, when it is to be woken, under which VMID it runs)
//! follows from these when it goes on, and what lies on a disk of the board, in a network or in a channel's memory is not the VM's
//! alone. Of a disk of the board all operations have to have ended before the VM goes on elsewhere, or one that ends late would
//! undo what came after it.
//!
//! A VM to which physical interrupts are assigned is refused when it is restored, as the device behind them is not in the bytes.
//!
//! # The bytes
//! A magic number and the format's version, then records. Each has its kind, its length, its value in postcard's format, and a
//! CRC-32 of all that. The first is the VM's [`Shape`]: what it was made from, as far as it matters. Then come the VM, its vCPUs in
//! their order, what lies outside, and an end.
//!
//! # Restoring
//! A VM is restored into one that was made from the same description and has not started. Its shape is compared first, so what
//! does not fit is told by name. All else is read in place ([`vambrace_state`]): nothing is allocated. The bytes are not trusted: what
//! could reach beyond the VM is checked ([`Unfit`]), and all else may be any value that a guest could have brought about.

use vambrace_io::virtio::net::Frame;
use vambrace_memory::Ipa;

use crate::inbox::Inbox;
use crate::vcpu::Vcpu;
use crate::vm::Vm;

mod restore;
mod shape;
mod write;

pub use restore::{Reader, RestoreError, Step, Unfit, restore};
pub use shape::{Mismatch, Shape};
pub use write::{WriteError, Writer};

/// The version of the format. It changes with every change of a value that is written.
pub const FORMAT: u16 = 1;

/// "VMBS".
const MAGIC: [u8; 4] = *b"VMBS";

/// The longest piece of RAM or of a disk in one record, in bytes.
pub const PIECE: usize = 4096;

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Bytes of a record's kind and length, before its value.
const HEAD: usize = 5;
/// Bytes of its CRC, behind it.
const TAIL: usize = 4;

/// What a record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Shape = 1,
    Vm = 2,
    Vcpu = 3,
    Inbox = 4,
    Frame = 5,
    Block = 6,
    Ram = 7,
    End = 8,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        let all =
            [Self::Shape, Self::Vm, Self::Vcpu, Self::Inbox, Self::Frame, Self::Block, Self::Ram, Self::End];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Where the bytes go.
pub trait Sink {
    /// Why they do not.
    type Error;

    /// Takes the next bytes, all of them.
    ///
    /// # Errors
    /// `Error`: there is no room, say.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// What a VM is restored into: one that was made from the same description and has not started.
pub trait Target {
    /// Does something with the VM.
    fn with_vm<R>(&mut self, act: impl FnOnce(&mut Vm) -> R) -> R;

    /// Does something with this vCPU of it; there are as many as its interrupt controller has.
    fn with_vcpu<R>(&mut self, number: u16, act: impl FnOnce(&mut Vcpu) -> R) -> Option<R>;

    /// This input is on its way to it.
    fn set_inbox(&mut self, inbox: Inbox);

    /// This frame waits for the network card in a slot, behind all others. `None` if it has no place there.
    fn add_frame(&mut self, slot: u8, frame: &Frame<'_>) -> Option<()>;

    /// This block of the disk in a slot was written. `None` if it has no place there.
    fn set_block(&mut self, slot: u8, block: u32, bytes: &[u8; PIECE]) -> Option<()>;

    /// These bytes of RAM are not zero. `None` if there is no RAM.
    fn set_ram(&mut self, ipa: Ipa, bytes: &[u8]) -> Option<()>;
}

/// A VM that goes on elsewhere.
impl Vm {
    /// Forgets what of the VM, which is paused, is on its machine: what was in list registers goes back into the interrupt
    /// controller, and what backends had pending is to be submitted again. So it can go on on another machine, or on the same one
    /// when that has forgotten it.
    pub fn detach(&mut self) {
        self.gic.detach();
        self.virtio.detach();
    }
}

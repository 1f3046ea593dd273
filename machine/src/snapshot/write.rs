// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a paused VM, a record at a time, to whoever takes bytes.

use arrayvec::ArrayVec;
use crc::{Digest, Table};
use postcard::ser_flavors::{Flavor, Size};
use serde::Serialize;
use vambrace_io::virtio::net::Frame;
use vambrace_memory::{GuestMemory, Ipa, OutsideMemory};
use vambrace_state::Bytes;

use super::{CRC, FORMAT, Kind, MAGIC, PIECE, Shape, Sink};
use crate::inbox::Inbox;
use crate::lifecycle::{Lifecycle, WrongState};
use crate::vcpu::Vcpu;
use crate::vm::Vm;

/// A VM could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError<E> {
    /// It is not paused.
    #[error("{0}: pause it first")]
    NotPaused(#[from] WrongState),
    /// The vCPU with this number is to be written now.
    #[error("vCPU {0} is to be written now")]
    Vcpu(u16),
    /// What was to be written is no RAM of the VM.
    #[error("{0}")]
    Memory(#[from] OutsideMemory),
    /// Where the bytes go.
    #[error("{0}")]
    Sink(E),
}

/// Writes a VM.
#[derive(Debug)]
pub struct Writer<S> {
    sink: S,
    next_vcpu: u16,
    vcpus: u16,
}

impl<S: Sink> Writer<S> {
    /// Begins, and writes the VM. Its vCPUs are to follow, then what lies outside, in any order.
    ///
    /// # Errors
    /// [`WriteError::NotPaused`], and the sink's.
    pub fn begin(mut sink: S, vm: &Vm) -> Result<Self, WriteError<S::Error>> {
        if vm.lifecycle() != Lifecycle::Paused {
            return Err(WrongState(vm.lifecycle()).into());
        }
        sink.write(&MAGIC).map_err(WriteError::Sink)?;
        sink.write(&FORMAT.to_le_bytes()).map_err(WriteError::Sink)?;
        let vcpus = vm.gic.config().affinities.len() as u16;
        let mut this = Self { sink, next_vcpu: 0, vcpus };
        this.record(Kind::Shape, &Shape::of(vm))?;
        this.record(Kind::Vm, vm)?;
        Ok(this)
    }

    /// Writes the next vCPU.
    ///
    /// # Errors
    /// [`WriteError::Vcpu`], and the sink's.
    pub fn vcpu(&mut self, vcpu: &Vcpu) -> Result<(), WriteError<S::Error>> {
        if vcpu.id.number() != self.next_vcpu || self.next_vcpu == self.vcpus {
            return Err(WriteError::Vcpu(self.next_vcpu));
        }
        self.next_vcpu = self.next_vcpu.saturating_add(1);
        self.record(Kind::Vcpu, vcpu)
    }

    /// Writes the input on its way to the VM.
    ///
    /// # Errors
    /// The sink's.
    pub fn inbox(&mut self, inbox: &Inbox) -> Result<(), WriteError<S::Error>> {
        self.record(Kind::Inbox, inbox)
    }

    /// Writes a frame on its way to the network card in a slot, behind those that came before it.
    ///
    /// # Errors
    /// The sink's.
    pub fn frame(&mut self, slot: u8, frame: &Frame<'_>) -> Result<(), WriteError<S::Error>> {
        self.record(Kind::Frame, &(slot, frame))
    }

    /// Writes a block that was written to the disk in a slot.
    ///
    /// # Errors
    /// The sink's.
    pub fn block(&mut self, slot: u8, block: u32, bytes: &[u8]) -> Result<(), WriteError<S::Error>> {
        self.record(Kind::Block, &(slot, block, Bytes(bytes)))
    }

    /// Writes the next part of the VM's RAM: the `len` bytes from `ipa` on, which is the beginning of a page, a page at a time through
    /// `buffer`.
    ///
    /// # Errors
    /// [`WriteError::Memory`], and the sink's.
    pub fn ram(
        &mut self,
        memory: &impl GuestMemory,
        ipa: Ipa,
        len: u64,
        buffer: &mut [u8; PIECE],
    ) -> Result<(), WriteError<S::Error>> {
        let mut done = 0;
        while done < len {
            let part = usize::try_from(len - done).unwrap_or(PIECE).min(PIECE);
            let at = Ipa(ipa.0.wrapping_add(done));
            let page = buffer.get_mut(..part).unwrap_or_default();
            memory.read(at, page)?;
            if page.iter().any(|byte| *byte != 0) {
                self.record(Kind::Ram, &(at, Bytes(page)))?;
            }
            done += part as u64;
        }
        Ok(())
    }

    /// Writes the end.
    ///
    /// # Errors
    /// [`WriteError::Vcpu`] when one is missing, and the sink's.
    pub fn finish(mut self) -> Result<S, WriteError<S::Error>> {
        if self.next_vcpu != self.vcpus {
            return Err(WriteError::Vcpu(self.next_vcpu));
        }
        self.record(Kind::End, &())?;
        Ok(self.sink)
    }

    fn record(&mut self, kind: Kind, value: &(impl Serialize + ?Sized)) -> Result<(), WriteError<S::Error>> {
        // Neither fails but for the sink: all our types can be written, and none is 4 GiB long.
        let len = postcard::serialize_with_flavor(value, Size::default()).unwrap_or(0);
        let mut error = None;
        let body =
            Body { sink: &mut self.sink, digest: CRC.digest(), buffer: ArrayVec::new(), error: &mut error };
        let written = write_record(body, kind, len as u32, value);
        match (written, error) {
            (_, Some(error)) => Err(WriteError::Sink(error)),
            (_, None) => Ok(()),
        }
    }
}

fn write_record<S: Sink>(
    mut body: Body<'_, '_, S>,
    kind: Kind,
    len: u32,
    value: &(impl Serialize + ?Sized),
) -> postcard::Result<()> {
    body.try_push(kind as u8)?;
    body.try_extend(&len.to_le_bytes())?;
    postcard::serialize_with_flavor(value, body)
}

/// A record on its way to the sink.
struct Body<'a, 'crc, S: Sink> {
    sink: &'a mut S,
    digest: Digest<'crc, u32, Table<1>>,
    /// What is not told to the sink yet.
    buffer: ArrayVec<u8, 64>,
    error: &'a mut Option<S::Error>,
}

impl<S: Sink> Body<'_, '_, S> {
    fn send(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.sink.write(bytes).map_err(|error| {
            *self.error = Some(error);
            postcard::Error::SerializeBufferFull
        })
    }

    fn flush(&mut self) -> postcard::Result<()> {
        let buffered = core::mem::take(&mut self.buffer);
        self.digest.update(&buffered);
        self.send(&buffered)
    }
}

impl<S: Sink> Flavor for Body<'_, '_, S> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        if self.buffer.is_full() {
            self.flush()?;
        }
        self.buffer.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if self.buffer.try_extend_from_slice(bytes).is_ok() {
            return Ok(());
        }
        self.flush()?;
        self.digest.update(bytes);
        self.send(bytes)
    }

    fn finalize(mut self) -> postcard::Result<()> {
        self.flush()?;
        let crc = self.digest.clone().finalize();
        self.send(&crc.to_le_bytes())
    }
}

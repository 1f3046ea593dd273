// SPDX-License-Identifier: MIT OR Apache-2.0
//! The board's virtio network card: a network's way outside.
//!
//! Frames are copied in both directions, so the board's card never touches a VM's memory. It is given whole frames as
//! they are on a wire; one for which it has no room is lost.

use alloc::boxed::Box;
use alloc::vec::Vec;

use vambrace_io::virtio::net::{Frame, Mac};
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::mmio::MmioTransport;

use super::dma::{self, Dma};

/// Frames in each queue.
const FRAMES: usize = 32;
/// Room for a frame of 1514 bytes and its header.
pub(super) const ROOM: usize = 2048;

type Raw = VirtIONetRaw<Dma, MmioTransport<'static>, FRAMES>;

/// A buffer, and which of the card's requests has it.
struct Buffer {
    bytes: &'static mut [u8],
    token: Option<u16>,
}

/// The board's network card.
pub(crate) struct Card {
    raw: Box<Raw>,
    receive: Vec<Buffer>,
    send: Vec<Buffer>,
}

fn buffers() -> Option<Vec<Buffer>> {
    let memory = dma::take(FRAMES * ROOM)?;
    Some(memory.chunks_exact_mut(ROOM).map(|bytes| Buffer { bytes, token: None }).collect())
}

impl Card {
    /// Starts the card.
    pub(super) fn start(transport: MmioTransport<'static>) -> Option<Self> {
        let raw = Box::new(Raw::new(transport).ok()?);
        let mut card = Self { raw, receive: buffers()?, send: buffers()? };
        for buffer in &mut card.receive {
            buffer.wait(&mut card.raw);
        }
        Some(card)
    }

    /// Its address.
    pub(super) fn mac(&self) -> Mac {
        Mac(self.raw.mac_address())
    }

    /// Ends the interrupt.
    pub(super) fn end_interrupt(&mut self) {
        let _ = self.raw.ack_interrupt();
    }

    /// Takes the next frame that has come. Says how long it is.
    pub(super) fn receive(&mut self, to: &mut [u8; ROOM]) -> Option<usize> {
        let token = self.raw.poll_receive()?;
        let buffer = self.receive.iter_mut().find(|buffer| buffer.token == Some(token))?;
        // SAFETY: the buffer that was given with this token.
        let (header, len) = unsafe { self.raw.receive_complete(token, buffer.bytes) }.unwrap_or_default();
        let frame = buffer.bytes.get(header..header + len).unwrap_or_default();
        let len = frame.len();
        if let Some(to) = to.get_mut(..len) {
            to.copy_from_slice(frame);
        }
        buffer.wait(&mut self.raw);
        Some(len)
    }

    /// Sends a frame, in as many as it is on a wire. Says how many have found no room.
    pub(crate) fn send(&mut self, frame: &Frame<'_>) -> usize {
        self.take_back();
        let mut lost = 0;
        let cut = frame.on_a_wire(|parts| lost += usize::from(self.send_one(parts).is_none()));
        if cut.is_none() { 1 } else { lost }
    }

    fn send_one(&mut self, parts: [&[u8]; 4]) -> Option<()> {
        let buffer = self.send.iter_mut().find(|buffer| buffer.token.is_none())?;
        let mut end = self.raw.fill_buffer_header(buffer.bytes).ok()?;
        for part in parts {
            buffer.bytes.get_mut(end..end + part.len())?.copy_from_slice(part);
            end += part.len();
        }
        // SAFETY: the buffer is not touched until `take_back` has the token.
        let token = unsafe { self.raw.transmit_begin(buffer.bytes.get(..end)?) }.ok()?;
        buffer.token = Some(token);
        Some(())
    }

    /// Takes buffers back whose frames have gone.
    fn take_back(&mut self) {
        while let Some(token) = self.raw.poll_transmit() {
            // The card ends what it was not given: there is no telling what else it has done with.
            let Some(buffer) = self.send.iter_mut().find(|buffer| buffer.token == Some(token)) else {
                return;
            };
            // SAFETY: the buffer that was given with this token; how long it was does not matter where nothing is copied.
            if unsafe { self.raw.transmit_complete(token, buffer.bytes) }.is_err() {
                return;
            }
            buffer.token = None;
        }
    }
}

impl Buffer {
    /// Gives the buffer to the card, for a frame that comes.
    fn wait(&mut self, raw: &mut Raw) {
        // SAFETY: the buffer is not touched until its token is taken back.
        self.token = unsafe { raw.receive_begin(self.bytes) }.ok();
    }
}

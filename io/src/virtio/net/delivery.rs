// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a frame into the driver's buffers (virtio 1.2, 5.1.6.4).
//!
//! With VIRTIO_NET_F_MRG_RXBUF a frame goes on in the next buffer when one is full, and the driver may see the buffers only
//! when all are filled. Until then they are only taken: if they do not suffice, they are put back, and the frame is lost.

use arrayvec::ArrayVec;
use vambrace_memory::{GuestMemory, Ipa};
use zerocopy::IntoBytes;

use super::RECEIVE;
use super::header::{Header, feature};
use crate::virtio::queue::{Chain, Fault, MAX_SIZE, Taken, Used};
use crate::virtio::transport::Transport;

/// The most buffers of one frame: 64 KiB in pages are 17.
const MAX_BUFFERS: usize = 64;

/// Where the header counts the buffers.
const NUM_BUFFERS: u64 = 10;

/// Why a frame was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// The driver is not ready, or the link is down.
    Down,
    /// The driver's buffers do not suffice.
    NoRoom,
    /// The frame cannot be cut so that the driver takes it.
    Uncut,
    /// The driver's queue is broken.
    Fault,
}

/// How many buffers may still be taken, for all the pieces of a frame together. An honest driver never has more than its
/// queue's size; another might supply new ones as fast as they are filled.
pub(super) struct Allowance(u16);

impl Default for Allowance {
    fn default() -> Self {
        Self(MAX_SIZE)
    }
}

/// A frame that is being written.
pub(super) struct Delivery<'a, M> {
    transport: &'a mut Transport,
    memory: &'a M,
    allowance: &'a mut Allowance,
    chain: Chain,
    /// Bytes of the present buffer, and how many are written.
    len: u64,
    at: u64,
    used: ArrayVec<Used, MAX_BUFFERS>,
    /// Where the number of buffers is to be written, once it is known.
    count: [Ipa; 2],
}

impl<'a, M: GuestMemory> Delivery<'a, M> {
    /// Delivers `header` and the parts of a frame; says how many bytes that was.
    pub(super) fn deliver(
        transport: &'a mut Transport,
        memory: &'a M,
        allowance: &'a mut Allowance,
        header: Header,
        parts: [&[u8]; 4],
    ) -> Result<u64, Undelivered> {
        let mut delivery = Self {
            transport,
            memory,
            allowance,
            chain: Chain::new(),
            len: 0,
            at: 0,
            used: ArrayVec::new(),
            count: [Ipa(0); 2],
        };
        match delivery.write_all(header, parts) {
            Ok(bytes) => {
                delivery.transport.complete_all(RECEIVE, memory, &delivery.used);
                Ok(bytes)
            }
            Err(why) => {
                delivery.transport.put_back(RECEIVE, delivery.used.len() as u16);
                Err(why)
            }
        }
    }

    fn write_all(&mut self, header: Header, parts: [&[u8]; 4]) -> Result<u64, Undelivered> {
        let mut bytes = self.write(header.as_bytes())?;
        for part in parts {
            bytes += self.write(part)?;
        }
        let count = self.used.len() as u16;
        if count > 1 {
            for (at, byte) in self.count.into_iter().zip(count.to_le_bytes()) {
                let written = self.memory.write(at, &[byte]);
                written.map_err(|outside| self.fail(outside.into()))?;
            }
        }
        Ok(bytes)
    }

    /// Writes bytes behind those written before.
    fn write(&mut self, bytes: &[u8]) -> Result<u64, Undelivered> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.at == self.len {
                self.next_buffer()?;
            }
            let room = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            let written = self.chain.writable().write(self.memory, self.at, now);
            written.map_err(|fault| self.fail(fault))?;
            self.at = self.at.saturating_add(now.len() as u64);
            if let Some(used) = self.used.last_mut() {
                used.written = self.at as u32;
            }
            rest = later;
        }
        Ok(bytes.len() as u64)
    }

    /// Takes the next buffer. Only the first one need hold the whole frame if buffers are not merged.
    fn next_buffer(&mut self) -> Result<(), Undelivered> {
        if self.used.is_full() || !self.used.is_empty() && !self.transport.has(feature::MRG_RXBUF) {
            return Err(Undelivered::NoRoom);
        }
        self.allowance.0 = self.allowance.0.checked_sub(1).ok_or(Undelivered::NoRoom)?;
        let mut taken = self.transport.take(RECEIVE, self.memory, &mut self.chain);
        if taken == Taken::Nothing && self.transport.listen(RECEIVE, self.memory) == Taken::Chain {
            taken = self.transport.take(RECEIVE, self.memory, &mut self.chain);
        }
        if taken == Taken::Nothing {
            return Err(if self.transport.is_live() { Undelivered::NoRoom } else { Undelivered::Fault });
        }
        let buffer = self.chain.writable();
        (self.len, self.at) = (buffer.len(), 0);
        let head = self.chain.head();
        let is_first = self.used.is_empty();
        let _ = self.used.try_push(Used { head, written: 0 });
        // 5.1.6.3.1: a buffer has room for the header at least.
        let count = [buffer.address(NUM_BUFFERS), buffer.address(NUM_BUFFERS + 1)];
        match count {
            [Some(low), Some(high)] if is_first => self.count = [low, high],
            [Some(_), Some(_)] => {}
            _ => return Err(self.fail(Fault::Request { head })),
        }
        Ok(())
    }

    fn fail(&mut self, fault: Fault) -> Undelivered {
        self.transport.fail(fault);
        Undelivered::Fault
    }
}

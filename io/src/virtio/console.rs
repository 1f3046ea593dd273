// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console device (virtio 1.2, 5.3): one port, a terminal behind it.
//!
//! Nothing is kept here: output goes from guest memory to the terminal as fast as that takes it, and what it does not
//! take stays in the driver's buffer until the next poll; input is asked for only when the driver has a buffer for it. So
//! neither side can make the other's bytes pile up in EL2.

use serde::{Deserialize, Serialize};
use vambrace_memory::GuestMemory;
use vambrace_state::restore_fields;

use super::mmio::{CONFIG_LEN, Device, Virtio};
use super::queue::{Chain, Taken};
use super::quota::{After, Quota};
use super::stream;

/// Queues of port 0 (5.3.2).
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

/// The configuration says how large the terminal is (VIRTIO_CONSOLE_F_SIZE, 5.3.3).
pub const SIZE: u64 = 1 << 0;

/// The backend of a console.
pub trait Terminal {
    /// Takes output, from the front, and says how many bytes: fewer than all when it has no room now.
    fn write(&mut self, bytes: &[u8]) -> usize;

    /// Gives input, at most as much as fits into `to`, and says how many bytes: 0 when there is none.
    fn read(&mut self, to: &mut [u8]) -> usize;
}

/// How large a terminal is, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// In one line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// The device's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Console {
    size: Size,
    /// The output under way, while `sent` says how much of it has gone.
    output: Chain,
    sent: Option<u64>,
}

restore_fields!(Console { whole size, whole output, whole sent });

impl Device for Console {
    const ID: u32 = 3;
    const QUEUES: usize = 2;
    const LABEL: &'static str = "virtio console";

    fn features(&self) -> u64 {
        SIZE
    }

    fn configuration(&self, to: &mut [u8; CONFIG_LEN]) {
        let [a, b] = self.size.columns.to_le_bytes();
        let [c, d] = self.size.rows.to_le_bytes();
        for (to, byte) in to.iter_mut().zip([a, b, c, d]) {
            *to = byte;
        }
    }

    fn reset(&mut self) {
        self.sent = None;
    }

    fn queue_stopped(&mut self, queue: usize) {
        if queue == TRANSMIT {
            self.sent = None;
        }
    }
}

impl Virtio<Console> {
    /// A console after reset.
    #[must_use]
    pub fn new(size: Size) -> Self {
        Self::with_device(Console { size, ..Console::default() })
    }

    /// The terminal's size is another now: tells the driver, if it wants to know.
    pub fn resize(&mut self, size: Size) {
        if core::mem::replace(&mut self.device.size, size) != size && self.transport.has(SIZE) {
            self.transport.configuration_changed();
        }
    }

    /// Moves output and input while `quota` lasts. [`After::Backend`]: the terminal has no room for the output. When it
    /// has input, a poll is due too.
    pub fn serve(
        &mut self,
        memory: &impl GuestMemory,
        terminal: &mut impl Terminal,
        quota: &mut Quota,
    ) -> After {
        let output = self.transmit(memory, terminal, quota);
        match stream::supply(&mut self.transport, RECEIVE, memory, quota, |to| terminal.read(to)) {
            After::More => After::More,
            After::Idle | After::Backend => output,
        }
    }

    fn transmit(
        &mut self,
        memory: &impl GuestMemory,
        terminal: &mut impl Terminal,
        quota: &mut Quota,
    ) -> After {
        self.transport.begin(TRANSMIT, memory);
        if !self.transport.is_live() {
            self.device.sent = None;
        }
        loop {
            let Some(start) = self.device.sent else {
                if quota.take_request().is_none() {
                    return After::More;
                }
                if self.transport.take(TRANSMIT, memory, &mut self.device.output) == Taken::Chain {
                    self.device.sent = Some(0);
                } else if self.transport.listen(TRANSMIT, memory) == Taken::Nothing {
                    return After::Idle;
                }
                continue;
            };
            let from = self.device.output.readable();
            match stream::drain(memory, from, start, quota, |bytes| terminal.write(bytes)) {
                Ok(end) if end >= from.len() => {
                    self.device.sent = None;
                    self.transport.complete(TRANSMIT, memory, self.device.output.head(), 0);
                }
                Ok(end) => {
                    self.device.sent = Some(end);
                    return if quota.bytes == 0 { After::More } else { After::Backend };
                }
                Err(fault) => {
                    self.device.sent = None;
                    self.transport.fail(fault);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

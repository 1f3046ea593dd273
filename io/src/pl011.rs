// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PL011 UART, revision r1p5 (Arm DDI 0183G): a VM's console.
//!
//! There is no line behind it, so nothing takes time: a byte written can be taken out at once
//! ([`Pl011::take_output`]), and input that pauses has timed out already. The baud rate, parity and word length are
//! kept and have no effect. UARTEN, TXE and RXE are kept and not enforced: kernels print early in the belief
//! that firmware has left the UART on, and programs written for QEMU's `virt` board, which does not enforce them
//! either, count on it.
//!
//! Input is never lost for want of room: [`Pl011::receive`] says how much it took, and the rest is offered again
//! after the guest has read. An overrun is possible only in loopback.

use serde::{Deserialize, Serialize};
use vambrace_state::Version;

use crate::bus::{MmioDevice, Width};
use crate::platform::{DeviceModel, Time};
use crate::primecell;
use fifo::Fifo;
use registers::{control, error, flag, interrupt, line, writable};

mod fifo;
pub mod registers;

pub use fifo::FIFO_DEPTH;

/// The UART's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pl011 {
    version: Version<1>,
    received: Fifo,
    transmitted: Fifo,
    /// DR.OE: a byte was lost since the receive FIFO last had room.
    overrun: bool,
    /// RSR: the errors of the entry last read, and OE until cleared.
    status: u32,
    low_power_counter: u32,
    integer_divisor: u32,
    fractional_divisor: u32,
    line_control: u32,
    control: u32,
    fifo_levels: u32,
    mask: u32,
    raw_interrupts: u32,
    dma_control: u32,
}

impl Default for Pl011 {
    fn default() -> Self {
        Self {
            version: Version,
            received: Fifo::default(),
            transmitted: Fifo::default(),
            overrun: false,
            status: 0,
            low_power_counter: 0,
            integer_divisor: 0,
            fractional_divisor: 0,
            line_control: 0,
            control: 0x300,
            fifo_levels: 0x12,
            mask: 0,
            raw_interrupts: 0,
            dma_control: 0,
        }
    }
}

impl Pl011 {
    /// A UART after reset.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the interrupt line UARTINTR is high: it is a level, to be looked at after each call.
    #[must_use]
    pub fn irq_asserted(&self) -> bool {
        self.raw_interrupts & self.mask != 0
    }

    /// Takes input from outside, as much as there is room for, and returns how many bytes that was.
    ///
    /// In loopback the input is disconnected and nothing is taken. When less than all was taken, offer the rest
    /// after the guest's next access.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        if self.loopback() {
            return 0;
        }
        let room = self.depth().saturating_sub(self.received.len());
        let taken = room.min(bytes.len());
        for byte in bytes.iter().take(taken) {
            self.push_received(u16::from(*byte));
        }
        if taken > 0 {
            self.pause_input();
        }
        taken
    }

    /// Takes a break condition from outside, if there is room for it, and returns how many entries that was. As with
    /// [`Pl011::receive`], offer it again after the guest's next access when it was not taken.
    pub fn receive_break(&mut self) -> usize {
        if self.loopback() || self.received.len() >= self.depth() {
            return 0;
        }
        self.push_received(error::BREAK);
        self.pause_input();
        1
    }

    /// Takes the oldest byte that the guest has sent. Until it is taken the FIFO fills and the guest waits.
    pub fn take_output(&mut self) -> Option<u8> {
        let byte = self.transmitted.pop()?;
        // Arm's UART raises this on the way down through the level. Raised here whenever a byte has left and the
        // level is low, which no driver can miss.
        if self.transmitted.len() <= self.transmit_level() {
            self.raw_interrupts |= interrupt::TX;
        }
        Some(byte as u8)
    }

    /// Whether there is a byte that the guest has sent and nobody has taken.
    #[must_use]
    pub fn holds_output(&self) -> bool {
        !self.transmitted.is_empty()
    }

    fn loopback(&self) -> bool {
        self.control & control::LBE != 0
    }

    fn depth(&self) -> usize {
        if self.line_control & line::FEN != 0 { FIFO_DEPTH } else { 1 }
    }

    /// The entries at which the receive interrupt is raised.
    fn receive_level(&self) -> usize {
        if self.line_control & line::FEN != 0 { level(self.fifo_levels >> 3) } else { 1 }
    }

    /// The entries down to which the transmit interrupt is raised.
    fn transmit_level(&self) -> usize {
        if self.line_control & line::FEN != 0 { level(self.fifo_levels) } else { 0 }
    }

    fn push_received(&mut self, entry: u16) {
        if self.received.len() >= self.depth() {
            self.overrun = true;
            self.status |= u32::from(error::OVERRUN >> 8);
            self.raw_interrupts |= interrupt::OE;
            return;
        }
        self.received.push(entry);
        if entry & error::BREAK != 0 {
            self.raw_interrupts |= interrupt::BE;
        }
        if self.received.len() >= self.receive_level() {
            self.raw_interrupts |= interrupt::RX;
        }
    }

    /// No input follows for now: the receive timeout has passed.
    fn pause_input(&mut self) {
        if !self.received.is_empty() {
            self.raw_interrupts |= interrupt::RT;
        }
    }

    fn read_data(&mut self) -> u32 {
        let Some(entry) = self.received.pop() else { return 0 };
        let overrun = if self.overrun { error::OVERRUN } else { 0 };
        self.overrun = false;
        let sticky = self.status & u32::from(error::OVERRUN >> 8);
        self.status = sticky | u32::from(entry >> 8);
        if self.received.len() < self.receive_level() {
            self.raw_interrupts &= !interrupt::RX;
        }
        if self.received.is_empty() {
            self.raw_interrupts &= !interrupt::RT;
        }
        u32::from(entry | overrun)
    }

    fn write_data(&mut self, byte: u8) {
        if self.loopback() {
            self.push_received(u16::from(byte));
            self.pause_input();
            self.raw_interrupts |= interrupt::TX;
            return;
        }
        if self.transmitted.len() < self.depth() {
            self.transmitted.push(u16::from(byte));
        }
        if self.transmitted.len() > self.transmit_level() {
            self.raw_interrupts &= !interrupt::TX;
        }
    }

    fn write_line_control(&mut self, value: u32) {
        let old = core::mem::replace(&mut self.line_control, value & writable::LCR_H);
        let changed = old ^ self.line_control;
        if changed & line::FEN != 0 {
            // Turning the FIFOs on or off empties the receiver. What was sent is on its way out already.
            self.received.clear();
            self.raw_interrupts &= !(interrupt::RX | interrupt::RT);
        }
        if changed & self.line_control & line::BRK != 0 && self.loopback() {
            self.push_received(error::BREAK);
            self.pause_input();
        }
    }

    fn write_control(&mut self, value: u32) {
        let old = self.modem_status();
        self.control = value & writable::CR;
        let changed = old ^ self.modem_status();
        for (input, raised) in [
            (flag::CTS, interrupt::CTS),
            (flag::DSR, interrupt::DSR),
            (flag::DCD, interrupt::DCD),
            (flag::RI, interrupt::RI),
        ] {
            if changed & input != 0 {
                self.raw_interrupts |= raised;
            }
        }
    }

    /// The modem inputs, as bits of FR: in loopback they are the outputs, else nothing is connected.
    fn modem_status(&self) -> u32 {
        if !self.loopback() {
            return 0;
        }
        [
            (control::RTS, flag::CTS),
            (control::DTR, flag::DSR),
            (control::OUT1, flag::DCD),
            (control::OUT2, flag::RI),
        ]
        .into_iter()
        .filter(|(output, _)| self.control & output != 0)
        .fold(0, |status, (_, input)| status | input)
    }

    fn write_fifo_levels(&mut self, value: u32) {
        self.fifo_levels = value & writable::IFLS;
        if self.received.len() >= self.receive_level() {
            self.raw_interrupts |= interrupt::RX;
        } else {
            self.raw_interrupts &= !interrupt::RX;
        }
    }

    fn flags(&self) -> u32 {
        let receiver = match self.received.len() {
            0 => flag::RXFE,
            len if len >= self.depth() => flag::RXFF,
            _ => 0,
        };
        let transmitter = match self.transmitted.len() {
            0 => flag::TXFE,
            len if len >= self.depth() => flag::TXFF | flag::BUSY,
            _ => flag::BUSY,
        };
        receiver | transmitter | self.modem_status()
    }

    fn read_register(&mut self, offset: u64) -> u32 {
        match offset {
            registers::DR => self.read_data(),
            registers::RSR => self.status,
            registers::FR => self.flags(),
            registers::ILPR => self.low_power_counter,
            registers::IBRD => self.integer_divisor,
            registers::FBRD => self.fractional_divisor,
            registers::LCR_H => self.line_control,
            registers::CR => self.control,
            registers::IFLS => self.fifo_levels,
            registers::IMSC => self.mask,
            registers::RIS => self.raw_interrupts,
            registers::MIS => self.raw_interrupts & self.mask,
            registers::DMACR => self.dma_control,
            _ => primecell::identification(offset, registers::ID),
        }
    }

    fn write_register(&mut self, offset: u64, value: u32) {
        match offset {
            registers::DR => self.write_data(value as u8),
            registers::RSR => self.status = 0,
            registers::ILPR => self.low_power_counter = value & writable::ILPR,
            registers::IBRD => self.integer_divisor = value & writable::IBRD,
            registers::FBRD => self.fractional_divisor = value & writable::FBRD,
            registers::LCR_H => self.write_line_control(value),
            registers::CR => self.write_control(value),
            registers::IFLS => self.write_fifo_levels(value),
            registers::IMSC => self.mask = value & writable::IMSC,
            registers::ICR => self.raw_interrupts &= !value,
            registers::DMACR => self.dma_control = value & writable::DMACR,
            _ => {}
        }
    }
}

/// The entries that an IFLS field stands for; its reserved values count as the highest level.
fn level(field: u32) -> usize {
    match field & 7 {
        0 => FIFO_DEPTH / 8,
        1 => FIFO_DEPTH / 4,
        2 => FIFO_DEPTH / 2,
        3 => FIFO_DEPTH * 3 / 4,
        _ => FIFO_DEPTH * 7 / 8,
    }
}

impl MmioDevice for Pl011 {
    fn read(&mut self, offset: u64, width: Width) -> u64 {
        primecell::read(offset, width, |at| self.read_register(at))
    }

    fn write(&mut self, offset: u64, width: Width, value: u64) {
        primecell::write(offset, width, value, |at, word| self.write_register(at, word));
    }

    fn label(&self) -> &'static str {
        "PL011 UART"
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

impl DeviceModel for Pl011 {
    fn power_on(_now: Time) -> Self {
        Self::new()
    }

    #[inline]
    fn irq_line(&self) -> bool {
        self.irq_asserted()
    }
}

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The board's PL011, driven with as little as possible: the firmware has set its speed.

use vambrace_hypervisor::boot::board;
use vambrace_hypervisor::console::serial::{Interrupt, Transmitter};
use vambrace_machine::vm::Input;

const DR: usize = 0x00;
const FR: usize = 0x18;
const CR: usize = 0x30;
const IFLS: usize = 0x34;
const IMSC: usize = 0x38;
const ICR: usize = 0x44;

/// A received entry is a break condition.
const DR_BE: u32 = 1 << 10;
const FR_RXFE: u32 = 1 << 4;
const FR_TXFF: u32 = 1 << 5;
/// UARTEN, TXE, RXE.
const CR_ON: u32 = 0x301;
const FR_BUSY: u32 = 1 << 3;
/// Receive and receive-timeout.
const RECEIVE_INTERRUPTS: u32 = 1 << 4 | 1 << 6;
const TRANSMIT_INTERRUPT: u32 = 1 << 5;

/// Whether what is received interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// It does.
    On,
    /// It stays in the UART.
    Off,
}

/// A PL011 that EL2 owns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uart {
    base: *mut u32,
}

// SAFETY: the registers are a device's, reachable alike from every CPU; exclusion is the owner's lock.
unsafe impl Send for Uart {}

impl Uart {
    /// Takes the UART over.
    ///
    /// # Safety
    /// `uart.base` must be a PL011's registers, mapped as Device memory (or the MMU off), and driven by nobody else.
    pub(crate) unsafe fn new(uart: board::Uart) -> Self {
        let this = Self { base: core::ptr::with_exposed_provenance_mut(uart.base.0 as usize) };
        this.write(CR, CR_ON);
        this
    }

    fn read(&self, offset: usize) -> u32 {
        // SAFETY: the constructor's contract; the offsets above lie inside the frame.
        unsafe { self.base.byte_add(offset).read_volatile() }
    }

    fn write(&self, offset: usize, value: u32) {
        // SAFETY: the constructor's contract; the offsets above lie inside the frame.
        unsafe { self.base.byte_add(offset).write_volatile(value) }
    }

    /// Sends bytes, waiting while the FIFO is full: only while no vCPU could run.
    pub(crate) fn send_all(&self, bytes: &[u8]) {
        for byte in bytes {
            while self.is_full() {
                core::hint::spin_loop();
            }
            self.send(*byte);
        }
    }

    /// What was received, if there is something: a byte, or a break condition.
    pub(crate) fn receive(&self) -> Option<Input> {
        if self.read(FR) & FR_RXFE != 0 {
            return None;
        }
        let data = self.read(DR);
        Some(if data & DR_BE != 0 { Input::Break } else { Input::Key(data as u8) })
    }

    /// Makes the interrupts ready.
    pub(crate) fn start_interrupts(&self) {
        self.write(IFLS, 0);
        self.write(ICR, 0x7FF);
    }

    /// Lets received bytes interrupt, or not.
    pub(crate) fn listen(&self, listen: Listen) {
        self.mask(RECEIVE_INTERRUPTS, listen == Listen::On);
    }

    /// Lets interrupts through, or not. The console's lock keeps others from doing so at the same time.
    fn mask(&self, interrupts: u32, through: bool) {
        let others = self.read(IMSC) & !interrupts;
        self.write(IMSC, if through { others | interrupts } else { others });
    }

    /// Whether it has not sent all that it was given.
    pub(crate) fn is_busy(&self) -> bool {
        self.read(FR) & FR_BUSY != 0
    }

    /// Ends a receive interrupt.
    pub(crate) fn acknowledge(&self) {
        self.write(ICR, RECEIVE_INTERRUPTS);
    }
}

impl Transmitter for Uart {
    fn is_full(&self) -> bool {
        self.read(FR) & FR_TXFF != 0
    }

    fn send(&self, byte: u8) {
        self.write(DR, u32::from(byte));
    }

    fn set_interrupt(&self, interrupt: Interrupt) {
        self.mask(TRANSMIT_INTERRUPT, interrupt == Interrupt::On);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tells what is typed on its console, a line at a time: how many bytes and breaks, and what they sum up to. A line that
//! begins with `q` is the last.
//!
//! The console is a UART if there is one, else a virtio console. Nothing of it is looked at until its interrupt comes. With
//! `deaf` nothing ever is: the program spins. With `second` it is the second CPU that listens to the UART, and the first spins
//! until that has heard the last line.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::machine::Machine;
use crate::{console, cpu, gic, mmio, smp};
use port::Port;

mod port;

/// UARTLCR_H, with the FIFOs on; UARTIMSC and UARTICR.
const LCR_H: u64 = 0x2C;
const FIFOS: u32 = 1 << 4;
const IMSC: u64 = 0x38;
const ICR: u64 = 0x44;
/// Receive and receive-timeout.
const RECEIVE: u32 = 1 << 4 | 1 << 6;
/// Of the data register: a break was received.
const BREAK: u32 = 1 << 10;
const RXFE: u32 = 1 << 4;
/// The UART's interrupt, as on QEMU's `virt`.
const UART_INTID: u32 = 33;

/// The second CPU has heard the last line.
static IS_OVER: AtomicBool = AtomicBool::new(false);

/// Runs the program.
pub fn run(machine: &Machine) {
    if machine.parameter("deaf").is_some() {
        println!("guest: deaf");
        loop {
            cpu::relax();
        }
    }
    gic::init_distributor();
    if machine.parameter("second").is_some() {
        let affinity = machine.cpus().nth(1).unwrap_or(0);
        check_eq!(smp::start(1, affinity, listen_there), Ok(()), "the second CPU starts");
        while !IS_OVER.load(Ordering::Acquire) {
            // Where instructions are counted, a hint would be slow.
            core::hint::black_box(());
        }
    } else if machine.device("arm,pl011").is_some() {
        listen_to_uart();
    } else if let Some((mut port, intid)) = Port::find(machine) {
        listen(&mut port, intid);
    }
}

fn listen_there() {
    gic::route(UART_INTID, cpu::affinity());
    listen_to_uart();
    IS_OVER.store(true, Ordering::Release);
}

fn listen_to_uart() {
    mmio::write32(console::uart() + LCR_H, FIFOS);
    mmio::write32(console::uart() + IMSC, RECEIVE);
    listen(&mut Uart, UART_INTID);
}

/// Something was typed.
enum Key {
    Byte(u8),
    Break,
}

/// A console.
trait Terminal: Write {
    /// The next thing that was typed, if it is there.
    fn read(&mut self) -> Option<Key>;

    /// Ends its interrupt.
    fn acknowledge(&mut self);
}

struct Uart;

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        console::print(format_args!("{text}"));
        Ok(())
    }
}

impl Terminal for Uart {
    fn read(&mut self) -> Option<Key> {
        if mmio::read32(console::uart() + console::FR) & RXFE != 0 {
            return None;
        }
        let data = mmio::read32(console::uart() + console::DR);
        Some(if data & BREAK != 0 { Key::Break } else { Key::Byte(data as u8) })
    }

    fn acknowledge(&mut self) {
        mmio::write32(console::uart() + ICR, RECEIVE);
    }
}

/// A line so far.
#[derive(Default)]
struct Line {
    bytes: u64,
    breaks: u64,
    sum: u64,
    first: u8,
}

fn listen(terminal: &mut impl Terminal, intid: u32) {
    // Interrupts stay masked: one that is pending ends the wait.
    cpu::mask_interrupts();
    gic::init_cpu();
    gic::enable(intid);
    // Whoever types begins when it reads this, and not before.
    let _ = writeln!(terminal, "guest: terminal");
    let mut line = Line::default();
    loop {
        cpu::wait_for_interrupt();
        let pending = gic::acknowledge();
        terminal.acknowledge();
        while let Some(key) = terminal.read() {
            if line.take(&key) {
                let Line { bytes, breaks, sum, first } = core::mem::take(&mut line);
                let _ = writeln!(terminal, "guest: {bytes} bytes, {breaks} breaks, sum {sum}");
                if first == b'q' {
                    return;
                }
            }
        }
        if pending < gic::SPURIOUS - 3 {
            gic::end(pending);
        }
    }
}

impl Line {
    /// Takes a key; says whether it ends the line. The sum depends on the order.
    fn take(&mut self, key: &Key) -> bool {
        match key {
            Key::Byte(b'\n') => return true,
            Key::Byte(byte) => {
                if self.bytes == 0 {
                    self.first = *byte;
                }
                self.bytes += 1;
                self.sum = self.sum.wrapping_mul(31).wrapping_add((*byte).into());
            }
            Key::Break => {
                self.breaks += 1;
                self.sum = self.sum.wrapping_mul(31).wrapping_add(256);
            }
        }
        false
    }
}

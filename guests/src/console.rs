// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PL011 as a console, or what of it an SBSA UART has.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};

use crate::machine::Machine;
use crate::probe;
use crate::sync::Lock;

/// Offset of the data register.
pub const DR: u64 = 0;
/// Offset of the flag register.
pub const FR: u64 = 0x18;
const RXFE: u64 = 1 << 4;
const TXFF: u64 = 1 << 5;

/// Where it lies; until the device tree has told, where it lies on QEMU's `virt`.
static UART: AtomicU64 = AtomicU64::new(0x0900_0000);

/// The UART's address.
#[must_use]
pub fn uart() -> u64 {
    UART.load(Ordering::Relaxed)
}

/// Looks where the device tree has the UART.
pub(crate) fn find(machine: &Machine) {
    let device = ["arm,pl011", "arm,sbsa-uart"].into_iter().find_map(|name| machine.device(name));
    if let Some((address, _)) = device.and_then(|mut ranges| ranges.next()) {
        UART.store(address, Ordering::Relaxed);
    }
}

struct Uart;

static CONSOLE: Lock<Uart> = Lock::new(Uart);

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while probe::read(uart() + FR, 4).is_ok_and(|flags| flags & TXFF != 0) {}
            probe::write(uart() + DR, 4, u64::from(byte)).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

/// Prints a line at a time; used by `println!`.
pub fn print(arguments: fmt::Arguments<'_>) {
    // A UART that faults leaves nowhere to complain.
    let _ = CONSOLE.with(|uart| uart.write_fmt(arguments));
}

/// A byte of input, if there is one.
#[must_use]
pub fn read_byte() -> Option<u8> {
    if probe::read(uart() + FR, 4).ok()? & RXFE != 0 {
        return None;
    }
    probe::read(uart() + DR, 4).ok().map(|data| data as u8)
}

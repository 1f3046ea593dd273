// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PL011 as a console.

use core::fmt::{self, Write};

use crate::probe;
use crate::sync::Lock;

/// The UART's address.
pub const UART: u64 = 0x0900_0000;
/// Data register.
pub const DR: u64 = UART;
/// Flag register.
pub const FR: u64 = UART + 0x18;
const RXFE: u64 = 1 << 4;
const TXFF: u64 = 1 << 5;

struct Uart;

static CONSOLE: Lock<Uart> = Lock::new(Uart);

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while probe::read(FR, 4).is_ok_and(|flags| flags & TXFF != 0) {}
            probe::write(DR, 4, u64::from(byte)).map_err(|_| fmt::Error)?;
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
    if probe::read(FR, 4).ok()? & RXFE != 0 {
        return None;
    }
    probe::read(DR, 4).ok().map(|data| data as u8)
}

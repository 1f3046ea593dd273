// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this program and the VM say, a line at a time: each write to the console costs the kernel thousands of
//! instructions.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use crate::linux::CONSOLE;

/// The longest line; what is longer is written in parts.
const LINE: usize = 2048;

struct Line {
    bytes: [u8; LINE],
    len: usize,
}

impl Line {
    fn put(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
        if byte == b'\n' || self.len == LINE {
            CONSOLE.write(self.bytes.get(..self.len).unwrap_or_default());
            self.len = 0;
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.put(byte));
        Ok(())
    }
}

/// The line that the VM writes. One of its vCPUs does so at a time, as their own console has a lock.
static mut LINE_OF_VM: Line = Line { bytes: [0; LINE], len: 0 };
static TAKEN: AtomicBool = AtomicBool::new(false);

/// A character from the VM.
pub(crate) fn put(byte: u8) {
    while TAKEN.swap(true, Ordering::Acquire) {}
    let line = &raw mut LINE_OF_VM;
    // SAFETY: `TAKEN` was false, so nobody else is here.
    unsafe { (*line).put(byte) };
    TAKEN.store(false, Ordering::Release);
}

/// Prints a line of this program's own; used by `println!`.
pub(crate) fn print(arguments: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; LINE], len: 0 };
    let _ = line.write_fmt(arguments);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's log of the instructions it runs (`-d exec,cpu,nochain`, one instruction a block), read as it comes.
//!
//! ```text
//! Trace 0: 0x7f71a4000100 [00000000/0000000040000000/00000461/ff022201]
//!  PC=0000000040000000 X00=0000000000000000 X01=0000000000000000
//! X02=0000000000000000 ... X30=0000000000000000  SP=0000000000000000
//! PSTATE=400003c9 -Z-- EL2h
//! ```
//!
//! The number behind `Trace` is the CPU's; the registers are those from before the instruction.

use std::io::{self, BufRead};

/// An instruction that is about to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoggedInstruction {
    /// Which physical CPU.
    pub(super) cpu: usize,
    /// Its address.
    pub(super) pc: u64,
    /// X0 to X30.
    pub(super) x: [u64; 31],
    /// The stack pointer in use.
    pub(super) sp: u64,
}

/// Reads a log.
pub(super) struct Log<R> {
    input: R,
    line: Vec<u8>,
    /// Lines that are no part of the log, which is where QEMU complains.
    pub(super) complaints: String,
}

impl<R: BufRead> Log<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, line: Vec::new(), complaints: String::new() }
    }

    /// The next instruction, or `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<LoggedInstruction>> {
        let mut step = LoggedInstruction { cpu: 0, pc: 0, x: [0; 31], sp: 0 };
        loop {
            self.line.clear();
            if self.input.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            if let Some(rest) = self.line.strip_prefix(b"Trace ") {
                step.cpu = decimal(rest);
            } else if self.line.starts_with(b"PSTATE=") {
                return Ok(Some(step));
            } else if self.line.starts_with(b"X") || self.line.starts_with(b" PC=") {
                self.line.split(|byte| *byte == b' ').for_each(|word| step.set(word));
            } else if !self.line.starts_with(b"Stopped execution") {
                self.complaints.push_str(&String::from_utf8_lossy(&self.line));
            }
        }
    }
}

impl LoggedInstruction {
    /// Takes in a word such as `X07=000000000000002a`.
    fn set(&mut self, word: &[u8]) {
        let Some((name, value)) =
            word.split_at_checked(word.iter().position(|byte| *byte == b'=').unwrap_or(0))
        else {
            return;
        };
        let value = hexadecimal(value.get(1..).unwrap_or_default());
        match name {
            b"PC" => self.pc = value,
            b"SP" => self.sp = value,
            [b'X', number @ ..] => {
                if let Some(register) = self.x.get_mut(decimal(number)) {
                    *register = value;
                }
            }
            _ => {}
        }
    }
}

/// The number that the text begins with.
fn decimal(text: &[u8]) -> usize {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

fn hexadecimal(text: &[u8]) -> u64 {
    text.iter()
        .map_while(|byte| char::from(*byte).to_digit(16))
        .fold(0, |number, digit| number << 4 | u64::from(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_read_and_complaints_are_kept() {
        let text = "qemu: something is odd\n\
            Trace 1: 0x7f71a4000100 [00000000/0000000040000004/00000461/ff022201] \n \
            PC=0000000040000004 X00=0000000048200000 X01=0000000000000001\n\
            X30=00000000000000ff  SP=0000000044030010\nPSTATE=400003c9 -Z-- EL2h\n\
            Stopped execution of TB chain before 0x7f [0000000040000004] \n\
            Trace 0: 0x7f71a4000100 [00000000/0000000040000008/00000461/ff022201] \n";
        let mut log = Log::new(text.as_bytes());
        let mut x = [0; 31];
        (x[0], x[1], x[30]) = (0x4820_0000, 1, 0xFF);
        assert_eq!(
            log.next().unwrap(),
            Some(LoggedInstruction { cpu: 1, pc: 0x4000_0004, x, sp: 0x4403_0010 })
        );
        assert_eq!(log.next().unwrap(), None);
        assert_eq!(log.complaints, "qemu: something is odd\n");
    }
}

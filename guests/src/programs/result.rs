// SPDX-License-Identifier: MIT OR Apache-2.0
//! Gives the hypervisor a number as its result, and turns off: how a test that runs bare says how it went.
//!
//! Parameters: `number=N` is the result, by default 0; with `ask` it is the number in the first line that is typed.

use arrayvec::ArrayString;

use crate::console;
use crate::machine::Machine;
use crate::result;

/// More of a line is not read.
const LONGEST: usize = 64;

/// Runs the program.
pub fn run(machine: &Machine) {
    let number = if machine.parameter("ask").is_some() { ask() } else { machine.number("number", 0) as u32 };
    match result::give(number) {
        Ok(()) => println!("guest: result {number} given"),
        Err(code) => println!("guest: result {number} not taken: {code}"),
    }
}

/// The number in the line that is typed; the highest there is, if it is none.
fn ask() -> u32 {
    println!("guest: which result?");
    let mut line = ArrayString::<LONGEST>::new();
    loop {
        match console::read_byte() {
            Some(b'\n' | b'\r') => break,
            Some(byte) => _ = line.try_push(char::from(byte)),
            None => {}
        }
    }
    println!("guest: heard {line}");
    line.trim().parse().unwrap_or(u32::MAX)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Says hello, with what it finds, and turns off. `name=NAME` adds a name to the line.

use crate::cpu;
use crate::machine::Machine;

/// Runs the program.
pub fn run(machine: &Machine) {
    let (level, cpus, (_, memory)) = (cpu::exception_level(), machine.cpu_count(), machine.memory());
    println!("guest: hello from EL{level}, cpus={cpus} memory={}{}", memory / 1024, Name(machine.parameter("name")));
}

/// The end of the line.
struct Name<'a>(Option<&'a str>);

impl core::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.map_or(Ok(()), |name| write!(f, " name={name}"))
    }
}

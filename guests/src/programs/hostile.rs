// SPDX-License-Identifier: MIT OR Apache-2.0
//! Does what a guest should not do, and checks that it gets the architecture's answer.
//!
//! Parameters: `modes=a,b,...` chooses some of `unmapped`, `code`, `jump`, `registers`, `calls`, `psci`,
//! `set-way`, `sgi`, `gic`, `virtio`; all of them otherwise. `limit=GIB` (1024) is where `unmapped` ends. `rounds=N`
//! repeats them. `spin=SECONDS` ends with a loop with interrupts masked, endless for `spin=0`.

use crate::machine::Machine;
use crate::{report, timer};

mod calls;
mod memory;
mod registers;
mod virtio;

/// Turns of an empty loop between two looks at the counter.
const LOOK: u32 = 10_000;

/// Numbers that look random and are the same each time (xorshift64).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Runs the program.
pub fn run(machine: &Machine) {
    type Mode = fn(&Machine);
    let modes: [(&str, Mode); 10] = [
        ("unmapped", memory::unmapped),
        ("code", memory::code),
        ("jump", memory::jump),
        ("registers", registers::unknown),
        ("calls", calls::unknown),
        ("psci", calls::psci_garbage),
        ("set-way", memory::set_way),
        ("sgi", registers::sgi_to_nobody),
        ("gic", registers::gic_garbage),
        ("virtio", virtio::garbage),
    ];
    let chosen = machine.parameter("modes");
    for _ in 0..machine.number("rounds", 1) {
        for (name, mode) in modes {
            if chosen.is_none_or(|chosen| chosen.split(',').any(|word| word == name)) {
                mode(machine);
            }
        }
    }
    report::finish("hostile");
    if machine.parameter("spin").is_some() {
        let seconds = machine.number("spin", 0);
        println!("guest: spins");
        let start = timer::now();
        while seconds == 0 || timer::now() - start < seconds * timer::frequency() {
            // Where instructions are counted, each look at the counter is slow.
            (0..LOOK).for_each(|turn| _ = core::hint::black_box(turn));
        }
    }
}

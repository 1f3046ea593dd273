// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long a machine takes to come to its first instruction: after power-on, and after its own reset.
//!
//! With counted instructions the physical count is 0 at the board's reset, so that its value at the first instruction of
//! this program is all that went before: a hypervisor's start, or a few instructions of QEMU's loader.

use crate::machine::Machine;
use crate::{psci, timer};

/// The physical count before which this is the first boot: no machine takes as long to start.
const FIRST_BOOT: u64 = 10_000_000;

/// The physical count at this program's first instruction. Reading it may trap, so it may be some hundred too high.
fn started_at(machine: &Machine) -> u64 {
    let virtual_now = timer::now();
    let physical_now = physical_count();
    physical_now.wrapping_sub(virtual_now).wrapping_add(machine.started())
}

fn physical_count() -> u64 {
    read_register!("cntpct_el0")
}

fn tell(name: &str, count: u64) {
    println!("bench: {name} {count} {count} {count}");
}

/// Tells how long the start took.
pub(super) fn start(machine: &Machine) {
    tell("start", started_at(machine));
}

/// Tells how long the machine took from switching its CPU on to here, in ticks of the virtual counter.
pub(super) fn first_instruction(machine: &Machine) {
    println!("bench: first-instruction {}", machine.started());
}

/// In its first boot, resets the machine; in the next, the count before and at the first instruction are both on the
/// console: `bench: reset-at COUNT`, `bench: restarted-at COUNT`.
pub(super) fn reset(machine: &Machine) -> bool {
    let started = started_at(machine);
    if started > FIRST_BOOT {
        println!("bench: restarted-at {started}");
        return true;
    }
    while physical_count() <= FIRST_BOOT {}
    println!("bench: resetting");
    println!("bench: reset-at {}", physical_count());
    psci::system_reset()
}

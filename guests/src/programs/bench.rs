// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an exit costs, in ticks of the virtual counter: with counted instructions (`-icount shift=0`, counter at 1 GHz)
//! one tick is one instruction.
//!
//! Each operation is measured by itself, many times: the counter before it, the operation, the counter after it,
//! less what an empty measurement takes. So a rare slow one shows in the maximum and cannot hide in a mean. Interrupts go
//! to vectors of this program's own, whose first instruction reads the counter.
//!
//! A line for each operation: `bench: NAME MIN MEDIAN MAX`. Parameters: `rounds=N` (200), `native`, `quiet` (no such lines:
//! for whoever watches the instructions and reads the [`marks`]), and `suite=`, since each needs a machine of its own:
//!
//! - `one` (as without it): one CPU by itself.
//! - `pair`: two CPUs that interrupt each other.
//! - `shared`: two CPUs that are vCPUs of one physical CPU, and take turns.
//! - `reset`: the machine resets itself once.
//! - `boot`: tells when it came to its first instruction, and no more.
//! - `sleep`: sleeps for ever, beside others that are measured.

#[macro_use]
mod marks;
mod boot;
mod operations;
mod pair;
mod shared;

pub(super) use operations::Operation;

use crate::machine::Machine;
use crate::{cpu, gic, timer};

/// The most rounds; their samples are on the stack.
const MAX_ROUNDS: usize = 1000;
/// Rounds before the first that counts.
const WARM_UP: usize = 3;

/// Runs the program.
pub fn run(machine: &Machine) {
    set_up_cpu();
    let bench = Bench::of(machine);
    let is_done = match machine.parameter("suite") {
        Some("pair") => pair::run(&bench, machine),
        Some("shared") => shared::run(&bench, machine),
        Some("reset") => boot::reset(machine),
        Some("sleep") => loop {
            cpu::wait_for_interrupt();
        },
        Some("boot") => {
            boot::first_instruction(machine);
            true
        }
        _ => {
            boot::start(machine);
            bench.measure_all(operations::ALONE);
            true
        }
    };
    cpu::mask_interrupts();
    marks::end();
    println!("bench: {}", if is_done { "done" } else { "failed" });
}

/// This CPU's interrupts and vectors; the first one sets up what all share too.
fn set_up_cpu() {
    if cpu::index() == 0 {
        gic::enable_distributor();
    }
    gic::init_cpu();
    gic::enable(timer::VIRTUAL_INTID);
    gic::enable(operations::SGI);
    operations::take_interrupts();
}

/// What the operations of a suite have in common.
pub(super) struct Bench {
    rounds: usize,
    is_native: bool,
    is_quiet: bool,
}

/// What the rounds of an operation took.
struct Figures {
    min: u64,
    median: u64,
    max: u64,
}

impl Bench {
    /// By the program's parameters.
    pub(super) fn of(machine: &Machine) -> Self {
        Self {
            rounds: (machine.number("rounds", 200) as usize).clamp(1, MAX_ROUNDS),
            is_native: machine.is_native(),
            is_quiet: machine.parameter("quiet").is_some(),
        }
    }

    /// Measures what exists here, and prints it.
    pub(super) fn measure_all(&self, operations: &[Operation]) {
        let mut samples = [0; MAX_ROUNDS];
        let samples = samples.get_mut(..self.rounds).unwrap_or_default();
        let empty = measure(&operations::EMPTY, 0, samples).min;
        for operation in operations {
            if self.is_native && !operation.exists_natively {
                continue;
            }
            let rounds = samples.len().div_ceil(operation.rounds_divided_by);
            let samples = samples.get_mut(..rounds).unwrap_or_default();
            marks::operation(operation.name, operation.channel);
            let Figures { min, median, max } =
                measure(operation, if operation.is_timed_inside { 0 } else { empty }, samples);
            if !self.is_quiet {
                println!("bench: {} {min} {median} {max}", operation.name);
            }
        }
    }
}

/// Measures an operation; `overhead` is taken off each sample.
fn measure(operation: &Operation, overhead: u64, samples: &mut [u64]) -> Figures {
    for _ in 0..WARM_UP {
        let _ = (operation.run)();
    }
    for sample in samples.iter_mut() {
        *sample = (operation.run)().saturating_sub(overhead);
    }
    if operation.writes_to_the_console {
        println!("");
    }
    samples.sort_unstable();
    let at = |index: usize| samples.get(index).copied().unwrap_or(0);
    Figures { min: at(0), median: at(samples.len() / 2), max: at(samples.len().saturating_sub(1)) }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an exit costs, in ticks of the virtual counter: with counted instructions (`-icount shift=0`, counter at 1 GHz)
//! one tick is one instruction.
//!
//! Each operation is measured by itself, many times: the counter before it, the operation, the counter after it,
//! less what an empty measurement takes. So a rare slow one shows in the maximum and cannot hide in a mean. Interrupts go
//! to vectors of this program's own, whose first instruction reads the counter.
//!
//! A line for each operation: `bench: NAME MIN MEDIAN MAX`. Parameters: `rounds=N` (200), `native`.

mod operations;

use operations::{OPERATIONS, Operation};

use crate::machine::Machine;
use crate::{cpu, gic, timer};

/// The most rounds.
const MAX_ROUNDS: usize = 2000;
/// Rounds before the first that counts.
const WARM_UP: usize = 3;

/// Runs the program.
pub fn run(machine: &Machine) {
    let rounds = (machine.number("rounds", 200) as usize).clamp(1, MAX_ROUNDS);
    gic::init_distributor();
    gic::init_cpu();
    gic::enable(timer::VIRTUAL_INTID);
    gic::enable(operations::SGI);
    operations::take_interrupts();
    let mut samples = [0; MAX_ROUNDS];
    let empty = measure(&operations::EMPTY, 0, &mut samples[..rounds]);
    println!("bench: counter {} {} {}", empty.min, empty.median, empty.max);
    for operation in OPERATIONS {
        if machine.is_native() && !operation.exists_natively {
            continue;
        }
        let found = measure(operation, if operation.is_timed_inside { 0 } else { empty.min }, &mut samples[..rounds]);
        println!("bench: {} {} {} {}", operation.name, found.min, found.median, found.max);
    }
    cpu::mask_interrupts();
    println!("bench: done");
}

/// What the rounds of an operation took.
struct Figures {
    min: u64,
    median: u64,
    max: u64,
}

/// Measures an operation; `overhead` is taken off each sample.
fn measure(operation: &Operation, overhead: u64, samples: &mut [u64]) -> Figures {
    for _ in 0..WARM_UP {
        let _ = (operation.run)();
    }
    for sample in samples.iter_mut() {
        *sample = (operation.run)().saturating_sub(overhead);
    }
    samples.sort_unstable();
    let at = |index: usize| samples.get(index).copied().unwrap_or(0);
    Figures { min: at(0), median: at(samples.len() / 2), max: at(samples.len().saturating_sub(1)) }
}

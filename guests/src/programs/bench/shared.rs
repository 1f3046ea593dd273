// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two vCPUs of one physical CPU: what it costs to take one out of the machine and put the other in.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::operations::{Operation, SGI};
use super::{Bench, set_up_cpu};
use crate::machine::Machine;
use crate::timer::wait_for;
use crate::{cpu, gic, smp};

/// A turn lasts milliseconds: fewer rounds will do for it.
const OPERATIONS: &[Operation] = &[
    Operation::new("switch", switch).timed_inside().only_in_a_vm(),
    Operation::new("switch-at-end-of-turn", end_of_turn).timed_inside().only_in_a_vm().in_fewer_rounds(10),
];

const PATIENCE: u64 = 5;

static TO: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// The counter when the first vCPU went to sleep.
static LEFT: AtomicU64 = AtomicU64::new(0);
/// What the second then found to have passed.
static PASSED: AtomicU64 = AtomicU64::new(0);
static UP: AtomicBool = AtomicBool::new(false);
/// The second vCPU is to compute, and not to sleep.
static SPINS: AtomicBool = AtomicBool::new(false);
/// Which of the two computed last, and when.
static LAST: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Runs the suite; `false` if the second vCPU does not come along.
pub(super) fn run(bench: &Bench, machine: &Machine) -> bool {
    for (to, affinity) in TO.iter().zip(machine.cpus()) {
        to.store(gic::sgi1r(SGI, affinity), Ordering::Relaxed);
    }
    let Some(second) = machine.cpus().nth(1) else { return false };
    if smp::start(1, second, other).is_err() || !wait_for(PATIENCE, || UP.load(Ordering::Acquire)) {
        return false;
    }
    bench.measure_all(OPERATIONS);
    true
}

/// What the second vCPU does: wakes, looks at the counter, wakes the first, sleeps.
fn other() {
    set_up_cpu();
    UP.store(true, Ordering::Release);
    while !SPINS.load(Ordering::Acquire) {
        let woken = sleep(&AtomicU64::new(0));
        let left = LEFT.swap(0, Ordering::AcqRel);
        if left != 0 {
            PASSED.store(woken - left, Ordering::Release);
        }
        gic::write_sgi1r(TO[0].load(Ordering::Relaxed));
    }
    loop {
        compute(1);
    }
}

/// Sleeps until the SGI, acknowledges it; returns the counter at the first instruction. `left` gets the counter at the
/// last one before.
fn sleep(left: &AtomicU64) -> u64 {
    let woken;
    // SAFETY: interrupts are masked; `left` is writable.
    unsafe {
        asm!(
            "isb",
            "mrs x9, cntvct_el0",
            "str x9, [{left}]",
            "wfi",
            "mrs {woken}, cntvct_el0",
            left = in(reg) left.as_ptr(), woken = out(reg) woken, out("x9") _,
            options(nostack),
        );
    }
    while gic::acknowledge() != SGI {
        cpu::wait_for_interrupt();
    }
    gic::end(SGI);
    woken
}

/// The other vCPU has an interrupt to wake up for, and this one goes to sleep: to the other's first instruction.
fn switch() -> u64 {
    gic::write_sgi1r(TO[1].load(Ordering::Relaxed));
    let _ = sleep(&LEFT);
    PASSED.swap(0, Ordering::AcqRel)
}

/// Both compute: from the last instruction of the other's turn to the first of this one's, and a few of the loop.
fn end_of_turn() -> u64 {
    if !SPINS.swap(true, Ordering::AcqRel) {
        gic::write_sgi1r(TO[1].load(Ordering::Relaxed));
    }
    loop {
        if let Some(passed) = compute(0) {
            return passed;
        }
    }
}

/// A round of computing; if the other one's turn was before, how long ago that was.
fn compute(me: usize) -> Option<u64> {
    let others = LAST[1 - me].swap(0, Ordering::Relaxed);
    let now = read_register!("cntvct_el0");
    LAST[me].store(now, Ordering::Relaxed);
    (others != 0).then(|| now.saturating_sub(others))
}

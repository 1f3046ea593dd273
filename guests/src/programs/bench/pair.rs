// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts from one CPU to another.
//!
//! When instructions are counted, QEMU lets CPUs run in turns. A waiting CPU here says YIELD, at which QEMU goes on to the
//! next; so what is measured is the instructions of both sides, one after the other, and no more. On silicon the two
//! overlap: it is an upper bound.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::marks::Channel;
use super::operations::{Operation, SGI};
use super::{Bench, set_up_cpu};
use crate::machine::Machine;
use crate::timer::{PATIENCE, wait_for};
use crate::{cpu, gic, smp};

const ANSWERING: &[Operation] = &[Operation::new("ipi-round-trip", round_trip).timed_inside()];
const SLEEPING: &[Operation] =
    &[Operation::new("ipi-to-sleeping", to_sleeping).timed_inside().marked_as(Channel::Sleeper)];

/// Turns that the other CPU gets to fall asleep.
const SETTLE: usize = 20;

/// ICC_SGI1R_EL1 to the first CPU, and to the second.
static TO: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// How many interrupts the second CPU has taken.
static COUNT: AtomicU64 = AtomicU64::new(0);
/// When it took the last one.
static TAKEN: AtomicU64 = AtomicU64::new(0);
/// It sleeps, and does not answer.
static SLEEPS: AtomicBool = AtomicBool::new(false);
static STOP: AtomicBool = AtomicBool::new(false);

/// Runs the suite; `false` if the second CPU does not come along.
pub(super) fn run(bench: &Bench, machine: &Machine) -> bool {
    for (to, affinity) in TO.iter().zip(machine.cpus()) {
        to.store(gic::sgi1r(SGI, affinity), Ordering::Relaxed);
    }
    let Some(second) = machine.cpus().nth(1) else { return false };
    if smp::start(1, second, answer).is_err() || !came(1) {
        return false;
    }
    bench.measure_all(ANSWERING);
    change(&SLEEPS);
    bench.measure_all(SLEEPING);
    change(&STOP);
    true
}

/// Changes what the other CPU does; it looks after the next interrupt.
fn change(flag: &AtomicBool) {
    let before = COUNT.load(Ordering::Acquire);
    flag.store(true, Ordering::Release);
    send();
    let _ = came(before + 1);
    // Its last answer.
    // SAFETY: the vectors use x9 to x15 only, and no stack.
    unsafe {
        asm!("msr daifclr, #2", "isb", "msr daifset, #2", out("x9") _, out("x10") _, out("x11") _, out("x12") _,
            out("x13") _, out("x14") _, out("x15") _, options(nostack));
    }
}

fn came(count: u64) -> bool {
    wait_for(PATIENCE, || COUNT.load(Ordering::Acquire) >= count)
}

fn to(index: usize) -> u64 {
    TO.get(index).map_or(0, |to| to.load(Ordering::Relaxed))
}

fn send() {
    gic::write_sgi1r(to(1));
}

/// What the second CPU does.
fn answer() {
    set_up_cpu();
    COUNT.store(1, Ordering::Release);
    while !STOP.load(Ordering::Acquire) {
        let taken = if SLEEPS.load(Ordering::Acquire) { sleep() } else { wait_and_answer(to(0)) };
        TAKEN.store(taken, Ordering::Relaxed);
        COUNT.fetch_add(1, Ordering::AcqRel);
    }
}

/// Takes an interrupt, awake, and sends one back; returns when it came.
fn wait_and_answer(back: u64) -> u64 {
    let taken;
    // SAFETY: the vectors use x9 to x15 only, and no stack.
    unsafe {
        asm!(
            "mov x9, #0",
            "msr daifclr, #2",
            "2: yield",
            "cbz x9, 2b",
            "msr icc_sgi1r_el1, {back}",
            "yield",
            "msr daifset, #2",
            back = in(reg) back,
            out("x9") taken,
            out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _,
            options(nostack),
        );
    }
    taken
}

/// Takes an interrupt, asleep; returns when it came. Masked, so that none comes between the look and the WFI.
fn sleep() -> u64 {
    let taken;
    // SAFETY: as for `wait_and_answer`.
    unsafe {
        asm!(
            "mov x9, #0",
            "2: wfi",
            "msr daifclr, #2",
            "isb",
            "msr daifset, #2",
            "cbz x9, 2b",
            finish_mark!(1),
            out("x9") taken,
            out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _,
            options(nostack),
        );
    }
    taken
}

/// Sends an interrupt to a CPU that runs, which sends one back: to the first instruction of this CPU's handler.
fn round_trip() -> u64 {
    settle();
    let (before, taken): (u64, u64);
    // SAFETY: as for `wait_and_answer`.
    unsafe {
        asm!(
            "mov x9, #0",
            "msr daifclr, #2",
            "isb",
            begin_mark!(0),
            "mrs x20, cntvct_el0",
            "msr icc_sgi1r_el1, {to}",
            "2: yield",
            "cbz x9, 2b",
            finish_mark!(0),
            "msr daifset, #2",
            to = in(reg) to(1),
            out("x20") before, out("x9") taken,
            out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _,
            options(nostack),
        );
    }
    taken - before
}

/// Sends an interrupt to a CPU that sleeps: to the first instruction of that CPU's handler.
fn to_sleeping() -> u64 {
    settle();
    let count = COUNT.load(Ordering::Acquire);
    let before: u64;
    // SAFETY: reads a counter and sends an interrupt.
    unsafe {
        asm!("isb", begin_mark!(1), "mrs {before}, cntvct_el0", "msr icc_sgi1r_el1, {to}", "yield",
            to = in(reg) to(1), before = out(reg) before, options(nostack));
    }
    let _ = came(count + 1);
    TAKEN.load(Ordering::Relaxed).wrapping_sub(before)
}

/// Lets the other CPU come to where it waits.
fn settle() {
    (0..SETTLE).for_each(|_| cpu::relax());
}

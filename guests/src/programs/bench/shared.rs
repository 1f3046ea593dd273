// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two vCPUs of one physical CPU: what it costs to take one out of the machine and put the other in.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::marks::Channel;
use super::operations::{Operation, SGI};
use super::{Bench, set_up_cpu};
use crate::machine::Machine;
use crate::timer::{PATIENCE, wait_for};
use crate::{cpu, gic, smp};

/// A turn lasts milliseconds: fewer rounds will do for it.
const OPERATIONS: &[Operation] = &[
    Operation::new("switch", switch).timed_inside().only_in_a_vm().marked_as(Channel::Switch),
    Operation::new("switch-to-woken", switch_to_woken).timed_inside().only_in_a_vm().marked_as(Channel::Woken),
    Operation::new("switch-at-end-of-turn", end_of_turn)
        .timed_inside()
        .only_in_a_vm()
        .in_fewer_rounds(10)
        .marked_as(Channel::Turn),
];

/// ICC_SGI1R_EL1 to each of the two.
static TO: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// The counter at the last instruction before each fell asleep; 0 once it is awake, or somebody has looked.
static LEFT: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// What had passed when the other one ran then.
static SWITCHED: AtomicU64 = AtomicU64::new(0);
/// The counter before the first sent its interrupt; 0 once the second has looked.
static SENT: AtomicU64 = AtomicU64::new(0);
/// What had passed when the second was awake.
static WOKEN: AtomicU64 = AtomicU64::new(0);
static UP: AtomicBool = AtomicBool::new(false);
/// The second vCPU is to compute, and not to sleep.
static SPINS: AtomicBool = AtomicBool::new(false);
/// When each computed last; 0 once the other one has looked.
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
        let woken = sleep(1);
        let sent = SENT.swap(0, Ordering::AcqRel);
        if sent != 0 {
            WOKEN.store(woken - sent, Ordering::Release);
        }
        wake(1, &AtomicU64::new(0));
    }
    loop {
        compute(1);
    }
}

/// The two wake each other in turns. Whether the one that is woken runs at once or when the other sleeps is the
/// hypervisor's affair: somewhere in the round one has gone to sleep, and the other has gone on.
fn round() {
    // Only this direction is timed.
    // SAFETY: does nothing.
    unsafe { asm!(begin_mark!(3), options(nostack, nomem, preserves_flags)) };
    wake(0, &SENT);
    let _ = sleep(0);
}

/// From where one vCPU falls asleep to the next instruction of the other.
fn switch() -> u64 {
    round();
    SWITCHED.swap(0, Ordering::AcqRel)
}

/// An interrupt for a vCPU that sleeps: from before it is sent to the first instruction of the sleeper.
fn switch_to_woken() -> u64 {
    round();
    WOKEN.swap(0, Ordering::AcqRel)
}

/// Vcpu `me` sleeps until the SGI and acknowledges it; returns the counter when it was awake.
fn sleep(me: usize) -> u64 {
    let woken;
    // SAFETY: interrupts are masked; the static may be written.
    unsafe {
        asm!(
            "isb",
            begin_mark!(2),
            "mrs x9, cntvct_el0",
            "str x9, [{left}]",
            "wfi",
            "mrs {woken}, cntvct_el0",
            finish_mark!(2),
            finish_mark!(3),
            left = in(reg) LEFT[me].as_ptr(), woken = out(reg) woken, out("x9") _,
            options(nostack),
        );
    }
    LEFT[me].store(0, Ordering::Relaxed);
    note_switch(me, woken);
    while gic::acknowledge() != SGI {
        cpu::wait_for_interrupt();
    }
    gic::end(SGI);
    woken
}

/// Vcpu `me` sends the SGI to the other one; `sent` gets the counter before. It may go on only when the other one sleeps.
fn wake(me: usize, sent: &AtomicU64) {
    let after: u64;
    // SAFETY: reads the counter, sends an interrupt; `sent` may be written.
    unsafe {
        asm!(
            "dsb sy",
            "mrs x9, cntvct_el0",
            "str x9, [{sent}]",
            "msr icc_sgi1r_el1, {to}",
            "mrs {after}, cntvct_el0",
            finish_mark!(2),
            to = in(reg) TO[1 - me].load(Ordering::Relaxed), sent = in(reg) sent.as_ptr(),
            after = out(reg) after, out("x9") _,
            options(nostack),
        );
    }
    note_switch(me, after);
}

/// If the other one has fallen asleep just now, how long ago that was.
fn note_switch(me: usize, now: u64) {
    let left = LEFT[1 - me].swap(0, Ordering::AcqRel);
    if left != 0 {
        SWITCHED.store(now - left, Ordering::Release);
    }
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
    (others != 0).then(|| {
        // The turn has begun; nothing exits before the next one's end.
        // SAFETY: does nothing.
        unsafe { asm!(finish_mark!(4), begin_mark!(4), options(nostack, nomem, preserves_flags)) };
        now.saturating_sub(others)
    })
}

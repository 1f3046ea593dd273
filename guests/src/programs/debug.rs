// SPDX-License-Identifier: MIT OR Apache-2.0
//! Breakpoints: each CPU has its own, also where CPUs take turns on one, and nobody is stopped by another's.
//!
//! Two CPUs set a breakpoint each, on a function of its own, and call both functions in turns. Its own stops each of them each
//! time, the other's never; and whatever else ran in between, its registers read back what it wrote. A third one sets none,
//! and is never stopped. In the end the first one locks its OS Lock, and is not stopped either.
//!
//! Parameters: `rounds=N` (20).

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::machine::Machine;
use crate::probe::expect_fault;
use crate::timer::{PATIENCE, wait_for};
use crate::{cpu, report, smp};

/// Exception class of a breakpoint at the same level.
const BREAKPOINT: u64 = 0x31;
/// DBGBCR: enabled, at EL1, for all four bytes of the instruction.
const AT_EL1: u64 = 0xF << 5 | 0b01 << 1 | 1;
/// MDSCR_EL1: breakpoints work, at EL1 too.
const MDE_KDE: u64 = 1 << 15 | 1 << 13;

core::arch::global_asm!(
    ".global debug_target_0",
    "debug_target_0:",
    "    nop",
    "    ret",
    ".global debug_target_1",
    "debug_target_1:",
    "    nop",
    "    ret",
);

unsafe extern "C" {
    safe fn debug_target_0();
    safe fn debug_target_1();
}

fn call(index: usize) {
    if index == 0 {
        debug_target_0();
    } else {
        debug_target_1();
    }
}

fn address(index: usize) -> u64 {
    let target = if index == 0 { debug_target_0 as *const () } else { debug_target_1 as *const () };
    target as u64
}

static ROUNDS: AtomicU32 = AtomicU32::new(0);
/// CPUs that take part at most; the last one is the bystander.
const CPUS: usize = 3;
/// Rounds that each CPU has done.
static DONE: [AtomicU32; CPUS] = [const { AtomicU32::new(0) }; CPUS];
/// What went otherwise than it should.
static MISSED: AtomicU32 = AtomicU32::new(0);
static FOREIGN: AtomicU32 = AtomicU32::new(0);
static CHANGED: AtomicU64 = AtomicU64::new(0);

/// Runs the program.
pub fn run(machine: &Machine) {
    let cpus = machine.cpu_count().min(CPUS);
    ROUNDS.store(machine.number("rounds", 20) as u32, Ordering::Relaxed);
    for (index, affinity) in machine.cpus().enumerate().take(cpus).skip(1) {
        let work = if index + 1 == CPUS { stand_by } else { work };
        check_eq!(smp::start(index, affinity, work), Ok(()), "CPU {index} starts");
    }
    for absent in DONE.iter().skip(cpus) {
        absent.store(u32::MAX, Ordering::Relaxed);
    }
    work();
    check!(wait_for_all(ROUNDS.load(Ordering::Relaxed)), "{cpus} CPUs come to their end");
    check_eq!(MISSED.load(Ordering::Relaxed), 0, "each breakpoint stops its own CPU");
    check_eq!(FOREIGN.load(Ordering::Relaxed), 0, "and no other");
    check_eq!(CHANGED.load(Ordering::Relaxed), 0, "the registers are each CPU's own");
    locked(machine);
    report::finish("debug");
}

/// Waits until everyone has done so many rounds: all others run meanwhile, here or elsewhere.
fn wait_for_all(rounds: u32) -> bool {
    wait_for(PATIENCE, || DONE.iter().all(|done| done.load(Ordering::Acquire) >= rounds))
}

fn work() {
    let me = cpu::index();
    set(me);
    for round in 1..=ROUNDS.load(Ordering::Relaxed) {
        let stopped = expect_fault(|| call(me));
        let is_hit = stopped.is_err_and(|fault| fault.class() == BREAKPOINT && fault.elr == address(me));
        MISSED.fetch_add(u32::from(!is_hit), Ordering::Relaxed);
        pass_by(1 - me);
        DONE[me].store(round, Ordering::Release);
        let _ = wait_for_all(round);
    }
    // Not before: reading them would bring them back if they were lost.
    CHANGED.fetch_add(u64::from(!is_set(me)), Ordering::Relaxed);
}

/// While this CPU's OS Lock is locked nothing stops it, and what it writes is there when it unlocks. QEMU stores the lock
/// and does not obey it.
fn locked(machine: &Machine) {
    let stops = || expect_fault(|| call(0)).is_err();
    check!(stops(), "the breakpoint stops still");
    write_register!("oslar_el1", 1);
    check!(!stops() || machine.is_native(), "not while the OS Lock is locked");
    // What is written meanwhile does not undo it.
    write_register!("mdscr_el1", MDE_KDE);
    write_register!("dbgbcr0_el1", AT_EL1);
    check!(!stops() || machine.is_native(), "nor when the registers are written again");
    check!(is_set(0), "and all of them read as written");
    write_register!("oslar_el1", 0);
    check!(stops(), "and again when it is unlocked");
    write_register!("mdscr_el1", 0);
    check!(!stops(), "and not without MDE");
}

fn stand_by() {
    // SAFETY: debug exceptions are no longer masked; this CPU has asked for none.
    unsafe { core::arch::asm!("msr daifclr, #8", options(nostack)) };
    for round in 1..=ROUNDS.load(Ordering::Relaxed) {
        pass_by(0);
        pass_by(1);
        DONE[CPUS - 1].store(round, Ordering::Release);
        let _ = wait_for_all(round);
    }
}

/// Calls a function that is to stop somebody else.
fn pass_by(other: usize) {
    let is_stopped = expect_fault(|| call(other)).is_err();
    FOREIGN.fetch_add(u32::from(is_stopped), Ordering::Relaxed);
}

fn set(me: usize) {
    // SAFETY: a breakpoint on a function that may be stopped at; the watchpoint is disabled.
    unsafe {
        core::arch::asm!(
            "msr oslar_el1, xzr",
            "msr dbgbvr0_el1, {address}",
            "msr dbgbcr0_el1, {control}",
            "msr dbgwvr0_el1, {watched}",
            "msr dbgwcr0_el1, xzr",
            "msr mdscr_el1, {mdscr}",
            "msr daifclr, #8",
            "isb",
            address = in(reg) address(me), control = in(reg) AT_EL1, watched = in(reg) watched(me),
            mdscr = in(reg) MDE_KDE,
            options(nostack),
        );
    }
}

fn is_set(me: usize) -> bool {
    read_register!("dbgbvr0_el1") == address(me)
        && read_register!("dbgbcr0_el1") == AT_EL1
        && read_register!("dbgwvr0_el1") == watched(me)
        && read_register!("mdscr_el1") & MDE_KDE == MDE_KDE
}

/// A value that only this CPU has.
const fn watched(me: usize) -> u64 {
    0x1000 + 0x100 * me as u64
}

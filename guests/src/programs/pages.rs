// SPDX-License-Identifier: MIT OR Apache-2.0
//! A page of RAM that comes and goes while CPUs use it and its neighbours in the same block, until a key comes.
//!
//! CPU 0 writes to the page and reads it. While the page is away that is an external abort, as where a bus has nothing; when
//! it is there again nothing is in it. The other CPUs, and CPU 0, too, notice nothing on the pages beside it, whatever they do there:
//! data, pairs of registers, atomics, cache maintenance, instructions.
//!
//! Parameters: `page=N`, the page's number in the RAM; or `fill`: all of the RAM that the program does not use itself is written and
//! read, so that what is in two places would show.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::machine::Machine;
use crate::timer::{PATIENCE, wait_for};
use crate::{console, cpu, probe, report, smp};

const PAGE: u64 = 4096;
/// A block of stage 2.
const BLOCK: u64 = 2 << 20;
/// Exception class: a data abort at the same level.
const DATA_ABORT: u64 = 0x25;
/// Fault status: a synchronous external abort, not on a walk.
const EXTERNAL: u64 = 0x10;
/// RET, and ADD X0, X0, #1 before it.
const ADD_AND_RETURN: u64 = 0xD65F_03C0_9100_0400;

static ADDRESS: AtomicU64 = AtomicU64::new(0);
static IS_OVER: AtomicBool = AtomicBool::new(false);
static OVER: AtomicU32 = AtomicU32::new(0);

/// Runs the program.
pub fn run(machine: &Machine) {
    if machine.parameter("fill").is_some() {
        fill(machine);
        report::finish("pages");
        return;
    }
    let (base, _) = machine.memory();
    let page = machine.number("page", 0);
    ADDRESS.store(base + page * PAGE, Ordering::Relaxed);
    let count = machine.cpus().count();
    for (index, affinity) in machine.cpus().enumerate().skip(1) {
        check_eq!(smp::start(index, affinity, beside), Ok(()), "CPU {index} starts");
    }
    println!("guest: {count} CPUs work");
    use_page();
    check!(
        wait_for(PATIENCE, || OVER.load(Ordering::Acquire) as usize == count - 1),
        "all CPUs have come to their end"
    );
    report::finish("pages");
}

/// Writes a number of its own to each page, first and last word, and reads all of them back.
fn fill(machine: &Machine) {
    let (base, size) = machine.memory();
    // The device tree is in the first block, the program with its tables in the second.
    let free = base + 2 * BLOCK;
    let all = || (free..base + size).step_by(PAGE as usize);
    let mut count = 0;
    for page in all() {
        check_quietly(probe::read(page, 8), Ok(0), page);
        for at in [page, page + PAGE - 8] {
            check_quietly(probe::write(at, 8, !at), Ok(()), at);
        }
        count += 1;
    }
    for page in all() {
        for at in [page, page + PAGE - 8] {
            check_quietly(probe::read(at, 8), Ok(!at), at);
        }
    }
    println!("guest: {count} pages keep what is written to them");
    check!(count > 0, "there are pages");
}

fn check_quietly<T: PartialEq + core::fmt::Debug>(found: T, expected: T, at: u64) {
    if found != expected {
        check!(false, "at {at:#x} is {found:x?}, not {expected:x?}");
    }
}

/// Writes to the page and reads it until a key comes.
fn use_page() {
    let at = ADDRESS.load(Ordering::Relaxed);
    let (mut away, mut fresh, mut kept) = (0_u64, 0_u64, 0_u64);
    // What may be found there: what was written last, or nothing.
    let mut last = 0;
    for round in 1.. {
        let value = round << 8 | 0xA5;
        match probe::write(at, 8, value) {
            Ok(()) => last = value,
            Err(fault) => judge(fault, &mut away),
        }
        match probe::read(at, 8) {
            Ok(0) => {
                fresh += 1;
                last = 0;
            }
            Ok(found) if found == last => kept += 1,
            Ok(found) => check!(false, "{found:#x} is in the page, not {last:#x}"),
            Err(fault) => judge(fault, &mut away),
        }
        if round.is_multiple_of(64) {
            Own::of(0).use_in(round);
            if console::read_byte().is_some() {
                break;
            }
        }
    }
    IS_OVER.store(true, Ordering::Release);
    println!("guest: {away} times away, {fresh} times fresh, {kept} times kept");
    check!(away > 0 && fresh > 0 && kept > 0, "the page has come and gone");
    check_eq!(probe::write(at, 8, 7).and_then(|()| probe::read(at, 8)), Ok(7), "the page is there again");
}

fn judge(fault: probe::Fault, away: &mut u64) {
    *away += 1;
    if (fault.class(), fault.status()) != (DATA_ABORT, EXTERNAL) {
        check!(false, "the page is away: ESR_EL1 {:#x}", fault.esr);
    }
}

/// Uses the pages beside the one that comes and goes until that is over.
fn beside() {
    let own = Own::of(cpu::index());
    for round in 1.. {
        own.use_in(round);
        if IS_OVER.load(Ordering::Acquire) {
            break;
        }
    }
    OVER.fetch_add(1, Ordering::AcqRel);
}

/// A CPU's own two pages, in the same block as the page that comes and goes.
struct Own {
    data: u64,
    code: u64,
}

impl Own {
    fn of(index: usize) -> Self {
        let page = ADDRESS.load(Ordering::Relaxed);
        // Downwards from it, all in its block.
        let data = page - (2 * index as u64 + 1) * PAGE;
        if data / BLOCK != page / BLOCK {
            check!(false, "the pages of CPU {index} are beside it");
        }
        Self { data, code: data - PAGE }
    }

    /// Writes to them, and checks what it finds.
    fn use_in(&self, round: u64) {
        let offset = round % 200 * 16;
        let (first, second, both, before, after): (u64, u64, u64, u64, u64);
        // SAFETY: the page is this CPU's own, and no Rust object lives there.
        unsafe {
            asm!(
                "stp {round}, {other}, [{at}]",
                "dc cvac, {at}",
                "ldp {first}, {second}, [{at}]",
                "ldr {before}, [{counter}]",
                "2: ldxr {both}, [{counter}]",
                "add {both}, {both}, #1",
                "stxr {failed:w}, {both}, [{counter}]",
                "cbnz {failed:w}, 2b",
                "ldr {after}, [{counter}]",
                round = in(reg) round,
                other = in(reg) !round,
                at = in(reg) self.data + offset,
                counter = in(reg) self.data + PAGE - 8,
                first = out(reg) first,
                second = out(reg) second,
                both = out(reg) both,
                before = out(reg) before,
                after = out(reg) after,
                failed = out(reg) _,
                options(nostack),
            );
        }
        if (first, second, both, after) != (round, !round, before + 1, before + 1) {
            check!(false, "its own page has what was written: {first:#x}, {second:#x}, {before}, {both}, {after}");
        }
        self.call(round);
    }

    /// Executes code there, which has just been written.
    fn call(&self, round: u64) {
        // SAFETY: the page is this CPU's own, and no Rust object lives there.
        unsafe {
            asm!(
                "str {code}, [{at}]",
                "dc cvau, {at}",
                "dsb ish",
                "ic ivau, {at}",
                "dsb ish",
                "isb",
                code = in(reg) ADD_AND_RETURN,
                at = in(reg) self.code,
                options(nostack),
            );
        }
        let called = probe::call(self.code, round);
        if called != Ok(round + 1) {
            check!(false, "its own code runs: {called:x?}");
        }
    }
}

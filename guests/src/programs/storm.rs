// SPDX-License-Identifier: MIT OR Apache-2.0
//! Does something over and over that costs a hypervisor time, so as to take that time from a neighbour; or is that neighbour,
//! and tells how much work it got done.
//!
//! Parameters: `mode=MODE`, `ms=MILLISECONDS` (100), and `nap=NANOSECONDS` (500) for those that sleep.
//!
//! CPUs that are counted run in turns. So whoever is never asleep says YIELD after a short while, and a storm from another
//! CPU tells what part of the time it took itself: the rest is that of the CPU where the neighbour is.
//!
//! - `work`: computes for so long, and tells how many instructions that were, in how many counts, and the longest time in
//!   which it did nothing.
//! - `quiet`: sleeps. `spin`: computes for ever, its other CPUs off.
//! - `naps`: sleeps by the virtual timer, again and again. `suspend`: the same by CPU_SUSPEND.
//! - `sgi`: CPU 1 waits for SGIs, which CPU 0 sends all the time.
//! - `pending`: CPU 0 makes an interrupt of CPU 1 pending by the redistributor, all the time.
//! - `toggle`: the same to and fro, while CPU 1 masks it by its priority.
//! - `cpu-on`: CPU 0 turns CPU 1 on, which turns itself off.
//! - `reset`: resets itself at once.

use core::arch::asm;

use crate::machine::Machine;
use crate::{cpu, exceptions, gic, mmio, psci, smp, timer};

/// What CPU 0 sends to CPU 1.
const SGI: u32 = 1;
/// Instructions, and counts, until another CPU has a turn.
const CHUNK: u64 = 1000;

/// Runs the program.
pub fn run(machine: &Machine) {
    gic::init_distributor();
    gic::init_cpu();
    gic::enable(timer::VIRTUAL_INTID);
    exceptions::on_irq(take);
    let milliseconds = machine.number("ms", 100);
    let nap = timer::frequency() * machine.number("nap", 500) / 1_000_000_000;
    match machine.parameter("mode") {
        Some("work") => work(milliseconds),
        Some("spin") => storm(milliseconds, compute),
        Some("naps") => naps(nap, cpu::wait_for_interrupt),
        Some("suspend") => naps(nap, || {
            psci::psci(psci::CPU_SUSPEND, [0; 3]);
        }),
        Some("sgi") => {
            turn_on(machine, wait_for_sgis);
            let value = gic::sgi1r(SGI, second(machine));
            storm(milliseconds, || gic::write_sgi1r(value));
        }
        Some("pending") => {
            turn_on(machine, wait_for_sgis);
            let frame = sibling_frame();
            storm(milliseconds, || mmio::write32(frame + gic::offset::ISPENDR, 1 << SGI));
        }
        Some("toggle") => {
            turn_on(machine, wait_behind_the_mask);
            let frame = sibling_frame();
            storm(milliseconds, || {
                mmio::write32(frame + gic::offset::ISPENDR, 1 << SGI);
                mmio::write32(frame + gic::offset::ICPENDR, 1 << SGI);
            });
        }
        Some("cpu-on") => storm(milliseconds, || {
            // Refused while the CPU is on.
            let _ = smp::start(1, second(machine), || ());
        }),
        Some("reset") => psci::system_reset(),
        _ => loop {
            cpu::mask_interrupts();
            cpu::wait_for_interrupt();
        },
    }
}

/// The second CPU's affinity.
fn second(machine: &Machine) -> u64 {
    machine.cpus().nth(1).unwrap_or(0)
}

fn turn_on(machine: &Machine, what: fn()) {
    if smp::start(1, second(machine), what).is_err() {
        println!("guest: FAIL: CPU 1 does not start");
    }
}

/// The SGI frame of the redistributor after this CPU's.
fn sibling_frame() -> u64 {
    gic::sgi_frame() + gic::GICR_STRIDE
}

/// As many instructions as a chunk has.
fn compute() {
    // SAFETY: counts a register of its own down.
    unsafe {
        asm!("2: subs {0}, {0}, #1", "b.ne 2b", inout(reg) CHUNK / 2 => _, options(nomem, nostack));
    }
}

/// Computes, and tells what came of it.
fn work(milliseconds: u64) {
    let length = timer::counts(1000 * milliseconds);
    let (mut chunks, mut longest) = (0, 0);
    let start = timer::now();
    let mut before = start;
    while before - start < length {
        compute();
        let now = timer::now();
        (longest, before) = (longest.max(now - before), now);
        chunks += 1;
        cpu::relax();
    }
    println!("storm: worked {} in {}, longest gap {longest}", chunks * CHUNK, before - start);
}

/// Does something for ever. After so long it tells what part of the time that took.
fn storm(milliseconds: u64, mut act: impl FnMut()) {
    let length = timer::counts(1000 * milliseconds);
    let start = timer::now();
    let (mut busy, mut is_told) = (0, false);
    loop {
        let began = timer::now();
        let mut now = began;
        while now - began < CHUNK {
            act();
            now = timer::now();
        }
        busy += now - began;
        if !is_told && now - start >= length {
            is_told = true;
            println!("storm: took {busy} of {}", now - start);
        }
        cpu::relax();
    }
}

/// Sleeps for `nap` counts, and again.
fn naps(nap: u64, sleep: fn()) {
    loop {
        cpu::mask_interrupts();
        write_register!("cntv_cval_el0", timer::now() + nap);
        write_register!("cntv_ctl_el0", timer::ENABLE);
        sleep();
        cpu::unmask_interrupts();
    }
}

fn wait_for_sgis() {
    gic::init_cpu();
    gic::enable(SGI);
    cpu::unmask_interrupts();
    loop {
        cpu::wait_for_interrupt();
    }
}

fn wait_behind_the_mask() {
    gic::init_cpu();
    gic::enable(SGI);
    write_register!("icc_pmr_el1", 0);
    loop {
        cpu::wait_for_interrupt();
    }
}

/// Any interrupt: the timer is off then.
fn take() {
    let intid = gic::acknowledge();
    if intid == timer::VIRTUAL_INTID {
        write_register!("cntv_ctl_el0", 0);
    }
    if intid < gic::SPURIOUS - 3 {
        gic::end(intid);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The watchdog: registers, that it leaves alone who feeds it, and its interrupt. In the end it is fed no more, and resets the
//! machine; again and again until a byte arrives on the console. With `spin` the last thing that it sees is a loop,
//! else a WFI. `feeds=N` (20) says how often it is fed before, each half of its limit.

use crate::gic::Trigger;
use crate::machine::Machine;
use crate::timer::{PATIENCE, counts, delay, now, wait_for};
use crate::{console, cpu, gic, mmio, report};

/// Offsets in the control frame.
const WCS: u64 = 0x000;
const WOR: u64 = 0x008;
const WCV: u64 = 0x010;
const W_IIDR: u64 = 0xFCC;
/// Offset in the refresh frame.
const WRR: u64 = 0x000;

/// Bits of WCS.
const EN: u32 = 1;
const WS0: u32 = 2;

/// The watchdog's interrupt: SPI 56.
const INTID: u32 = 88;
/// How long it may be left alone, in microseconds.
const LIMIT: u64 = 4_000;

/// Runs the program.
pub fn run(machine: &Machine) {
    let mut frames = machine.device("arm,sbsa-gwdt").into_iter().flatten();
    let (Some((control, _)), Some((refresh, _))) = (frames.next(), frames.next()) else {
        check!(false, "the device tree has no watchdog");
        return report::finish("watchdog");
    };
    registers(control, refresh);
    feeds(control, refresh, machine.number("feeds", 20));
    interrupts(control, refresh);
    report::finish("watchdog");
    if console::read_byte().is_some() {
        return;
    }
    println!("guest: feeds it no more");
    let began = now();
    mmio::write32(refresh + WRR, 0);
    while now() - began < counts(LIMIT) * 10 {
        if machine.parameter("spin").is_some() {
            cpu::relax();
        } else {
            cpu::wait_for_interrupt();
        }
    }
    check!(false, "it was not reset");
}

/// As after power-on, which is also after a reset.
fn registers(control: u64, refresh: u64) {
    check!(mmio::read32(control + WCS) == 0, "it is off at first");
    check!(mmio::read64(control + WOR) == 0, "its offset is 0");
    for frame in [control, refresh] {
        let id = mmio::read32(frame + W_IIDR);
        check!(id >> 16 & 0xF == 1 && id & 0xFFF == 0x43B, "W_IIDR is {id:#x}");
    }
    mmio::write64(control + WOR, counts(LIMIT));
    let (before, compare) = (now(), mmio::read64(control + WCV));
    check!(compare <= before + counts(LIMIT), "it goes by the virtual count: {compare} at {before}");
}

/// It is fed in time, for much longer than its limit.
fn feeds(control: u64, refresh: u64, count: u64) {
    mmio::write32(control + WCS, EN);
    let mut seen = 0;
    for feed in 1..=count {
        delay(LIMIT / 2);
        seen |= mmio::read32(control + WCS);
        mmio::write32(refresh + WRR, 0);
        if feed % 10 == 0 {
            println!("guest: fed");
        }
    }
    check!(seen == EN, "who feeds it is left alone: WCS has been {seen:#x}");
}

/// The first stage, and that it ends by a refresh.
fn interrupts(control: u64, refresh: u64) {
    gic::init_distributor();
    gic::init_cpu();
    gic::prepare_spi(INTID, Trigger::Level, 0x80);
    let mut taken = gic::acknowledge();
    let came = wait_for(PATIENCE, || {
        taken = gic::acknowledge();
        taken == INTID
    });
    check!(came, "its interrupt comes: {taken}");
    check!(mmio::read32(control + WCS) == EN | WS0, "and WCS says so");
    mmio::write32(refresh + WRR, 0);
    check!(mmio::read32(control + WCS) == EN, "a refresh ends it");
    gic::end(INTID);
    check!(!gic::is_pending(INTID), "and its interrupt");
    gic::disable(INTID);
}

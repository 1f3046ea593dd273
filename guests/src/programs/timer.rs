// SPDX-License-Identifier: MIT OR Apache-2.0
//! The generic timers: counters, conditions, interrupts, wake-up, and that no tick is lost.
//!
//! Parameters: `ticks=N` (2000), `period=MICROSECONDS` (500) of the last test.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::machine::Machine;
use crate::timer::{ENABLE, IMASK, ISTATUS, PATIENCE, PHYSICAL_INTID, VIRTUAL_INTID, counts, now, wait_for};
use crate::{cpu, exceptions, gic, report, timer};

/// Interrupts taken of the virtual and of the physical timer.
static TAKEN: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
/// Interrupts taken with other numbers.
static OTHERS: AtomicU64 = AtomicU64::new(0);
/// What the handler adds to the comparator at each tick; 0 turns the timer off.
static PERIOD: AtomicU64 = AtomicU64::new(0);

/// One of the two timers of EL1.
struct Timer {
    name: &'static str,
    intid: u32,
    index: usize,
    control: fn() -> u64,
    set_control: fn(u64),
    compare: fn() -> u64,
    set_compare: fn(u64),
    value: fn() -> u64,
    set_value: fn(u64),
    counter: fn() -> u64,
}

const VIRTUAL: Timer = Timer {
    name: "virtual timer",
    intid: VIRTUAL_INTID,
    index: 0,
    control: || read_register!("cntv_ctl_el0"),
    set_control: |value| write_register!("cntv_ctl_el0", value),
    compare: || read_register!("cntv_cval_el0"),
    set_compare: |value| write_register!("cntv_cval_el0", value),
    value: || read_register!("cntv_tval_el0"),
    set_value: |value| write_register!("cntv_tval_el0", value),
    counter: now,
};

const PHYSICAL: Timer = Timer {
    name: "physical timer",
    intid: PHYSICAL_INTID,
    index: 1,
    control: || read_register!("cntp_ctl_el0"),
    set_control: |value| write_register!("cntp_ctl_el0", value),
    compare: || read_register!("cntp_cval_el0"),
    set_compare: |value| write_register!("cntp_cval_el0", value),
    value: || read_register!("cntp_tval_el0"),
    set_value: |value| write_register!("cntp_tval_el0", value),
    counter: || {
        // For its barrier.
        let _ = now();
        read_register!("cntpct_el0")
    },
};

/// Runs the program.
pub fn run(machine: &Machine) {
    let start = now();
    check!(start < 60 * timer::frequency(), "the virtual counter starts near zero");
    check!(timer::frequency() >= 1_000_000, "the frequency is known");
    gic::init_distributor();
    gic::init_cpu();
    exceptions::on_irq(interrupt);
    for timer in [&VIRTUAL, &PHYSICAL] {
        (timer.set_control)(0);
        gic::enable(timer.intid);
        counter(timer);
        comparator(timer);
        line(timer);
        interrupts(timer);
        wakes(timer);
        late(timer);
        ticks(timer, machine.number("ticks", 2000), counts(machine.number("period", 500)));
    }
    both();
    check_eq!(OTHERS.load(Ordering::Relaxed), 0, "no other interrupts");
    report::finish("timer");
}

fn interrupt() {
    let intid = gic::acknowledge();
    let timer = match intid {
        VIRTUAL_INTID => &VIRTUAL,
        PHYSICAL_INTID => &PHYSICAL,
        gic::SPURIOUS => return,
        _ => {
            OTHERS.fetch_add(1, Ordering::Relaxed);
            return gic::end(intid);
        }
    };
    TAKEN[timer.index].fetch_add(1, Ordering::Relaxed);
    match PERIOD.load(Ordering::Relaxed) {
        0 => (timer.set_control)(0),
        period => (timer.set_compare)((timer.compare)() + period),
    }
    gic::end(intid);
}

fn taken(timer: &Timer) -> u64 {
    TAKEN[timer.index].load(Ordering::Relaxed)
}

fn counter(timer: &Timer) {
    let mut last = (timer.counter)();
    let rises = (0..2000).all(|_| {
        let next = (timer.counter)();
        let rose = next >= last;
        last = next;
        rose
    });
    check!(rises, "{}: the counter never goes back", timer.name);
    // Each between two looks at the other: between any two of them the computer may have had something else to do.
    let (first, start, second) = (now(), (timer.counter)(), now());
    timer::delay(20_000);
    let (third, end, last) = (now(), (timer.counter)(), now());
    let (length, within) = (end - start, third - second..=last - first);
    check!(within.contains(&length), "{}: the counters run alike", timer.name);
}

fn comparator(timer: &Timer) {
    let name = timer.name;
    (timer.set_compare)(0x0123_4567_89AB_CDEF);
    check_eq!((timer.compare)(), 0x0123_4567_89AB_CDEF, "{name}: CVAL keeps 64 bits");
    (timer.set_control)(ENABLE | IMASK);
    check_eq!((timer.control)(), ENABLE | IMASK, "{name}: not due");
    (timer.set_compare)(0);
    check_eq!((timer.control)(), ENABLE | IMASK | ISTATUS, "{name}: due at 0");
    (timer.set_compare)(u64::MAX);
    check_eq!((timer.control)(), ENABLE | IMASK, "{name}: never due");
    let before = (timer.counter)();
    (timer.set_value)(0x7FFF_FFFF);
    let set = (timer.compare)();
    check!(
        set >= before + 0x7FFF_FFFF && set <= (timer.counter)() + 0x7FFF_FFFF,
        "{name}: TVAL counts from now"
    );
    let left = (timer.value)();
    check!(left <= 0x7FFF_FFFF && left > 0x7000_0000, "{name}: TVAL tells what is left");
    (timer.set_value)(0xFFFF_FFFF);
    check!((timer.compare)() < (timer.counter)(), "{name}: TVAL may be negative");
    check_eq!((timer.control)(), ENABLE | IMASK | ISTATUS, "{name}: due in the past");
    (timer.set_control)(0);
    check_eq!((timer.control)() & ENABLE, 0, "{name}: off");
}

/// The interrupt is a level: pending while due, on and not masked.
fn line(timer: &Timer) {
    let name = timer.name;
    (timer.set_compare)(0);
    (timer.set_control)(ENABLE);
    check!(wait_for(PATIENCE, || gic::is_pending(timer.intid)), "{name}: pending when due");
    (timer.set_control)(ENABLE | IMASK);
    check!(wait_for(PATIENCE, || !gic::is_pending(timer.intid)), "{name}: not pending when masked");
    (timer.set_control)(ENABLE);
    check!(wait_for(PATIENCE, || gic::is_pending(timer.intid)), "{name}: pending again");
    (timer.set_compare)(u64::MAX);
    check!(wait_for(PATIENCE, || !gic::is_pending(timer.intid)), "{name}: not pending when no longer due");
    (timer.set_control)(0);
}

fn interrupts(timer: &Timer) {
    let name = timer.name;
    PERIOD.store(0, Ordering::Relaxed);
    let before = taken(timer);
    cpu::unmask_interrupts();
    (timer.set_compare)((timer.counter)() + counts(1000));
    (timer.set_control)(ENABLE);
    check!(wait_for(PATIENCE, || taken(timer) == before + 1), "{name}: interrupts when due");
    timer::delay(5000);
    check_eq!(taken(timer), before + 1, "{name}: once");
    (timer.set_compare)(0);
    (timer.set_control)(ENABLE);
    check!(wait_for(PATIENCE, || taken(timer) == before + 2), "{name}: interrupts at once for the past");
    cpu::mask_interrupts();

    // Not switched off between its acknowledgement and its end, a level comes again.
    (timer.set_control)(ENABLE);
    for round in 0..3 {
        check!(wait_for(PATIENCE, || gic::acknowledge() == timer.intid), "{name}: acknowledged, round {round}");
        check!(gic::is_active(timer.intid), "{name}: active, round {round}");
        gic::end(timer.intid);
    }
    (timer.set_control)(0);
    check!(wait_for(PATIENCE, || !gic::is_pending(timer.intid)), "{name}: the line is down");
    check_eq!(gic::acknowledge(), gic::SPURIOUS, "{name}: nothing left");
}

/// WFI ends by a masked interrupt.
fn wakes(timer: &Timer) {
    let start = (timer.counter)();
    (timer.set_compare)(start + counts(20_000));
    (timer.set_control)(ENABLE);
    while (timer.control)() & ISTATUS == 0 {
        cpu::wait_for_interrupt();
    }
    let slept = timer::microseconds((timer.counter)() - start);
    check!(slept >= 20_000, "{}: wakes from WFI", timer.name);
    (timer.set_control)(0);
    timer::delay(100);
    let _ = wait_for(PATIENCE, || !gic::is_pending(timer.intid));
}

/// A level that has fallen by the time that the CPU asks is no interrupt, whatever was masked or handled meanwhile.
fn late(timer: &Timer) {
    const SGI: u32 = 4;
    let name = timer.name;
    gic::enable(SGI);
    // Long enough for the interrupt to come to wherever it waits.
    let make_due = || {
        (timer.set_compare)(0);
        (timer.set_control)(ENABLE);
        timer::delay(50);
    };
    let before = taken(timer);
    make_due();
    (timer.set_control)(0);
    check_eq!(gic::acknowledge(), gic::SPURIOUS, "{name}: switched off while masked");
    make_due();
    (timer.set_compare)(u64::MAX);
    check_eq!(gic::acknowledge(), gic::SPURIOUS, "{name}: moved on while masked");
    make_due();
    check_eq!(gic::highest_pending(), timer.intid, "{name}: seen while masked, and still due");
    check_eq!(gic::acknowledge(), timer.intid, "{name}: taken while masked, and still due");
    gic::end(timer.intid);
    timer::delay(50);
    (timer.set_control)(0);
    check_eq!(gic::acknowledge(), gic::SPURIOUS, "{name}: switched off behind its end");

    gic::send_sgi(SGI, cpu::affinity());
    check_eq!(gic::acknowledge(), SGI, "{name}: another interrupt");
    make_due();
    (timer.set_control)(0);
    gic::end(SGI);
    check_eq!(gic::acknowledge(), gic::SPURIOUS, "{name}: switched off while that was handled");
    make_due();
    (timer.set_control)(0);
    cpu::unmask_interrupts();
    timer::delay(50);
    cpu::mask_interrupts();
    check_eq!(taken(timer), before, "{name}: nothing is left to be taken");
    gic::disable(SGI);
}

fn ticks(timer: &Timer, ticks: u64, period: u64) {
    let before = taken(timer);
    PERIOD.store(period, Ordering::Relaxed);
    let start = (timer.counter)();
    (timer.set_compare)(start + period);
    (timer.set_control)(ENABLE);
    cpu::unmask_interrupts();
    let limit = PATIENCE + 10 * ticks * period / timer::frequency();
    let all = wait_for(limit, || taken(timer) - before >= ticks);
    cpu::mask_interrupts();
    (timer.set_control)(0);
    let (count, next) = (taken(timer) - before, (timer.compare)());
    check!(all, "{}: {ticks} ticks came, {count} in all", timer.name);
    check_eq!(next, start + (count + 1) * period, "{}: one interrupt for each tick", timer.name);
    check!((timer.counter)() - start >= ticks * period, "{}: none came early", timer.name);
    PERIOD.store(0, Ordering::Relaxed);
}

fn both() {
    let before = [taken(&VIRTUAL), taken(&PHYSICAL)];
    cpu::unmask_interrupts();
    for timer in [&VIRTUAL, &PHYSICAL] {
        (timer.set_compare)((timer.counter)() + counts(2000));
        (timer.set_control)(ENABLE);
    }
    let came = wait_for(PATIENCE, || taken(&VIRTUAL) > before[0] && taken(&PHYSICAL) > before[1]);
    cpu::mask_interrupts();
    check!(came, "both timers at once");
}

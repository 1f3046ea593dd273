// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interrupt controller as one CPU sees it: registers, priorities, the life of an interrupt, more pending and
//! active ones than a hypervisor has list registers, groups, lines of real devices.
//!
//! Most of it polls with interrupts masked, so that the order is exact. The SPIs used have no device.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::gic::{self, Group, SPURIOUS, Trigger, offset};
use crate::machine::Machine;
use crate::timer::wait_for;
use crate::{console, cpu, exceptions, mmio, report, timer};

/// SPIs without a device.
const SPARE: core::ops::Range<u32> = 64..128;
/// The UART's interrupt.
const UART_INTID: u32 = 33;
/// ICC_CTLR_EL1.EOImode.
const EOI_MODE: u64 = 1 << 1;

/// Runs the program.
pub fn run(_machine: &Machine) {
    identification();
    gic::init_distributor();
    gic::init_cpu();
    reserved();
    registers();
    configuration();
    life();
    separate_deactivation();
    priorities();
    preemption();
    many_pending();
    many_active();
    sgis();
    switches();
    group_zero();
    device_line();
    exceptions_taken();
    report::finish("gic");
}

/// Acknowledges what comes, waiting a little: a hypervisor may need a moment to refill.
fn next() -> u32 {
    let mut intid = SPURIOUS;
    wait_for(1, || {
        intid = gic::acknowledge();
        intid != SPURIOUS
    });
    intid
}

/// Acknowledges what is there now.
fn nothing() -> bool {
    gic::acknowledge() == SPURIOUS
}

/// Prepares an SPI: enabled, with a priority, edge, routed here.
fn prepare(intid: u32, priority: u8) {
    gic::reset_interrupt(intid);
    gic::set_trigger(intid, Trigger::Edge);
    gic::set_priority(intid, priority);
    gic::route(intid, cpu::affinity());
    gic::enable(intid);
}

fn put_away(intids: impl IntoIterator<Item = u32>) {
    intids.into_iter().for_each(gic::reset_interrupt);
}

fn identification() {
    let revision = |frame: u64| mmio::read32(frame + 0xFFE8) >> 4 & 0xF;
    check_eq!(revision(gic::GICD), 3, "the distributor is a GICv3's");
    check_eq!(revision(gic::GICR), 3, "the redistributor is a GICv3's");
    check!(mmio::read32(gic::GICD) & 1 << 6 != 0, "one Security state");
    check!(gic::intids() >= 128, "there are SPIs");
    check_eq!(mmio::read64(gic::GICR + offset::GICR_TYPER) >> 32, cpu::affinity(), "GICR_TYPER has the affinity");
}

fn reserved() {
    let zero = |offset: u64| {
        mmio::write32(gic::GICD + offset, u32::MAX);
        mmio::read32(gic::GICD + offset) == 0
    };
    for (what, offset) in [
        ("reserved space", 0x20),
        ("GICD_ISENABLER0", offset::ISENABLER),
        ("GICD_IPRIORITYR0", offset::IPRIORITYR),
        ("GICD_ICFGR0", offset::ICFGR),
        ("GICD_ITARGETSR8", 0x820),
        ("GICD_NSACR2", 0xE08),
        ("space behind the routing", 0xC000),
    ] {
        check!(zero(offset), "{what} reads as zero, whatever is written");
    }
}

fn registers() {
    let spi = SPARE.start;
    let frame = gic::sgi_frame();
    for intid in [2, 20, spi] {
        gic::enable(intid);
        check!(gic::is_enabled(intid), "INTID {intid}: enabled");
        gic::disable(intid);
        check!(!gic::is_enabled(intid), "INTID {intid}: disabled");
        gic::set_pending(intid, true);
        check!(gic::is_pending(intid), "INTID {intid}: pending");
        gic::set_pending(intid, false);
        check!(!gic::is_pending(intid), "INTID {intid}: no longer pending");
        gic::set_active(intid, true);
        check!(gic::is_active(intid), "INTID {intid}: active");
        gic::set_active(intid, false);
        check!(!gic::is_active(intid), "INTID {intid}: no longer active");
        gic::set_priority(intid, 0x58);
        check_eq!(gic::priority(intid), 0x58, "INTID {intid}: priority");
        gic::reset_interrupt(intid);
    }
    mmio::write32(gic::GICD + offset::ISENABLER + 8, 0xF0);
    mmio::write32(gic::GICD + offset::ICENABLER + 8, 0x50);
    check_eq!(mmio::read32(gic::GICD + offset::ISENABLER + 8), 0xA0, "enable registers act on the ones only");
    check_eq!(mmio::read32(gic::GICD + offset::ICENABLER + 8), 0xA0, "both read the same");
    mmio::write32(gic::GICD + offset::ICENABLER + 8, u32::MAX);
    mmio::write32(frame + offset::IPRIORITYR + 16, 0x4030_2010);
    check_eq!(mmio::read32(frame + offset::IPRIORITYR + 16), 0x4030_2010, "four priorities at once");
    gic::route(spi, 0x1_0002_0304);
    check_eq!(mmio::read64(gic::GICD + offset::IROUTER + 8 * u64::from(spi)), 0x1_0002_0304, "routing");
    gic::route(spi, 0);
}

fn configuration() {
    check_eq!(mmio::read32(gic::sgi_frame() + offset::ICFGR), 0xAAAA_AAAA, "SGIs are edge-triggered");
    let spi = SPARE.start;
    let register = gic::GICD + offset::ICFGR + 4 * u64::from(spi / 16);
    gic::set_trigger(spi + 1, Trigger::Edge);
    check_eq!(mmio::read32(register), 8, "edge");
    gic::set_trigger(spi + 1, Trigger::Level);
    check_eq!(mmio::read32(register), 0, "level");
    check_eq!(read_register!("icc_sre_el1") & 1, 1, "the CPU interface is that of system registers");
    write_register!("icc_pmr_el1", 0x78);
    check_eq!(read_register!("icc_pmr_el1"), 0x78, "ICC_PMR_EL1");
    write_register!("icc_pmr_el1", 0xFF);
}

fn life() {
    for (name, trigger) in [("edge", Trigger::Edge), ("level", Trigger::Level)] {
        let intid = SPARE.start + 3;
        prepare(intid, 0x60);
        gic::set_trigger(intid, trigger);
        check!(nothing(), "{name}: nothing yet");
        check_eq!(gic::running_priority(), 0xFF, "{name}: idle");
        gic::set_pending(intid, true);
        check!(wait_for(1, || gic::highest_pending() == intid), "{name}: the highest pending");
        check_eq!(next(), intid, "{name}: acknowledged");
        check!(!gic::is_pending(intid) && gic::is_active(intid), "{name}: active, not pending");
        check_eq!(gic::running_priority(), 0x60, "{name}: running priority");
        gic::set_pending(intid, true);
        check!(gic::is_pending(intid) && gic::is_active(intid), "{name}: active and pending");
        check!(nothing(), "{name}: not while active");
        gic::end(intid);
        check!(!gic::is_active(intid), "{name}: no longer active");
        check_eq!(next(), intid, "{name}: again");
        gic::end(intid);
        check_eq!(gic::running_priority(), 0xFF, "{name}: idle again");
        check!(nothing(), "{name}: nothing left");
        gic::set_pending(intid, true);
        gic::disable(intid);
        check!(gic::is_pending(intid) && nothing(), "{name}: pending while disabled");
        gic::enable(intid);
        check_eq!(next(), intid, "{name}: once enabled");
        gic::end(intid);
        gic::set_active(intid, true);
        gic::set_pending(intid, true);
        check!(nothing(), "{name}: made active by a write, it waits");
        gic::set_active(intid, false);
        check_eq!(next(), intid, "{name}: made inactive by a write, it comes");
        gic::end(intid);
        gic::set_pending(intid, true);
        gic::set_pending(intid, false);
        check!(nothing(), "{name}: taken back");
        gic::reset_interrupt(intid);
    }
}

fn separate_deactivation() {
    let (first, second) = (SPARE.start, SPARE.start + 1);
    write_register!("icc_ctlr_el1", EOI_MODE);
    check_eq!(read_register!("icc_ctlr_el1") & EOI_MODE, EOI_MODE, "EOImode 1");
    prepare(first, 0x80);
    prepare(second, 0x90);
    gic::set_pending(first, true);
    check_eq!(next(), first, "EOImode 1: acknowledged");
    gic::end(first);
    check_eq!(gic::running_priority(), 0xFF, "EOImode 1: the priority drops");
    check!(gic::is_active(first), "EOImode 1: still active");
    gic::set_pending(first, true);
    check!(nothing(), "EOImode 1: not again while active");
    gic::set_pending(second, true);
    check_eq!(next(), second, "EOImode 1: but another");
    gic::end(second);
    gic::deactivate(first);
    check!(!gic::is_active(first) && gic::is_active(second), "EOImode 1: deactivated out of order");
    check_eq!(next(), first, "EOImode 1: again");
    gic::end(first);
    gic::deactivate(first);
    gic::deactivate(second);
    check!(!gic::is_active(first) && !gic::is_active(second), "EOImode 1: all inactive");
    gic::deactivate(second);
    check!(nothing(), "EOImode 1: deactivating what is not active does nothing");
    write_register!("icc_ctlr_el1", 0);
    put_away([first, second]);
}

fn priorities() {
    let order = [0x50, 0x20, 0xA8, 0x08, 0xF0, 0x80, 0x18];
    for (intid, priority) in SPARE.zip(order) {
        prepare(intid, priority);
        gic::set_pending(intid, true);
    }
    let mut want = order;
    want.sort_unstable();
    let got = want.map(|_| {
        let intid = next();
        let running = gic::running_priority() as u8;
        gic::end(intid);
        running
    });
    check_eq!(got, want, "the most urgent first");
    let intid = SPARE.start;
    gic::set_priority(intid, 0x90);
    gic::set_pending(intid, true);
    write_register!("icc_pmr_el1", 0x90);
    check!(nothing(), "the mask hides what is as urgent as it");
    write_register!("icc_pmr_el1", 0x98);
    check_eq!(next(), intid, "and lets through what is more urgent");
    gic::end(intid);
    write_register!("icc_pmr_el1", 0xFF);
    gic::set_pending(intid, true);
    gic::set_pending(intid + 1, true);
    gic::set_priority(intid + 1, 0xA0);
    gic::set_priority(intid, 0xB0);
    check_eq!(next(), intid + 1, "priorities may change while pending");
    gic::end(intid + 1);
    check_eq!(next(), intid, "and the other follows");
    gic::end(intid);
    put_away(SPARE.take(order.len()));
}

fn preemption() {
    let [low, high, between] = [SPARE.start, SPARE.start + 1, SPARE.start + 2];
    prepare(low, 0xA0);
    prepare(high, 0x40);
    prepare(between, 0xA8);
    gic::set_pending(low, true);
    check_eq!(next(), low, "the first");
    gic::set_pending(between, true);
    check!(nothing(), "a less urgent one waits");
    gic::set_pending(high, true);
    check_eq!(next(), high, "a more urgent one preempts");
    check_eq!(gic::running_priority(), 0x40, "and runs");
    gic::end(high);
    check_eq!(gic::running_priority(), 0xA0, "then the first again");
    check!(nothing(), "and the less urgent one still waits");
    gic::end(low);
    check_eq!(next(), between, "until now");
    gic::end(between);

    // With the binary point at 6 only the two highest bits of a priority count.
    write_register!("icc_bpr1_el1", 6);
    check_eq!(read_register!("icc_bpr1_el1"), 6, "ICC_BPR1_EL1");
    gic::set_pending(low, true);
    check_eq!(next(), low, "with a binary point");
    gic::set_priority(high, 0x88);
    gic::set_pending(high, true);
    check!(nothing(), "one of the same group priority waits");
    gic::set_priority(high, 0x78);
    check_eq!(next(), high, "one of a more urgent group priority preempts");
    gic::end(high);
    gic::end(low);
    write_register!("icc_bpr1_el1", 0);
    put_away([low, high, between]);
}

/// All SGIs, some PPIs and 32 SPIs at once.
fn crowd() -> impl Iterator<Item = u32> + Clone {
    (0..16).chain([16, 17, 18, 19, 20, 21, 22]).chain(SPARE.take(32))
}

fn many_pending() {
    for round in 0..3u32 {
        for (position, intid) in (0u32..).zip(crowd()) {
            // Every priority level there is, scattered.
            prepare(intid, (((position * 13 + round * 7) % 31) << 3) as u8);
        }
        for intid in crowd() {
            gic::set_pending(intid, true);
        }
        let (mut seen, mut last, mut in_order) = ([0u32; 4], 0, true);
        let mut count = 0;
        loop {
            let intid = if count < crowd().count() { next() } else { gic::acknowledge() };
            if intid == SPURIOUS {
                break;
            }
            let priority = gic::running_priority();
            in_order &= priority >= last;
            last = priority;
            if let Some(word) = seen.get_mut((intid / 32) as usize) {
                *word ^= 1 << (intid % 32);
            }
            count += 1;
            gic::end(intid);
        }
        check_eq!(count, crowd().count(), "crowd, round {round}: each came once");
        check_eq!(seen, [0x007F_FFFF, 0, u32::MAX, 0], "crowd, round {round}: and none else");
        check!(in_order, "crowd, round {round}: in the order of their priorities");
    }
    // While the crowd waits, a more urgent one overtakes it.
    for intid in crowd() {
        prepare(intid, 0xC0);
        gic::set_pending(intid, true);
    }
    let first = next();
    gic::end(first);
    let urgent = SPARE.end - 1;
    prepare(urgent, 0x10);
    gic::set_pending(urgent, true);
    check_eq!(next(), urgent, "crowd: a more urgent one overtakes");
    gic::end(urgent);
    put_away(crowd().chain([urgent]));
    check!(nothing(), "crowd: gone when disabled");
}

fn many_active() {
    const DEPTH: u32 = 24;
    let intid_at = |level: u32| SPARE.start + level;
    let priority_at = |level: u32| (0xF0 - 8 * level) as u8;
    let nest = || {
        (0..DEPTH).all(|level| {
            prepare(intid_at(level), priority_at(level));
            gic::set_pending(intid_at(level), true);
            next() == intid_at(level) && gic::running_priority() == u32::from(priority_at(level))
        })
    };
    let active = || (0..DEPTH).filter(|level| gic::is_active(intid_at(*level))).count();
    check!(nest(), "{DEPTH} nested");
    check_eq!(active(), DEPTH as usize, "all are active");
    let unwound = (0..DEPTH).rev().all(|level| {
        let right = gic::running_priority() == u32::from(priority_at(level));
        gic::end(intid_at(level));
        right && !gic::is_active(intid_at(level))
    });
    check!(unwound && gic::running_priority() == 0xFF, "and end in turn");

    write_register!("icc_ctlr_el1", EOI_MODE);
    let all = (0..DEPTH).all(|level| {
        prepare(intid_at(level), 0x80);
        gic::set_pending(intid_at(level), true);
        let intid = next();
        gic::end(intid);
        intid == intid_at(level)
    });
    check!(all, "EOImode 1: {DEPTH} active after each other");
    check_eq!(active(), DEPTH as usize, "EOImode 1: all are active");
    let one_more = intid_at(DEPTH);
    prepare(one_more, 0xE0);
    gic::set_pending(one_more, true);
    check_eq!(next(), one_more, "EOImode 1: yet another comes through");
    gic::end(one_more);
    gic::deactivate(one_more);
    // 7 and 24 have no common divisor: every one, scattered.
    (0..DEPTH).for_each(|step| gic::deactivate(intid_at(step * 7 % DEPTH)));
    check_eq!(active(), 0, "EOImode 1: deactivated in any order");
    (0..DEPTH).for_each(|level| gic::set_pending(intid_at(level), true));
    let again = (0..DEPTH)
        .map(|_| {
            let intid = next();
            gic::end(intid);
            gic::deactivate(intid);
            u32::from(intid != SPURIOUS)
        })
        .sum::<u32>();
    check_eq!(again, DEPTH, "EOImode 1: and all come again");
    write_register!("icc_ctlr_el1", 0);
    put_away((0..=DEPTH).map(intid_at));
}

fn sgis() {
    for intid in [0, 7, 15] {
        gic::set_priority(intid, 0x70);
        gic::enable(intid);
        gic::send_sgi(intid, cpu::affinity());
        check!(wait_for(1, || gic::is_pending(intid)), "SGI {intid}: pending");
        gic::send_sgi(intid, cpu::affinity());
        check_eq!(next(), intid, "SGI {intid}: acknowledged");
        check!(!gic::is_pending(intid), "SGI {intid}: sent twice, pending once");
        gic::send_sgi(intid, cpu::affinity());
        check!(gic::is_pending(intid) && gic::is_active(intid), "SGI {intid}: active and pending");
        gic::end(intid);
        check_eq!(next(), intid, "SGI {intid}: again");
        gic::end(intid);
        gic::reset_interrupt(intid);
    }
    gic::enable(1);
    gic::send_sgi_to_others(1);
    check!(nothing(), "an SGI to all others is not for this CPU");
    gic::reset_interrupt(1);
}

fn switches() {
    let intid = SPARE.start;
    prepare(intid, 0x40);
    gic::set_pending(intid, true);
    write_register!("icc_igrpen1_el1", 0);
    check!(nothing(), "nothing with ICC_IGRPEN1_EL1 off");
    write_register!("icc_igrpen1_el1", 1);
    mmio::write32(gic::GICD, gic::CTLR_ON & !2);
    check!(wait_for(1, nothing), "nothing with group 1 off in GICD_CTLR");
    mmio::write32(gic::GICD, gic::CTLR_ON);
    check_eq!(next(), intid, "it comes with both on");
    gic::end(intid);
    put_away([intid]);
}

fn group_zero() {
    let (zero, one) = (SPARE.start + 8, SPARE.start + 9);
    prepare(zero, 0x30);
    prepare(one, 0x50);
    gic::set_group(zero, Group::Zero);
    gic::set_pending(zero, true);
    gic::set_pending(one, true);
    check!(wait_for(1, || read_register!("isr_el1") & 1 << 6 != 0), "group 0 is signalled as FIQ");
    check_eq!(gic::acknowledge0(), zero, "group 0 is acknowledged as such");
    check!(gic::acknowledge() == SPURIOUS, "group 1 waits, being less urgent");
    gic::end0(zero);
    check!(wait_for(1, || read_register!("isr_el1") & 1 << 7 != 0), "group 1 is signalled as IRQ");
    check_eq!(gic::acknowledge0(), SPURIOUS, "group 1 is not acknowledged as group 0");
    check_eq!(next(), one, "group 1 comes");
    gic::end(one);
    put_away([zero, one]);
}

/// The UART's interrupt is a line: high as long as the UART has a reason.
fn device_line() {
    const LCR_H: u64 = console::UART + 0x2C;
    const CR: u64 = console::UART + 0x30;
    const IMSC: u64 = console::UART + 0x38;
    const RIS: u64 = console::UART + 0x3C;
    const ICR: u64 = console::UART + 0x44;
    const RX: u32 = 1 << 4;
    // Without FIFOs, in loopback: a byte sent is a byte received, which raises RX.
    mmio::write32(LCR_H, 0x60);
    mmio::write32(CR, 0x381);
    mmio::write32(ICR, 0x7FF);
    gic::reset_interrupt(UART_INTID);
    gic::route(UART_INTID, cpu::affinity());
    gic::enable(UART_INTID);
    mmio::write32(IMSC, RX);
    let quiet = nothing();
    mmio::write32(console::DR, 0x55);
    let raised = wait_for(1, || mmio::read32(RIS) & RX != 0);
    let pending = wait_for(1, || gic::is_pending(UART_INTID));
    let first = next();
    let held = gic::is_pending(UART_INTID) && gic::is_active(UART_INTID);
    gic::end(UART_INTID);
    let second = next();
    mmio::write32(IMSC, 0);
    let masked = wait_for(1, || !gic::is_pending(UART_INTID));
    mmio::write32(IMSC, RX);
    let byte = mmio::read32(console::DR);
    let dropped = wait_for(1, || !gic::is_pending(UART_INTID));
    gic::end(UART_INTID);
    let over = nothing();
    gic::set_pending(UART_INTID, true);
    let latched = next();
    let taken = !gic::is_pending(UART_INTID);
    gic::end(UART_INTID);
    gic::reset_interrupt(UART_INTID);
    mmio::write32(IMSC, 0);
    mmio::write32(CR, 0x301);
    mmio::write32(LCR_H, 0x70);

    check!(quiet, "line: low");
    check!(raised && pending, "line: high, pending");
    check_eq!(first, UART_INTID, "line: acknowledged");
    check!(held, "line: active, and pending as long as the line is high");
    check_eq!(second, UART_INTID, "line: again after its end");
    check!(masked, "line: low when the device masks it");
    check_eq!(byte, 0x55, "line: the byte");
    check!(dropped && over, "line: low, nothing left");
    check!(latched == UART_INTID && taken, "line: made pending by a write, it comes once");
}

static IRQS: AtomicU32 = AtomicU32::new(0);
static FIQS: AtomicU32 = AtomicU32::new(0);
static NESTED: AtomicU32 = AtomicU32::new(0);
static DEEPEST: AtomicU32 = AtomicU32::new(0);
const NEST: u32 = 8;

/// Interrupts as exceptions, nested ones included.
fn exceptions_taken() {
    let zero = SPARE.start + NEST;
    exceptions::on_irq(nesting_irq);
    exceptions::on_fiq(|| {
        let intid = gic::acknowledge0();
        FIQS.fetch_add(1, Ordering::Relaxed);
        gic::end0(intid);
    });
    for level in 0..NEST {
        prepare(SPARE.start + level, (0x80 - 8 * level) as u8);
    }
    prepare(zero, 0x08);
    gic::set_group(zero, Group::Zero);
    gic::set_pending(SPARE.start, true);
    cpu::unmask_interrupts();
    let all = wait_for(2, || IRQS.load(Ordering::Relaxed) == NEST && FIQS.load(Ordering::Relaxed) == 1);
    timer::delay(1000);
    cpu::mask_interrupts();
    check!(all, "interrupts are taken as exceptions");
    check_eq!(DEEPEST.load(Ordering::Relaxed), NEST, "each more urgent than the last");
    check_eq!(IRQS.load(Ordering::Relaxed), NEST, "each once");
    check_eq!(FIQS.load(Ordering::Relaxed), 1, "the FIQ too");
    put_away(SPARE.take(NEST as usize + 1));
}

/// Makes the next one pending, which is more urgent, and lets it in; the last one makes the FIQ pending.
fn nesting_irq() {
    let intid = gic::acknowledge();
    if intid == SPURIOUS {
        return;
    }
    DEEPEST.fetch_max(NESTED.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    gic::set_pending(intid + 1, true);
    cpu::unmask_interrupts();
    timer::delay(200);
    cpu::mask_interrupts();
    NESTED.fetch_sub(1, Ordering::Relaxed);
    IRQS.fetch_add(1, Ordering::Relaxed);
    gic::end(intid);
}

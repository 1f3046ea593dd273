// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interrupt controller as one CPU sees it: registers, priorities, the states of an interrupt, more pending and
//! active ones than a hypervisor has list registers, groups, lines of real devices.
//!
//! Most of it polls with interrupts masked, so that the order is exact. The SPIs used have no device.

use crate::gic::{self, Group, SPURIOUS, Trigger, offset};
use crate::machine::Machine;
use crate::timer::{PATIENCE, wait_for};
use crate::{cpu, mmio, report};

mod order;
mod signals;
mod states;

/// SPIs without a device; of a VM the last that there are.
const SPARE: core::ops::Range<u32> = 64..96;
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
    states::without_separate_deactivation();
    states::separate_deactivation();
    order::priorities();
    order::preemption();
    order::many_pending();
    order::many_active();
    states::sgis();
    switches();
    group_zero();
    signals::device_line();
    signals::exceptions_taken();
    report::finish("gic");
}

/// Acknowledges what comes, waiting a little: a hypervisor may need a moment to refill.
fn next() -> u32 {
    let mut intid = SPURIOUS;
    wait_for(PATIENCE, || {
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
    gic::prepare_spi(intid, Trigger::Edge, priority);
}

fn put_away(intids: impl IntoIterator<Item = u32>) {
    intids.into_iter().for_each(gic::reset_interrupt);
}

fn identification() {
    let revision = |frame: u64| mmio::read32(frame + 0xFFE8) >> 4 & 0xF;
    check_eq!(revision(gic::gicd()), 3, "the distributor is a GICv3's");
    check_eq!(revision(gic::gicr()), 3, "the redistributor is a GICv3's");
    check!(mmio::read32(gic::gicd()) & 1 << 6 != 0, "one Security state");
    check!(gic::intids() >= SPARE.end, "there are SPIs");
    check_eq!(mmio::read64(gic::gicr() + offset::GICR_TYPER) >> 32, cpu::affinity(), "GICR_TYPER has the affinity");
}

fn reserved() {
    let zero = |offset: u64| {
        mmio::write32(gic::gicd() + offset, u32::MAX);
        mmio::read32(gic::gicd() + offset) == 0
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
    mmio::write32(gic::gicd() + offset::ISENABLER + 8, 0xF0);
    mmio::write32(gic::gicd() + offset::ICENABLER + 8, 0x50);
    check_eq!(mmio::read32(gic::gicd() + offset::ISENABLER + 8), 0xA0, "enable registers act on the ones only");
    check_eq!(mmio::read32(gic::gicd() + offset::ICENABLER + 8), 0xA0, "both read the same");
    mmio::write32(gic::gicd() + offset::ICENABLER + 8, u32::MAX);
    mmio::write32(frame + offset::IPRIORITYR + 16, 0x4030_2010);
    check_eq!(mmio::read32(frame + offset::IPRIORITYR + 16), 0x4030_2010, "four priorities at once");
    gic::route(spi, 0x1_0002_0304);
    check_eq!(mmio::read64(gic::gicd() + offset::IROUTER + 8 * u64::from(spi)), 0x1_0002_0304, "routing");
    gic::route(spi, 0);
}

fn configuration() {
    check_eq!(mmio::read32(gic::sgi_frame() + offset::ICFGR), 0xAAAA_AAAA, "SGIs are edge-triggered");
    let spi = SPARE.start;
    let register = gic::gicd() + offset::ICFGR + 4 * u64::from(spi / 16);
    gic::set_trigger(spi + 1, Trigger::Edge);
    check_eq!(mmio::read32(register), 8, "edge");
    gic::set_trigger(spi + 1, Trigger::Level);
    check_eq!(mmio::read32(register), 0, "level");
    check_eq!(read_register!("icc_sre_el1") & 1, 1, "the CPU interface is that of system registers");
    write_register!("icc_pmr_el1", 0x78);
    check_eq!(read_register!("icc_pmr_el1"), 0x78, "ICC_PMR_EL1");
    write_register!("icc_pmr_el1", 0xFF);
}

fn switches() {
    let intid = SPARE.start;
    prepare(intid, 0x40);
    gic::set_pending(intid, true);
    write_register!("icc_igrpen1_el1", 0);
    check!(nothing(), "nothing with ICC_IGRPEN1_EL1 off");
    write_register!("icc_igrpen1_el1", 1);
    mmio::write32(gic::gicd(), gic::CTLR_ON & !2);
    check!(wait_for(PATIENCE, nothing), "nothing with group 1 off in GICD_CTLR");
    mmio::write32(gic::gicd(), gic::CTLR_ON);
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
    check!(wait_for(PATIENCE, || read_register!("isr_el1") & 1 << 6 != 0), "group 0 is signalled as FIQ");
    check_eq!(gic::acknowledge0(), zero, "group 0 is acknowledged as such");
    check!(gic::acknowledge() == SPURIOUS, "group 1 waits, being less urgent");
    gic::end0(zero);
    check!(wait_for(PATIENCE, || read_register!("isr_el1") & 1 << 7 != 0), "group 1 is signalled as IRQ");
    check_eq!(gic::acknowledge0(), SPURIOUS, "group 1 is not acknowledged as group 0");
    check_eq!(next(), one, "group 1 comes");
    gic::end(one);
    put_away([zero, one]);
}

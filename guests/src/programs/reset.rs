// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks whether the machine is as new, makes a mess, and resets it; again and again until a byte arrives on the
//! console, or until the clock says `until=SECONDS` (Unix time). It cannot count: nothing of it survives. With
//! `guest_errors=N` it reads so often where nothing is.
//!
//! Natively with `native`, since QEMU leaves the memory and the real-time clock as they are.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::machine::Machine;
use crate::{console, cpu, gic, mmio, probe, psci, timer};

const PATTERN: u64 = 0x7072_6973_7469_6E65;

/// In `.data`: comes with the image.
static LOADED: [AtomicU64; 64] = [const { AtomicU64::new(PATTERN) }; 64];
/// In `.bss`: zeroed by the start-up code.
static ZEROED: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];
/// Zeroed by nobody but the machine.
#[unsafe(link_section = ".scratch")]
static UNTOUCHED: [AtomicU64; 512] = [const { AtomicU64::new(0) }; 512];

/// Where nothing is.
const HOLE: u64 = 0x0B00_0000;
/// The real-time clock.
const RTC: u64 = 0x0901_0000;

/// Runs the program.
pub fn run(machine: &Machine) {
    let wrong = stale_memory(machine) + stale_registers(machine);
    if wrong == 0 {
        println!("guest: pristine");
    } else {
        println!("guest: FAIL: {wrong} things survived the reset");
    }
    for error in 0..machine.number("guest_errors", 0) {
        let _ = probe::read(HOLE + 8 * error, 4);
    }
    let until = machine.number("until", u64::MAX);
    let ends = || console::read_byte().is_some() || u64::from(mmio::read32(RTC)) >= until;
    let mut end = ends();
    if !end {
        soil(machine);
        // Once more: a reset drops what has arrived meanwhile.
        end = ends();
    }
    if end {
        println!("guest: reset ends");
    } else {
        psci::system_reset();
    }
}

fn complain(wrong: bool, what: &str, value: u64) -> u32 {
    if wrong {
        println!("guest: FAIL: {what} is {value:#x}");
    }
    u32::from(wrong)
}

fn stale_memory(machine: &Machine) -> u32 {
    let stale = |words: &[AtomicU64], want: u64| {
        words.iter().map(|word| word.load(Ordering::Relaxed)).find(|word| *word != want)
    };
    let mut wrong = 0;
    for (what, found) in [(".data", stale(&LOADED, PATTERN)), (".bss", stale(&ZEROED, 0))] {
        wrong += complain(found.is_some(), what, found.unwrap_or(0));
    }
    if !machine.is_native() {
        let found = stale(&UNTOUCHED, 0);
        wrong += complain(found.is_some(), "untouched memory", found.unwrap_or(0));
        let last = last_word(machine).load(Ordering::Relaxed);
        wrong += complain(last != 0, "the last word of memory", last);
    }
    wrong
}

fn last_word(machine: &Machine) -> &'static AtomicU64 {
    let (base, size) = machine.memory();
    let address = (base + size - 8) as usize;
    // SAFETY: memory, aligned, and used by nothing else: the image and the device tree lie lower.
    unsafe { &*core::ptr::with_exposed_provenance::<AtomicU64>(address) }
}

fn stale_registers(machine: &Machine) -> u32 {
    let mut wrong = 0;
    for (what, value, want) in [
        ("UARTCR", mmio::read32(console::uart() + 0x30), 0x300),
        ("UARTLCR_H", mmio::read32(console::uart() + 0x2C), 0),
        ("UARTIBRD", mmio::read32(console::uart() + 0x24), 0),
        ("UARTIFLS", mmio::read32(console::uart() + 0x34), 0x12),
        ("UARTIMSC", mmio::read32(console::uart() + 0x38), 0),
        ("GICD_CTLR", mmio::read32(gic::gicd()) & 7, 0),
        ("GICD_ISENABLER1", mmio::read32(gic::gicd() + gic::offset::ISENABLER + 4), 0),
        ("GICD_ISPENDR2", mmio::read32(gic::gicd() + gic::offset::ISPENDR + 8), 0),
        ("GICD_IPRIORITYR16", mmio::read32(gic::gicd() + gic::offset::IPRIORITYR + 64), 0),
        ("GICD_ICFGR4", mmio::read32(gic::gicd() + gic::offset::ICFGR + 16), 0),
        ("GICR_ISENABLER0", mmio::read32(gic::gicr() + gic::offset::SGI_FRAME + gic::offset::ISENABLER), 0),
    ] {
        wrong += complain(value != want, what, u64::from(value));
    }
    for (what, register) in [("RTCMR", 4), ("RTCLR", 8), ("RTCIMSC", 0x10)] {
        let value = mmio::read32(RTC + register);
        wrong += complain(value != 0 && !machine.is_native(), what, u64::from(value));
    }
    for (what, value) in [
        ("CNTV_CTL_EL0", read_register!("cntv_ctl_el0") & timer::ENABLE),
        ("CNTP_CTL_EL0", read_register!("cntp_ctl_el0") & timer::ENABLE),
        ("ICC_IGRPEN1_EL1", read_register!("icc_igrpen1_el1")),
        ("ICC_PMR_EL1", read_register!("icc_pmr_el1")),
        ("the exception level", cpu::exception_level() ^ 1),
    ] {
        wrong += complain(value != 0, what, value);
    }
    // The counter starts again, unless the machine keeps it through a reset as a board does.
    let seconds = timer::now() / timer::frequency();
    wrong + complain(seconds > 60 && !machine.is_native(), "the counter, in seconds,", seconds)
}

/// Changes everything that the reset has to undo.
fn soil(machine: &Machine) {
    for words in [&LOADED[..], &ZEROED[..], &UNTOUCHED[..]] {
        words.iter().for_each(|word| word.store(!PATTERN, Ordering::Relaxed));
    }
    last_word(machine).store(!PATTERN, Ordering::Relaxed);
    gic::init_distributor();
    gic::init_cpu();
    for intid in 32..96 {
        gic::set_priority(intid, 0x48);
        gic::set_trigger(intid, gic::Trigger::Edge);
        gic::enable(intid);
        gic::set_pending(intid, true);
    }
    (0..32).for_each(gic::enable);
    let _ = gic::acknowledge();
    write_register!("cntv_cval_el0", 0);
    write_register!("cntv_ctl_el0", timer::ENABLE);
    write_register!("cntp_cval_el0", u64::MAX);
    write_register!("cntp_ctl_el0", timer::ENABLE);
    for (register, value) in [(4, 0x1234_5678), (8, mmio::read32(RTC)), (0x10, 1)] {
        mmio::write32(RTC + register, value);
    }
    for (register, value) in [(0x24, 0x27), (0x2C, 0x60), (0x30, 0x301), (0x34, 0), (0x38, 0x7FF)] {
        mmio::write32(console::uart() + register, value);
    }
}

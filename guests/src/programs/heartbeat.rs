// SPDX-License-Identifier: MIT OR Apache-2.0
//! Beats by the virtual timer's interrupt, and tells how late the interrupts were.
//!
//! Parameters: `beats=N` (10), `period=MILLISECONDS` (100), `name=NAME` to tell several apart, `every=N` (1) to tell only of each
//! N-th beat, and how late one was by then; `between=compute`, not to wait between beats but to keep a floating-point register and look
//! whether it is lost.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::machine::Machine;
use crate::{cpu, exceptions, gic, timer};

static BEATS: AtomicU64 = AtomicU64::new(0);
static PERIOD: AtomicU64 = AtomicU64::new(0);
static WORST: AtomicU64 = AtomicU64::new(0);

/// Runs the program.
pub fn run(machine: &Machine) {
    let beats = machine.number("beats", 10);
    let every = machine.number("every", 1).max(1);
    let name = machine.parameter("name").unwrap_or("");
    let separator = if name.is_empty() { "" } else { " " };
    PERIOD.store(timer::counts(1000 * machine.number("period", 100)), Ordering::Relaxed);

    gic::init_distributor();
    gic::init_cpu();
    exceptions::on_irq(beat);
    gic::enable(timer::VIRTUAL_INTID);
    write_register!("cntv_cval_el0", timer::now() + PERIOD.load(Ordering::Relaxed));
    write_register!("cntv_ctl_el0", timer::ENABLE);

    let between = if machine.parameter("between") == Some("compute") { compute } else { sleep };
    let mut told = 0;
    while told < beats {
        between();
        while told < BEATS.load(Ordering::Relaxed).min(beats) {
            told += 1;
            if told.is_multiple_of(every) {
                println!("guest:{separator}{name} beat {told}");
            }
            if every > 1 && told.is_multiple_of(every) {
                tell_worst(separator, name, told);
            }
        }
    }
    write_register!("cntv_ctl_el0", 0);
    if !beats.is_multiple_of(every) || every == 1 {
        tell_worst(separator, name, beats);
    }
}

fn tell_worst(separator: &str, name: &str, beats: u64) {
    let worst = timer::microseconds(WORST.load(Ordering::Relaxed));
    println!("guest:{separator}{name} {beats} beats, the latest by {worst} us");
}

/// Waits for an interrupt and takes it. It is masked until the CPU waits, so that none slips in before.
fn sleep() {
    cpu::mask_interrupts();
    cpu::wait_for_interrupt();
    cpu::unmask_interrupts();
}

/// Keeps a number in a floating-point register until the next beat.
fn compute() {
    /// CPACR_EL1.FPEN: no trap.
    const FPEN: u64 = 3 << 20;
    write_register!("cpacr_el1", FPEN);
    cpu::unmask_interrupts();
    let before = BEATS.load(Ordering::Relaxed);
    let number = !before;
    // SAFETY: nobody else here uses floating-point registers.
    unsafe { asm!(".arch_extension fp", "fmov d8, {}", in(reg) number, options(nomem, nostack)) };
    while BEATS.load(Ordering::Relaxed) == before {
        let kept: u64;
        // SAFETY: as above.
        unsafe { asm!(".arch_extension fp", "fmov {}, d8", out(reg) kept, options(nomem, nostack)) };
        assert_eq!(kept, number, "D8 is lost");
    }
}

/// The timer's interrupt. The next one is due a period after this one was, not after now: lateness does not add up.
fn beat() {
    let intid = gic::acknowledge();
    if intid == timer::VIRTUAL_INTID {
        let due = read_register!("cntv_cval_el0");
        WORST.fetch_max(timer::now().saturating_sub(due), Ordering::Relaxed);
        write_register!("cntv_cval_el0", due + PERIOD.load(Ordering::Relaxed));
        BEATS.fetch_add(1, Ordering::Relaxed);
    }
    if intid < gic::SPURIOUS - 3 {
        gic::end(intid);
    }
}

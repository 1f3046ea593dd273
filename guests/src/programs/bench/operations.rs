// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations that are measured. Each is one instruction sequence between two reads of the counter.

use core::arch::{asm, global_asm};

use super::marks::Channel;
use crate::{console, cpu, gic, psci};

/// The SGI that is sent.
pub(super) const SGI: u32 = 5;

/// Something to be measured.
pub(in crate::programs) struct Operation {
    pub(super) name: &'static str,
    /// Does it once; returns the ticks it took.
    pub(super) run: fn() -> u64,
    /// The counter is read where the operation ends, not behind it: nothing is to be taken off.
    pub(super) is_timed_inside: bool,
    /// Without a hypervisor there is something to measure too. (There is no firmware to call then.)
    pub(super) exists_natively: bool,
    /// Each round writes a character to the console.
    pub(super) writes_to_the_console: bool,
    /// A round takes long: one for so many of the others'.
    pub(super) rounds_divided_by: usize,
    /// Where its rounds are marked.
    pub(super) channel: Channel,
}

impl Operation {
    pub(in crate::programs) const fn new(name: &'static str, run: fn() -> u64) -> Self {
        Self {
            name,
            run,
            is_timed_inside: false,
            exists_natively: true,
            writes_to_the_console: false,
            rounds_divided_by: 1,
            channel: Channel::Here,
        }
    }

    pub(super) const fn timed_inside(self) -> Self {
        Self { is_timed_inside: true, ..self }
    }

    pub(super) const fn only_in_a_vm(self) -> Self {
        Self { exists_natively: false, ..self }
    }

    pub(super) const fn in_fewer_rounds(self, divided_by: usize) -> Self {
        Self { rounds_divided_by: divided_by, ..self }
    }

    pub(super) const fn marked_as(self, channel: Channel) -> Self {
        Self { channel, ..self }
    }

    const fn on_the_console(self) -> Self {
        Self { writes_to_the_console: true, ..self }
    }
}

/// Times instructions; a calling-convention call may clobber x0 to x17.
macro_rules! timed {
    ($($instruction:literal),* $(; $($operand:tt)*)?) => {{
        let (before, after): (u64, u64);
        // SAFETY: the instructions are reads of registers, calls that keep all but x0 to x17, and loads from devices.
        unsafe {
            asm!(
                "isb", begin_mark!(0), "mrs x20, cntvct_el0", $($instruction,)* "mrs x21, cntvct_el0",
                finish_mark!(0),
                $($($operand)*,)?
                out("x20") before, out("x21") after, clobber_abi("C"), options(nostack),
            );
        }
        after - before
    }};
}

/// Nothing: what the measurement itself takes.
pub(super) const EMPTY: Operation = Operation::new("empty", || timed!());

/// What one CPU does by itself, in the order of the table.
pub(super) const ALONE: &[Operation] = &[
    Operation::new("id-register", || timed!("mrs x0, id_aa64pfr0_el1")),
    Operation::new("hvc-psci-version", || {
        timed!("hvc #0"; in("x0") psci::VERSION)
    })
    .only_in_a_vm(),
    Operation::new("smc-psci-version", || {
        timed!("smc #0"; in("x0") psci::VERSION)
    })
    .only_in_a_vm(),
    Operation::new("hvc-unknown", || {
        timed!("hvc #0"; in("x0") UNKNOWN_FUNCTION)
    })
    .only_in_a_vm(),
    Operation::new("affinity-info", || {
        timed!("hvc #0"; in("x0") psci::AFFINITY_INFO, in("x1") cpu::affinity(), in("x2") 0)
    })
    .only_in_a_vm(),
    Operation::new("gicd-typer-read", || {
        timed!("ldr w0, [x22]"; in("x22") gic::gicd() + gic::offset::TYPER)
    }),
    Operation::new("gicr-typer-read", || {
        timed!("ldr x0, [x22]"; in("x22") gic::gicr() + gic::offset::GICR_TYPER)
    }),
    Operation::new("gicr-typer-half-read", || {
        timed!("ldr w0, [x22]"; in("x22") gic::gicr() + gic::offset::GICR_TYPER)
    }),
    Operation::new("gicd-iidr-read", || timed!("ldr w0, [x22]"; in("x22") gic::gicd() + gic::offset::IIDR)),
    Operation::new("gicd-isenabler-read", || timed!("ldr w0, [x22]"; in("x22") of_spis(gic::offset::ISENABLER))),
    Operation::new("gicd-isenabler-write", || {
        timed!("str w0, [x22]"; in("x0") UNUSED_BIT, in("x22") of_spis(gic::offset::ISENABLER))
    }),
    Operation::new("gicd-ispendr-read", || timed!("ldr w0, [x22]"; in("x22") of_spis(gic::offset::ISPENDR))),
    Operation::new("gicd-ipriorityr-read", || timed!("ldrb w0, [x22]"; in("x22") priority_of_unused())),
    Operation::new("gicd-ipriorityr-write", || {
        timed!("strb w0, [x22]"; in("x0") 0xA0, in("x22") priority_of_unused())
    }),
    Operation::new("gicr-ispendr-read", || {
        timed!("ldr w0, [x22]"; in("x22") gic::gicr() + gic::offset::SGI_FRAME + gic::offset::ISPENDR)
    }),
    Operation::new("pl011-status-read", || timed!("ldr w0, [x22]"; in("x22") console::uart() + console::FR)),
    Operation::new("pl011-write", || {
        timed!("strb w0, [x22]"; in("x0") u64::from(b'.'), in("x22") console::uart() + console::DR)
    })
    .on_the_console(),
    Operation::new("sgi-to-self", sgi_to_self).timed_inside(),
    Operation::new("timer-busy", || timer(Waiting::Busy)).timed_inside(),
    Operation::new("timer-from-wfi", || timer(Waiting::Wfi)).timed_inside(),
    Operation::new("end-of-interrupt", || {
        let _ = sgi_to_self();
        // SAFETY: the handler wrote it last.
        unsafe { bench_end_cost }
    })
    .timed_inside()
    .marked_as(Channel::Unmarked),
];

/// An SPI that no device has: INTID 40, in the second word of registers with a bit for each.
const UNUSED_BIT: u64 = 1 << 8;

/// The word of the first SPIs in the distributor's registers with a bit for each interrupt.
fn of_spis(register: u64) -> u64 {
    gic::gicd() + register + 4
}

/// Where the priority of that SPI is.
fn priority_of_unused() -> u64 {
    gic::gicd() + gic::offset::IPRIORITYR + 40
}

/// An OEM service call that nobody serves.
const UNKNOWN_FUNCTION: u64 = 0x8300_FF00;

/// Sends an SGI to this CPU and takes it: from before the write to the handler's first instruction.
fn sgi_to_self() -> u64 {
    let (before, taken): (u64, u64);
    // SAFETY: the vectors of this module use x9 to x15 only, and no stack.
    unsafe {
        asm!(
            "mov x9, #0",
            "msr daifclr, #2",
            "isb",
            begin_mark!(0),
            "mrs x20, cntvct_el0",
            "msr icc_sgi1r_el1, {sgi}",
            "isb",
            "2: cbz x9, 2b",
            finish_mark!(0),
            "msr daifset, #2",
            sgi = in(reg) gic::sgi1r(SGI, cpu::affinity()),
            out("x20") before, out("x9") taken,
            out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _,
            options(nostack),
        );
    }
    taken - before
}

/// How an interrupt is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Busy,
    Wfi,
}

/// Sets the virtual timer and takes its interrupt: from when it expires to the handler's first instruction.
fn timer(waiting: Waiting) -> u64 {
    const AHEAD: u64 = 5000;
    let (at, taken): (u64, u64);
    // SAFETY: as for `sgi_to_self`.
    unsafe {
        asm!(
            "mov x9, #0",
            "isb",
            begin_mark!(0),
            "mrs x20, cntvct_el0",
            "add x20, x20, {ahead}",
            "msr cntv_cval_el0, x20",
            "mov x10, #1",
            "msr cntv_ctl_el0, x10",
            "msr daifclr, #2",
            "isb",
            "2: cbz {wfi}, 3f",
            "wfi",
            "3: cbz x9, 2b",
            finish_mark!(0),
            "msr daifset, #2",
            ahead = in(reg) AHEAD,
            wfi = in(reg) u64::from(waiting == Waiting::Wfi),
            out("x20") at, out("x9") taken,
            out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _, out("x15") _,
            options(nostack),
        );
    }
    taken - at
}

/// Puts the vectors of this module in place.
pub(super) fn take_interrupts() {
    // SAFETY: the table is whole; exceptions other than IRQ go to the usual vectors.
    unsafe { asm!("msr vbar_el1, {}", "isb", in(reg) &raw const bench_vectors, options(nostack)) };
}

unsafe extern "C" {
    static bench_vectors: u8;
    static bench_end_cost: u64;
}

global_asm!(include_str!("vectors.S"));

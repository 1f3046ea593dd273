// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPU itself: registers, TLB, `AT`, and the way to EL1 and back. All the program's `unsafe` but for one symbol.

use core::arch::{asm, global_asm};

use vambrace_memory::access::{Access, El};
use vambrace_memory::features::Features;
use vambrace_memory::translation::{Registers, Stages};

use super::registers::Extras;
use crate::psci;

global_asm!(include_str!("enter.S"), unexpected = sym unexpected);

unsafe extern "C" {
    static conformance_vectors: u8;
    fn conformance_enter(entry: u64, pstate: u64, x0: u64, x1: u64) -> u64;
}

/// `MDCR_EL2.TDE`: debug exceptions go to EL2.
const MDCR_TDE: u64 = 1 << 8;
/// All exceptions masked.
const PSTATE_MASKED: u64 = 0xF << 6;
const PSTATE_PAN: u64 = 1 << 22;
const PSTATE_EL1H: u64 = 0b0101;

/// Writes a system register that EL1 depends on, but EL2 does not.
macro_rules! set_register {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: EL2 runs by its own registers; this one only concerns EL1 and EL0, which are not running.
        unsafe { asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nostack)) };
    }};
}

/// What the CPU says of itself.
pub(super) fn features() -> (Features, Extras) {
    let features = Features {
        mmfr0: read_register!("id_aa64mmfr0_el1"),
        mmfr1: read_register!("id_aa64mmfr1_el1"),
        mmfr2: read_register!("id_aa64mmfr2_el1"),
    };
    let (isar1, isar2) = (read_register!("id_aa64isar1_el1"), read_register!("S3_0_C0_C6_2"));
    // APA, API; APA3.
    (features, Extras { pauth: isar1 >> 4 & 0xff != 0 || isar2 >> 12 & 0xf != 0 })
}

/// Takes over EL2's vectors.
pub(super) fn prepare() {
    let vectors = &raw const conformance_vectors;
    set_register!("vbar_el2", vectors.expose_provenance() as u64);
    set_register!("mdcr_el2", read_register!("mdcr_el2") | MDCR_TDE);
    set_register!("mdscr_el1", 0);
    set_register!("tpidr_el2", 0);
    synchronise();
}

fn synchronise() {
    // SAFETY: a barrier.
    unsafe { asm!("isb", options(nostack)) };
}

/// Forgets all that the TLB knows of EL1 and EL0, of any VM.
pub(super) fn forget() {
    // SAFETY: EL2's own translations stay.
    unsafe { asm!("dsb ishst", "tlbi alle1", "dsb ish", "isb", options(nostack)) };
}

/// Sets the registers, and forgets what was translated by others.
pub(super) fn program(registers: &Registers, vectors: u64) {
    set_register!("sctlr_el1", registers.sctlr);
    set_register!("tcr_el1", registers.tcr);
    set_register!("ttbr0_el1", registers.ttbr0);
    set_register!("ttbr1_el1", registers.ttbr1);
    set_register!("mair_el1", registers.mair);
    set_register!("vbar_el1", vectors);
    set_register!("hcr_el2", registers.hcr);
    set_register!("vtcr_el2", registers.vtcr);
    set_register!("vttbr_el2", registers.vttbr);
    synchronise();
    forget();
}

/// What `AT` came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Translated {
    /// It wrote this to `PAR_EL1`.
    Par(u64),
    /// It took this exception to EL2.
    Exception(u64),
}

macro_rules! at {
    ($operation:literal, $va:expr) => {{
        let par: u64;
        // SAFETY: translates, and may set access flags in the pool; an exception is stepped over by the vectors.
        unsafe {
            asm!(concat!("at ", $operation, ", {0}"), "isb", "mrs {1}, par_el1",
                in(reg) $va, out(reg) par, options(nostack))
        };
        par
    }};
}

/// Executes an `AT`. There is none for fetches: that one counts as a read.
pub(super) fn translate(stages: Stages, access: Access, el: El, va: u64) -> Translated {
    set_register!("tpidr_el2", 1);
    let par = match (stages, access, el) {
        (Stages::First, Access::Write, El::El1) => at!("s1e1w", va),
        (Stages::First, Access::Write, El::El0) => at!("s1e0w", va),
        (Stages::First, _, El::El1) => at!("s1e1r", va),
        (Stages::First, _, El::El0) => at!("s1e0r", va),
        (Stages::Both, Access::Write, El::El1) => at!("s12e1w", va),
        (Stages::Both, Access::Write, El::El0) => at!("s12e0w", va),
        (Stages::Both, _, El::El1) => at!("s12e1r", va),
        (Stages::Both, _, El::El0) => at!("s12e0r", va),
    };
    let esr = read_register!("tpidr_el2");
    set_register!("tpidr_el2", 0);
    if esr == 1 { Translated::Par(par) } else { Translated::Exception(esr & u64::MAX >> 1) }
}

/// What came back from EL1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Return {
    /// x0.
    pub(super) x0: u64,
    /// The exception that EL2 has taken: ESR_EL2, FAR_EL2, HPFAR_EL2.
    pub(super) el2: [u64; 3],
    /// What EL1 took, if it did: ESR_EL1, FAR_EL1.
    pub(super) el1: [u64; 2],
}

/// Runs EL1, or EL0 for a fetch of its own, from `entry` to the next exception that EL2 takes.
pub(super) fn enter(registers: &Registers, entry: u64, as_el0: El, x0: u64, x1: u64) -> Return {
    let pan = if registers.pan { PSTATE_PAN } else { 0 };
    let mode = match as_el0 {
        El::El0 => 0,
        El::El1 => PSTATE_EL1H,
    };
    // SAFETY: EL1 reaches memory of ours only by way of the tables, which lead to the pool; it comes back by HVC, BRK
    // or an abort, with the registers that the procedure call standard keeps restored from EL2's stack.
    let x0 = unsafe { conformance_enter(entry, PSTATE_MASKED | pan | mode, x0, x1) };
    Return {
        x0,
        el2: [read_register!("esr_el2"), read_register!("far_el2"), read_register!("hpfar_el2")],
        el1: [read_register!("esr_el1"), read_register!("far_el1")],
    }
}

extern "C" fn unexpected(vector: u64, esr: u64, far: u64, elr: u64) -> ! {
    println!("guest: unexpected exception {vector} at EL2: ESR {esr:#x} FAR {far:#x} ELR {elr:#x}");
    psci::system_off()
}

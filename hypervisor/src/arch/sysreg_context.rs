// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loading a vCPU's registers into the hardware, and saving them.
//!
//! They move when a vCPU takes or leaves a physical CPU, not at each exit: while a vCPU is loaded its values
//! live in the hardware, and EL2 does not touch them. Two at a time, since a pair takes one access to memory.

use core::arch::asm;
use core::mem::offset_of;

use vambrace_cpu::registers::{El1Registers, PointerAuthKeys};

macro_rules! pairs {
    (
        $(#[$saves:meta])* $save:ident $(#[$loads:meta])* $load:ident $group:ident
        $(($first:ident = $first_asm:literal, $second:ident = $second_asm:literal))*
    ) => {
        $(const _: () = assert!(offset_of!($group, $second) == offset_of!($group, $first) + 8);)*

        $(#[$saves])*
        pub(crate) fn $save(to: &mut $group) {
            $(
                // SAFETY: reads two registers of EL1's, which changes nothing, and writes the two fields that are theirs.
                unsafe {
                    asm!(
                        concat!("mrs {first}, ", $first_asm),
                        concat!("mrs {second}, ", $second_asm),
                        "stp {first}, {second}, [{to}, {offset}]",
                        first = out(reg) _, second = out(reg) _, to = in(reg) &raw mut *to,
                        offset = const offset_of!($group, $first),
                        options(nostack, preserves_flags),
                    );
                }
            )*
        }

        $(#[$loads])*
        pub(crate) fn $load(from: &$group) {
            $(
                // SAFETY: reads two fields, and writes two registers of EL1's that act on EL1 and EL0 only.
                unsafe {
                    asm!(
                        "ldp {first}, {second}, [{from}, {offset}]",
                        concat!("msr ", $first_asm, ", {first}"),
                        concat!("msr ", $second_asm, ", {second}"),
                        first = out(reg) _, second = out(reg) _, from = in(reg) &raw const *from,
                        offset = const offset_of!($group, $first),
                        options(nostack, preserves_flags),
                    );
                }
            )*
        }
    };
}

pairs! {
    /// What says whether and how stage 1 translates: moved apart on some cores.
    #[inline(always)]
    save_control
    /// The same, into the hardware.
    #[inline(always)]
    load_control
    El1Registers
    (sctlr = "sctlr_el1", cpacr = "cpacr_el1")
    (tcr = "tcr_el1", mair = "mair_el1")
}

pairs! {
    /// All others.
    #[inline(always)]
    save_others
    /// The same, into the hardware. The timer's control comes last, when its compare value is right.
    #[inline(always)]
    load_others
    El1Registers
    (ttbr0 = "ttbr0_el1", ttbr1 = "ttbr1_el1")
    (amair = "amair_el1", vbar = "vbar_el1")
    (esr = "esr_el1", far = "far_el1")
    (afsr0 = "afsr0_el1", afsr1 = "afsr1_el1")
    (elr = "elr_el1", spsr = "spsr_el1")
    (sp_el0 = "sp_el0", sp_el1 = "sp_el1")
    (tpidr_el0 = "tpidr_el0", tpidrro_el0 = "tpidrro_el0")
    (tpidr_el1 = "tpidr_el1", contextidr = "contextidr_el1")
    (par = "par_el1", csselr = "csselr_el1")
    (cntkctl = "cntkctl_el1", mdscr = "mdscr_el1")
    (cntv_cval = "cntv_cval_el0", cntv_ctl = "cntv_ctl_el0")
}

/// Fetches the EL1 registers from the hardware.
pub(crate) fn save_el1(to: &mut El1Registers) {
    save_control(to);
    save_others(to);
}

/// Loads the EL1 registers into the hardware.
pub(crate) fn load_el1(from: &El1Registers) {
    load_control(from);
    load_others(from);
}

pairs! {
    /// Fetches the pointer authentication keys. Only where the hardware has FEAT_PAuth.
    save_keys
    /// Loads the pointer authentication keys into the hardware. Only where it has FEAT_PAuth.
    load_keys
    PointerAuthKeys
    (apia_lo = "s3_0_c2_c1_0", apia_hi = "s3_0_c2_c1_1")
    (apib_lo = "s3_0_c2_c1_2", apib_hi = "s3_0_c2_c1_3")
    (apda_lo = "s3_0_c2_c2_0", apda_hi = "s3_0_c2_c2_1")
    (apdb_lo = "s3_0_c2_c2_2", apdb_hi = "s3_0_c2_c2_3")
    (apga_lo = "s3_0_c2_c3_0", apga_hi = "s3_0_c2_c3_1")
}

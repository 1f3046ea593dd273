// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system registers that EL2 uses, one table.
//!
//! A register is [`SafeWrite`] when no value of it can break Rust's rules in EL2: those that act on EL1 and EL0,
//! on interrupts and on timers. The others (EL2's translation, traps, vectors) are [`GuardedWrite`]. Reads are
//! always safe.

/// A register that can be read.
pub(crate) trait Read {
    /// Reads the register.
    fn read(self) -> u64;
}

/// A register that can be written without risk to EL2 itself.
pub(crate) trait SafeWrite {
    /// Writes the register; takes effect at the next context synchronisation event.
    fn write(self, value: u64);
}

/// A register on which EL2's own safety, or a guest's isolation, depends.
pub(crate) trait GuardedWrite {
    /// Writes the register; takes effect at the next context synchronisation event.
    ///
    /// # Safety
    /// The value must keep EL2's memory and control flow, and the guests' isolation, intact.
    unsafe fn write(self, value: u64);
}

macro_rules! system_registers {
    ($($access:ident $name:ident = $asm:literal;)*) => {
        $(
            #[doc = concat!("The register `", $asm, "`.")]
            #[derive(Clone, Copy)]
            pub(crate) struct $name;

            impl Read for $name {
                #[inline(always)]
                fn read(self) -> u64 {
                    let value: u64;
                    // SAFETY: reading a system register that exists changes nothing that Rust knows of.
                    unsafe {
                        core::arch::asm!(concat!("mrs {}, ", $asm), out(reg) value, options(nostack, preserves_flags));
                    }
                    value
                }
            }
            system_registers!(@ $access $name $asm);
        )*
    };
    (@ safe $name:ident $asm:literal) => {
        impl SafeWrite for $name {
            #[inline(always)]
            fn write(self, value: u64) {
                // SAFETY: the table below lists the register as one that cannot affect EL2's own execution.
                unsafe {
                    core::arch::asm!(concat!("msr ", $asm, ", {}"), in(reg) value, options(nostack, preserves_flags));
                }
            }
        }
    };
    (@ guarded $name:ident $asm:literal) => {
        impl GuardedWrite for $name {
            #[inline(always)]
            unsafe fn write(self, value: u64) {
                // SAFETY: passed on to the caller.
                unsafe {
                    core::arch::asm!(concat!("msr ", $asm, ", {}"), in(reg) value, options(nostack, preserves_flags));
                }
            }
        }
    };
    (@ readonly $name:ident $asm:literal) => {};
}

#[rustfmt::skip]
system_registers! {
    // EL2: how it runs and what it traps.
    guarded HcrEl2 = "hcr_el2";
    guarded VttbrEl2 = "vttbr_el2";
    guarded VtcrEl2 = "vtcr_el2";
    guarded CptrEl2 = "cptr_el2";
    guarded MdcrEl2 = "mdcr_el2";
    guarded HstrEl2 = "hstr_el2";
    guarded HcrxEl2 = "s3_4_c1_c2_2";
    guarded HfgrtrEl2 = "s3_4_c1_c1_4";
    guarded HfgwtrEl2 = "s3_4_c1_c1_5";
    guarded HfgitrEl2 = "s3_4_c1_c1_6";
    guarded HdfgrtrEl2 = "s3_4_c3_c1_4";
    guarded HdfgwtrEl2 = "s3_4_c3_c1_5";
    guarded Hdfgrtr2El2 = "s3_4_c3_c1_0";
    guarded Hdfgwtr2El2 = "s3_4_c3_c1_1";
    guarded Hfgrtr2El2 = "s3_4_c3_c1_2";
    guarded Hfgwtr2El2 = "s3_4_c3_c1_3";
    guarded Hfgitr2El2 = "s3_4_c3_c1_7";
    guarded Mpam2El2 = "s3_4_c10_c5_0";
    guarded MairEl2 = "mair_el2";
    guarded TcrEl2 = "tcr_el2";
    guarded Ttbr0El2 = "ttbr0_el2";
    guarded SctlrEl2 = "sctlr_el2";
    safe VpidrEl2 = "vpidr_el2";
    safe VsesrEl2 = "s3_4_c5_c2_3";
    safe VdisrEl2 = "s3_4_c12_c1_1";
    safe VmpidrEl2 = "vmpidr_el2";
    safe CnthctlEl2 = "cnthctl_el2";
    safe CntvoffEl2 = "cntvoff_el2";
    safe CnthpCtlEl2 = "cnthp_ctl_el2";
    safe CnthpCvalEl2 = "cnthp_cval_el2";
    readonly EsrEl2 = "esr_el2";
    readonly FarEl2 = "far_el2";
    readonly HpfarEl2 = "hpfar_el2";
    safe ElrEl2 = "elr_el2";
    readonly SpsrEl2 = "spsr_el2";

    // What the hardware is.
    readonly MpidrEl1 = "mpidr_el1";
    readonly MidrEl1 = "midr_el1";
    readonly CtrEl0 = "ctr_el0";
    readonly DczidEl0 = "dczid_el0";
    readonly CntfrqEl0 = "cntfrq_el0";
    readonly CntpctEl0 = "cntpct_el0";

    // EL1 and EL0: the guest's.
    safe SctlrEl1 = "sctlr_el1";
    safe CpacrEl1 = "cpacr_el1";
    safe MairEl1 = "mair_el1";
    safe TcrEl1 = "tcr_el1";
    safe CntvCtlEl0 = "cntv_ctl_el0";
    safe OslarEl1 = "s2_0_c1_c0_4";

    // The physical GIC's CPU interface.
    safe IccSreEl1 = "s3_0_c12_c12_5";
    safe IccSreEl2 = "s3_4_c12_c9_5";
    safe IccCtlrEl1 = "s3_0_c12_c12_4";
    safe IccPmrEl1 = "s3_0_c4_c6_0";
    safe IccBpr1El1 = "s3_0_c12_c12_3";
    safe IccIgrpen0El1 = "s3_0_c12_c12_6";
    safe IccIgrpen1El1 = "s3_0_c12_c12_7";
    safe IccIar1El1 = "s3_0_c12_c12_0";
    safe IccEoir1El1 = "s3_0_c12_c12_1";
    safe IccDirEl1 = "s3_0_c12_c11_1";
    safe IccSgi1rEl1 = "s3_0_c12_c11_5";

    // The virtual GIC's CPU interface control.
    safe IchHcrEl2 = "s3_4_c12_c11_0";
    readonly IchElrsrEl2 = "s3_4_c12_c11_5";
    safe IchVmcrEl2 = "s3_4_c12_c11_7";
    readonly IchVtrEl2 = "s3_4_c12_c11_1";
    safe IchAp0r0El2 = "s3_4_c12_c8_0";
    safe IchAp0r1El2 = "s3_4_c12_c8_1";
    safe IchAp0r2El2 = "s3_4_c12_c8_2";
    safe IchAp0r3El2 = "s3_4_c12_c8_3";
    safe IchAp1r0El2 = "s3_4_c12_c9_0";
    safe IchAp1r1El2 = "s3_4_c12_c9_1";
    safe IchAp1r2El2 = "s3_4_c12_c9_2";
    safe IchAp1r3El2 = "s3_4_c12_c9_3";
    safe IchLr0El2 = "s3_4_c12_c12_0";
    safe IchLr1El2 = "s3_4_c12_c12_1";
    safe IchLr2El2 = "s3_4_c12_c12_2";
    safe IchLr3El2 = "s3_4_c12_c12_3";
    safe IchLr4El2 = "s3_4_c12_c12_4";
    safe IchLr5El2 = "s3_4_c12_c12_5";
    safe IchLr6El2 = "s3_4_c12_c12_6";
    safe IchLr7El2 = "s3_4_c12_c12_7";
    safe IchLr8El2 = "s3_4_c12_c13_0";
    safe IchLr9El2 = "s3_4_c12_c13_1";
    safe IchLr10El2 = "s3_4_c12_c13_2";
    safe IchLr11El2 = "s3_4_c12_c13_3";
    safe IchLr12El2 = "s3_4_c12_c13_4";
    safe IchLr13El2 = "s3_4_c12_c13_5";
    safe IchLr14El2 = "s3_4_c12_c13_6";
    safe IchLr15El2 = "s3_4_c12_c13_7";

    // Features, as the hardware has them.
    readonly IdAa64dfr0El1 = "s3_0_c0_c5_0";
    readonly IdAa64mmfr0El1 = "s3_0_c0_c7_0";
    readonly IdAa64mmfr1El1 = "s3_0_c0_c7_1";
    readonly IdAa64mmfr2El1 = "s3_0_c0_c7_2";
    readonly IdAa64isar0El1 = "s3_0_c0_c6_0";
}

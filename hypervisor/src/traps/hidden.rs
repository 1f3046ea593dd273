// SPDX-License-Identifier: MIT OR Apache-2.0
//! The features that a VM's ID registers hide, and why using one all the same hurts nobody.
//!
//! A guest need not look before it uses a feature. So each field of the AArch64 ID registers that is hidden, or shown lower
//! than the architecture has it, is guarded by trap controls, or harmless for a reason. The AArch32 ID registers are of the
//! same features at EL0. Source: Arm ARM, "ID registers", and the fields' own descriptions.

use vambrace_cpu::sysreg::SysReg;

use crate::el1::{self, Trap};

/// What becomes of a guest that uses what it does not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// It traps, or is off, by each of these controls.
    Controlled(&'static [&'static [Trap]]),
    /// It hurts nobody, as said.
    Harmless(&'static str),
}

/// A field that is hidden, or shown at most up to a value.
#[derive(Clone, Copy, Debug)]
pub struct Hidden {
    /// The ID register.
    pub register: SysReg,
    /// The field's lowest bit; of a register that is hidden whole, `None`.
    pub lsb: Option<u32>,
    /// Arm's name of the field, or of what is in the register.
    pub name: &'static str,
    /// The highest value that is shown; values above are hidden.
    pub shown: u8,
    /// Why that is enough.
    pub guard: Guard,
}

use Guard::{Controlled, Harmless};

const EL2_ONLY: Guard = Harmless("EL2's alone");
const EL3_ONLY: Guard = Harmless("EL3's alone");
const RESERVED: Guard = Harmless("reserved: zero on every CPU");
const HINT: Guard = Harmless("a hint, without state");
const INSTRUCTIONS: Guard = Harmless("instructions on registers that are switched, without other state");
const OWN_TABLES: Guard =
    Harmless("the guest's own tables by its own TCR_EL1; stage 2 checks what comes out");

/// A field that reads as "not implemented".
const fn none(register: SysReg, lsb: u32, name: &'static str, guard: Guard) -> Hidden {
    Hidden { register, lsb: Some(lsb), name, shown: 0, guard }
}

/// A field of which higher values are hidden.
const fn above(shown: u8, register: SysReg, lsb: u32, name: &'static str, guard: Guard) -> Hidden {
    Hidden { register, lsb: Some(lsb), name, shown, guard }
}

/// A register that reads as zero.
const fn whole(register: SysReg, name: &'static str, guard: Guard) -> Hidden {
    Hidden { register, lsb: None, name, shown: 0, guard }
}

/// All of them, by register.
#[rustfmt::skip]
pub const HIDDEN: &[Hidden] = &[
    above(1, SysReg::ID_AA64PFR0_EL1, 4, "EL1", Harmless("HCR_EL2.RW: EL1 is AArch64")),
    none(SysReg::ID_AA64PFR0_EL1, 8, "EL2", Harmless("HCR_EL2.NV is 0: EL2's registers are UNDEFINED at EL1")),
    none(SysReg::ID_AA64PFR0_EL1, 12, "EL3", Harmless("EL3's registers are UNDEFINED at EL1, and SMC traps")),
    above(1, SysReg::ID_AA64PFR0_EL1, 24, "GIC", Harmless("what GICv4 adds is not at EL1")),
    none(SysReg::ID_AA64PFR0_EL1, 28, "RAS", Controlled(&[el1::TERR, el1::FAULT_INJECTION])),
    none(SysReg::ID_AA64PFR0_EL1, 32, "SVE", Controlled(&[el1::TZ])),
    none(SysReg::ID_AA64PFR0_EL1, 36, "SEL2", EL2_ONLY),
    none(SysReg::ID_AA64PFR0_EL1, 40, "MPAM", Controlled(&[el1::MPAM, el1::MPAM_STREAMING])),
    none(SysReg::ID_AA64PFR0_EL1, 44, "AMU", Controlled(&[el1::TAM])),
    none(SysReg::ID_AA64PFR0_EL1, 52, "RME", EL3_ONLY),
    above(1, SysReg::ID_AA64PFR0_EL1, 56, "CSV2", Controlled(&[el1::SCXT])),

    none(SysReg::ID_AA64PFR1_EL1, 8, "MTE", Controlled(&[el1::TAGS])),
    none(SysReg::ID_AA64PFR1_EL1, 12, "RAS_frac", Controlled(&[el1::TERR, el1::FAULT_INJECTION])),
    none(SysReg::ID_AA64PFR1_EL1, 16, "MPAM_frac", Controlled(&[el1::MPAM])),
    none(SysReg::ID_AA64PFR1_EL1, 20, "RES0", RESERVED),
    none(SysReg::ID_AA64PFR1_EL1, 24, "SME", Controlled(&[el1::TSM, el1::SMPRI, el1::TPIDR2])),
    none(SysReg::ID_AA64PFR1_EL1, 28, "RNDR_trap", EL3_ONLY),
    above(1, SysReg::ID_AA64PFR1_EL1, 32, "CSV2_frac", Controlled(&[el1::SCXT])),
    none(SysReg::ID_AA64PFR1_EL1, 36, "NMI", Harmless("ALLINT is PSTATE, SCTLR_EL1.NMI is switched")),
    none(SysReg::ID_AA64PFR1_EL1, 40, "MTE_frac", Controlled(&[el1::TAGS])),
    none(SysReg::ID_AA64PFR1_EL1, 44, "GCS", Controlled(&[el1::GCS])),
    none(SysReg::ID_AA64PFR1_EL1, 48, "THE", Controlled(&[el1::RCWMASK, el1::RCWSMASK])),
    none(SysReg::ID_AA64PFR1_EL1, 52, "MTEX", Controlled(&[el1::TAGS])),
    none(SysReg::ID_AA64PFR1_EL1, 56, "DF2", Controlled(&[el1::SCTLR2])),
    none(SysReg::ID_AA64PFR1_EL1, 60, "PFAR", Controlled(&[el1::PFAR])),
    whole(SysReg::ID_AA64PFR2_EL1, "later extensions of MTE", Controlled(&[el1::TAGS])),
    whole(SysReg::ID_AA64ZFR0_EL1, "SVE", Controlled(&[el1::TZ])),
    whole(SysReg::ID_AA64SMFR0_EL1, "SME", Controlled(&[el1::TSM])),
    whole(SysReg::ID_AA64FPFR0_EL1, "8-bit floating point", Controlled(&[el1::FPM])),

    above(6, SysReg::ID_AA64DFR0_EL1, 0, "DebugVer", Controlled(&[el1::BANKS, el1::TDA])),
    none(SysReg::ID_AA64DFR0_EL1, 4, "TraceVer", Controlled(&[el1::TTA])),
    none(SysReg::ID_AA64DFR0_EL1, 8, "PMUVer", Controlled(&[el1::PMU])),
    none(SysReg::ID_AA64DFR0_EL1, 16, "PMSS", Controlled(&[el1::PMU])),
    none(SysReg::ID_AA64DFR0_EL1, 24, "SEBEP", Controlled(&[el1::PMU])),
    none(SysReg::ID_AA64DFR0_EL1, 32, "PMSVer", Controlled(&[el1::TPMS, el1::SPE_BUFFER])),
    above(15, SysReg::ID_AA64DFR0_EL1, 36, "DoubleLock", Controlled(&[el1::TDOSA])),
    none(SysReg::ID_AA64DFR0_EL1, 40, "TraceFilt", Controlled(&[el1::TTRF])),
    none(SysReg::ID_AA64DFR0_EL1, 44, "TraceBuffer", Controlled(&[el1::TRACE_BUFFER])),
    none(SysReg::ID_AA64DFR0_EL1, 48, "MTPMU", Controlled(&[el1::PMU])),
    none(SysReg::ID_AA64DFR0_EL1, 52, "BRBE", Controlled(&[el1::BRANCH_RECORDS, el1::BRANCH_INSTRUCTIONS])),
    none(SysReg::ID_AA64DFR0_EL1, 56, "ExtTrcBuff", Controlled(&[el1::TRACE_BUFFER])),
    none(SysReg::ID_AA64DFR0_EL1, 60, "HPMN0", EL2_ONLY),
    whole(SysReg::ID_AA64DFR1_EL1, "system PMU, stepping by an opcode", Controlled(&[el1::SYSTEM_PMU, el1::STEPPED, el1::BANKS])),
    whole(SysReg::ID_AA64AFR0_EL1, "IMPLEMENTATION DEFINED", Controlled(&[el1::TIDCP])),
    whole(SysReg::ID_AA64AFR1_EL1, "IMPLEMENTATION DEFINED", Controlled(&[el1::TIDCP])),

    none(SysReg::ID_AA64ISAR0_EL1, 0, "RES0", RESERVED),
    above(2, SysReg::ID_AA64ISAR0_EL1, 20, "Atomic", INSTRUCTIONS),
    none(SysReg::ID_AA64ISAR0_EL1, 24, "TME", Controlled(&[el1::TRANSACTIONS])),
    above(5, SysReg::ID_AA64ISAR1_EL1, 4, "APA", Controlled(&[el1::PACM])),
    above(5, SysReg::ID_AA64ISAR1_EL1, 8, "API", Controlled(&[el1::PACM])),
    above(2, SysReg::ID_AA64ISAR1_EL1, 20, "LRCPC", INSTRUCTIONS),
    above(1, SysReg::ID_AA64ISAR1_EL1, 40, "SPECRES", Harmless("restricts the guest's own speculation")),
    above(1, SysReg::ID_AA64ISAR1_EL1, 44, "BF16", INSTRUCTIONS),
    none(SysReg::ID_AA64ISAR1_EL1, 56, "XS", Harmless("barriers and TLB maintenance that wait for less")),
    none(SysReg::ID_AA64ISAR1_EL1, 60, "LS64", Controlled(&[el1::LS64, el1::ACCDATA])),
    above(5, SysReg::ID_AA64ISAR2_EL1, 12, "APA3", Controlled(&[el1::PACM])),
    none(SysReg::ID_AA64ISAR2_EL1, 16, "MOPS", Controlled(&[el1::MOPS])),
    none(SysReg::ID_AA64ISAR2_EL1, 32, "SYSREG_128", Controlled(&[el1::D128])),
    none(SysReg::ID_AA64ISAR2_EL1, 36, "SYSINSTR_128", Controlled(&[el1::D128])),
    none(SysReg::ID_AA64ISAR2_EL1, 40, "PRFMSLC", HINT),
    none(SysReg::ID_AA64ISAR2_EL1, 44, "PCDPHINT", HINT),
    above(1, SysReg::ID_AA64ISAR2_EL1, 52, "CSSC", INSTRUCTIONS),
    none(SysReg::ID_AA64ISAR2_EL1, 56, "LUT", INSTRUCTIONS),
    none(SysReg::ID_AA64ISAR2_EL1, 60, "ATS1A", Harmless("its result is in PAR_EL1, which is switched")),
    whole(SysReg::ID_AA64ISAR3_EL1, "checked pointer arithmetic, instructions", Controlled(&[el1::SCTLR2, el1::PACM])),

    above(5, SysReg::ID_AA64MMFR0_EL1, 0, "PARange", OWN_TABLES),
    none(SysReg::ID_AA64MMFR0_EL1, 12, "SNSMem", EL3_ONLY),
    above(1, SysReg::ID_AA64MMFR0_EL1, 20, "TGran16", OWN_TABLES),
    above(0, SysReg::ID_AA64MMFR0_EL1, 24, "TGran64", OWN_TABLES),
    above(0, SysReg::ID_AA64MMFR0_EL1, 28, "TGran4", OWN_TABLES),
    none(SysReg::ID_AA64MMFR0_EL1, 32, "TGran16_2", EL2_ONLY),
    none(SysReg::ID_AA64MMFR0_EL1, 36, "TGran64_2", EL2_ONLY),
    none(SysReg::ID_AA64MMFR0_EL1, 40, "TGran4_2", EL2_ONLY),
    none(SysReg::ID_AA64MMFR0_EL1, 48, "RES0", RESERVED),
    none(SysReg::ID_AA64MMFR0_EL1, 52, "RES0", RESERVED),
    none(SysReg::ID_AA64MMFR0_EL1, 56, "FGT", EL2_ONLY),
    none(SysReg::ID_AA64MMFR0_EL1, 60, "ECV", Harmless("the counters read in order; the rest is EL2's")),

    above(2, SysReg::ID_AA64MMFR1_EL1, 0, "HAFDBS", Controlled(&[el1::TCR2])),
    none(SysReg::ID_AA64MMFR1_EL1, 4, "VMIDBits", EL2_ONLY),
    none(SysReg::ID_AA64MMFR1_EL1, 8, "VH", EL2_ONLY),
    none(SysReg::ID_AA64MMFR1_EL1, 16, "LO", Controlled(&[el1::TLOR])),
    none(SysReg::ID_AA64MMFR1_EL1, 28, "XNX", EL2_ONLY),
    none(SysReg::ID_AA64MMFR1_EL1, 32, "TWED", EL2_ONLY),
    none(SysReg::ID_AA64MMFR1_EL1, 40, "HCX", EL2_ONLY),
    none(SysReg::ID_AA64MMFR1_EL1, 52, "TIDCP1", Harmless("a bit of SCTLR_EL1, which is switched")),
    none(SysReg::ID_AA64MMFR1_EL1, 56, "CMOW", Harmless("a bit of SCTLR_EL1, which is switched")),

    none(SysReg::ID_AA64MMFR2_EL1, 12, "IESB", Harmless("a bit of SCTLR_EL1, which is switched")),
    none(SysReg::ID_AA64MMFR2_EL1, 16, "VARange", OWN_TABLES),
    none(SysReg::ID_AA64MMFR2_EL1, 24, "NV", Controlled(&[el1::NESTED])),
    none(SysReg::ID_AA64MMFR2_EL1, 28, "ST", OWN_TABLES),
    none(SysReg::ID_AA64MMFR2_EL1, 40, "FWB", EL2_ONLY),
    none(SysReg::ID_AA64MMFR2_EL1, 44, "RES0", RESERVED),
    none(SysReg::ID_AA64MMFR2_EL1, 56, "EVT", EL2_ONLY),
    whole(SysReg::ID_AA64MMFR3_EL1, "permission indirection and overlays, later control registers", Controlled(&[
        el1::TCR2, el1::SCTLR2, el1::PIRE0, el1::PIR, el1::POR_EL0, el1::POR_EL1, el1::S2POR, el1::MAIR2, el1::AMAIR2, el1::D128,
    ])),
    whole(SysReg::ID_AA64MMFR4_EL1, "what EL2 could use, masks of control registers", Controlled(&[el1::MASKS])),
];

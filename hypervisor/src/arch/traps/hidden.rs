// SPDX-License-Identifier: MIT OR Apache-2.0
//! The features that a VM's ID registers hide, and why using one all the same hurts nobody.
//!
//! A guest need not look before it uses a feature. So each field of the ID registers that a VM sees other than the hardware
//! has it is guarded by trap controls, or acts on nothing but what moves with the vCPU, or is harmless for a reason. Source:
//! Arm ARM, "ID registers", and the fields' own descriptions.

use vambrace_cpu::sysreg::SysReg;

use super::trap::{self, Trap};

mod aarch32;

/// What becomes of a guest that uses what it does not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// It traps, or is off, by each of these controls.
    Controlled(&'static [&'static [Trap]]),
    /// It acts on memory, general-purpose registers and these, all of which move with the vCPU: what it is, and
    /// [`el1`](crate::arch::el1)'s names of the registers.
    Switched(&'static str, &'static [&'static str]),
    /// It hurts nobody, as said.
    Harmless(&'static str),
}

/// A field that a VM sees other than the hardware has it.
#[derive(Clone, Copy, Debug)]
pub struct Hidden {
    /// The ID register.
    pub register: SysReg,
    /// The field's lowest bit; `None` stands for all of a register that is hidden whole.
    pub lsb: Option<u32>,
    /// Arm's name of the field, or what the register is about.
    pub name: &'static str,
    /// The highest value that is shown; values above are hidden.
    pub shown: u8,
    /// Why that is enough.
    pub guard: Guard,
}

use Guard::{Controlled, Harmless, Switched};

const EL2_ONLY: Guard = Harmless("EL2's alone");
const EL3_ONLY: Guard = Harmless("EL3's alone");
const HINT: Guard = Harmless("a hint, without state");
const SPECULATION: Guard = Harmless("restricts the guest's own speculation");
const COUNTERS: Guard = Harmless("the counters read in order; the rest is EL2's");
const ERRORS: Guard = Harmless("says how errors are reported; they come to EL2 (HCR_EL2.AMO)");
const EXTERNAL_DEBUG: Guard = Harmless("an external debugger's");
const INSTRUCTIONS: Guard = Switched("instructions", &["FPCR", "FPSR"]);
const OWN_TABLES: Guard =
    Switched("its own tables, stage 2 checks what comes out", &["TCR_EL1", "TTBR0_EL1", "TTBR1_EL1"]);
const SCTLR: Guard = Switched("a bit", &["SCTLR_EL1"]);
const ERROR_RECORDS: Guard = Controlled(&[trap::TERR, trap::FAULT_INJECTION]);

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
pub fn all() -> impl Iterator<Item = &'static Hidden> {
    AARCH64.iter().chain(aarch32::AARCH32)
}

/// Those of AArch64.
#[rustfmt::skip]
const AARCH64: &[Hidden] = &[
    above(1, SysReg::ID_AA64PFR0_EL1, 4, "EL1", Controlled(&[trap::EL1_IS_AARCH64])),
    none(SysReg::ID_AA64PFR0_EL1, 8, "EL2", Controlled(&[trap::NESTED])),
    none(SysReg::ID_AA64PFR0_EL1, 12, "EL3", Controlled(&[trap::FIRMWARE_CALLS])),
    above(1, SysReg::ID_AA64PFR0_EL1, 24, "GIC", Harmless("what GICv4 adds is not at EL1")),
    none(SysReg::ID_AA64PFR0_EL1, 28, "RAS", ERROR_RECORDS),
    none(SysReg::ID_AA64PFR0_EL1, 32, "SVE", Controlled(&[trap::TZ])),
    none(SysReg::ID_AA64PFR0_EL1, 36, "SEL2", EL2_ONLY),
    none(SysReg::ID_AA64PFR0_EL1, 40, "MPAM", Controlled(&[trap::MPAM, trap::MPAM_STREAMING])),
    none(SysReg::ID_AA64PFR0_EL1, 44, "AMU", Controlled(&[trap::TAM])),
    none(SysReg::ID_AA64PFR0_EL1, 52, "RME", EL3_ONLY),
    above(1, SysReg::ID_AA64PFR0_EL1, 56, "CSV2", Controlled(&[trap::SCXT])),

    none(SysReg::ID_AA64PFR1_EL1, 8, "MTE", Controlled(&[trap::TAGS])),
    none(SysReg::ID_AA64PFR1_EL1, 12, "RAS_frac", ERROR_RECORDS),
    none(SysReg::ID_AA64PFR1_EL1, 16, "MPAM_frac", Controlled(&[trap::MPAM])),
    none(SysReg::ID_AA64PFR1_EL1, 24, "SME", Controlled(&[trap::TSM, trap::SMPRI, trap::TPIDR2, trap::MPAM_STREAMING])),
    none(SysReg::ID_AA64PFR1_EL1, 28, "RNDR_trap", EL3_ONLY),
    above(1, SysReg::ID_AA64PFR1_EL1, 32, "CSV2_frac", Controlled(&[trap::SCXT])),
    none(SysReg::ID_AA64PFR1_EL1, 36, "NMI", Switched("PSTATE.ALLINT, and a bit", &["SCTLR_EL1"])),
    none(SysReg::ID_AA64PFR1_EL1, 40, "MTE_frac", Controlled(&[trap::TAGS])),
    none(SysReg::ID_AA64PFR1_EL1, 44, "GCS", Controlled(&[trap::GCS_OFF, trap::GCS_EL0, trap::GCS_EL1, trap::GCS_INSTRUCTIONS])),
    none(SysReg::ID_AA64PFR1_EL1, 48, "THE", Controlled(&[trap::RCWMASK, trap::RCWSMASK])),
    none(SysReg::ID_AA64PFR1_EL1, 52, "MTEX", Controlled(&[trap::TAGS])),
    none(SysReg::ID_AA64PFR1_EL1, 56, "DF2", Controlled(&[trap::SCTLR2])),
    none(SysReg::ID_AA64PFR1_EL1, 60, "PFAR", Controlled(&[trap::PFAR])),

    none(SysReg::ID_AA64PFR2_EL1, 0, "MTEPERM", Controlled(&[trap::TAGS])),
    none(SysReg::ID_AA64PFR2_EL1, 4, "MTESTOREONLY", Controlled(&[trap::TAGS])),
    none(SysReg::ID_AA64PFR2_EL1, 8, "MTEFAR", Controlled(&[trap::TAGS])),
    none(SysReg::ID_AA64PFR2_EL1, 12, "GCIE", Harmless("a GICv5 is none that EL2 runs with")),
    none(SysReg::ID_AA64PFR2_EL1, 16, "UINJ", EL2_ONLY),
    none(SysReg::ID_AA64PFR2_EL1, 20, "MTEEIRG", Controlled(&[trap::TAGS])),
    none(SysReg::ID_AA64PFR2_EL1, 24, "FGDT", Controlled(&[trap::DESCRIPTORS, trap::ALTERNATE_DESCRIPTORS])),
    none(SysReg::ID_AA64PFR2_EL1, 28, "MPAM2", Controlled(&[trap::MPAM])),
    none(SysReg::ID_AA64PFR2_EL1, 32, "FPMR", Controlled(&[trap::FPM])),
    none(SysReg::ID_AA64PFR2_EL1, 36, "VMTE", Controlled(&[trap::TAGS])),
    none(SysReg::ID_AA64PFR2_EL1, 40, "VMTETC", Controlled(&[trap::TAGS])),
    none(SysReg::ID_AA64PFR2_EL1, 44, "VMTETCL", Controlled(&[trap::TAGS])),
    whole(SysReg::ID_AA64ZFR0_EL1, "SVE", Controlled(&[trap::TZ])),
    whole(SysReg::ID_AA64SMFR0_EL1, "SME", Controlled(&[trap::TSM])),
    whole(SysReg::ID_AA64FPFR0_EL1, "8-bit floating point", Controlled(&[trap::FPM])),

    above(6, SysReg::ID_AA64DFR0_EL1, 0, "DebugVer", Controlled(&[trap::TDA, trap::BANKS, trap::BANKS_OFF])),
    none(SysReg::ID_AA64DFR0_EL1, 4, "TraceVer", Controlled(&[trap::TTA])),
    none(SysReg::ID_AA64DFR0_EL1, 8, "PMUVer", Controlled(&[trap::PMU])),
    none(SysReg::ID_AA64DFR0_EL1, 16, "PMSS", Controlled(&[trap::PMU, trap::PMU_SNAPSHOTS])),
    none(SysReg::ID_AA64DFR0_EL1, 24, "SEBEP", Controlled(&[trap::PMU])),
    none(SysReg::ID_AA64DFR0_EL1, 32, "PMSVer", Controlled(&[trap::TPMS, trap::SPE_BUFFER])),
    above(15, SysReg::ID_AA64DFR0_EL1, 36, "DoubleLock", Controlled(&[trap::TDOSA])),
    none(SysReg::ID_AA64DFR0_EL1, 40, "TraceFilt", Controlled(&[trap::TTRF])),
    none(SysReg::ID_AA64DFR0_EL1, 44, "TraceBuffer", Controlled(&[trap::TRACE_BUFFER])),
    none(SysReg::ID_AA64DFR0_EL1, 48, "MTPMU", Controlled(&[trap::PMU])),
    none(SysReg::ID_AA64DFR0_EL1, 52, "BRBE", Controlled(&[trap::BRANCH_RECORDS, trap::BRANCH_INSTRUCTIONS])),
    none(SysReg::ID_AA64DFR0_EL1, 56, "ExtTrcBuff", Controlled(&[trap::TRACE_BUFFER])),
    none(SysReg::ID_AA64DFR0_EL1, 60, "HPMN0", EL2_ONLY),

    none(SysReg::ID_AA64DFR1_EL1, 0, "SYSPMUID", Controlled(&[trap::SYSTEM_PMU])),
    none(SysReg::ID_AA64DFR1_EL1, 8, "BRPs", Controlled(&[trap::BANKS, trap::BANKS_OFF])),
    none(SysReg::ID_AA64DFR1_EL1, 16, "WRPs", Controlled(&[trap::BANKS, trap::BANKS_OFF])),
    none(SysReg::ID_AA64DFR1_EL1, 24, "CTX_CMPs", Controlled(&[trap::BANKS, trap::BANKS_OFF])),
    none(SysReg::ID_AA64DFR1_EL1, 32, "SPMU", Controlled(&[trap::SYSTEM_PMU])),
    none(SysReg::ID_AA64DFR1_EL1, 36, "PMICNTR", Controlled(&[trap::PMU])),
    none(SysReg::ID_AA64DFR1_EL1, 40, "ABLE", Controlled(&[trap::TDA])),
    none(SysReg::ID_AA64DFR1_EL1, 44, "ITE", Controlled(&[trap::TRACE_EXTERNAL, trap::TTA])),
    none(SysReg::ID_AA64DFR1_EL1, 48, "EBEP", Controlled(&[trap::PMU])),
    none(SysReg::ID_AA64DFR1_EL1, 52, "DPFZS", Controlled(&[trap::PMU])),
    none(SysReg::ID_AA64DFR1_EL1, 56, "ABL_CMPs", Controlled(&[trap::TDA])),
    none(SysReg::ID_AA64DFR2_EL1, 0, "STEP", Controlled(&[trap::STEPPED, trap::STEPPED_OFF])),
    none(SysReg::ID_AA64DFR2_EL1, 4, "BWE", Controlled(&[trap::TDA])),
    none(SysReg::ID_AA64DFR2_EL1, 16, "SPE_EXC", Controlled(&[trap::TPMS, trap::SPE_BUFFER])),
    none(SysReg::ID_AA64DFR2_EL1, 20, "SPE_nVM", Controlled(&[trap::SPE_BUFFER])),
    none(SysReg::ID_AA64DFR2_EL1, 24, "TRBE_EXC", Controlled(&[trap::TRACE_BUFFER])),
    whole(SysReg::ID_AA64AFR0_EL1, "IMPLEMENTATION DEFINED", Controlled(&[trap::TIDCP])),
    whole(SysReg::ID_AA64AFR1_EL1, "IMPLEMENTATION DEFINED", Controlled(&[trap::TIDCP])),

    above(2, SysReg::ID_AA64ISAR0_EL1, 20, "Atomic", INSTRUCTIONS),
    none(SysReg::ID_AA64ISAR0_EL1, 24, "TME", Controlled(&[trap::TRANSACTIONS])),
    above(1, SysReg::ID_AA64ISAR0_EL1, 48, "FHM", INSTRUCTIONS),
    above(5, SysReg::ID_AA64ISAR1_EL1, 4, "APA", Controlled(&[trap::PACM])),
    above(5, SysReg::ID_AA64ISAR1_EL1, 8, "API", Controlled(&[trap::PACM])),
    above(2, SysReg::ID_AA64ISAR1_EL1, 20, "LRCPC", INSTRUCTIONS),
    above(1, SysReg::ID_AA64ISAR1_EL1, 40, "SPECRES", SPECULATION),
    above(1, SysReg::ID_AA64ISAR1_EL1, 44, "BF16", INSTRUCTIONS),
    none(SysReg::ID_AA64ISAR1_EL1, 56, "XS", Harmless("barriers and TLB maintenance that wait for less")),
    none(SysReg::ID_AA64ISAR1_EL1, 60, "LS64", Controlled(&[trap::LS64, trap::ACCDATA])),
    above(5, SysReg::ID_AA64ISAR2_EL1, 12, "APA3", Controlled(&[trap::PACM])),
    none(SysReg::ID_AA64ISAR2_EL1, 16, "MOPS", Controlled(&[trap::MOPS])),
    none(SysReg::ID_AA64ISAR2_EL1, 32, "SYSREG_128", Controlled(&[trap::D128])),
    none(SysReg::ID_AA64ISAR2_EL1, 36, "SYSINSTR_128", Controlled(&[trap::D128])),
    none(SysReg::ID_AA64ISAR2_EL1, 40, "PRFMSLC", HINT),
    none(SysReg::ID_AA64ISAR2_EL1, 44, "PCDPHINT", HINT),
    above(1, SysReg::ID_AA64ISAR2_EL1, 52, "CSSC", INSTRUCTIONS),
    none(SysReg::ID_AA64ISAR2_EL1, 56, "LUT", INSTRUCTIONS),
    none(SysReg::ID_AA64ISAR2_EL1, 60, "ATS1A", Switched("its result", &["PAR_EL1"])),

    none(SysReg::ID_AA64ISAR3_EL1, 0, "CPA", Controlled(&[trap::SCTLR2])),
    none(SysReg::ID_AA64ISAR3_EL1, 4, "FAMINMAX", INSTRUCTIONS),
    none(SysReg::ID_AA64ISAR3_EL1, 8, "TLBIW", EL2_ONLY),
    none(SysReg::ID_AA64ISAR3_EL1, 12, "PACM", Controlled(&[trap::PACM])),
    none(SysReg::ID_AA64ISAR3_EL1, 16, "LSFE", INSTRUCTIONS),
    none(SysReg::ID_AA64ISAR3_EL1, 20, "OCCMO", Harmless("maintenance of caches by the guest's own addresses")),
    none(SysReg::ID_AA64ISAR3_EL1, 24, "LSUI", INSTRUCTIONS),
    none(SysReg::ID_AA64ISAR3_EL1, 28, "FPRCVT", INSTRUCTIONS),

    above(5, SysReg::ID_AA64MMFR0_EL1, 0, "PARange", OWN_TABLES),
    none(SysReg::ID_AA64MMFR0_EL1, 12, "SNSMem", EL3_ONLY),
    above(1, SysReg::ID_AA64MMFR0_EL1, 20, "TGran16", OWN_TABLES),
    above(0, SysReg::ID_AA64MMFR0_EL1, 28, "TGran4", OWN_TABLES),
    none(SysReg::ID_AA64MMFR0_EL1, 32, "TGran16_2", EL2_ONLY),
    none(SysReg::ID_AA64MMFR0_EL1, 36, "TGran64_2", EL2_ONLY),
    none(SysReg::ID_AA64MMFR0_EL1, 40, "TGran4_2", EL2_ONLY),
    none(SysReg::ID_AA64MMFR0_EL1, 48, "NVTGE", EL2_ONLY),
    none(SysReg::ID_AA64MMFR0_EL1, 56, "FGT", EL2_ONLY),
    none(SysReg::ID_AA64MMFR0_EL1, 60, "ECV", COUNTERS),

    above(2, SysReg::ID_AA64MMFR1_EL1, 0, "HAFDBS", Controlled(&[trap::TCR2])),
    none(SysReg::ID_AA64MMFR1_EL1, 4, "VMIDBits", EL2_ONLY),
    none(SysReg::ID_AA64MMFR1_EL1, 8, "VH", EL2_ONLY),
    none(SysReg::ID_AA64MMFR1_EL1, 16, "LO", Controlled(&[trap::TLOR])),
    none(SysReg::ID_AA64MMFR1_EL1, 28, "XNX", EL2_ONLY),
    none(SysReg::ID_AA64MMFR1_EL1, 32, "TWED", EL2_ONLY),
    above(2, SysReg::ID_AA64MMFR1_EL1, 36, "ETS", Harmless("orders the guest's own translations")),
    none(SysReg::ID_AA64MMFR1_EL1, 40, "HCX", EL2_ONLY),
    none(SysReg::ID_AA64MMFR1_EL1, 52, "TIDCP1", SCTLR),
    none(SysReg::ID_AA64MMFR1_EL1, 56, "CMOW", SCTLR),

    none(SysReg::ID_AA64MMFR2_EL1, 12, "IESB", SCTLR),
    none(SysReg::ID_AA64MMFR2_EL1, 16, "VARange", OWN_TABLES),
    none(SysReg::ID_AA64MMFR2_EL1, 24, "NV", Controlled(&[trap::NESTED])),
    none(SysReg::ID_AA64MMFR2_EL1, 28, "ST", OWN_TABLES),
    above(1, SysReg::ID_AA64MMFR2_EL1, 36, "IDS", EL3_ONLY),
    none(SysReg::ID_AA64MMFR2_EL1, 40, "FWB", EL2_ONLY),
    above(2, SysReg::ID_AA64MMFR2_EL1, 52, "BBM", OWN_TABLES),
    none(SysReg::ID_AA64MMFR2_EL1, 56, "EVT", EL2_ONLY),

    none(SysReg::ID_AA64MMFR3_EL1, 0, "TCRX", Controlled(&[trap::TCR2])),
    none(SysReg::ID_AA64MMFR3_EL1, 4, "SCTLRX", Controlled(&[trap::SCTLR2])),
    none(SysReg::ID_AA64MMFR3_EL1, 8, "S1PIE", Controlled(&[trap::PIRE0, trap::PIR, trap::TCR2])),
    none(SysReg::ID_AA64MMFR3_EL1, 12, "S2PIE", EL2_ONLY),
    none(SysReg::ID_AA64MMFR3_EL1, 16, "S1POE", Controlled(&[
        trap::POR_EL0, trap::POR_EL1, trap::TCR2, trap::DPOTBR0, trap::DPOTBR1, trap::TPIDR3_EL0, trap::TPIDR3_EL1,
    ])),
    none(SysReg::ID_AA64MMFR3_EL1, 20, "S2POE", Controlled(&[trap::S2POR])),
    none(SysReg::ID_AA64MMFR3_EL1, 24, "AIE", Controlled(&[trap::MAIR2, trap::AMAIR2, trap::TCR2])),
    none(SysReg::ID_AA64MMFR3_EL1, 28, "MEC", EL2_ONLY),
    none(SysReg::ID_AA64MMFR3_EL1, 32, "D128", Controlled(&[trap::D128, trap::TCR2])),
    none(SysReg::ID_AA64MMFR3_EL1, 36, "D128_2", EL2_ONLY),
    none(SysReg::ID_AA64MMFR3_EL1, 40, "SNERR", ERRORS),
    none(SysReg::ID_AA64MMFR3_EL1, 44, "ANERR", ERRORS),
    none(SysReg::ID_AA64MMFR3_EL1, 52, "SDERR", ERRORS),
    none(SysReg::ID_AA64MMFR3_EL1, 56, "ADERR", ERRORS),
    none(SysReg::ID_AA64MMFR3_EL1, 60, "Spec_FPACC", Harmless("says how the CPU speculates")),

    none(SysReg::ID_AA64MMFR4_EL1, 0, "PoPS", Controlled(&[trap::CLEAN_TO_STORAGE])),
    none(SysReg::ID_AA64MMFR4_EL1, 4, "EIESB", ERRORS),
    none(SysReg::ID_AA64MMFR4_EL1, 8, "ASID2", Controlled(&[trap::TCR2])),
    none(SysReg::ID_AA64MMFR4_EL1, 12, "HACDBS", EL2_ONLY),
    none(SysReg::ID_AA64MMFR4_EL1, 16, "FGWTE3", EL3_ONLY),
    none(SysReg::ID_AA64MMFR4_EL1, 20, "NV_frac", Controlled(&[trap::NESTED])),
    none(SysReg::ID_AA64MMFR4_EL1, 24, "E2H0", EL2_ONLY),
    none(SysReg::ID_AA64MMFR4_EL1, 28, "RMEGDI", EL3_ONLY),
    none(SysReg::ID_AA64MMFR4_EL1, 32, "EAESR", ERRORS),
    none(SysReg::ID_AA64MMFR4_EL1, 36, "E3DSE", EL3_ONLY),
    none(SysReg::ID_AA64MMFR4_EL1, 40, "TLBID", EL2_ONLY),
    none(SysReg::ID_AA64MMFR4_EL1, 44, "SRMASK", Controlled(&[trap::MASKS])),
    none(SysReg::ID_AA64MMFR4_EL1, 48, "TPS", Controlled(&[trap::SCTLR2])),
    none(SysReg::ID_AA64MMFR4_EL1, 52, "TEV", Controlled(&[
        trap::TINDEX_EL0, trap::TINDEX_EL1, trap::STINDEX, trap::LDSTT, trap::TTTBRP, trap::TTTBRU, trap::IRTBRP, trap::IRTBRU,
    ])),
    none(SysReg::ID_AA64MMFR4_EL1, 56, "SCRX", EL3_ONLY),
    none(SysReg::ID_AA64MMFR4_EL1, 60, "MTEFGT", EL2_ONLY),
];

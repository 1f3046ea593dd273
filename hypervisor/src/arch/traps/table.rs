// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table of trap controls. EL2 writes what it says, and `docs/traps.md` is printed from it.

use super::control::Register::{
    Cnthctl, Cptr, Hcr, Hcrx, Hdfgrtr, Hdfgrtr2, Hfgitr, Hfgitr2, Hfgrtr, Hfgrtr2, IccSre, Mdcr, Mpam2,
};
use super::control::Setting::{
    Always, Kept, PerVcpu, Reserved, WhileOthersWait, WithForcedWriteBack, WithPointerAuth,
};
use super::control::{Control, Register, Setting};

/// What a guest finds where neither a register nor an instruction is left to it.
pub const UNDEFINED: &str = "UNDEFINED";
const NOTHING: &str = "no difference";

/// One bit.
const fn bit(
    register: Register,
    lsb: u32,
    name: &'static str,
    setting: Setting,
    why: &'static str,
    guest: &'static str,
) -> Control {
    field(register, (lsb, 1), name, setting, why, guest)
}

/// Some bits: the lowest, and how many.
const fn field(
    register: Register,
    (lsb, width): (u32, u32),
    name: &'static str,
    setting: Setting,
    why: &'static str,
    guest: &'static str,
) -> Control {
    Control { register, name, lsb, width, setting, why, guest }
}

/// All controls that EL2 counts on. Bits that are not here are 0.
#[rustfmt::skip]
pub const TABLE: &[Control] = &[
    bit(Hcr, 0, "VM", Always(1), "stage 2 is on", "its physical addresses are IPAs"),
    bit(Hcr, 1, "SWIO", Always(1), "invalidation by set and way cleans, too", NOTHING),
    bit(Hcr, 2, "PTW", Always(1), "a stage-1 walk into Device memory is a stage-2 fault", "an external abort"),
    bit(Hcr, 3, "FMO", Always(1), "FIQs come to EL2", "virtual FIQs, by ICV registers"),
    bit(Hcr, 4, "IMO", Always(1), "IRQs come to EL2", "virtual IRQs, by ICV registers"),
    bit(Hcr, 5, "AMO", Always(1), "SErrors come to EL2", "virtual SErrors; DISR_EL1 is VDISR_EL2"),
    bit(Hcr, 8, "VSE", PerVcpu, "a virtual SError pends, until the guest takes it", "an SError"),
    bit(Hcr, 9, "FB", Always(1), "TLB and instruction cache maintenance reaches all CPUs the VM may be on", NOTHING),
    field(Hcr, (10, 2), "BSU", Always(1), "barriers are Inner Shareable at least", NOTHING),
    bit(Hcr, 13, "TWI", WhileOthersWait, "WFI traps, so that another vCPU runs", NOTHING),
    bit(Hcr, 14, "TWE", WhileOthersWait, "WFE traps, so that another vCPU runs", NOTHING),
    bit(Hcr, 16, "TID1", Always(1), "reads of REVIDR_EL1, AIDR_EL1 and SMIDR_EL1 trap", "the VM's values, SMIDR_EL1 UNDEFINED"),
    bit(Hcr, 18, "TID3", Always(1), "reads of the feature ID registers trap", "the VM's values"),
    bit(Hcr, 19, "TSC", Always(1), "SMC traps: no guest reaches the firmware", "PSCI, SMCCC and TRNG calls by SMC"),
    bit(Hcr, 20, "TIDCP", Always(1), "IMPLEMENTATION DEFINED registers trap", UNDEFINED),
    bit(Hcr, 21, "TACR", Always(1), "ACTLR_EL1 traps", "zero, writes ignored"),
    bit(Hcr, 22, "TSW", Always(1), "cache maintenance by set and way traps", "its RAM cleaned by address"),
    bit(Hcr, 27, "TGE", Always(0), "EL1 exists, and takes EL0's exceptions", NOTHING),
    bit(Hcr, 31, "RW", Always(1), "EL1 is AArch64", "no AArch32 at EL1"),
    bit(Hcr, 34, "E2H", Always(0), "EL2 runs without VHE", NOTHING),
    bit(Hcr, 35, "TLOR", Always(1), "limited ordering regions trap", UNDEFINED),
    bit(Hcr, 36, "TERR", Always(1), "RAS error records trap", UNDEFINED),
    bit(Hcr, 39, "TME", Always(0), "transactions are off", UNDEFINED),
    bit(Hcr, 40, "APK", WithPointerAuth, "the pointer authentication keys are the vCPU's", "its own keys"),
    bit(Hcr, 41, "API", WithPointerAuth, "pointer authentication does not trap", "the instructions"),
    bit(Hcr, 42, "NV", Always(0), "nested virtualisation is off", "EL2's registers UNDEFINED"),
    bit(Hcr, 46, "FWB", WithForcedWriteBack, "stage 2 forces Write-Back", "its RAM Write-Back, whatever its tables say"),
    bit(Hcr, 47, "FIEN", Always(0), "RAS fault injection traps", UNDEFINED),
    bit(Hcr, 51, "AMVOFFEN", Always(0), "virtual offsets of activity monitors are off", NOTHING),
    bit(Hcr, 53, "EnSCXT", Always(0), "SCXTNUM_EL0 and SCXTNUM_EL1 trap", UNDEFINED),
    bit(Hcr, 56, "ATA", Always(0), "MTE's registers trap, and accesses are not checked", UNDEFINED),

    bit(Hcrx, 0, "EnAS0", Always(0), "ST64BV0 traps", UNDEFINED),
    bit(Hcrx, 1, "EnALS", Always(0), "LD64B and ST64B trap", UNDEFINED),
    bit(Hcrx, 2, "EnASR", Always(0), "ST64BV traps", UNDEFINED),
    bit(Hcrx, 11, "MSCEn", Always(0), "memory copy and set instructions are off", UNDEFINED),
    bit(Hcrx, 14, "TCR2En", Always(0), "TCR2_EL1 traps", UNDEFINED),
    bit(Hcrx, 15, "SCTLR2En", Always(0), "SCTLR2_EL1 traps", UNDEFINED),
    bit(Hcrx, 17, "D128En", Always(0), "128-bit registers and instructions trap", UNDEFINED),
    bit(Hcrx, 22, "GCSEn", Always(0), "the guarded control stack is off", "returns that are not checked"),
    bit(Hcrx, 23, "EnFPM", Always(0), "FPMR traps", UNDEFINED),
    bit(Hcrx, 24, "PACMEn", Always(0), "PSTATE.PACM has no effect", NOTHING),
    bit(Hcrx, 26, "SRMASKEn", Always(0), "masks of control registers trap", UNDEFINED),

    field(Mdcr, (0, 5), "HPMN", Kept, "out of reset it is the number of counters, and has to stay", NOTHING),
    bit(Mdcr, 5, "TPMCR", Always(1), "PMCR_EL0 traps", UNDEFINED),
    bit(Mdcr, 6, "TPM", Always(1), "the PMU traps", UNDEFINED),
    bit(Mdcr, 8, "TDE", Always(0), "debug exceptions are EL1's", "its own breakpoints"),
    bit(Mdcr, 9, "TDA", Always(1), "debug registers trap, and EL2 carries accesses out", "its own breakpoints and watchpoints; zero in the others"),
    bit(Mdcr, 10, "TDOSA", Always(1), "the OS Lock and debug power trap", "its own OS Lock; zero in the others"),
    bit(Mdcr, 11, "TDRA", Always(1), "MDRAR_EL1 traps", "zero"),
    field(Mdcr, (12, 2), "E2PB", Always(0), "SPE's buffer is EL2's, and its registers trap", UNDEFINED),
    bit(Mdcr, 14, "TPMS", Always(1), "SPE traps", UNDEFINED),
    bit(Mdcr, 15, "EnSPM", Always(0), "the system PMU traps", UNDEFINED),
    bit(Mdcr, 19, "TTRF", Always(1), "trace filters trap", UNDEFINED),
    field(Mdcr, (24, 2), "E2TB", Always(0), "the trace buffer is EL2's, and its registers trap", UNDEFINED),
    bit(Mdcr, 27, "TDCC", Always(1), "the debug channel traps", "zero, writes ignored"),
    bit(Mdcr, 43, "EBWE", Always(0), "breakpoints and watchpoints from 16 on are off", "the first 16"),
    bit(Mdcr, 50, "EnSTEPOP", Always(0), "software step does not execute from MDSTEPOP_EL1", "steps of its own code"),

    field(Cptr, (0, 8), "RES1", Reserved, "reserved", NOTHING),
    bit(Cptr, 8, "TZ", Always(1), "SVE traps", UNDEFINED),
    bit(Cptr, 9, "RES1", Reserved, "reserved", NOTHING),
    bit(Cptr, 10, "TFP", PerVcpu, "FP and SIMD trap until the vCPU's registers are loaded", NOTHING),
    bit(Cptr, 12, "TSM", Always(1), "SME traps", UNDEFINED),
    bit(Cptr, 13, "RES1", Reserved, "reserved", NOTHING),
    bit(Cptr, 20, "TTA", Always(1), "trace units trap", UNDEFINED),
    bit(Cptr, 30, "TAM", Always(1), "activity monitors trap", UNDEFINED),

    bit(Cnthctl, 0, "EL1PCTEN", Always(1), "EL1 reads the physical counter itself", "the counter"),
    bit(Cnthctl, 1, "EL1PCEN", Always(0), "the EL1 physical timer traps", "an emulated timer"),

    bit(Mpam2, 48, "TRAPMPAM1EL1", Always(1), "MPAM1_EL1 traps", UNDEFINED),
    bit(Mpam2, 49, "TRAPMPAM0EL1", Always(1), "MPAM0_EL1 traps", UNDEFINED),
    bit(Mpam2, 50, "EnMPAMSM", Always(0), "MPAMSM_EL1 traps", UNDEFINED),

    bit(IccSre, 0, "SRE", Always(1), "EL2 uses the GIC by system registers", NOTHING),
    bit(IccSre, 1, "DFB", Always(1), "FIQs do not bypass the GIC", NOTHING),
    bit(IccSre, 2, "DIB", Always(1), "IRQs do not bypass the GIC", NOTHING),
    bit(IccSre, 3, "Enable", Always(0), "ICC_SRE_EL1 traps, where the CPU lets it", "system registers only, writes ignored"),

    bit(Hfgrtr, 50, "nACCDATA_EL1", Always(0), "ACCDATA_EL1 traps", UNDEFINED),
    bit(Hfgrtr, 52, "nGCS_EL0", Always(0), "GCSPR_EL0 traps", UNDEFINED),
    bit(Hfgrtr, 53, "nGCS_EL1", Always(0), "GCSCR_EL1, GCSCRE0_EL1 and GCSPR_EL1 trap", UNDEFINED),
    bit(Hfgrtr, 54, "nSMPRI_EL1", Always(0), "SMPRI_EL1 traps", UNDEFINED),
    bit(Hfgrtr, 55, "nTPIDR2_EL0", Always(0), "TPIDR2_EL0 traps", UNDEFINED),
    bit(Hfgrtr, 56, "nRCWMASK_EL1", Always(0), "RCWMASK_EL1 traps", UNDEFINED),
    bit(Hfgrtr, 57, "nPIRE0_EL1", Always(0), "PIRE0_EL1 traps", UNDEFINED),
    bit(Hfgrtr, 58, "nPIR_EL1", Always(0), "PIR_EL1 traps", UNDEFINED),
    bit(Hfgrtr, 59, "nPOR_EL0", Always(0), "POR_EL0 traps", UNDEFINED),
    bit(Hfgrtr, 60, "nPOR_EL1", Always(0), "POR_EL1 traps", UNDEFINED),
    bit(Hfgrtr, 61, "nS2POR_EL1", Always(0), "S2POR_EL1 traps", UNDEFINED),
    bit(Hfgrtr, 62, "nMAIR2_EL1", Always(0), "MAIR2_EL1 traps", UNDEFINED),
    bit(Hfgrtr, 63, "nAMAIR2_EL1", Always(0), "AMAIR2_EL1 traps", UNDEFINED),

    bit(Hfgitr, 55, "nBRBINJ", Always(0), "BRB INJ traps", UNDEFINED),
    bit(Hfgitr, 56, "nBRBIALL", Always(0), "BRB IALL traps", UNDEFINED),
    bit(Hfgitr, 57, "nGCSPUSHM_EL1", Always(0), "GCSPUSHM traps at EL1", UNDEFINED),
    bit(Hfgitr, 58, "nGCSSTR_EL1", Always(0), "GCSSTR traps at EL1", UNDEFINED),
    bit(Hfgitr, 59, "nGCSEPP", Always(0), "GCSPUSHX, GCSPOPCX and GCSPOPX trap", UNDEFINED),

    bit(Hdfgrtr, 59, "nBRBIDR", Always(0), "BRBIDR0_EL1 traps", UNDEFINED),
    bit(Hdfgrtr, 60, "nBRBCTL", Always(0), "the controls of branch records trap", UNDEFINED),
    bit(Hdfgrtr, 61, "nBRBDATA", Always(0), "branch records trap", UNDEFINED),

    bit(Hfgrtr2, 0, "nPFAR_EL1", Always(0), "PFAR_EL1 traps", UNDEFINED),
    bit(Hfgrtr2, 2, "nRCWSMASK_EL1", Always(0), "RCWSMASK_EL1 traps", UNDEFINED),
    bit(Hfgrtr2, 15, "nTINDEX_EL0", Always(0), "TINDEX_EL0 traps", UNDEFINED),
    bit(Hfgrtr2, 16, "nTINDEX_EL1", Always(0), "TINDEX_EL1 traps", UNDEFINED),
    bit(Hfgrtr2, 17, "nSTINDEX_EL1", Always(0), "STINDEX_EL1 traps", UNDEFINED),
    field(Hfgrtr2, (18, 2), "nFGDTn_EL1", Always(0), "FGDTPn_EL1 and FGDTUn_EL1 trap", UNDEFINED),
    bit(Hfgrtr2, 20, "nTTTBRP_EL1", Always(0), "TTTBRP_EL1 traps", UNDEFINED),
    bit(Hfgrtr2, 21, "nTTTBRU_EL1", Always(0), "TTTBRU_EL1 traps", UNDEFINED),
    bit(Hfgrtr2, 22, "nIRTBRP_EL1", Always(0), "IRTBRP_EL1 traps", UNDEFINED),
    bit(Hfgrtr2, 23, "nIRTBRU_EL1", Always(0), "IRTBRU_EL1 traps", UNDEFINED),
    bit(Hfgrtr2, 24, "nDPOTBR1_EL1", Always(0), "DPOTBR1_EL1 traps", UNDEFINED),
    bit(Hfgrtr2, 25, "nDPOTBR0_EL1", Always(0), "DPOTBR0_EL1 traps", UNDEFINED),
    field(Hfgrtr2, (31, 2), "nAFGDTn_EL1", Always(0), "AFGDTPn_EL1 and AFGDTUn_EL1 trap", UNDEFINED),
    bit(Hfgrtr2, 36, "nTPIDR3_EL0", Always(0), "TPIDR3_EL0 traps", UNDEFINED),
    bit(Hfgrtr2, 37, "nTPIDR3_EL1", Always(0), "TPIDR3_EL1 traps", UNDEFINED),
    bit(Hfgrtr2, 38, "nLDSTT_EL1", Always(0), "LDSTT_EL1 traps", UNDEFINED),

    bit(Hfgitr2, 1, "nDCCIVAPS", Always(0), "DC CIVAPS and DC CIGDVAPS trap", UNDEFINED),

    bit(Hdfgrtr2, 5, "nMDSELR_EL1", Always(0), "MDSELR_EL1 traps", UNDEFINED),
    bit(Hdfgrtr2, 6, "nPMSSDATA", Always(0), "PMU snapshots trap", UNDEFINED),
    bit(Hdfgrtr2, 7, "nPMSSCR_EL1", Always(0), "PMSSCR_EL1 traps", UNDEFINED),
    bit(Hdfgrtr2, 20, "nTRCITECR_EL1", Always(0), "TRCITECR_EL1 traps", UNDEFINED),
    bit(Hdfgrtr2, 23, "nMDSTEPOP_EL1", Always(0), "MDSTEPOP_EL1 traps", UNDEFINED),
];

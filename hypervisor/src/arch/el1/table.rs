// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table itself, by encoding: debug and trace (op0 = 2), then all others (op0 = 3).

use super::*;
use crate::arch::traps::trap::*;
use Keeper::{Absent, Constant, Later, Reset, Switched, Trapped, View};

const EL1: Keeper = Switched(Group::El1);
const FP: Keeper = Switched(Group::Fp);
const KEYS: Keeper = Switched(Group::PointerAuthKeys);
const PSTATE: Keeper = View("PSTATE, in the frame");
const ICV: Keeper = View("the virtual CPU interface");
const PSTATE_OF_DEBUG: Keeper = Absent("only in Debug state");
const GIC_5: Keeper = Later("FEAT_GCIE");
const TPS: Keeper = Later("FEAT_TPS");
const R_PROFILE: Keeper = Absent("only in the R profile");

/// One register.
const fn row(name: &'static str, op: (u8, u8), at: (u8, u8, u8), keeper: Keeper) -> Row {
    Row { name, op, from: at, to: at, keeper }
}

/// All registers from one to another.
const fn all(name: &'static str, op: (u8, u8), from: (u8, u8, u8), to: (u8, u8, u8), keeper: Keeper) -> Row {
    Row { name, op, from, to, keeper }
}

/// The table. The first row that a register is within says what keeps it.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    // Self-hosted debug. EL2 carries accesses to breakpoints, watchpoints and MDSCR_EL1 out for the guest.
    row("MDSELR_EL1", (2, 0), (0, 4, 2), Trapped(BANKS)),
    row("MDSTEPOP_EL1", (2, 0), (0, 5, 2), Trapped(STEPPED)),
    row("MDSCR_EL1", (2, 0), (0, 2, 2), EL1),
    all("breakpoints, watchpoints, the debug channel, OSECCR_EL1", (2, 0), (0, 0, 0), (0, 15, 7), Trapped(TDA)),
    row("MDRAR_EL1", (2, 0), (1, 0, 0), Trapped(TDRA)),
    all("the OS Lock and debug power", (2, 0), (1, 0, 4), (1, 4, 4), Trapped(TDOSA)),
    all("DBGCLAIMSET_EL1 to DBGAUTHSTATUS_EL1", (2, 0), (7, 8, 6), (7, 14, 6), Trapped(TDA)),
    all("system PMU", (2, 0), (9, 13, 0), (9, 14, 2), Trapped(SYSTEM_PMU)),
    all("PMU snapshots", (2, 0), (14, 8, 0), (14, 12, 7), Trapped(PMU_SNAPSHOTS)),
    all("branch records", (2, 1), (8, 0, 0), (9, 2, 7), Trapped(BRANCH_RECORDS)),
    all("trace unit", (2, 1), (0, 0, 0), (7, 15, 7), Trapped(TTA)),
    all("ThumbEE", (2, 2), (0, 0, 0), (1, 0, 0), Absent("gone since Armv8")),
    all("debug communication channel", (2, 3), (0, 1, 0), (0, 5, 0), Trapped(TDA)),
    all("system PMU", (2, 3), (9, 12, 0), (14, 7, 7), Trapped(SYSTEM_PMU)),

    // Identification.
    row("MPUIR_EL1", (3, 0), (0, 0, 4), R_PROFILE),
    row("REVIDR_EL1", (3, 0), (0, 0, 6), Trapped(TID1)),
    all("MIDR_EL1, MPIDR_EL1", (3, 0), (0, 0, 0), (0, 0, 7), Constant),
    all("features", (3, 0), (0, 1, 0), (0, 7, 7), Trapped(TID3)),

    // Control.
    row("SCTLR_EL1", (3, 0), (1, 0, 0), EL1),
    row("ACTLR_EL1", (3, 0), (1, 0, 1), Trapped(TACR)),
    row("CPACR_EL1", (3, 0), (1, 0, 2), EL1),
    row("SCTLR2_EL1", (3, 0), (1, 0, 3), Trapped(SCTLR2)),
    all("RGSR_EL1, GCR_EL1", (3, 0), (1, 0, 5), (1, 0, 6), Trapped(TAGS)),
    row("ZCR_EL1", (3, 0), (1, 2, 0), Trapped(TZ)),
    row("TRFCR_EL1", (3, 0), (1, 2, 1), Trapped(TTRF)),
    row("TRCITECR_EL1", (3, 0), (1, 2, 3), Trapped(TRACE_EXTERNAL)),
    row("SMPRI_EL1", (3, 0), (1, 2, 4), Trapped(SMPRI)),
    row("SMCR_EL1", (3, 0), (1, 2, 6), Trapped(TSM)),
    all("masks and aliases of control registers", (3, 0), (1, 4, 0), (1, 4, 7), Trapped(MASKS)),
    row("TTBR0_EL1", (3, 0), (2, 0, 0), EL1),
    row("TTBR1_EL1", (3, 0), (2, 0, 1), EL1),
    row("TCR_EL1", (3, 0), (2, 0, 2), EL1),
    row("TCR2_EL1", (3, 0), (2, 0, 3), Trapped(TCR2)),
    row("IRTBRU_EL1", (3, 0), (2, 0, 4), Trapped(IRTBRU)),
    row("IRTBRP_EL1", (3, 0), (2, 0, 5), Trapped(IRTBRP)),
    row("DPOTBR0_EL1", (3, 0), (2, 0, 6), Trapped(DPOTBR0)),
    row("DPOTBR1_EL1", (3, 0), (2, 0, 7), Trapped(DPOTBR1)),
    row("LDSTT_EL1", (3, 0), (2, 1, 7), Trapped(LDSTT)),
    row("APIAKeyLo_EL1", (3, 0), (2, 1, 0), KEYS),
    row("APIAKeyHi_EL1", (3, 0), (2, 1, 1), KEYS),
    row("APIBKeyLo_EL1", (3, 0), (2, 1, 2), KEYS),
    row("APIBKeyHi_EL1", (3, 0), (2, 1, 3), KEYS),
    row("APDAKeyLo_EL1", (3, 0), (2, 2, 0), KEYS),
    row("APDAKeyHi_EL1", (3, 0), (2, 2, 1), KEYS),
    row("APDBKeyLo_EL1", (3, 0), (2, 2, 2), KEYS),
    row("APDBKeyHi_EL1", (3, 0), (2, 2, 3), KEYS),
    all("bounds of pointers", (3, 0), (2, 2, 4), (2, 2, 7), TPS),
    row("APGAKeyLo_EL1", (3, 0), (2, 3, 0), KEYS),
    row("APGAKeyHi_EL1", (3, 0), (2, 3, 1), KEYS),
    all("guarded control stack", (3, 0), (2, 5, 0), (2, 5, 2), Trapped(GCS_EL1)),
    all("masks and aliases of TCR_EL1", (3, 0), (2, 7, 2), (2, 7, 7), Trapped(MASKS)),
    all("FGDTP<n>_EL1, FGDTU<n>_EL1", (3, 0), (3, 2, 0), (3, 5, 7), Trapped(DESCRIPTORS)),
    all("AFGDTP<n>_EL1, AFGDTU<n>_EL1", (3, 0), (3, 6, 0), (3, 9, 7), Trapped(ALTERNATE_DESCRIPTORS)),
    row("SPSR_EL1", (3, 0), (4, 0, 0), EL1),
    row("ELR_EL1", (3, 0), (4, 0, 1), EL1),
    row("STINDEX_EL1", (3, 0), (4, 0, 2), Trapped(STINDEX)),
    row("TINDEX_EL1", (3, 0), (4, 0, 3), Trapped(TINDEX_EL1)),
    row("SP_EL0", (3, 0), (4, 1, 0), EL1),
    all("SPSel, CurrentEL, PAN, UAO, ALLINT, PM", (3, 0), (4, 2, 0), (4, 3, 1), PSTATE),
    row("ICC_PMR_EL1", (3, 0), (4, 6, 0), ICV),
    row("AFSR0_EL1", (3, 0), (5, 1, 0), EL1),
    row("AFSR1_EL1", (3, 0), (5, 1, 1), EL1),
    row("ESR_EL1", (3, 0), (5, 2, 0), EL1),
    all("fault injection", (3, 0), (5, 4, 4), (5, 4, 6), Trapped(FAULT_INJECTION)),
    all("error records", (3, 0), (5, 3, 0), (5, 5, 3), Trapped(TERR)),
    all("TFSR_EL1, TFSRE0_EL1", (3, 0), (5, 6, 0), (5, 6, 1), Trapped(TAGS)),
    row("FAR_EL1", (3, 0), (6, 0, 0), EL1),
    row("PFAR_EL1", (3, 0), (6, 0, 5), Trapped(PFAR)),
    all("protection regions", (3, 0), (6, 1, 0), (6, 15, 7), R_PROFILE),
    row("PAR_EL1", (3, 0), (7, 4, 0), EL1),
    all("SPE", (3, 0), (9, 9, 0), (9, 9, 7), Trapped(TPMS)),
    row("PMSDSFR_EL1", (3, 0), (9, 10, 4), Trapped(TPMS)),
    row("PMBIDR_EL1", (3, 0), (9, 10, 7), Constant),
    all("SPE's buffer", (3, 0), (9, 10, 0), (9, 10, 7), Trapped(SPE_BUFFER)),
    row("TRBIDR_EL1", (3, 0), (9, 11, 7), Constant),
    all("trace buffer", (3, 0), (9, 11, 0), (9, 11, 7), Trapped(TRACE_BUFFER)),
    row("PMSSCR_EL1", (3, 0), (9, 13, 3), Trapped(PMU_SNAPSHOTS)),
    all("PMU", (3, 0), (9, 14, 0), (9, 14, 7), Trapped(PMU)),
    row("MAIR_EL1", (3, 0), (10, 2, 0), EL1),
    row("MAIR2_EL1", (3, 0), (10, 2, 1), Trapped(MAIR2)),
    row("PIRE0_EL1", (3, 0), (10, 2, 2), Trapped(PIRE0)),
    row("PIR_EL1", (3, 0), (10, 2, 3), Trapped(PIR)),
    row("POR_EL1", (3, 0), (10, 2, 4), Trapped(POR_EL1)),
    row("S2POR_EL1", (3, 0), (10, 2, 5), Trapped(S2POR)),
    row("TTTBRU_EL1", (3, 0), (10, 2, 6), Trapped(TTTBRU)),
    row("TTTBRP_EL1", (3, 0), (10, 2, 7), Trapped(TTTBRP)),
    row("AMAIR_EL1", (3, 0), (10, 3, 0), EL1),
    row("AMAIR2_EL1", (3, 0), (10, 3, 1), Trapped(AMAIR2)),
    all("MPAMIDR_EL1, MPAMBWIDR_EL1, TLBIDIDR_EL1", (3, 0), (10, 4, 4), (10, 4, 6), Constant),
    all("limited ordering regions", (3, 0), (10, 4, 0), (10, 4, 7), Trapped(TLOR)),
    all("MPAM1_EL1, MPAM0_EL1", (3, 0), (10, 5, 0), (10, 5, 1), Trapped(MPAM)),
    row("MPAMSM_EL1", (3, 0), (10, 5, 3), Trapped(MPAM_STREAMING)),
    all("MPAM's later registers", (3, 0), (10, 5, 2), (10, 5, 7), Later("FEAT_MPAM_PE_BW_CTRL, FEAT_MPAMv2")),
    row("VBAR_EL1", (3, 0), (12, 0, 0), EL1),
    all("RVBAR_EL1, RMR_EL1", (3, 0), (12, 0, 1), (12, 0, 2), Absent("only where EL1 is the highest level")),
    row("ISR_EL1", (3, 0), (12, 1, 0), View("pending interrupts")),
    row("DISR_EL1", (3, 0), (12, 1, 1), Switched(Group::DeferredError)),
    all("GICv5", (3, 0), (12, 10, 0), (12, 10, 7), GIC_5),
    row("ICC_SRE_EL1", (3, 0), (12, 12, 5), Reset(SRE)),
    all("GICv3's CPU interface", (3, 0), (12, 8, 0), (12, 12, 7), ICV),
    all("GICv5", (3, 0), (12, 13, 0), (12, 15, 7), GIC_5),
    row("TPIDR3_EL1", (3, 0), (13, 0, 0), Trapped(TPIDR3_EL1)),
    row("CONTEXTIDR_EL1", (3, 0), (13, 0, 1), EL1),
    row("RCWSMASK_EL1", (3, 0), (13, 0, 3), Trapped(RCWSMASK)),
    row("TPIDR_EL1", (3, 0), (13, 0, 4), EL1),
    row("ACCDATA_EL1", (3, 0), (13, 0, 5), Trapped(ACCDATA)),
    row("RCWMASK_EL1", (3, 0), (13, 0, 6), Trapped(RCWMASK)),
    row("SCXTNUM_EL1", (3, 0), (13, 0, 7), Trapped(SCXT)),
    row("CNTKCTL_EL1", (3, 0), (14, 1, 0), EL1),
    all("IMPLEMENTATION DEFINED", (3, 0), (11, 0, 0), (11, 15, 7), Trapped(TIDCP)),
    all("IMPLEMENTATION DEFINED", (3, 0), (15, 0, 0), (15, 15, 7), Trapped(TIDCP)),

    // Caches.
    all("SMIDR_EL1, AIDR_EL1", (3, 1), (0, 0, 6), (0, 0, 7), Trapped(TID1)),
    all("CCSIDR_EL1, CLIDR_EL1, CCSIDR2_EL1, GMID_EL1", (3, 1), (0, 0, 0), (0, 0, 4), Constant),
    all("GICv5", (3, 1), (12, 0, 0), (12, 0, 3), GIC_5),
    row("CSSELR_EL1", (3, 2), (0, 0, 0), EL1),

    // EL0.
    all("CTR_EL0, DCZID_EL0", (3, 3), (0, 0, 1), (0, 0, 7), Constant),
    all("bounds of pointers", (3, 3), (2, 2, 4), (2, 2, 7), TPS),
    all("RNDR, RNDRRS", (3, 3), (2, 4, 0), (2, 4, 1), Constant),
    row("GCSPR_EL0", (3, 3), (2, 5, 1), Trapped(GCS_EL0)),
    row("TINDEX_EL0", (3, 3), (4, 0, 3), Trapped(TINDEX_EL0)),
    row("SVCR", (3, 3), (4, 2, 2), Trapped(TSM)),
    all("NZCV, DAIF, DIT, SSBS, TCO", (3, 3), (4, 2, 0), (4, 2, 7), PSTATE),
    row("FPCR", (3, 3), (4, 4, 0), FP),
    row("FPSR", (3, 3), (4, 4, 1), FP),
    row("FPMR", (3, 3), (4, 4, 2), Trapped(FPM)),
    row("DPOCR_EL0", (3, 3), (4, 5, 2), Later("FEAT_S1POE2")),
    all("DSPSR_EL0, DLR_EL0", (3, 3), (4, 5, 0), (4, 5, 1), PSTATE_OF_DEBUG),
    all("PMU", (3, 3), (9, 4, 0), (9, 14, 7), Trapped(PMU)),
    row("POR_EL0", (3, 3), (10, 2, 4), Trapped(POR_EL0)),
    row("TPIDR3_EL0", (3, 3), (13, 0, 0), Trapped(TPIDR3_EL0)),
    row("TPIDR_EL0", (3, 3), (13, 0, 2), EL1),
    row("TPIDRRO_EL0", (3, 3), (13, 0, 3), EL1),
    row("TPIDR2_EL0", (3, 3), (13, 0, 5), Trapped(TPIDR2)),
    row("SCXTNUM_EL0", (3, 3), (13, 0, 7), Trapped(SCXT)),
    all("activity monitors", (3, 3), (13, 2, 0), (13, 15, 7), Trapped(TAM)),
    all("counters", (3, 3), (14, 0, 0), (14, 0, 6), Constant),
    all("the physical timer", (3, 3), (14, 2, 0), (14, 2, 2), Trapped(PHYSICAL_TIMER)),
    row("CNTV_TVAL_EL0", (3, 3), (14, 3, 0), View("CNTV_CVAL_EL0")),
    row("CNTV_CTL_EL0", (3, 3), (14, 3, 1), EL1),
    row("CNTV_CVAL_EL0", (3, 3), (14, 3, 2), EL1),
    all("PMU", (3, 3), (14, 8, 0), (14, 15, 7), Trapped(PMU)),
    all("IMPLEMENTATION DEFINED", (3, 3), (15, 0, 0), (15, 15, 7), Trapped(TIDCP)),
];

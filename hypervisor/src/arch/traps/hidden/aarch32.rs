// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fields of AArch32's ID registers: of the same features, at EL0 only.

use super::*;

const EL1: Guard = Controlled(&[trap::EL1_IS_AARCH64]);
const UNUSED: Guard = Harmless("zero on every CPU since Armv8");

/// All of them, by register.
#[rustfmt::skip]
pub(super) const AARCH32: &[Hidden] = &[
    above(1, SysReg::ID_PFR0_EL1, 16, "CSV2", Harmless("says how branch prediction is shared; AArch32 has no SCXTNUM")),
    none(SysReg::ID_PFR0_EL1, 20, "AMU", Controlled(&[trap::TAM])),
    none(SysReg::ID_PFR0_EL1, 28, "RAS", ERROR_RECORDS),
    none(SysReg::ID_PFR1_EL1, 0, "ProgMod", EL1),
    none(SysReg::ID_PFR1_EL1, 4, "Security", EL1),
    none(SysReg::ID_PFR1_EL1, 8, "MProgMod", EL1),
    none(SysReg::ID_PFR1_EL1, 12, "Virtualization", EL1),
    above(1, SysReg::ID_PFR1_EL1, 16, "GenTimer", COUNTERS),
    none(SysReg::ID_PFR1_EL1, 20, "Sec_frac", EL1),
    none(SysReg::ID_PFR1_EL1, 24, "Virt_frac", EL1),
    above(1, SysReg::ID_PFR1_EL1, 28, "GIC", EL1),
    none(SysReg::ID_PFR2_EL1, 8, "RAS_frac", ERROR_RECORDS),
    above(6, SysReg::ID_DFR0_EL1, 0, "CopDbg", Controlled(&[trap::TDA])),
    none(SysReg::ID_DFR0_EL1, 4, "CopSDbg", Controlled(&[trap::TDA])),
    none(SysReg::ID_DFR0_EL1, 8, "MMapDbg", EXTERNAL_DEBUG),
    none(SysReg::ID_DFR0_EL1, 12, "CopTrc", Controlled(&[trap::TTA])),
    none(SysReg::ID_DFR0_EL1, 16, "MMapTrc", EXTERNAL_DEBUG),
    none(SysReg::ID_DFR0_EL1, 20, "MProfDbg", UNUSED),
    none(SysReg::ID_DFR0_EL1, 24, "PerfMon", Controlled(&[trap::PMU])),
    none(SysReg::ID_DFR0_EL1, 28, "TraceFilt", Controlled(&[trap::TTRF])),
    none(SysReg::ID_DFR1_EL1, 0, "MTPMU", Controlled(&[trap::PMU])),
    none(SysReg::ID_DFR1_EL1, 4, "HPMN0", EL2_ONLY),
    whole(SysReg::ID_AFR0_EL1, "IMPLEMENTATION DEFINED", Controlled(&[trap::TIDCP])),
    none(SysReg::ID_MMFR0_EL1, 4, "PMSA", UNUSED),
    none(SysReg::ID_MMFR0_EL1, 16, "TCM", UNUSED),
    none(SysReg::ID_MMFR0_EL1, 24, "FCSE", UNUSED),
    none(SysReg::ID_MMFR1_EL1, 0, "L1HvdVA", UNUSED),
    none(SysReg::ID_MMFR1_EL1, 4, "L1UniVA", UNUSED),
    none(SysReg::ID_MMFR1_EL1, 8, "L1HvdSW", UNUSED),
    none(SysReg::ID_MMFR1_EL1, 12, "L1UniSW", UNUSED),
    none(SysReg::ID_MMFR1_EL1, 16, "L1Hvd", UNUSED),
    none(SysReg::ID_MMFR1_EL1, 20, "L1Uni", UNUSED),
    none(SysReg::ID_MMFR1_EL1, 24, "L1TstCln", UNUSED),
    none(SysReg::ID_MMFR2_EL1, 0, "L1HvdFG", UNUSED),
    none(SysReg::ID_MMFR2_EL1, 4, "L1HvdBG", UNUSED),
    none(SysReg::ID_MMFR2_EL1, 8, "L1HvdRng", UNUSED),
    none(SysReg::ID_MMFR2_EL1, 12, "HvdTLB", UNUSED),
    none(SysReg::ID_MMFR2_EL1, 28, "HWAccFlg", UNUSED),
    none(SysReg::ID_MMFR4_EL1, 8, "XNX", EL2_ONLY),
    none(SysReg::ID_MMFR4_EL1, 28, "EVT", EL2_ONLY),
    none(SysReg::ID_ISAR0_EL1, 0, "Swap", UNUSED),
    none(SysReg::ID_ISAR0_EL1, 16, "Coproc", UNUSED),
    none(SysReg::ID_ISAR4_EL1, 12, "SMC", Controlled(&[trap::FIRMWARE_CALLS])),
    none(SysReg::ID_ISAR4_EL1, 28, "SWP_frac", UNUSED),
    above(1, SysReg::ID_ISAR6_EL1, 16, "SPECRES", SPECULATION),
];

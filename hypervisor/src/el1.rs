// SPDX-License-Identifier: MIT OR Apache-2.0
//! All system registers that EL1 or EL0 can name, and what keeps one VM's value from the next VM on the CPU.
//!
//! There are four ways: the access traps, the register moves with the vCPU, EL2 sets it between VMs, or no guest can write
//! it. Whatever had none of them would be a channel from VM to VM, and a way to break the neighbour. The test holds the
//! table against Arm's list of registers, and each entry against the values and groups that EL2 really uses. Source: Arm ARM,
//! "AArch64 System register descriptions", where each register's access conditions name its trap controls.

use crate::traps::control::{Control, Register, Setting};
use crate::traps::table::TABLE as TRAPS;

/// What keeps a register's value from the next VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// Accesses come to EL2, by each of these controls.
    Trapped(&'static [Trap]),
    /// It moves with the vCPU.
    Switched(Group),
    /// EL2 sets it where the trap that should guard it cannot be set; see [`crate::sre`].
    Reset(&'static [Trap]),
    /// No guest can write it, or nothing is kept in it.
    Constant,
    /// Another register or PSTATE by another name, which is the vCPU's: this one.
    View(&'static str),
    /// No CPU that EL2 runs on has it at EL1; why.
    Absent(&'static str),
    /// It is of an extension later than those that EL2 knows to turn off. They are off until a register that EL2 does not
    /// write, or the firmware, turns them on.
    Later(&'static str),
}

/// In which group of [`vambrace_cpu::reset::CpuRegisters`] a register moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `el1`.
    El1,
    /// `keys`.
    PointerAuthKeys,
    /// `fp`.
    Fp,
    /// `deferred_error`: DISR_EL1 is VDISR_EL2 for a guest, since HCR_EL2.AMO is set.
    DeferredError,
}

/// A bit that makes accesses trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// Where it is.
    pub register: Register,
    /// Its number.
    pub bit: u32,
    /// The value with which it traps.
    pub traps: Value,
}

/// A bit's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// 0.
    Zero,
    /// 1.
    One,
}

const fn one(register: Register, bit: u32) -> Trap {
    Trap { register, bit, traps: Value::One }
}

const fn zero(register: Register, bit: u32) -> Trap {
    Trap { register, bit, traps: Value::Zero }
}

pub(crate) const TID1: &[Trap] = &[one(Register::Hcr, 16)];
pub(crate) const TID3: &[Trap] = &[one(Register::Hcr, 18)];
pub(crate) const TIDCP: &[Trap] = &[one(Register::Hcr, 20)];
pub(crate) const TACR: &[Trap] = &[one(Register::Hcr, 21)];
pub(crate) const TLOR: &[Trap] = &[one(Register::Hcr, 35)];
pub(crate) const TERR: &[Trap] = &[one(Register::Hcr, 36)];
/// FIEN.
pub(crate) const FAULT_INJECTION: &[Trap] = &[zero(Register::Hcr, 47)];
/// EnSCXT.
pub(crate) const SCXT: &[Trap] = &[zero(Register::Hcr, 53)];
/// ATA.
pub(crate) const TAGS: &[Trap] = &[zero(Register::Hcr, 56)];
/// TPM; TPMCR for PMCR_EL0.
pub(crate) const PMU: &[Trap] = &[one(Register::Mdcr, 6), one(Register::Mdcr, 5)];
pub(crate) const TDA: &[Trap] = &[one(Register::Mdcr, 9)];
pub(crate) const TDOSA: &[Trap] = &[one(Register::Mdcr, 10)];
pub(crate) const TDRA: &[Trap] = &[one(Register::Mdcr, 11)];
pub(crate) const TPMS: &[Trap] = &[one(Register::Mdcr, 14)];
pub(crate) const TTRF: &[Trap] = &[one(Register::Mdcr, 19)];
/// E2PB.
pub(crate) const SPE_BUFFER: &[Trap] = &[zero(Register::Mdcr, 12), zero(Register::Mdcr, 13)];
/// EnSPM.
pub(crate) const SYSTEM_PMU: &[Trap] = &[zero(Register::Mdcr, 15)];
/// E2TB.
pub(crate) const TRACE_BUFFER: &[Trap] = &[zero(Register::Mdcr, 24), zero(Register::Mdcr, 25)];
/// EBWE.
pub(crate) const BANKS: &[Trap] = &[zero(Register::Mdcr, 43)];
/// EnSTEPOP.
pub(crate) const STEPPED: &[Trap] = &[zero(Register::Mdcr, 50)];
pub(crate) const TZ: &[Trap] = &[one(Register::Cptr, 8)];
pub(crate) const TSM: &[Trap] = &[one(Register::Cptr, 12)];
pub(crate) const TTA: &[Trap] = &[one(Register::Cptr, 20)];
pub(crate) const TAM: &[Trap] = &[one(Register::Cptr, 30)];
/// EL1PCEN.
pub(crate) const PHYSICAL_TIMER: &[Trap] = &[zero(Register::Cnthctl, 1)];
/// TRAPMPAM1EL1 and TRAPMPAM0EL1.
pub(crate) const MPAM: &[Trap] = &[one(Register::Mpam2, 48), one(Register::Mpam2, 49)];
/// EnMPAMSM.
pub(crate) const MPAM_STREAMING: &[Trap] = &[zero(Register::Mpam2, 50)];
/// TCR2En, SCTLR2En, GCSEn, EnFPM and SRMASKEn of HCRX_EL2.
pub(crate) const TCR2: &[Trap] = &[zero(Register::Hcrx, 14)];
pub(crate) const SCTLR2: &[Trap] = &[zero(Register::Hcrx, 15)];
pub(crate) const GCS: &[Trap] = &[zero(Register::Hcrx, 22)];
pub(crate) const FPM: &[Trap] = &[zero(Register::Hcrx, 23)];
pub(crate) const MASKS: &[Trap] = &[zero(Register::Hcrx, 26)];
/// nACCDATA_EL1, nSMPRI_EL1 and nTPIDR2_EL0, nRCWMASK_EL1, nPIRE0_EL1 to nAMAIR2_EL1 of HFGRTR_EL2 and HFGWTR_EL2.
pub(crate) const ACCDATA: &[Trap] = &[zero(Register::Hfgrtr, 50)];
pub(crate) const SMPRI: &[Trap] = &[zero(Register::Hfgrtr, 54)];
pub(crate) const TPIDR2: &[Trap] = &[zero(Register::Hfgrtr, 55)];
pub(crate) const RCWMASK: &[Trap] = &[zero(Register::Hfgrtr, 56)];
pub(crate) const PIRE0: &[Trap] = &[zero(Register::Hfgrtr, 57)];
pub(crate) const PIR: &[Trap] = &[zero(Register::Hfgrtr, 58)];
pub(crate) const POR_EL0: &[Trap] = &[zero(Register::Hfgrtr, 59)];
pub(crate) const POR_EL1: &[Trap] = &[zero(Register::Hfgrtr, 60)];
pub(crate) const S2POR: &[Trap] = &[zero(Register::Hfgrtr, 61)];
pub(crate) const MAIR2: &[Trap] = &[zero(Register::Hfgrtr, 62)];
pub(crate) const AMAIR2: &[Trap] = &[zero(Register::Hfgrtr, 63)];
/// nPFAR_EL1 and nRCWSMASK_EL1 of HFGRTR2_EL2 and HFGWTR2_EL2.
pub(crate) const PFAR: &[Trap] = &[zero(Register::Hfgrtr2, 0)];
pub(crate) const RCWSMASK: &[Trap] = &[zero(Register::Hfgrtr2, 2)];
/// nBRBIDR, nBRBCTL and nBRBDATA of HDFGRTR_EL2 and HDFGWTR_EL2.
pub(crate) const BRANCH_RECORDS: &[Trap] =
    &[zero(Register::Hdfgrtr, 59), zero(Register::Hdfgrtr, 60), zero(Register::Hdfgrtr, 61)];
/// nBRBINJ and nBRBIALL of HFGITR_EL2.
pub(crate) const BRANCH_INSTRUCTIONS: &[Trap] = &[zero(Register::Hfgitr, 55), zero(Register::Hfgitr, 56)];
/// Controls of features that have no register of their own at EL1.
pub(crate) const TRANSACTIONS: &[Trap] = &[zero(Register::Hcr, 39)];
pub(crate) const NESTED: &[Trap] = &[zero(Register::Hcr, 42)];
/// EnAS0, EnALS and EnASR.
pub(crate) const LS64: &[Trap] = &[zero(Register::Hcrx, 0), zero(Register::Hcrx, 1), zero(Register::Hcrx, 2)];
pub(crate) const MOPS: &[Trap] = &[zero(Register::Hcrx, 11)];
pub(crate) const D128: &[Trap] = &[zero(Register::Hcrx, 17)];
pub(crate) const PACM: &[Trap] = &[zero(Register::Hcrx, 24)];
pub(crate) const SRE: &[Trap] = &[zero(Register::IccSre, 3)];

impl Trap {
    /// The control that this bit belongs to; `None` when EL2 does not know it.
    #[must_use]
    pub fn control(self) -> Option<&'static Control> {
        TRAPS.iter().find(|control| control.register == self.register && control.mask() >> self.bit & 1 == 1)
    }

    /// Whether EL2 has this bit so, always.
    #[must_use]
    pub fn is_set(self) -> bool {
        let Some(Control { lsb, setting: Setting::Always(value), .. }) = self.control() else { return false };
        (value >> (self.bit - lsb) & 1 == 1) == matches!(self.traps, Value::One)
    }
}

/// Some registers, one behind the other.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Arm's name of the one, or what the family is.
    pub name: &'static str,
    /// op0 and op1.
    pub op: (u8, u8),
    /// CRn, CRm and op2 of the first.
    pub from: (u8, u8, u8),
    /// Those of the last.
    pub to: (u8, u8, u8),
    /// What keeps them.
    pub keeper: Keeper,
}

mod table;

pub use table::TABLE;

#[cfg(test)]
mod tests;

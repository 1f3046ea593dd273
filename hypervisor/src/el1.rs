// SPDX-License-Identifier: MIT OR Apache-2.0
//! All system registers that EL1 or EL0 can name, and what keeps one VM's value from the next VM on the CPU.
//!
//! There are four ways: the access traps, the register moves with the vCPU, EL2 sets it between VMs, or no guest can write
//! it. Whatever had none of them would be a channel from VM to VM, and a way to break the neighbour. The test holds the
//! table against Arm's list of registers, and each entry against the values and groups that EL2 really uses. Source: Arm ARM,
//! "AArch64 System register descriptions", where each register's access conditions name its trap controls.

use crate::traps;

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

/// A control register of EL2's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// HCR_EL2.
    Hcr,
    /// HCRX_EL2, on every CPU that has what it guards.
    Hcrx,
    /// MDCR_EL2.
    Mdcr,
    /// CPTR_EL2.
    Cptr,
    /// CNTHCTL_EL2.
    Cnthctl,
    /// MPAM2_EL2.
    Mpam2,
    /// A fine-grained trap register, on every CPU that has what it guards.
    FineGrained,
    /// ICC_SRE_EL2.
    IccSre,
}

/// A bit that makes accesses trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// Where it is.
    pub control: Control,
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

const fn one(control: Control, bit: u32) -> Trap {
    Trap { control, bit, traps: Value::One }
}

const fn zero(control: Control, bit: u32) -> Trap {
    Trap { control, bit, traps: Value::Zero }
}

const TID1: &[Trap] = &[one(Control::Hcr, 16)];
const TID3: &[Trap] = &[one(Control::Hcr, 18)];
const TIDCP: &[Trap] = &[one(Control::Hcr, 20)];
const TACR: &[Trap] = &[one(Control::Hcr, 21)];
const TLOR: &[Trap] = &[one(Control::Hcr, 35)];
const TERR: &[Trap] = &[one(Control::Hcr, 36)];
/// FIEN.
const FAULT_INJECTION: &[Trap] = &[zero(Control::Hcr, 47)];
/// EnSCXT.
const SCXT: &[Trap] = &[zero(Control::Hcr, 53)];
/// ATA.
const TAGS: &[Trap] = &[zero(Control::Hcr, 56)];
/// TPM; TPMCR for PMCR_EL0.
const PMU: &[Trap] = &[one(Control::Mdcr, 6), one(Control::Mdcr, 5)];
const TDA: &[Trap] = &[one(Control::Mdcr, 9)];
const TDOSA: &[Trap] = &[one(Control::Mdcr, 10)];
const TDRA: &[Trap] = &[one(Control::Mdcr, 11)];
const TPMS: &[Trap] = &[one(Control::Mdcr, 14)];
const TTRF: &[Trap] = &[one(Control::Mdcr, 19)];
/// E2PB.
const SPE_BUFFER: &[Trap] = &[zero(Control::Mdcr, 12), zero(Control::Mdcr, 13)];
/// EnSPM.
const SYSTEM_PMU: &[Trap] = &[zero(Control::Mdcr, 15)];
/// E2TB.
const TRACE_BUFFER: &[Trap] = &[zero(Control::Mdcr, 24), zero(Control::Mdcr, 25)];
/// EBWE.
const BANKS: &[Trap] = &[zero(Control::Mdcr, 43)];
/// EnSTEPOP.
const STEPPED: &[Trap] = &[zero(Control::Mdcr, 50)];
const TZ: &[Trap] = &[one(Control::Cptr, 8)];
const TSM: &[Trap] = &[one(Control::Cptr, 12)];
const TTA: &[Trap] = &[one(Control::Cptr, 20)];
const TAM: &[Trap] = &[one(Control::Cptr, 30)];
/// EL1PCEN.
const PHYSICAL_TIMER: &[Trap] = &[zero(Control::Cnthctl, 1)];
/// TRAPMPAM1EL1 and TRAPMPAM0EL1.
const MPAM: &[Trap] = &[one(Control::Mpam2, 48), one(Control::Mpam2, 49)];
/// EnMPAMSM.
const MPAM_STREAMING: &[Trap] = &[zero(Control::Mpam2, 50)];
/// TCR2En, SCTLR2En, GCSEn, EnFPM and SRMASKEn of HCRX_EL2.
const TCR2: &[Trap] = &[zero(Control::Hcrx, 14)];
const SCTLR2: &[Trap] = &[zero(Control::Hcrx, 15)];
const GCS: &[Trap] = &[zero(Control::Hcrx, 22)];
const FPM: &[Trap] = &[zero(Control::Hcrx, 23)];
const MASKS: &[Trap] = &[zero(Control::Hcrx, 26)];
/// nACCDATA_EL1, nSMPRI_EL1 and nTPIDR2_EL0, nRCWMASK_EL1, nPIRE0_EL1 to nAMAIR2_EL1 of HFGRTR_EL2 and HFGWTR_EL2.
const ACCDATA: &[Trap] = &[zero(Control::FineGrained, 50)];
const SMPRI: &[Trap] = &[zero(Control::FineGrained, 54)];
const TPIDR2: &[Trap] = &[zero(Control::FineGrained, 55)];
const RCWMASK: &[Trap] = &[zero(Control::FineGrained, 56)];
const PIRE0: &[Trap] = &[zero(Control::FineGrained, 57)];
const PIR: &[Trap] = &[zero(Control::FineGrained, 58)];
const POR_EL0: &[Trap] = &[zero(Control::FineGrained, 59)];
const POR_EL1: &[Trap] = &[zero(Control::FineGrained, 60)];
const S2POR: &[Trap] = &[zero(Control::FineGrained, 61)];
const MAIR2: &[Trap] = &[zero(Control::FineGrained, 62)];
const AMAIR2: &[Trap] = &[zero(Control::FineGrained, 63)];
/// nPFAR_EL1 and nRCWSMASK_EL1 of HFGRTR2_EL2 and HFGWTR2_EL2.
const PFAR: &[Trap] = &[zero(Control::FineGrained, 0)];
const RCWSMASK: &[Trap] = &[zero(Control::FineGrained, 2)];
/// nBRBIDR, nBRBCTL and nBRBDATA of HDFGRTR_EL2 and HDFGWTR_EL2.
const BRANCH_RECORDS: &[Trap] =
    &[zero(Control::FineGrained, 59), zero(Control::FineGrained, 60), zero(Control::FineGrained, 61)];
const SRE: &[Trap] = &[zero(Control::IccSre, 3)];

impl Trap {
    /// Whether EL2 has this bit so. `features` says what else is in HCR_EL2.
    #[must_use]
    pub const fn is_set(self, features: traps::Features) -> bool {
        let value = match self.control {
            // A guest that waits in the machine is the one with fewer traps.
            Control::Hcr => features.hcr(traps::Waiting::InTheMachine),
            Control::Hcrx => traps::HCRX,
            Control::Mdcr => traps::mdcr(0),
            Control::Cptr => traps::CPTR,
            Control::Cnthctl => traps::CNTHCTL,
            Control::Mpam2 => traps::MPAM2,
            Control::FineGrained => traps::FINE_GRAINED,
            Control::IccSre => crate::sre::EL2,
        };
        (value >> self.bit & 1 == 1) == matches!(self.traps, Value::One)
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

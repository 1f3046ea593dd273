// SPDX-License-Identifier: MIT OR Apache-2.0
//! The controls that registers and features are guarded by, by name. Where each bit is, [`TABLE`] says.

use super::control::Register::{
    self, Cnthctl, Cptr, Hcr, Hcrx, Hdfgrtr, Hdfgrtr2, Hfgitr, Hfgitr2, Hfgrtr, Hfgrtr2, IccSre, Mdcr, Mpam2,
};
use super::control::{Control, Setting};
use super::table::TABLE;

/// A control that makes accesses trap, or turns a feature off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// Where it is.
    pub register: Register,
    /// Arm's name.
    pub name: &'static str,
    /// The value of its bits with which it does.
    pub value: Value,
}

/// The value of a control's bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// All are 0.
    Zero,
    /// All are 1.
    One,
}

impl Trap {
    /// The control of this name; `None` when the table does not have it.
    #[must_use]
    pub fn control(self) -> Option<&'static Control> {
        TABLE.iter().find(|control| control.register == self.register && control.name == self.name)
    }

    /// Whether EL2 has it so, always.
    #[must_use]
    pub fn is_set(self) -> bool {
        let Some(Control { width, setting: Setting::Always(value), .. }) = self.control() else {
            return false;
        };
        let wanted = match self.value {
            Value::Zero => 0,
            Value::One => u64::MAX >> (64 - width),
        };
        *value == wanted
    }
}

/// A control that guards while it is 1.
const fn one(register: Register, name: &'static str) -> Trap {
    Trap { register, name, value: Value::One }
}

/// A control that guards while it is 0: most are, from Armv8.3 on, so that old software leaves new features off.
const fn zero(register: Register, name: &'static str) -> Trap {
    Trap { register, name, value: Value::Zero }
}

macro_rules! traps {
    ($($name:ident = $($value:ident $register:ident $control:literal),+;)*) => {
        $(pub(crate) const $name: &[Trap] = &[$($value($register, $control)),+];)*
    };
}

// HCR_EL2.
traps! {
    TID1 = one Hcr "TID1";
    TID3 = one Hcr "TID3";
    FIRMWARE_CALLS = one Hcr "TSC";
    EL1_IS_AARCH64 = one Hcr "RW";
    TIDCP = one Hcr "TIDCP";
    TACR = one Hcr "TACR";
    TLOR = one Hcr "TLOR";
    TERR = one Hcr "TERR";
    TRANSACTIONS = zero Hcr "TME";
    NESTED = zero Hcr "NV";
    FAULT_INJECTION = zero Hcr "FIEN";
    SCXT = zero Hcr "EnSCXT";
    TAGS = zero Hcr "ATA";
}

// HCRX_EL2.
traps! {
    LS64 = zero Hcrx "EnAS0", zero Hcrx "EnALS", zero Hcrx "EnASR";
    MOPS = zero Hcrx "MSCEn";
    TCR2 = zero Hcrx "TCR2En";
    SCTLR2 = zero Hcrx "SCTLR2En";
    D128 = zero Hcrx "D128En";
    GCS_OFF = zero Hcrx "GCSEn";
    FPM = zero Hcrx "EnFPM";
    PACM = zero Hcrx "PACMEn";
    MASKS = zero Hcrx "SRMASKEn";
}

// MDCR_EL2.
traps! {
    PMU = one Mdcr "TPM", one Mdcr "TPMCR";
    TDA = one Mdcr "TDA";
    TDOSA = one Mdcr "TDOSA";
    TDRA = one Mdcr "TDRA";
    SPE_BUFFER = zero Mdcr "E2PB";
    TPMS = one Mdcr "TPMS";
    SYSTEM_PMU = zero Mdcr "EnSPM";
    TTRF = one Mdcr "TTRF";
    TRACE_BUFFER = zero Mdcr "E2TB";
    BANKS_OFF = zero Mdcr "EBWE";
    STEPPED_OFF = zero Mdcr "EnSTEPOP";
}

// CPTR_EL2, CNTHCTL_EL2, MPAM2_EL2, ICC_SRE_EL2.
traps! {
    TZ = one Cptr "TZ";
    TSM = one Cptr "TSM";
    TTA = one Cptr "TTA";
    TAM = one Cptr "TAM";
    PHYSICAL_TIMER = zero Cnthctl "EL1PCEN";
    MPAM = one Mpam2 "TRAPMPAM1EL1", one Mpam2 "TRAPMPAM0EL1";
    MPAM_STREAMING = zero Mpam2 "EnMPAMSM";
    SRE = zero IccSre "Enable";
}

// HFGRTR_EL2, HFGWTR_EL2, HFGITR_EL2.
traps! {
    ACCDATA = zero Hfgrtr "nACCDATA_EL1";
    GCS_EL0 = zero Hfgrtr "nGCS_EL0";
    GCS_EL1 = zero Hfgrtr "nGCS_EL1";
    SMPRI = zero Hfgrtr "nSMPRI_EL1";
    TPIDR2 = zero Hfgrtr "nTPIDR2_EL0";
    RCWMASK = zero Hfgrtr "nRCWMASK_EL1";
    PIRE0 = zero Hfgrtr "nPIRE0_EL1";
    PIR = zero Hfgrtr "nPIR_EL1";
    POR_EL0 = zero Hfgrtr "nPOR_EL0";
    POR_EL1 = zero Hfgrtr "nPOR_EL1";
    S2POR = zero Hfgrtr "nS2POR_EL1";
    MAIR2 = zero Hfgrtr "nMAIR2_EL1";
    AMAIR2 = zero Hfgrtr "nAMAIR2_EL1";
    BRANCH_INSTRUCTIONS = zero Hfgitr "nBRBINJ", zero Hfgitr "nBRBIALL";
    GCS_INSTRUCTIONS = zero Hfgitr "nGCSPUSHM_EL1", zero Hfgitr "nGCSSTR_EL1", zero Hfgitr "nGCSEPP";
}

// HFGRTR2_EL2, HFGWTR2_EL2, HFGITR2_EL2.
traps! {
    PFAR = zero Hfgrtr2 "nPFAR_EL1";
    RCWSMASK = zero Hfgrtr2 "nRCWSMASK_EL1";
    TINDEX_EL0 = zero Hfgrtr2 "nTINDEX_EL0";
    TINDEX_EL1 = zero Hfgrtr2 "nTINDEX_EL1";
    STINDEX = zero Hfgrtr2 "nSTINDEX_EL1";
    DESCRIPTORS = zero Hfgrtr2 "nFGDTn_EL1";
    TTTBRP = zero Hfgrtr2 "nTTTBRP_EL1";
    TTTBRU = zero Hfgrtr2 "nTTTBRU_EL1";
    IRTBRP = zero Hfgrtr2 "nIRTBRP_EL1";
    IRTBRU = zero Hfgrtr2 "nIRTBRU_EL1";
    DPOTBR1 = zero Hfgrtr2 "nDPOTBR1_EL1";
    DPOTBR0 = zero Hfgrtr2 "nDPOTBR0_EL1";
    ALTERNATE_DESCRIPTORS = zero Hfgrtr2 "nAFGDTn_EL1";
    TPIDR3_EL0 = zero Hfgrtr2 "nTPIDR3_EL0";
    TPIDR3_EL1 = zero Hfgrtr2 "nTPIDR3_EL1";
    LDSTT = zero Hfgrtr2 "nLDSTT_EL1";
    CLEAN_TO_STORAGE = zero Hfgitr2 "nDCCIVAPS";
}

// HDFGRTR_EL2, HDFGWTR_EL2, HDFGRTR2_EL2, HDFGWTR2_EL2.
traps! {
    BRANCH_RECORDS = zero Hdfgrtr "nBRBIDR", zero Hdfgrtr "nBRBCTL", zero Hdfgrtr "nBRBDATA";
    BANKS = zero Hdfgrtr2 "nMDSELR_EL1";
    PMU_SNAPSHOTS = zero Hdfgrtr2 "nPMSSDATA", zero Hdfgrtr2 "nPMSSCR_EL1";
    TRACE_EXTERNAL = zero Hdfgrtr2 "nTRCITECR_EL1";
    STEPPED = zero Hdfgrtr2 "nMDSTEPOP_EL1";
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! System registers and system instructions, by encoding.
//!
//! A register is its five numbers (op0, op1, CRn, CRm, op2). Those that the hypervisor has something to say
//! about have a constant and a name; all others print as the assembler takes them, `S3_0_C1_C2_3`.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::syndrome::{Syndrome, field};

/// The encoding of a system register or system instruction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SysReg {
    /// 2 or 3 for registers (2: debug and trace), 1 for instructions.
    pub op0: u8,
    /// Tells, roughly, the exception level: 0 is EL1, 3 is EL0, 4 is EL2, 6 is EL3.
    pub op1: u8,
    /// CRn.
    pub crn: u8,
    /// CRm.
    pub crm: u8,
    /// op2.
    pub op2: u8,
}

impl SysReg {
    /// Builds an encoding; each number is cut to the bits that it has in the instruction.
    #[must_use]
    pub const fn new(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Self {
        Self { op0: op0 & 0b11, op1: op1 & 0b111, crn: crn & 0xF, crm: crm & 0xF, op2: op2 & 0b111 }
    }

    /// Takes the encoding out of the ISS of a trapped MSR, MRS or system instruction.
    #[must_use]
    pub const fn from_iss(iss: u32) -> Self {
        let syndrome = Syndrome(iss as u64);
        Self::new(
            field::OP0.of(syndrome) as u8,
            field::OP1.of(syndrome) as u8,
            field::CRN.of(syndrome) as u8,
            field::CRM.of(syndrome) as u8,
            field::OP2.of(syndrome) as u8,
        )
    }

    /// The inverse of [`from_iss`](Self::from_iss), with the register number and the direction left 0.
    #[must_use]
    pub const fn to_iss(self) -> u32 {
        field::OP0.iss_with(self.op0 as u32)
            | field::OP2.iss_with(self.op2 as u32)
            | field::OP1.iss_with(self.op1 as u32)
            | field::CRN.iss_with(self.crn as u32)
            | field::CRM.iss_with(self.crm as u32)
    }

    /// Whether EL0 can be granted access at all: only registers with op1 = 3 are for EL0.
    #[must_use]
    pub const fn is_for_el0(self) -> bool {
        self.op1 == 3
    }
}

impl fmt::Display for SysReg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op0, op1, crn, crm, op2 } = self;
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "S{op0}_{op1}_C{crn}_C{crm}_{op2}"),
        }
    }
}

impl fmt::Debug for SysReg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! registers {
    ($(
        $constant:ident =
            ($op0:literal, $op1:literal, $crn:literal, $crm:literal, $op2:literal), $name:literal;
    )*) => {
        impl SysReg {
            $(
                #[doc = $name]
                pub const $constant: Self = Self::new($op0, $op1, $crn, $crm, $op2);
            )*

            /// Arm's name, for those that have a constant.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match (self.op0, self.op1, self.crn, self.crm, self.op2) {
                    $(($op0, $op1, $crn, $crm, $op2) => Some($name),)*
                    _ => None,
                }
            }

            /// Each encoding that has a constant.
            #[cfg(test)]
            pub(crate) const KNOWN: &[(Self, &'static str)] = &[$((Self::$constant, $name)),*];
        }
    };
}

registers! {
    // Cache maintenance by set and way.
    DC_ISW = (1, 0, 7, 6, 2), "DC ISW";
    DC_CSW = (1, 0, 7, 10, 2), "DC CSW";
    DC_CISW = (1, 0, 7, 14, 2), "DC CISW";

    // Debug.
    OSDTRRX_EL1 = (2, 0, 0, 0, 2), "OSDTRRX_EL1";
    MDCCINT_EL1 = (2, 0, 0, 2, 0), "MDCCINT_EL1";
    MDSCR_EL1 = (2, 0, 0, 2, 2), "MDSCR_EL1";
    OSDTRTX_EL1 = (2, 0, 0, 3, 2), "OSDTRTX_EL1";
    OSECCR_EL1 = (2, 0, 0, 6, 2), "OSECCR_EL1";
    MDRAR_EL1 = (2, 0, 1, 0, 0), "MDRAR_EL1";
    OSLAR_EL1 = (2, 0, 1, 0, 4), "OSLAR_EL1";
    OSLSR_EL1 = (2, 0, 1, 1, 4), "OSLSR_EL1";
    OSDLR_EL1 = (2, 0, 1, 3, 4), "OSDLR_EL1";
    DBGPRCR_EL1 = (2, 0, 1, 4, 4), "DBGPRCR_EL1";
    DBGCLAIMSET_EL1 = (2, 0, 7, 8, 6), "DBGCLAIMSET_EL1";
    DBGCLAIMCLR_EL1 = (2, 0, 7, 9, 6), "DBGCLAIMCLR_EL1";
    DBGAUTHSTATUS_EL1 = (2, 0, 7, 14, 6), "DBGAUTHSTATUS_EL1";
    MDCCSR_EL0 = (2, 3, 0, 1, 0), "MDCCSR_EL0";
    DBGDTR_EL0 = (2, 3, 0, 4, 0), "DBGDTR_EL0";
    DBGDTRRX_EL0 = (2, 3, 0, 5, 0), "DBGDTRRX_EL0";

    // Identification.
    MIDR_EL1 = (3, 0, 0, 0, 0), "MIDR_EL1";
    MPIDR_EL1 = (3, 0, 0, 0, 5), "MPIDR_EL1";
    REVIDR_EL1 = (3, 0, 0, 0, 6), "REVIDR_EL1";
    ID_PFR0_EL1 = (3, 0, 0, 1, 0), "ID_PFR0_EL1";
    ID_PFR1_EL1 = (3, 0, 0, 1, 1), "ID_PFR1_EL1";
    ID_DFR0_EL1 = (3, 0, 0, 1, 2), "ID_DFR0_EL1";
    ID_AFR0_EL1 = (3, 0, 0, 1, 3), "ID_AFR0_EL1";
    ID_MMFR0_EL1 = (3, 0, 0, 1, 4), "ID_MMFR0_EL1";
    ID_MMFR1_EL1 = (3, 0, 0, 1, 5), "ID_MMFR1_EL1";
    ID_MMFR2_EL1 = (3, 0, 0, 1, 6), "ID_MMFR2_EL1";
    ID_MMFR3_EL1 = (3, 0, 0, 1, 7), "ID_MMFR3_EL1";
    ID_ISAR0_EL1 = (3, 0, 0, 2, 0), "ID_ISAR0_EL1";
    ID_ISAR1_EL1 = (3, 0, 0, 2, 1), "ID_ISAR1_EL1";
    ID_ISAR2_EL1 = (3, 0, 0, 2, 2), "ID_ISAR2_EL1";
    ID_ISAR3_EL1 = (3, 0, 0, 2, 3), "ID_ISAR3_EL1";
    ID_ISAR4_EL1 = (3, 0, 0, 2, 4), "ID_ISAR4_EL1";
    ID_ISAR5_EL1 = (3, 0, 0, 2, 5), "ID_ISAR5_EL1";
    ID_MMFR4_EL1 = (3, 0, 0, 2, 6), "ID_MMFR4_EL1";
    ID_ISAR6_EL1 = (3, 0, 0, 2, 7), "ID_ISAR6_EL1";
    MVFR0_EL1 = (3, 0, 0, 3, 0), "MVFR0_EL1";
    MVFR1_EL1 = (3, 0, 0, 3, 1), "MVFR1_EL1";
    MVFR2_EL1 = (3, 0, 0, 3, 2), "MVFR2_EL1";
    ID_PFR2_EL1 = (3, 0, 0, 3, 4), "ID_PFR2_EL1";
    ID_DFR1_EL1 = (3, 0, 0, 3, 5), "ID_DFR1_EL1";
    ID_MMFR5_EL1 = (3, 0, 0, 3, 6), "ID_MMFR5_EL1";
    ID_AA64PFR0_EL1 = (3, 0, 0, 4, 0), "ID_AA64PFR0_EL1";
    ID_AA64PFR1_EL1 = (3, 0, 0, 4, 1), "ID_AA64PFR1_EL1";
    ID_AA64PFR2_EL1 = (3, 0, 0, 4, 2), "ID_AA64PFR2_EL1";
    ID_AA64ZFR0_EL1 = (3, 0, 0, 4, 4), "ID_AA64ZFR0_EL1";
    ID_AA64SMFR0_EL1 = (3, 0, 0, 4, 5), "ID_AA64SMFR0_EL1";
    ID_AA64FPFR0_EL1 = (3, 0, 0, 4, 7), "ID_AA64FPFR0_EL1";
    ID_AA64DFR0_EL1 = (3, 0, 0, 5, 0), "ID_AA64DFR0_EL1";
    ID_AA64DFR1_EL1 = (3, 0, 0, 5, 1), "ID_AA64DFR1_EL1";
    ID_AA64DFR2_EL1 = (3, 0, 0, 5, 2), "ID_AA64DFR2_EL1";
    ID_AA64AFR0_EL1 = (3, 0, 0, 5, 4), "ID_AA64AFR0_EL1";
    ID_AA64AFR1_EL1 = (3, 0, 0, 5, 5), "ID_AA64AFR1_EL1";
    ID_AA64ISAR0_EL1 = (3, 0, 0, 6, 0), "ID_AA64ISAR0_EL1";
    ID_AA64ISAR1_EL1 = (3, 0, 0, 6, 1), "ID_AA64ISAR1_EL1";
    ID_AA64ISAR2_EL1 = (3, 0, 0, 6, 2), "ID_AA64ISAR2_EL1";
    ID_AA64ISAR3_EL1 = (3, 0, 0, 6, 3), "ID_AA64ISAR3_EL1";
    ID_AA64MMFR0_EL1 = (3, 0, 0, 7, 0), "ID_AA64MMFR0_EL1";
    ID_AA64MMFR1_EL1 = (3, 0, 0, 7, 1), "ID_AA64MMFR1_EL1";
    ID_AA64MMFR2_EL1 = (3, 0, 0, 7, 2), "ID_AA64MMFR2_EL1";
    ID_AA64MMFR3_EL1 = (3, 0, 0, 7, 3), "ID_AA64MMFR3_EL1";
    ID_AA64MMFR4_EL1 = (3, 0, 0, 7, 4), "ID_AA64MMFR4_EL1";
    CCSIDR_EL1 = (3, 1, 0, 0, 0), "CCSIDR_EL1";
    CLIDR_EL1 = (3, 1, 0, 0, 1), "CLIDR_EL1";
    AIDR_EL1 = (3, 1, 0, 0, 7), "AIDR_EL1";
    CTR_EL0 = (3, 3, 0, 0, 1), "CTR_EL0";

    // Control. Those that no VM has keep a name for the log.
    SCTLR_EL1 = (3, 0, 1, 0, 0), "SCTLR_EL1";
    ACTLR_EL1 = (3, 0, 1, 0, 1), "ACTLR_EL1";
    CPACR_EL1 = (3, 0, 1, 0, 2), "CPACR_EL1";
    SCTLR2_EL1 = (3, 0, 1, 0, 3), "SCTLR2_EL1";
    ZCR_EL1 = (3, 0, 1, 2, 0), "ZCR_EL1";
    TRFCR_EL1 = (3, 0, 1, 2, 1), "TRFCR_EL1";
    SMCR_EL1 = (3, 0, 1, 2, 6), "SMCR_EL1";
    TTBR0_EL1 = (3, 0, 2, 0, 0), "TTBR0_EL1";
    TTBR1_EL1 = (3, 0, 2, 0, 1), "TTBR1_EL1";
    TCR_EL1 = (3, 0, 2, 0, 2), "TCR_EL1";
    TCR2_EL1 = (3, 0, 2, 0, 3), "TCR2_EL1";
    ERRIDR_EL1 = (3, 0, 5, 3, 0), "ERRIDR_EL1";
    ERRSELR_EL1 = (3, 0, 5, 3, 1), "ERRSELR_EL1";
    PMSCR_EL1 = (3, 0, 9, 9, 0), "PMSCR_EL1";
    PMINTENSET_EL1 = (3, 0, 9, 14, 1), "PMINTENSET_EL1";
    PMINTENCLR_EL1 = (3, 0, 9, 14, 2), "PMINTENCLR_EL1";
    MAIR_EL1 = (3, 0, 10, 2, 0), "MAIR_EL1";
    LORSA_EL1 = (3, 0, 10, 4, 0), "LORSA_EL1";
    LOREA_EL1 = (3, 0, 10, 4, 1), "LOREA_EL1";
    LORN_EL1 = (3, 0, 10, 4, 2), "LORN_EL1";
    LORC_EL1 = (3, 0, 10, 4, 3), "LORC_EL1";
    LORID_EL1 = (3, 0, 10, 4, 7), "LORID_EL1";
    RNDR = (3, 3, 2, 4, 0), "RNDR";
    RNDRRS = (3, 3, 2, 4, 1), "RNDRRS";
    PMCR_EL0 = (3, 3, 9, 12, 0), "PMCR_EL0";
    PMCNTENSET_EL0 = (3, 3, 9, 12, 1), "PMCNTENSET_EL0";
    PMCCNTR_EL0 = (3, 3, 9, 13, 0), "PMCCNTR_EL0";
    PMUSERENR_EL0 = (3, 3, 9, 14, 0), "PMUSERENR_EL0";
    SCXTNUM_EL0 = (3, 3, 13, 0, 7), "SCXTNUM_EL0";
    SCXTNUM_EL1 = (3, 0, 13, 0, 7), "SCXTNUM_EL1";
    AMCR_EL0 = (3, 3, 13, 2, 0), "AMCR_EL0";

    // The GIC's CPU interface.
    ICC_PMR_EL1 = (3, 0, 4, 6, 0), "ICC_PMR_EL1";
    ICC_IAR0_EL1 = (3, 0, 12, 8, 0), "ICC_IAR0_EL1";
    ICC_EOIR0_EL1 = (3, 0, 12, 8, 1), "ICC_EOIR0_EL1";
    ICC_HPPIR0_EL1 = (3, 0, 12, 8, 2), "ICC_HPPIR0_EL1";
    ICC_BPR0_EL1 = (3, 0, 12, 8, 3), "ICC_BPR0_EL1";
    ICC_AP0R0_EL1 = (3, 0, 12, 8, 4), "ICC_AP0R0_EL1";
    ICC_AP0R1_EL1 = (3, 0, 12, 8, 5), "ICC_AP0R1_EL1";
    ICC_AP0R2_EL1 = (3, 0, 12, 8, 6), "ICC_AP0R2_EL1";
    ICC_AP0R3_EL1 = (3, 0, 12, 8, 7), "ICC_AP0R3_EL1";
    ICC_AP1R0_EL1 = (3, 0, 12, 9, 0), "ICC_AP1R0_EL1";
    ICC_AP1R1_EL1 = (3, 0, 12, 9, 1), "ICC_AP1R1_EL1";
    ICC_AP1R2_EL1 = (3, 0, 12, 9, 2), "ICC_AP1R2_EL1";
    ICC_AP1R3_EL1 = (3, 0, 12, 9, 3), "ICC_AP1R3_EL1";
    ICC_DIR_EL1 = (3, 0, 12, 11, 1), "ICC_DIR_EL1";
    ICC_RPR_EL1 = (3, 0, 12, 11, 3), "ICC_RPR_EL1";
    ICC_SGI1R_EL1 = (3, 0, 12, 11, 5), "ICC_SGI1R_EL1";
    ICC_ASGI1R_EL1 = (3, 0, 12, 11, 6), "ICC_ASGI1R_EL1";
    ICC_SGI0R_EL1 = (3, 0, 12, 11, 7), "ICC_SGI0R_EL1";
    ICC_IAR1_EL1 = (3, 0, 12, 12, 0), "ICC_IAR1_EL1";
    ICC_EOIR1_EL1 = (3, 0, 12, 12, 1), "ICC_EOIR1_EL1";
    ICC_HPPIR1_EL1 = (3, 0, 12, 12, 2), "ICC_HPPIR1_EL1";
    ICC_BPR1_EL1 = (3, 0, 12, 12, 3), "ICC_BPR1_EL1";
    ICC_CTLR_EL1 = (3, 0, 12, 12, 4), "ICC_CTLR_EL1";
    ICC_SRE_EL1 = (3, 0, 12, 12, 5), "ICC_SRE_EL1";
    ICC_IGRPEN0_EL1 = (3, 0, 12, 12, 6), "ICC_IGRPEN0_EL1";
    ICC_IGRPEN1_EL1 = (3, 0, 12, 12, 7), "ICC_IGRPEN1_EL1";

    // The timers.
    CNTKCTL_EL1 = (3, 0, 14, 1, 0), "CNTKCTL_EL1";
    CNTFRQ_EL0 = (3, 3, 14, 0, 0), "CNTFRQ_EL0";
    CNTPCT_EL0 = (3, 3, 14, 0, 1), "CNTPCT_EL0";
    CNTPCTSS_EL0 = (3, 3, 14, 0, 5), "CNTPCTSS_EL0";
    CNTP_TVAL_EL0 = (3, 3, 14, 2, 0), "CNTP_TVAL_EL0";
    CNTP_CTL_EL0 = (3, 3, 14, 2, 1), "CNTP_CTL_EL0";
    CNTP_CVAL_EL0 = (3, 3, 14, 2, 2), "CNTP_CVAL_EL0";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_encoding_has_one_name() {
        for (index, (register, name)) in SysReg::KNOWN.iter().enumerate() {
            assert_eq!(register.name(), Some(*name), "another constant has the encoding of {name}");
            assert!(SysReg::KNOWN[..index].iter().all(|(_, other)| other != name), "{name} twice");
        }
    }

    #[test]
    fn an_unnamed_register_prints_as_the_assembler_takes_it() {
        assert_eq!(SysReg::new(3, 0, 1, 2, 3).to_string(), "S3_0_C1_C2_3");
        assert_eq!(SysReg::ID_AA64PFR0_EL1.to_string(), "ID_AA64PFR0_EL1");
    }

    #[test]
    fn the_iss_of_a_known_trap() {
        // MRS X1, ID_AA64MMFR2_EL1 as hardware reports it: Op0 3, Op2 2, Op1 0, CRn 0, Rt 1, CRm 7, read.
        assert_eq!(SysReg::from_iss(0x34_002F), SysReg::ID_AA64MMFR2_EL1);
        // MSR ICC_SGI1R_EL1, X18.
        assert_eq!(SysReg::from_iss(0x3A_3256), SysReg::ICC_SGI1R_EL1);
    }

    proptest! {
        #[test]
        fn the_iss_comes_back(iss in 0u32..1 << 22) {
            let unused = 0x1F << 5 | 1;
            prop_assert_eq!(SysReg::from_iss(iss).to_iss(), iss & !unused);
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which fields of which ID registers a VM may see.
//!
//! One line a field. What is absent is absent on purpose; the reason stands where it may surprise. A limit is
//! the highest value whose features work in a VM, given the registers that are switched and the traps that
//! are set.

use crate::sysreg::SysReg;

/// How a field of the VM follows from the same field of the hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The machine's value, at most this.
    AtMost(u8),
    /// A signed field, where 15 means "not implemented" and stays so; else the hardware's value, at most this.
    SignedAtMost(u8),
    /// The machine's value, whatever it is: it counts or describes something.
    AsHost,
    /// This value on every machine.
    Fixed(u8),
}

/// A field of 4 bits, as all of these registers have.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Arm's name.
    pub name: &'static str,
    /// Its lowest bit.
    pub lsb: u32,
    /// What the VM sees.
    pub rule: Rule,
}

impl Field {
    /// What the VM sees of this field, in its place in the register; `host` is the hardware's whole register.
    pub(super) const fn shown(&self, host: u64) -> u64 {
        let host = (host >> self.lsb & 0xF) as u8;
        let value = match self.rule {
            Rule::AtMost(limit) if host > limit => limit,
            Rule::SignedAtMost(limit) if host > limit && host < 8 => limit,
            // Negative values other than -1 are unallocated: nothing is safer than "not implemented".
            Rule::SignedAtMost(_) if host >= 8 => 0xF,
            Rule::AtMost(_) | Rule::SignedAtMost(_) | Rule::AsHost => host,
            Rule::Fixed(value) => value,
        };
        (value as u64) << self.lsb
    }
}

/// ID_AA64PFR0_EL1.EL0 when EL0 may use AArch32.
pub(super) const EL0_HAS_AARCH32: u64 = 2;

/// The first CRm whose registers are about AArch64; those below are about AArch32.
pub(super) const FIRST_AARCH64_CRM: u8 = 4;

use Rule::{AsHost, AtMost, Fixed, SignedAtMost};

const fn field(name: &'static str, lsb: u32, rule: Rule) -> Field {
    Field { name, lsb, rule }
}

/// The whole policy. Registers that are absent read as zero.
pub(super) const REGISTERS: &[(SysReg, &[Field])] = &[
    (SysReg::ID_AA64PFR0_EL1, PROCESSOR_0),
    (SysReg::ID_AA64PFR1_EL1, PROCESSOR_1),
    (SysReg::ID_AA64DFR0_EL1, DEBUG_0),
    (SysReg::ID_AA64ISAR0_EL1, INSTRUCTIONS_0),
    (SysReg::ID_AA64ISAR1_EL1, INSTRUCTIONS_1),
    (SysReg::ID_AA64ISAR2_EL1, INSTRUCTIONS_2),
    (SysReg::ID_AA64MMFR0_EL1, MEMORY_0),
    (SysReg::ID_AA64MMFR1_EL1, MEMORY_1),
    (SysReg::ID_AA64MMFR2_EL1, MEMORY_2),
    (SysReg::ID_PFR0_EL1, A32_PROCESSOR_0),
    (SysReg::ID_PFR1_EL1, A32_PROCESSOR_1),
    (SysReg::ID_PFR2_EL1, A32_PROCESSOR_2),
    (SysReg::ID_DFR0_EL1, A32_DEBUG_0),
    (SysReg::ID_MMFR0_EL1, A32_MEMORY_0),
    (SysReg::ID_MMFR1_EL1, A32_MEMORY_1),
    (SysReg::ID_MMFR2_EL1, A32_MEMORY_2),
    (SysReg::ID_MMFR3_EL1, A32_MEMORY_3),
    (SysReg::ID_MMFR4_EL1, A32_MEMORY_4),
    (SysReg::ID_MMFR5_EL1, A32_MEMORY_5),
    (SysReg::ID_ISAR0_EL1, A32_INSTRUCTIONS_0),
    (SysReg::ID_ISAR1_EL1, A32_INSTRUCTIONS_1),
    (SysReg::ID_ISAR2_EL1, A32_INSTRUCTIONS_2),
    (SysReg::ID_ISAR3_EL1, A32_INSTRUCTIONS_3),
    (SysReg::ID_ISAR4_EL1, A32_INSTRUCTIONS_4),
    (SysReg::ID_ISAR5_EL1, A32_INSTRUCTIONS_5),
    (SysReg::ID_ISAR6_EL1, A32_INSTRUCTIONS_6),
    (SysReg::MVFR0_EL1, FP_0),
    (SysReg::MVFR1_EL1, FP_1),
    (SysReg::MVFR2_EL1, FP_2),
];

/// EL2 and EL3 do not exist for a VM; nor do RAS, SVE, MPAM, AMU and RME.
const PROCESSOR_0: &[Field] = &[
    field("EL0", 0, AtMost(EL0_HAS_AARCH32 as u8)),
    field("EL1", 4, Fixed(1)),
    field("FP", 16, SignedAtMost(1)),
    field("AdvSIMD", 20, SignedAtMost(1)),
    // Every VM has a GICv3 with system registers, and none has a GICv4.
    field("GIC", 24, Fixed(1)),
    field("DIT", 48, AtMost(1)),
    // 2 would promise SCXTNUM_EL0 and SCXTNUM_EL1, which are not switched.
    field("CSV2", 56, AtMost(1)),
    field("CSV3", 60, AtMost(1)),
];

/// No MTE, SME, NMI or GCS.
const PROCESSOR_1: &[Field] = &[
    field("BT", 0, AtMost(1)),
    field("SSBS", 4, AtMost(2)),
    // 2 would promise SCXTNUM_EL0 and SCXTNUM_EL1.
    field("CSV2_frac", 32, AtMost(1)),
];

/// Breakpoints and watchpoints, and no PMU, SPE or trace.
const DEBUG_0: &[Field] = &[
    // Armv8.0 self-hosted debug. What later versions add is for external debuggers and EL2.
    field("DebugVer", 0, Fixed(6)),
    field("BRPs", 12, AsHost),
    field("WRPs", 20, AsHost),
    field("CTX_CMPs", 28, AsHost),
    field("DoubleLock", 36, Fixed(0xF)),
];

/// No TME. LSE128 is left out: its accesses cannot be emulated.
const INSTRUCTIONS_0: &[Field] = &[
    field("AES", 4, AtMost(2)),
    field("SHA1", 8, AtMost(1)),
    field("SHA2", 12, AtMost(2)),
    field("CRC32", 16, AtMost(1)),
    field("Atomic", 20, AtMost(2)),
    field("RDM", 28, AtMost(1)),
    field("SHA3", 32, AtMost(1)),
    field("SM3", 36, AtMost(1)),
    field("SM4", 40, AtMost(1)),
    field("DP", 44, AtMost(1)),
    field("FHM", 48, AtMost(1)),
    field("TS", 52, AtMost(2)),
    field("TLB", 56, AtMost(2)),
    field("RNDR", 60, AtMost(1)),
];

/// No LS64 or XS, which HCRX_EL2 guards.
const INSTRUCTIONS_1: &[Field] = &[
    field("DPB", 0, AtMost(2)),
    // PAuth_LR (6) brings PSTATE.PACM with it.
    field("APA", 4, AtMost(5)),
    field("API", 8, AtMost(5)),
    field("JSCVT", 12, AtMost(1)),
    field("FCMA", 16, AtMost(1)),
    field("LRCPC", 20, AtMost(2)),
    field("GPA", 24, AtMost(1)),
    field("GPI", 28, AtMost(1)),
    field("FRINTTS", 32, AtMost(1)),
    field("SB", 36, AtMost(1)),
    field("SPECRES", 40, AtMost(1)),
    field("BF16", 44, AtMost(1)),
    field("DGH", 48, AtMost(1)),
    field("I8MM", 52, AtMost(1)),
];

/// No MOPS, which HCRX_EL2 guards.
const INSTRUCTIONS_2: &[Field] = &[
    field("WFxT", 0, AtMost(2)),
    field("RPRES", 4, AtMost(1)),
    field("GPA3", 8, AtMost(1)),
    field("APA3", 12, AtMost(5)),
    field("BC", 20, AtMost(1)),
    field("PAC_frac", 24, AtMost(1)),
    field("CLRBHB", 28, AtMost(1)),
    field("RPRFM", 48, AtMost(1)),
    field("CSSC", 52, AtMost(1)),
];

/// Stage 1 as the walker of `vambrace-memory` knows it: no 52-bit addresses. No ECV, no fine-grained traps.
const MEMORY_0: &[Field] = &[
    field("PARange", 0, AtMost(5)),
    field("ASIDBits", 4, AtMost(2)),
    field("BigEnd", 8, AtMost(1)),
    field("BigEndEL0", 16, AtMost(1)),
    field("TGran16", 20, AtMost(1)),
    field("TGran64", 24, SignedAtMost(0)),
    field("TGran4", 28, SignedAtMost(0)),
    field("ExS", 44, AtMost(1)),
];

/// What EL2 would use (VMIDs, VHE, XNX, TWED, HCX) is hidden, and so are limited ordering regions.
const MEMORY_1: &[Field] = &[
    // HAFT (3) needs TCR2_EL1.
    field("HAFDBS", 0, AtMost(2)),
    field("HPDS", 12, AtMost(2)),
    field("PAN", 20, AtMost(3)),
    field("SpecSEI", 24, AtMost(1)),
    field("ETS", 36, AtMost(2)),
    field("AFP", 44, AtMost(1)),
    field("nTLBPA", 48, AtMost(1)),
    field("ECBHB", 60, AtMost(1)),
];

/// No IESB (it belongs to RAS), no nested virtualisation, no 52-bit or small stage-1 tables.
const MEMORY_2: &[Field] = &[
    field("CnP", 0, AtMost(1)),
    field("UAO", 4, AtMost(1)),
    field("LSM", 8, AtMost(1)),
    field("CCIDX", 20, AtMost(1)),
    field("AT", 32, AtMost(1)),
    field("IDS", 36, AtMost(1)),
    field("TTL", 48, AtMost(1)),
    field("BBM", 52, AtMost(2)),
    field("E0PD", 60, AtMost(1)),
];

const A32_PROCESSOR_0: &[Field] = &[
    field("State0", 0, AtMost(1)),
    field("State1", 4, AtMost(3)),
    field("State2", 8, AtMost(2)),
    field("State3", 12, AtMost(1)),
    field("CSV2", 16, AtMost(1)),
    field("DIT", 24, AtMost(1)),
];

/// EL1 has no AArch32, hence no modes, no security extension and no virtualisation.
const A32_PROCESSOR_1: &[Field] = &[field("GenTimer", 16, AtMost(1)), field("GIC", 28, Fixed(1))];

const A32_PROCESSOR_2: &[Field] = &[field("CSV3", 0, AtMost(1)), field("SSBS", 4, AtMost(1))];

const A32_DEBUG_0: &[Field] = &[field("CopDbg", 0, Fixed(6))];

const A32_MEMORY_0: &[Field] = &[
    field("VMSA", 0, AtMost(5)),
    field("OuterShr", 8, AsHost),
    field("ShareLvl", 12, AtMost(1)),
    field("AuxReg", 20, AtMost(2)),
    field("InnerShr", 28, AsHost),
];

const A32_MEMORY_1: &[Field] = &[field("BPred", 28, AtMost(4))];

const A32_MEMORY_2: &[Field] =
    &[field("UniTLB", 16, AtMost(6)), field("MemBarr", 20, AtMost(2)), field("WFIStall", 24, AtMost(1))];

const A32_MEMORY_3: &[Field] = &[
    field("CMaintVA", 0, AtMost(1)),
    field("CMaintSW", 4, AtMost(1)),
    field("BPMaint", 8, AtMost(2)),
    field("MaintBcst", 12, AtMost(2)),
    field("PAN", 16, AtMost(2)),
    field("CohWalk", 20, AtMost(1)),
    field("CMemSz", 24, AtMost(2)),
    field("Supersec", 28, AsHost),
];

const A32_MEMORY_4: &[Field] = &[
    field("SpecSEI", 0, AtMost(1)),
    field("AC2", 4, AtMost(1)),
    field("CnP", 12, AtMost(1)),
    field("HPDS", 16, AtMost(2)),
    field("LSM", 20, AtMost(1)),
    field("CCIDX", 24, AtMost(1)),
];

const A32_MEMORY_5: &[Field] = &[field("ETS", 0, AtMost(2)), field("nTLBPA", 4, AtMost(1))];

const A32_INSTRUCTIONS_0: &[Field] = &[
    field("BitCount", 4, AtMost(1)),
    field("BitField", 8, AtMost(1)),
    field("CmpBranch", 12, AtMost(1)),
    field("Debug", 20, AtMost(1)),
    field("Divide", 24, AtMost(2)),
];

const A32_INSTRUCTIONS_1: &[Field] = &[
    field("Endian", 0, AtMost(1)),
    field("Except", 4, AtMost(1)),
    field("Except_AR", 8, AtMost(1)),
    field("Extend", 12, AtMost(2)),
    field("IfThen", 16, AtMost(1)),
    field("Immediate", 20, AtMost(1)),
    field("Interwork", 24, AtMost(3)),
    field("Jazelle", 28, AtMost(1)),
];

const A32_INSTRUCTIONS_2: &[Field] = &[
    field("LoadStore", 0, AtMost(2)),
    field("MemHint", 4, AtMost(4)),
    field("MultiAccessInt", 8, AtMost(2)),
    field("Mult", 12, AtMost(2)),
    field("MultS", 16, AtMost(3)),
    field("MultU", 20, AtMost(2)),
    field("PSR_AR", 24, AtMost(1)),
    field("Reversal", 28, AtMost(2)),
];

const A32_INSTRUCTIONS_3: &[Field] = &[
    field("Saturate", 0, AtMost(1)),
    field("SIMD", 4, AtMost(3)),
    field("SVC", 8, AtMost(1)),
    field("SynchPrim", 12, AtMost(2)),
    field("TabBranch", 16, AtMost(1)),
    field("T32Copy", 20, AtMost(1)),
    field("TrueNOP", 24, AtMost(1)),
    field("T32EE", 28, AtMost(1)),
];

/// No SMC: that is for AArch32 at EL1.
const A32_INSTRUCTIONS_4: &[Field] = &[
    field("Unpriv", 0, AtMost(2)),
    field("WithShifts", 4, AtMost(4)),
    field("Writeback", 8, AtMost(1)),
    field("Barrier", 16, AtMost(1)),
    field("SynchPrim_frac", 20, AtMost(3)),
    field("PSR_M", 24, AtMost(1)),
];

const A32_INSTRUCTIONS_5: &[Field] = &[
    field("SEVL", 0, AtMost(1)),
    field("AES", 4, AtMost(2)),
    field("SHA1", 8, AtMost(1)),
    field("SHA2", 12, AtMost(1)),
    field("CRC32", 16, AtMost(1)),
    field("RDM", 24, AtMost(1)),
    field("VCMA", 28, AtMost(1)),
];

const A32_INSTRUCTIONS_6: &[Field] = &[
    field("JSCVT", 0, AtMost(1)),
    field("DP", 4, AtMost(1)),
    field("FHM", 8, AtMost(1)),
    field("SB", 12, AtMost(1)),
    field("SPECRES", 16, AtMost(1)),
    field("BF16", 20, AtMost(1)),
    field("I8MM", 24, AtMost(1)),
    field("CLRBHB", 28, AtMost(1)),
];

const FP_0: &[Field] = &[
    field("SIMDReg", 0, AtMost(2)),
    field("FPSP", 4, AtMost(2)),
    field("FPDP", 8, AtMost(2)),
    field("FPTrap", 12, AtMost(1)),
    field("FPDivide", 16, AtMost(1)),
    field("FPSqrt", 20, AtMost(1)),
    field("FPShVec", 24, AtMost(1)),
    field("FPRound", 28, AtMost(1)),
];

const FP_1: &[Field] = &[
    field("FPFtZ", 0, AtMost(1)),
    field("FPDNaN", 4, AtMost(1)),
    field("SIMDLS", 8, AtMost(1)),
    field("SIMDInt", 12, AtMost(1)),
    field("SIMDSP", 16, AtMost(1)),
    field("SIMDHP", 20, AtMost(2)),
    field("FPHP", 24, AtMost(3)),
    field("SIMDFMAC", 28, AtMost(1)),
];

const FP_2: &[Field] = &[field("SIMDMisc", 0, AtMost(3)), field("FPMisc", 4, AtMost(4))];

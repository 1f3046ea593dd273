// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cores that translate for EL1 behind EL2's back, and in which order they are given another VM.
//!
//! While EL2 runs, a core may execute an address translation instruction speculatively, with EL1's registers as they are at
//! that moment, and keep the result in its TLB under the VMID in VTTBR_EL2. If the registers are one VM's and the VMID another's,
//! the entry is wrong for both. So on such cores walks are stopped before VTTBR_EL2 changes, and let go only when all of the
//! new vCPU's registers are in place: with EPD0 and EPD1 no walk begins, but only while stage 1 is on. Source: Arm's errata
//! notices (SDEN) of the cores, "Speculative AT instruction ...", workaround.
//!
//! All other cores take the shorter way, which is not a matter of order: while EL2 runs they do not translate for EL1.

use core::ops::RangeInclusive;

/// A core, by its MIDR_EL1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    /// Its name.
    pub name: &'static str,
    /// The number of the erratum in the maker's notice.
    pub erratum: u32,
    /// MIDR_EL1.Implementer.
    pub implementer: u8,
    /// MIDR_EL1.PartNum.
    pub part: u16,
    /// MIDR_EL1.Variant and Revision, which are Arm's r and p: 0x21 is r2p1.
    pub revisions: RangeInclusive<u8>,
}

const ARM: u8 = 0x41;
const QUALCOMM: u8 = 0x51;

/// The cores that are known to do so.
pub const CORES: &[Core] = &[
    Core { name: "Cortex-A55", erratum: 1_530_923, implementer: ARM, part: 0xD05, revisions: 0..=0x20 },
    Core { name: "Cortex-A57", erratum: 1_319_537, implementer: ARM, part: 0xD07, revisions: 0..=0xFF },
    Core { name: "Cortex-A72", erratum: 1_319_367, implementer: ARM, part: 0xD08, revisions: 0..=0xFF },
    Core { name: "Cortex-A76", erratum: 1_165_522, implementer: ARM, part: 0xD0B, revisions: 0..=0x20 },
    // It has the A55 inside.
    Core {
        name: "Kryo 4xx Silver",
        erratum: 1_530_923,
        implementer: QUALCOMM,
        part: 0x805,
        revisions: 0xDE..=0xDE,
    },
];

/// How a core is given another vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchOrder {
    /// In any order.
    Plain,
    /// In the order of [`ENTER`] and [`LEAVE`].
    Ordered,
}

impl SwitchOrder {
    /// For the core with this MIDR_EL1.
    #[must_use]
    pub fn of(midr: u64) -> Self {
        let (implementer, part) = ((midr >> 24) as u8, (midr >> 4) as u16 & 0xFFF);
        let revision = (midr >> 16) as u8 & 0xF0 | midr as u8 & 0xF;
        let is_core = |core: &Core| {
            (core.implementer, core.part) == (implementer, part) && core.revisions.contains(&revision)
        };
        if CORES.iter().any(is_core) { Self::Ordered } else { Self::Plain }
    }
}

/// A step on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchStep {
    /// ISB.
    Synchronise,
    /// TCR_EL1 as it is, with [`NO_WALKS`].
    StopWalks,
    /// SCTLR_EL1 as it is, with [`STAGE1_ON`].
    ForceStage1,
    /// VTCR_EL2 and VTTBR_EL2 of the new VM, or of none.
    Stage2,
    /// What its VMID asks to be forgotten.
    Flush,
    /// The new vCPU's EL1 registers, but for the two below.
    Registers,
    /// The new vCPU's SCTLR_EL1.
    Sctlr,
    /// The new vCPU's TCR_EL1.
    Tcr,
}

/// TCR_EL1.EPD0 and EPD1: no walk begins at TTBR0_EL1 nor TTBR1_EL1.
pub const NO_WALKS: u64 = 1 << 7 | 1 << 23;
/// SCTLR_EL1.M. While it is 0 addresses are translated without a walk, whatever EPD0 and EPD1 say.
pub const STAGE1_ON: u64 = 1;

/// A vCPU comes. The next ISB is the way into the guest.
pub const ENTER: &[SwitchStep] = &[
    SwitchStep::StopWalks,
    SwitchStep::Synchronise,
    SwitchStep::ForceStage1,
    SwitchStep::Synchronise,
    SwitchStep::Stage2,
    SwitchStep::Synchronise,
    SwitchStep::Flush,
    SwitchStep::Registers,
    SwitchStep::Sctlr,
    SwitchStep::Synchronise,
    SwitchStep::Tcr,
];

/// No VM's tables stay: walks remain stopped till the next vCPU comes.
pub const LEAVE: &[SwitchStep] = &[
    SwitchStep::StopWalks,
    SwitchStep::Synchronise,
    SwitchStep::ForceStage1,
    SwitchStep::Synchronise,
    SwitchStep::Stage2,
    SwitchStep::Synchronise,
];

#[cfg(test)]
mod tests;

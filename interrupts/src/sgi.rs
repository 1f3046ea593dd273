// SPDX-License-Identifier: MIT OR Apache-2.0
//! Software generated interrupts: what a write of ICC_SGI1R_EL1 and its siblings asks for.

use crate::intid::Intid;

/// The register that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SgiRegister {
    /// ICC_SGI1R_EL1: Group 1 SGIs, and Group 0 ones where the target has the SGI in Group 0.
    Sgi1r,
    /// ICC_ASGI1R_EL1: the other security state's; there is only one, which leaves Group 0.
    Asgi1r,
    /// ICC_SGI0R_EL1: Group 0 SGIs.
    Sgi0r,
}

/// An SGI to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SgiRequest {
    pub(crate) register: SgiRegister,
    pub(crate) intid: Intid,
    pub(crate) targets: SgiTargets,
}

/// For whom an SGI is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SgiTargets {
    /// Everyone but the sender.
    AllButSelf,
    /// Up to 16 vCPUs that differ in the low four bits of Aff0.
    List {
        /// The packed affinity of bit 0 of the list.
        first: u32,
        /// Bit `n`: the vCPU with affinity `first + n`.
        list: u16,
    },
}

impl SgiRequest {
    /// Decodes the value written to one of the registers (IHI 0069, ICC_SGI1R_EL1).
    #[must_use]
    pub const fn decode(register: SgiRegister, value: u64) -> Self {
        const IRM: u64 = 1 << 40;
        let targets = if value & IRM != 0 {
            SgiTargets::AllButSelf
        } else {
            let aff3 = (value >> 48 & 0xFF) as u32;
            let aff2 = (value >> 32 & 0xFF) as u32;
            let aff1 = (value >> 16 & 0xFF) as u32;
            let range = (value >> 44 & 0xF) as u32;
            SgiTargets::List { first: aff3 << 24 | aff2 << 16 | aff1 << 8 | range << 4, list: value as u16 }
        };
        Self { register, intid: Intid::new((value >> 24 & 0xF) as u32), targets }
    }

    /// The SGI's INTID, 0 to 15.
    #[must_use]
    pub const fn intid(&self) -> Intid {
        self.intid
    }

    /// For whom it is.
    #[must_use]
    pub const fn targets(&self) -> SgiTargets {
        self.targets
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Translation faults, and how the registers report them.
//!
//! Source: Arm ARM, "MMU fault types", "ISS encoding for an exception from a Data Abort", `HPFAR_EL2`, `FAR_EL2`.

use crate::access::Access;
use crate::{Ipa, Va};

/// Why a stage refuses an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FaultKind {
    /// An address wider than the output size.
    #[error("address size fault")]
    AddressSize,
    /// No valid descriptor.
    #[error("translation fault")]
    Translation,
    /// The access flag is clear and hardware does not set it.
    #[error("access flag fault")]
    AccessFlag,
    /// The access is not allowed.
    #[error("permission fault")]
    Permission,
    /// A table lies where there is no memory.
    #[error("synchronous external abort on a table walk")]
    ExternalAbortOnWalk,
}

/// Which stage refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Origin {
    /// Stage 1.
    #[error("stage 1")]
    Stage1,
    /// Stage 2, for the access itself.
    #[error("stage 2 for IPA {ipa}")]
    Stage2 {
        /// The address that stage 1 led to.
        ipa: Ipa,
    },
    /// Stage 2, for a stage-1 table: `S1PTW`.
    #[error("stage 2 for the stage-1 descriptor at IPA {ipa}")]
    Stage1Walk {
        /// The address of the stage-1 descriptor.
        ipa: Ipa,
    },
}

/// A fault, as the registers report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{kind} at level {level} of {origin}, for {va}")]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// The level of the walk, -1 to 3.
    pub level: i8,
    /// Which stage.
    pub origin: Origin,
    /// The address of the access, with its tag: what `FAR_ELx` holds.
    pub va: Va,
}

impl Fault {
    /// The fault status code: `DFSC` or `IFSC` of `ESR_ELx`, `FST` of `PAR_EL1`.
    #[must_use]
    pub const fn status_code(self) -> u8 {
        let base = match (self.kind, self.level) {
            (FaultKind::AddressSize, -1) => return 0b10_1001,
            (FaultKind::Translation, -1) => return 0b10_1011,
            (FaultKind::ExternalAbortOnWalk, -1) => return 0b01_0011,
            (FaultKind::AddressSize, _) => 0b00_0000,
            (FaultKind::Translation, _) => 0b00_0100,
            (FaultKind::AccessFlag, _) => 0b00_1000,
            (FaultKind::Permission, _) => 0b00_1100,
            (FaultKind::ExternalAbortOnWalk, _) => 0b01_0100,
        };
        base | (self.level as u8 & 0b11)
    }

    /// `ESR_EL1` or, for stage 2, `ESR_EL2` of the exception that an access from EL1 or EL0 takes, without what describes
    /// the instruction (`ISV` and below it `SAS` to `AR`), which stage 2 alone may add.
    ///
    /// A stage-2 fault is always taken from a lower level. The bits are spelled out: this crate is below `cpu`, where
    /// syndromes are decoded, and a test there reads these.
    #[must_use]
    pub const fn syndrome(self, access: Access, taken: Taken) -> u64 {
        let class: u64 = match (access, taken) {
            (Access::Execute, Taken::FromLowerEl) => 0b10_0000,
            (Access::Execute, Taken::FromSameEl) => 0b10_0001,
            (Access::Read | Access::Write, Taken::FromLowerEl) => 0b10_0100,
            (Access::Read | Access::Write, Taken::FromSameEl) => 0b10_0101,
        };
        const IL: u64 = 1 << 25;
        const S1PTW: u64 = 1 << 7;
        const WNR: u64 = 1 << 6;
        let mut syndrome = class << 26 | IL | self.status_code() as u64;
        if matches!(self.origin, Origin::Stage1Walk { .. }) {
            syndrome |= S1PTW;
        }
        if matches!(access, Access::Write) {
            syndrome |= WNR;
        }
        syndrome
    }

    /// `HPFAR_EL2`, where the architecture defines it: for a stage-2 fault, but not for a permission fault of the access
    /// itself.
    #[must_use]
    pub const fn hpfar(self) -> Option<u64> {
        match (self.origin, self.kind) {
            (Origin::Stage1, _) | (Origin::Stage2 { .. }, FaultKind::Permission) => None,
            (Origin::Stage2 { ipa } | Origin::Stage1Walk { ipa }, _) => {
                Some((ipa.0 >> 12 & ((1 << 40) - 1)) << 4)
            }
        }
    }

    /// Whether the exception goes to EL2: it is stage 2's. (`HCR_EL2.TGE` and `TEA` apart.)
    #[must_use]
    pub const fn is_stage2(self) -> bool {
        !matches!(self.origin, Origin::Stage1)
    }
}

/// Where an exception comes from, as its class tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// From a lower exception level than the one that takes it.
    FromLowerEl,
    /// From the one that takes it.
    FromSameEl,
}

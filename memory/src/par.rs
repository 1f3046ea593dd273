// SPDX-License-Identifier: MIT OR Apache-2.0
//! `PAR_EL1`: what an address translation instruction (`AT`) reports.
//!
//! `ATTR` may be reported in any spelling of the same memory type, so allocation hints are not compared: a
//! [`Report`] holds what the architecture defines.
//!
//! Source: Arm ARM, `PAR_EL1`; "Address translation instructions".

use crate::attributes::{MemoryType, Shareability};
use crate::fault::{Fault, Origin};

const FAULT: u64 = 1 << 0;
const STAGE1_WALK: u64 = 1 << 8;
const STAGE2: u64 = 1 << 9;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// `PAR_EL1`, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// F = 0.
    Success {
        /// The output address, of a page of 4 KiB.
        address: u64,
        /// `ATTR`.
        memory: MemoryType,
        /// `SH`.
        shareability: Shareability,
    },
    /// F = 1.
    Fault {
        /// `FST`.
        status: u8,
        /// `S`: stage 2 refused.
        stage2: bool,
        /// `PTW`: it refused a stage-1 table.
        stage1_walk: bool,
    },
}

impl Report {
    /// Decodes the register.
    #[must_use]
    pub const fn from_register(par: u64) -> Self {
        if par & FAULT == 0 {
            Self::Success {
                address: par & ADDRESS,
                memory: MemoryType::from_mair((par >> 56) as u8),
                shareability: Shareability::from_bits(par >> 7),
            }
        } else {
            Self::Fault {
                status: (par >> 1 & 0x3f) as u8,
                stage2: par & STAGE2 != 0,
                stage1_walk: par & STAGE1_WALK != 0,
            }
        }
    }

    /// What `AT` reports of a translation that leads to `address`.
    #[must_use]
    pub fn of_success(address: u64, memory: MemoryType, shareability: Shareability) -> Self {
        Self::Success { address: address & ADDRESS, memory, shareability: memory.shareability(shareability) }
    }
}

impl From<Fault> for Report {
    fn from(fault: Fault) -> Self {
        Self::Fault {
            status: fault.status_code(),
            stage2: fault.is_stage2(),
            stage1_walk: matches!(fault.origin, Origin::Stage1Walk { .. }),
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why the registers of stage 1 allow no walk for an address. The machine says only: translation fault, level 0.
//!
//! Source: Arm ARM, `TCR_EL1`; the pseudocode `AArch64.S1InvalidTxSZ`, `AArch64.VAIsOutOfRange`.

use super::regime::Half;

/// Why there is no walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWalk {
    /// EPD is set.
    #[error("TCR_EL1.EPD{0} is set, so nothing is walked from TTBR{0}_EL1", .half.digit())]
    Disabled {
        /// Which half.
        half: Half,
    },
    /// E0PD is set and the access is EL0's.
    #[error("TCR_EL1.E0PD{} is set, so this half of the address space is closed to EL0", .half.digit())]
    ClosedToEl0 {
        /// Which half.
        half: Half,
    },
    /// TxSZ is out of bounds.
    #[error(
        "TCR_EL1.T{}SZ = {value} is out of bounds: this granule on this CPU allows {smallest} to {largest}",
        .half.digit()
    )]
    Size {
        /// Which half.
        half: Half,
        /// TxSZ.
        value: u64,
        /// The smallest allowed.
        smallest: u64,
        /// The largest allowed.
        largest: u64,
    },
    /// The address is in neither half.
    #[error(
        "the VA is not canonical: T{}SZ gives {input_bits} bits, and bit 55 is {}, so bits {input_bits} and up must \
         all be {}",
        .half.digit(), .half.digit(), .half.digit()
    )]
    NotCanonical {
        /// The half that bit 55 selects.
        half: Half,
        /// The bits of VA in that half.
        input_bits: u32,
    },
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The three address spaces, as three types.
//!
//! A guest's program uses virtual addresses ([`Va`]), its stage-1 tables turn them into intermediate physical
//! addresses ([`Ipa`]), and our stage-2 tables turn those into physical addresses ([`Pa`]). There is no `From`
//! between them: the only way across is a translation, so a guest's number can never be used as a host's.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Size of the smallest page of the 4 KiB translation granule, in bytes.
pub const PAGE_SIZE: u64 = 4096;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The address `bytes` further on, or `None` past the end of the 64-bit space.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// Rounds down to a multiple of `align`, a power of two.
            #[must_use]
            pub const fn align_down(self, align: u64) -> Self {
                Self(self.0 & !(align - 1))
            }

            /// Rounds up to a multiple of `align`, a power of two; `None` past the end of the 64-bit space.
            #[must_use]
            pub const fn align_up(self, align: u64) -> Option<Self> {
                match self.0.checked_add(align - 1) {
                    Some(sum) => Some(Self(sum & !(align - 1))),
                    None => None,
                }
            }

            /// Whether the address is a multiple of `align`, a power of two.
            #[must_use]
            pub const fn is_aligned(self, align: u64) -> bool {
                self.0 & (align - 1) == 0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address! {
    /// A virtual address: what a guest's program uses, before stage 1.
    Va
}
address! {
    /// An intermediate physical address: what a guest believes to be physical, between stage 1 and stage 2.
    Ipa
}
address! {
    /// A physical address of the board.
    Pa
}

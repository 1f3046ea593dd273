// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which CPU, by number.

use serde::{Deserialize, Serialize};

/// Makes a type that says which of some CPUs is meant, by its number in their list.
#[macro_export]
macro_rules! cpu_id {
    ($(#[$attribute:meta])* struct $name:ident) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(u16);

        impl $name {
            /// The CPU of this number.
            #[inline]
            #[must_use]
            pub const fn new(number: u16) -> Self {
                Self(number)
            }

            /// Its number, as the bundle and the messages have it.
            #[inline]
            #[must_use]
            pub const fn number(self) -> u16 {
                self.0
            }

            /// Its place in a list of all of them.
            #[inline]
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

cpu_id! {
    /// Which physical CPU: its index in the board's list of CPUs.
    #[derive(Serialize, Deserialize)]
    struct PcpuId
}
cpu_id! {
    /// Which virtual CPU of a VM: its index in the VM.
    #[derive(Serialize, Deserialize)]
    struct VcpuId
}

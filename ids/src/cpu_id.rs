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

            /// The CPU at this place in a list of all of them. `None` beyond 65535, where no list has a place.
            #[inline]
            #[must_use]
            pub const fn from_index(index: usize) -> Option<Self> {
                if index <= u16::MAX as usize { Some(Self(index as u16)) } else { None }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_list_is_a_number() {
        assert_eq!(VcpuId::from_index(65535).map(VcpuId::number), Some(u16::MAX));
        assert_eq!(VcpuId::from_index(65536), None);
        assert_eq!(PcpuId::from_index(7).map(PcpuId::index), Some(7));
    }

    #[test]
    fn it_takes_no_more_room_than_its_number() {
        assert_eq!((size_of::<VcpuId>(), size_of::<Option<VcpuId>>()), (2, size_of::<Option<u16>>()));
    }
}

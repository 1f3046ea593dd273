// SPDX-License-Identifier: MIT OR Apache-2.0
//! The version of a saved state.

use core::fmt;

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The version of a device's saved state, as its first field: takes no room in memory, is written when the state
/// is saved, and refuses a state of another version when it is read back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version<const N: u16>;

impl<const N: u16> Serialize for Version<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(N)
    }
}

impl<'de, const N: u16> Deserialize<'de> for Version<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = u16::deserialize(deserializer)?;
        if found == N {
            Ok(Self)
        } else {
            Err(D::Error::invalid_value(Unexpected::Unsigned(u64::from(found)), &Wanted(N)))
        }
    }
}

struct Wanted(u16);

impl serde::de::Expected for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state of version {}", self.0)
    }
}

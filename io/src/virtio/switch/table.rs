// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which address was last seen where: a table of fixed size, in sets, like a cache.
//!
//! Who knows how addresses are spread can push others' out of their sets. All that this gains is that frames to them go to
//! every port behind which unknown addresses may be, as before they were learned.

use serde::{Deserialize, Serialize};

use super::SwitchPort;
use crate::virtio::net::Mac;

const WAYS: usize = 4;
const SETS: usize = 32;
/// The most addresses that are known at once.
pub const ENTRIES: usize = SETS * WAYS;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct MacEntry {
    mac: Mac,
    port: SwitchPort,
    /// When it last sent, in counts of the system counter.
    seen: u64,
}

/// The learned addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table {
    sets: [[Option<MacEntry>; WAYS]; SETS],
}

impl Default for Table {
    fn default() -> Self {
        Self { sets: [[None; WAYS]; SETS] }
    }
}

impl Table {
    /// Where `mac` was seen, unless that is more than `age` ago.
    pub(super) fn find(&self, mac: Mac, now: u64, age: u64) -> Option<SwitchPort> {
        let mut entries = self.sets.get(set(mac))?.iter().flatten();
        entries
            .find(|entry| entry.mac == mac && now.saturating_sub(entry.seen) <= age)
            .map(|entry| entry.port)
    }

    /// Notes that `mac` has sent from `port`, in place of what its set knows least recently.
    pub(super) fn learn(&mut self, mac: Mac, port: SwitchPort, now: u64) {
        let Some(ways) = self.sets.get_mut(set(mac)) else { return };
        let place = match ways.iter().position(|entry| entry.is_some_and(|entry| entry.mac == mac)) {
            Some(place) => ways.get_mut(place),
            None => ways.iter_mut().min_by_key(|entry| entry.map(|entry| entry.seen)),
        };
        if let Some(place) = place {
            *place = Some(MacEntry { mac, port, seen: now });
        }
    }

    /// Forgets all that was seen at `port`.
    pub(super) fn forget_port(&mut self, port: SwitchPort) {
        self.forget(|entry| entry.port == port);
    }

    /// Forgets where `mac` was seen.
    pub(super) fn forget_address(&mut self, mac: Mac) {
        self.forget(|entry| entry.mac == mac);
    }

    fn forget(&mut self, is_meant: impl Fn(&MacEntry) -> bool) {
        for entry in self.sets.iter_mut().flatten() {
            if entry.as_ref().is_some_and(&is_meant) {
                *entry = None;
            }
        }
    }
}

/// The set of an address: its bytes, mixed (FNV-1a).
fn set(mac: Mac) -> usize {
    let hash =
        mac.0.iter().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    (hash ^ hash >> 16) as usize % SETS
}

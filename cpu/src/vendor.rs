// SPDX-License-Identifier: MIT OR Apache-2.0
//! Vambrace's own calls: by one of them a guest gives a number as its result. docs/result.md describes them for guests.
//!
//! They are the vendor-specific hypervisor service. Its function ids mean something only to a caller that has seen the UID:
//! other hypervisors have other calls under the same ids. Source: SMCCC (DEN0028), "Function Identifier Ranges" and "General
//! service queries".

use crate::smccc::{Call, CallOutcome, NOT_SUPPORTED};

/// Which calls there are, by their function ids.
const FEATURES: u32 = 0x8600_0000;
/// Gives W1 as the VM's result.
const RESULT: u32 = 0x8600_0001;
/// Whose calls these are.
const UID: u32 = 0x8600_FF01;
/// Which revision of them.
const REVISION: u32 = 0x8600_FF03;

/// Names these calls: b1750e15-82d4-4f70-8028-e4c4503ce10b, each register with four of its bytes.
const VAMBRACE: [u64; 4] = [0x150E_75B1, 0x704F_D482, 0xC4E4_2880, 0x0BE1_3C50];

/// Major and minor number. Another major number would change what is here; a minor one adds to it.
const REVISION_1_0: [u64; 4] = [1, 0, 0, 0];

/// What RESULT returns once the VM has given a result: the first one stands.
pub const ALREADY_GIVEN: u64 = -2i64 as u64;

/// Whether a function id is in the vendor's range.
pub(crate) const fn is_function(id: u32) -> bool {
    matches!(id & !(1 << 30), 0x8600_0000..=0x8600_FFFF)
}

/// Serves a call whose function id [is the vendor's](is_function).
pub(crate) const fn call(call: &Call) -> CallOutcome {
    match call.function() {
        FEATURES => match call.x[1] as u32 {
            FEATURES | RESULT | UID | REVISION => CallOutcome::returning(0),
            _ => CallOutcome::returning(NOT_SUPPORTED),
        },
        RESULT => CallOutcome::Result(call.x[1] as u32),
        UID => CallOutcome::Return(VAMBRACE),
        REVISION => CallOutcome::Return(REVISION_1_0),
        _ => CallOutcome::returning(NOT_SUPPORTED),
    }
}

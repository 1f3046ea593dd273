// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a driver may not do, and what a device says then.

use serde::{Deserialize, Serialize};
use vambrace_memory::{Ipa, OutsideMemory};

/// Why a device needs a reset: its driver broke a rule of virtio 1.2, of the clause named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Fault {
    /// Queue or buffer (2.7.5.2: the driver sets addresses in its own memory).
    #[error("{ipa} is outside the VM's memory")]
    Outside {
        /// The first address of the access.
        ipa: Ipa,
    },
    /// 2.7: a queue's size is a power of two; 4.2.2.2: at most QueueNumMax.
    #[error("{size} is no size of a queue")]
    Size {
        /// QueueNum.
        size: u16,
    },
    /// 2.7: the parts are aligned by 16, 2 and 4 bytes.
    #[error("no part of a queue can be at {ipa}")]
    Area {
        /// The part's first address.
        ipa: Ipa,
    },
    /// 2.7.13.3: the available index moves by what was added, and no more fit into the ring.
    #[error("{by} chains are said to be available in a queue of {size}")]
    Jump {
        /// Index less what the device has taken.
        by: u16,
        /// The queue's size.
        size: u16,
    },
    /// 2.7.5: an index of a descriptor is less than its table's size.
    #[error("there is no descriptor {index} in a table of {size}")]
    Index {
        /// The index of a chain's head or in a `next`.
        index: u16,
        /// The table's size.
        size: u16,
    },
    /// 2.7.5.3.1: a chain is no longer than the queue; so none goes round in a circle.
    #[error("the chain from descriptor {head} is longer than its queue")]
    Long {
        /// The chain's head.
        head: u16,
    },
    /// 2.7.5.3.1: no table in a table, no `next` after a table, and none without VIRTIO_F_INDIRECT_DESC.
    #[error("the chain from descriptor {head} has an indirect table where none may be")]
    Indirect {
        /// The chain's head.
        head: u16,
    },
    /// 2.7.5.3: a table consists of whole descriptors, one at least and no more than the queue's size.
    #[error("the chain from descriptor {head} has an indirect table of {len} bytes")]
    Table {
        /// The chain's head.
        head: u16,
        /// The table's length in bytes.
        len: u32,
    },
    /// 2.7.4.2: what the device reads comes before what it writes.
    #[error("the chain from descriptor {head} has something to read behind something to write")]
    Order {
        /// The chain's head.
        head: u16,
    },
    /// 2.7.5: a descriptor describes bytes; 2.7.5.2: at most 2^32 in a chain.
    #[error("the chain from descriptor {head} has {len} bytes at {ipa}")]
    Length {
        /// The chain's head.
        head: u16,
        /// Where the offending descriptor points.
        ipa: Ipa,
        /// Its length.
        len: u32,
    },
    /// The device's chapter in 5: what a request consists of.
    #[error("the chain from descriptor {head} has no room for what its request needs")]
    Request {
        /// The chain's head.
        head: u16,
    },
}

impl From<OutsideMemory> for Fault {
    fn from(outside: OutsideMemory) -> Self {
        Self::Outside { ipa: outside.ipa }
    }
}

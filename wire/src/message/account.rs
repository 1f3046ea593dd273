// SPDX-License-Identifier: MIT OR Apache-2.0
//! What EL2 knows of its own cost: when the parts of a VM's boot epochs began, and the memory that it takes itself.
//!
//! Both are said when a boot epoch is over, so that saying it costs nobody's start.

use serde::{Deserialize, Serialize};

/// Counts or bytes, in the order of the fields: a list is encoded by a loop, fields each by code of their own, and there is
/// not much room for code at EL2.
macro_rules! as_list {
    ($name:ident: $($field:ident),*; $count:literal) => {
        impl From<$name> for [u64; $count] {
            fn from(value: $name) -> Self {
                let $name { $($field),* } = value;
                [$($field),*]
            }
        }

        impl From<[u64; $count]> for $name {
            fn from([$($field),*]: [u64; $count]) -> Self {
                Self { $($field),* }
            }
        }
    };
}

as_list!(BootEpoch: began, copied, started, ended; 4);
as_list!(MemoryUse: image, map, stacks, heap, values, tables, loaded; 7);

/// One boot epoch of a VM, from the decision that it shall be to the last of its CPUs stopping. Counts of the system counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "[u64; 4]", from = "[u64; 4]")]
pub struct BootEpoch {
    /// EL2 set about it: made its values and tables, or, after a reset, cleared its memory.
    pub began: u64,
    /// Began to copy the images.
    pub copied: u64,
    /// Switched its first CPU on.
    pub started: u64,
    /// The last of its CPUs had stopped.
    pub ended: u64,
}

/// Memory that EL2 takes for itself, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "[u64; 7]", from = "[u64; 7]")]
pub struct MemoryUse {
    /// The image in memory: text, constants, variables, the first CPU's stack.
    pub image: u64,
    /// Of the image: the frames that EL2's own translation tables fill.
    pub map: u64,
    /// The other CPUs' stacks, with the guard page below each.
    pub stacks: u64,
    /// What the heap has taken.
    pub heap: u64,
    /// Of the heap: what values fill.
    pub values: u64,
    /// The VMs' stage-2 tables.
    pub tables: u64,
    /// The bundle and the device tree, where the loader put them.
    pub loaded: u64,
}

impl MemoryUse {
    /// All of it, but for what the loader put there.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.image + self.stacks + self.heap + self.tables
    }
}

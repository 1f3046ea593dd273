// SPDX-License-Identifier: MIT OR Apache-2.0
//! The adversarial TLB: what a CPU may do to a hypervisor that forgets a barrier.
//!
//! An emulator forgives a missing TLBI, a missing barrier, a missing break-before-make, and real CPUs do so most of the
//! time. This model never does. It caches everything it may, at the first moment it may, and forgets only what it must,
//! at the last moment it must:
//!
//! - Table walkers run all the time, on each CPU for the tables in its VTTBR and TTBR0. What they find is cached: stage-2 tables
//!   (walk caches) and leaves, those of stage 1, and translations of both stages combined; tagged with the VMID, and with
//!   the ASID unless global. What faults is not cached.
//! - A descriptor that was written may be seen old or new until a `DSB` by its writer; the walkers see it both ways.
//! - A `TLBI` has no effect until a `DSB ISH`. Until then what it drops may be cached anew from whatever is still
//!   there: a combined entry from a stage-2 entry, an entry from a descriptor that is not published yet.
//! - The CPU that issues the TLBI may use what it has fetched until an `ISB`.
//! - A walk may start at any cached table, so a table that was unlinked, freed and filled with other things is walked
//!   on until its entry has been invalidated.
//!
//! A [`Violation`] is recorded when two different valid translations of one address live at once (break-before-make),
//! when a table is freed that a walker can reach, and by [`TlbMachine::verify`] when anything usable differs from what the
//! tables say now.
//!
//! The parts, from the bottom:
//!
//! - `entry`: what a TLB can hold, for EL1&0 and EL2, and which TLBI makes it go ([`Tlbi::forgets`]).
//! - `instruction`, `operand`: TLBIs as software issues them, by encoding and register, and what they mean.
//! - `entries`: the content of one TLB; of no hypervisor, any granule.
//! - `machine`: CPUs that fill such TLBs in the worst way; `board`: what the tests of stage 2 run on.
//! - `verify`: the judgement when a change is complete; `outcome`: what an access can meet while it is not.
//!
//! Limits of the machine (not of the entries): its walkers read tables of the 4 KiB granule with 48-bit addresses, for
//! stage 1 those of TTBR0, for stage 2 without making anything of the Contiguous bit. Instead of tables, or besides, a
//! guest's stage 1 can be a list of [`Window`]s, the leaves that a walk would find. EL2's entries get in by
//! [`TlbMachine::fetch`] alone. A guest that makes without breaking is found out by the combined entries only. All CPUs' stores count as one writer's, as they are when a lock guards the tables.
//!
//! Sources: Arm ARM, "Translation Lookaside Buffers", "TLB maintenance", "Use of ASIDs and VMIDs", "Using
//! break-before-make", "Ordering and completion of TLB maintenance instructions".

mod board;
mod context;
mod entries;
mod entry;
mod instruction;
mod machine;
mod memory;
mod operand;
mod outcome;
mod stage1;
mod stage2;
#[cfg(test)]
mod tests;
mod verify;

pub use board::{Board, BoardMaintenance};
pub use context::{Context, Window};
pub use entries::Entries;
pub use entry::{Extent, Source, Tag, TlbEntry, TlbEntryKind};
pub use instruction::{Instruction, Issuer, Operation, Refused};
pub use machine::TlbMachine;
pub use operand::{Addresses, Hint, RangeUnit, Tlbi};
pub use outcome::Outcome;

use crate::{Ipa, Pa, Va};

/// Which CPUs a TLBI reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The one that issues it.
    Local,
    /// Those of the Inner Shareable domain, in the model all: the `IS` forms.
    InnerShareable,
    /// Those of the Outer Shareable domain, all the more: the `OS` forms.
    OuterShareable,
}

/// What a CPU was given the chance to do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Violation {
    /// Two valid descriptors that may not coexist, for one IPA.
    #[error("break-before-make: VMID {vmid} could translate {ipa} by {old:#x} and by {new:#x}")]
    BreakBeforeMake {
        /// The VMID.
        vmid: u16,
        /// The address.
        ipa: Ipa,
        /// The descriptor cached.
        old: u64,
        /// The descriptor found.
        new: u64,
    },
    /// Two combined translations for one VA.
    #[error("two translations of {va} in VMID {vmid}: {old} and {new}")]
    CombinedConflict {
        /// The VMID.
        vmid: u16,
        /// The address.
        va: Va,
        /// The output address cached.
        old: Pa,
        /// The output address found.
        new: Pa,
    },
    /// A stage-2 entry that the tables no longer bear out.
    #[error("CPU {cpu} can still translate {ipa} by the stale descriptor {descriptor:#x}")]
    Stale {
        /// The CPU.
        cpu: usize,
        /// The address.
        ipa: Ipa,
        /// The stale descriptor or table address.
        descriptor: u64,
    },
    /// A combined entry that the tables, or the guest's stage 1, no longer bear out.
    #[error("CPU {cpu} can still translate {va} to {pa}")]
    StaleCombined {
        /// The CPU.
        cpu: usize,
        /// The address.
        va: Va,
        /// Where it would lead.
        pa: Pa,
    },
    /// A stage-1 entry, leaf or table, that the guest's stage 1 no longer bears out.
    #[error("CPU {cpu} can still go from {va} to IPA {ipa}")]
    StaleStage1 {
        /// The CPU.
        cpu: usize,
        /// The address.
        va: Va,
        /// Where it would lead, or the table.
        ipa: Ipa,
    },
    /// A descriptor was written that some walker may not see yet.
    #[error("the descriptor at {pa} is not published")]
    Unpublished {
        /// Where it lies.
        pa: Pa,
    },
    /// A table was freed that a walker can reach.
    #[error("CPU {cpu} can still walk the freed table at {frame}")]
    FreedTable {
        /// The CPU.
        cpu: usize,
        /// The frame.
        frame: Pa,
    },
    /// No `ISB` followed the last invalidation.
    #[error("CPU {cpu} has not synchronized its context")]
    NotSynchronized {
        /// The CPU.
        cpu: usize,
    },
}

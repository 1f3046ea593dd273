// SPDX-License-Identifier: MIT OR Apache-2.0
//! The adversarial TLB: what a CPU may do to a hypervisor that forgets a barrier.
//!
//! An emulator forgives a missing TLBI, a missing barrier, a missing break-before-make, and real CPUs do so most of the
//! time. This model never does. It caches everything it may, at the first moment it may, and forgets only what it must,
//! at the last moment it must:
//!
//! - Table walkers run all the time, on each CPU for the tables in its VTTBR. What they find is cached: stage-2 leaves,
//!   stage-2 tables (walk caches), and translations of stage 1 and 2 combined; tagged with the VMID, and with the
//!   ASID unless global. What faults is not cached.
//! - A descriptor that was written may be seen old or new until a `DSB` by its writer; the walkers see it both ways.
//! - A `TLBI` has no effect until a `DSB ISH`. Until then what it drops may be cached anew from whatever is still
//!   there: a combined entry from a stage-2 entry, an entry from a descriptor that is not published yet.
//! - The CPU that issues the TLBI may use what it has fetched until an `ISB`.
//! - A walk may start at any cached table, so a table that was unlinked, freed and filled with other things is walked
//!   on until its entry has been invalidated.
//!
//! A [`Violation`] is recorded when two different valid translations of one address live at once (break-before-make),
//! when a table is freed that a walker can reach, and by [`Machine::verify`] when anything usable differs from what the
//! tables say now.
//!
//! Not modelled yet: stage-1 tables as such. The guest's stage 1 is a list of [`Window`]s, from which and from stage 2
//! the combined entries come; a walker of stage-1 tables would produce such windows. All CPUs' stores count as one
//! writer's, as they are when a lock guards the tables.
//!
//! Sources: Arm ARM, "Translation Lookaside Buffers", "TLB maintenance", "Use of ASIDs and VMIDs", "Using
//! break-before-make", "Ordering and completion of TLB maintenance instructions".

mod board;
mod cache;
mod machine;
mod memory;
#[cfg(test)]
mod tests;

pub use board::{Board, BoardMaintenance};
pub use machine::{Context, Machine, Window};

use crate::stage2::Reach;
use crate::{Ipa, Pa, Va};

/// A TLB invalidation of the EL1&0 regime, without its shareability. All but [`Tlbi::All`] act on the current VMID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tlbi {
    /// `IPAS2E1` or `IPAS2LE1`: stage-2 entries of an IPA.
    Ipa {
        /// The address.
        ipa: Ipa,
        /// The TTL hint: only leaves of this level need go.
        leaf: Option<u8>,
        /// Whether the tables on the way go too.
        reach: Reach,
    },
    /// `VMALLE1`: stage 1, and stage 1 and 2 combined, of the VM.
    Stage1,
    /// `VMALLS12E1`: everything of the VM.
    Vm,
    /// `ALLE1`: everything of every VM.
    All,
    /// `VAE1`: stage 1 of an address, in an ASID or global.
    Va {
        /// The address.
        va: Va,
        /// The ASID.
        asid: u16,
    },
    /// `VAAE1`: stage 1 of an address in every ASID.
    VaAllAsids {
        /// The address.
        va: Va,
    },
    /// `ASIDE1`: stage 1 of an ASID, except what is global.
    Asid {
        /// The ASID.
        asid: u16,
    },
}

/// Which CPUs a TLBI reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The one that issues it.
    Local,
    /// All of them: the `IS` forms.
    InnerShareable,
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

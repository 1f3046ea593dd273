// SPDX-License-Identifier: MIT OR Apache-2.0
//! The walk down a tree of tables: the loop that both stages share.
//!
//! A stage decides where a walk starts and what its leaf means; everything in between is here, once. The tables
//! are behind `Tables`, so the same loop runs over a guest's memory in EL2, over a memory dump in the command, and
//! for stage 1 over a memory that is itself behind stage 2. It reads one descriptor a level and allocates nothing.
//!
//! Source: Arm ARM, "VMSAv8-64 address translation"; the pseudocode `AArch64.S1Walk` and `AArch64.S2Walk`.

use serde::{Deserialize, Serialize};

use crate::access::{Access, El, Permissions};
use crate::granule::{AddressFormat, Granule, Stage};
use crate::{Ipa, Pa, Va};

const VALID: u64 = 1 << 0;
const TABLE_OR_PAGE: u64 = 1 << 1;

/// What a descriptor is at its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DescriptorKind {
    /// Translates nothing: bit 0 is clear, or the encoding is reserved at this level.
    Invalid,
    /// Leads to a table of the next level.
    Table,
    /// Maps memory: a block at levels -1 to 2.
    Block,
    /// Maps memory: a page, at level 3.
    Page,
}

/// Where a walk starts, and how its tables are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The granule.
    pub granule: Granule,
    /// How addresses are spelled.
    pub format: AddressFormat,
    /// The level of the root, -1 to 3.
    pub level: i8,
    /// Address bits that the root resolves. Concatenated tables count as one root.
    pub root_index_bits: u32,
    /// The root's address: an IPA in stage 1, a physical address in stage 2.
    pub root: u64,
    /// No output address may be wider.
    pub output_bits: u32,
}

impl Start {
    /// Log2 of the root's size in bytes.
    #[must_use]
    pub const fn root_size_shift(&self) -> u32 {
        self.root_index_bits + 3
    }

    /// What `raw` is at `level`.
    #[must_use]
    pub const fn kind(&self, raw: u64, level: i8) -> DescriptorKind {
        match (raw & VALID != 0, raw & TABLE_OR_PAGE != 0) {
            (true, true) if level < 3 => DescriptorKind::Table,
            (true, true) => DescriptorKind::Page,
            (true, false) if self.format.has_blocks(self.granule, level) => DescriptorKind::Block,
            _ => DescriptorKind::Invalid,
        }
    }

    /// What of `input` an entry of `level` leaves untranslated.
    const fn offset(&self, input: u64, level: i8) -> u64 {
        input & ((1 << self.granule.shift(level)) - 1)
    }

    /// The index of `input` in a table of `level`.
    const fn index(&self, input: u64, level: i8) -> u64 {
        let bits = if level == self.level { self.root_index_bits } else { self.granule.index_bits() };
        input >> self.granule.shift(level) & ((1 << bits) - 1)
    }
}

/// One descriptor met on a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkEntry {
    /// The level of the table it is in.
    pub level: i8,
    /// Where the table starts, in the address space of the tables.
    pub table: u64,
    /// Which descriptor of the table it is.
    pub index: u64,
    /// The descriptor, in little-endian order.
    pub raw: u64,
    /// What it is.
    pub kind: DescriptorKind,
    /// The output address: of the next table, or of the block or page; 0 for an invalid descriptor.
    pub output: u64,
}

impl WalkEntry {
    /// The address of the descriptor itself.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.table + self.index * 8
    }
}

/// The tables of a walk.
pub(crate) trait Tables {
    /// Why a descriptor could not be read.
    type Refusal;

    /// Reads the descriptor at `address`, in little-endian order.
    fn read(&mut self, address: u64, level: i8) -> Result<u64, Self::Refusal>;

    /// Is shown each descriptor that was read, from the root down.
    fn see(&mut self, entry: &WalkEntry);
}

/// Why a walk found no block or page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop<R> {
    /// The root or an output address is too wide.
    AddressSize { level: i8 },
    /// An invalid descriptor.
    Translation { level: i8 },
    /// A descriptor could not be read.
    Refused { level: i8, by: R },
}

/// Walks from the root to a block or page: at most five reads, since each turn goes down one level.
pub(crate) fn descend<T: Tables>(
    start: &Start,
    input: u64,
    tables: &mut T,
) -> Result<WalkEntry, Stop<T::Refusal>> {
    if too_wide(start.root, start.output_bits) {
        return Err(Stop::AddressSize { level: 0 });
    }
    let mut table = start.root;
    for level in start.level..=3 {
        let index = start.index(input, level);
        let raw = tables.read(table + index * 8, level).map_err(|by| Stop::Refused { level, by })?;
        let kind = start.kind(raw, level);
        let output = match kind {
            DescriptorKind::Invalid => 0,
            DescriptorKind::Table => start.format.address(raw, start.granule.page_shift()),
            DescriptorKind::Block | DescriptorKind::Page => {
                start.format.address(raw, start.granule.shift(level))
            }
        };
        let entry = WalkEntry { level, table, index, raw, kind, output };
        tables.see(&entry);
        if kind == DescriptorKind::Invalid {
            return Err(Stop::Translation { level });
        }
        // A block may be larger than the output size: then where in it counts too.
        let reached =
            if kind == DescriptorKind::Table { output } else { output | start.offset(input, level) };
        if too_wide(reached, start.output_bits) {
            return Err(Stop::AddressSize { level });
        }
        if kind != DescriptorKind::Table {
            return Ok(entry);
        }
        table = output;
    }
    // Level 3 holds no tables, so the loop has returned by now.
    Err(Stop::Translation { level: 3 })
}

const fn too_wide(address: u64, bits: u32) -> bool {
    address >> bits != 0
}

/// What a stage-2 translation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To read the stage-1 descriptor of this level.
    Stage1Table {
        /// The level.
        level: i8,
    },
    /// To make the access itself.
    Output {
        /// What the access does.
        access: Access,
        /// For which exception level.
        el: El,
    },
}

/// What happens on a translation, told in order to a [`Witness`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkStep {
    /// Stage 1 starts.
    Stage1Start {
        /// The address, its tag taken off.
        va: Va,
        /// Where; `None` if stage 1 is off.
        start: Option<Start>,
    },
    /// A stage-1 descriptor. The stage-2 steps that found it come before it.
    Stage1(WalkEntry),
    /// Stage 2 starts.
    Stage2Start {
        /// What for.
        purpose: Purpose,
        /// The address.
        ipa: Ipa,
        /// Where; `None` if stage 2 is off.
        start: Option<Start>,
    },
    /// A stage-2 descriptor.
    Stage2(WalkEntry),
    /// A stage has come to its block or page, whose access flag is no obstacle. The access is yet to be held
    /// against it.
    Leaf {
        /// Which stage.
        stage: Stage,
        /// What it allows.
        permissions: Permissions,
    },
    /// Stage 2 ends well.
    Stage2End {
        /// What it was for.
        purpose: Purpose,
        /// The address.
        ipa: Ipa,
        /// Where it leads.
        pa: Pa,
    },
}

/// Who watches a translation, to explain it.
pub trait Witness {
    /// The next step.
    fn see(&mut self, step: WalkStep);
}

/// Nobody.
impl Witness for () {
    fn see(&mut self, _: WalkStep) {}
}

impl<F: FnMut(WalkStep)> Witness for F {
    fn see(&mut self, step: WalkStep) {
        self(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root whose every entry is the same.
    struct Root(u64);

    impl Tables for Root {
        type Refusal = ();

        fn read(&mut self, _: u64, _: i8) -> Result<u64, ()> {
            Ok(self.0)
        }

        fn see(&mut self, _: &WalkEntry) {}
    }

    #[test]
    fn an_address_within_a_block_may_be_too_wide() {
        // 512 GiB from 0 with an output size of 36 bits.
        let start = Start {
            granule: Granule::Kib4,
            format: AddressFormat::Lpa2,
            level: 0,
            root_index_bits: 9,
            root: 0,
            output_bits: 36,
        };
        let walk = |input| descend(&start, input, &mut Root(0b01)).map(|entry| entry.output);
        assert_eq!(walk((1 << 36) - 8), Ok(0));
        assert_eq!(walk(1 << 36), Err(Stop::AddressSize { level: 0 }));
    }
}

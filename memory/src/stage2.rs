// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stage 2: the tables that turn a VM's IPAs into physical addresses.
//!
//! VMSAv8-64 with the 4 KiB granule. A change is *planned*, which may fail and changes nothing, then *committed*, which
//! cannot fail and issues exactly the maintenance it needs:
//!
//! ```text
//! plan_map / plan_replace / plan_unmap / plan_protect      checks; counts and reserves frames
//!    └─ Plan::commit    break ── DSB ISHST ── TLBI IPAS2(L)E1IS… ── DSB ISH ── TLBI VMALLE1IS ── DSB ISH ── ISB
//!                       make  ── DSB ISHST                     (nothing live changed: only this line)
//!       or drop         gives the frames back
//! ```
//!
//! The alternative, tables that are changed as one goes along, leaves half a mapping behind when frames run out, and
//! scatters barriers where nobody can check them. Here the order of every write, barrier and TLBI stands in one file,
//! and the adversarial TLB in `tlb` objects to any that is missing.
//!
//! No allocator is used; a [`FrameSource`] is asked while planning. Nothing here runs on a guest's exit except
//! [`Stage2::translate`], which takes a bounded walk.

mod commit;
mod descriptor;
mod edit;
mod geometry;
mod plan;
mod regime;
mod tables;
#[cfg(test)]
mod tests;
mod walk;

use core::ops::ControlFlow;

pub use commit::{MAX_BY_ADDRESS, Maintenance, Reach, tlbi_ipa_operand};
pub use descriptor::{Attributes, Memory, Permissions};
use descriptor::{Descriptor, DescriptorUse};
use edit::{Change, Edit};
pub use geometry::{Geometry, GeometryError, MAX_BITS, MAX_ROOT_TABLES, MIN_IPA_BITS, TableLevel};
pub use plan::Plan;
pub use regime::{BadVtcr, Doubt, Regime};
use tables::{Extent, Table, visit};
pub use tables::{FrameSource, TableMemory};
pub use walk::{Output, PhysicalMemory, memory_type};
pub(crate) use walk::{allows_update, translate};

use crate::addr::PAGE_SIZE;
use crate::attributes::Stage2Encoding;
use crate::{Ipa, Pa};

/// Why a change of the map cannot be made. Nothing has been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The size is zero.
    #[error("the range at {ipa} is empty")]
    Empty {
        /// Where the range was to start.
        ipa: Ipa,
    },
    /// A number is not a multiple of 4 KiB.
    #[error("{value:#x} is not a multiple of 4 KiB")]
    Misaligned {
        /// The address or size in question.
        value: u64,
    },
    /// The range leaves the VM's IPA space.
    #[error("{size:#x} bytes at IPA {ipa} do not fit in {ipa_bits} bits of IPA")]
    OutOfRange {
        /// Where the range starts.
        ipa: Ipa,
        /// Its size in bytes.
        size: u64,
        /// The VM's IPA size in bits.
        ipa_bits: u32,
    },
    /// The memory leaves the board's physical address space.
    #[error("{size:#x} bytes at {pa} do not fit in {pa_bits} bits of physical address")]
    PhysicalOutOfRange {
        /// Where the memory starts.
        pa: Pa,
        /// Its size in bytes.
        size: u64,
        /// The board's physical address size in bits.
        pa_bits: u32,
    },
    /// Something is mapped in the range already.
    #[error("IPA {ipa} is mapped already")]
    Overlap {
        /// The first such IPA.
        ipa: Ipa,
    },
    /// Nothing is mapped in part of the range.
    #[error("IPA {ipa} is not mapped")]
    NotMapped {
        /// The first such IPA.
        ipa: Ipa,
    },
    /// The frame source has too few frames for the new tables.
    #[error("out of frames: the new tables need {needed} of 4 KiB")]
    OutOfFrames {
        /// The frames needed.
        needed: usize,
    },
}

/// A range of IPAs and what it maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The first IPA.
    pub ipa: Ipa,
    /// The memory behind it.
    pub pa: Pa,
    /// The size of both, in bytes.
    pub size: u64,
    /// How it is mapped.
    pub attributes: Attributes,
}

/// Where an IPA leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The physical address.
    pub pa: Pa,
    /// How it is mapped.
    pub attributes: Attributes,
    /// The level of the block or page that maps it.
    pub level: TableLevel,
}

/// One VM's stage-2 tables.
///
/// Wants an owner with a lock: changes take `&mut self`. Give its frames back with [`Stage2::destroy`].
#[derive(Debug)]
pub struct Stage2 {
    root: Pa,
    geometry: Geometry,
    encoding: Stage2Encoding,
}

impl Stage2 {
    /// Empty tables. `encoding` is what `HCR_EL2.FWB` will be while the VM runs.
    ///
    /// The root is not yet published to the table walkers; the first commit does that, and without one there is nothing
    /// to run.
    ///
    /// # Errors
    /// [`MapError::OutOfFrames`] if the source has no root of that size.
    pub fn new<F: FrameSource>(
        geometry: Geometry,
        encoding: Stage2Encoding,
        frames: &mut F,
    ) -> Result<Self, MapError> {
        let needed = geometry.root_tables();
        let root = frames.allocate_root(needed).ok_or(MapError::OutOfFrames { needed })?;
        debug_assert!(geometry.accepts_root(root), "a root is aligned to its size");
        Ok(Self { root, geometry, encoding })
    }

    /// The shape of the tables.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The value of `HCR_EL2.FWB` the tables are written for.
    #[must_use]
    pub const fn encoding(&self) -> Stage2Encoding {
        self.encoding
    }

    /// The physical address of the root.
    #[must_use]
    pub const fn root(&self) -> Pa {
        self.root
    }

    /// `VTTBR_EL2` for these tables under `vmid`.
    #[must_use]
    pub const fn vttbr(&self, vmid: u16) -> u64 {
        (vmid as u64) << 48 | self.root.0
    }

    /// Plans to map a range that maps nothing yet, in blocks as large as fit.
    ///
    /// # Errors
    /// Any [`MapError`] but `NotMapped`.
    pub fn plan_map<'a, M: TableMemory, F: FrameSource>(
        &'a mut self,
        memory: &'a mut M,
        frames: &'a mut F,
        mapping: Mapping,
    ) -> Result<Plan<'a, M, F>, MapError> {
        let edit = self.edit_of_mapping(mapping)?;
        let found = visit(memory, self.root_table(), edit.extent, &mut |slot, descriptor| match descriptor
            .kind(slot.level)
        {
            DescriptorUse::Leaf => ControlFlow::Break(slot.ipa.max(edit.extent.start)),
            DescriptorUse::Invalid | DescriptorUse::Table(_) => ControlFlow::Continue(()),
        });
        match found {
            ControlFlow::Break(ipa) => Err(MapError::Overlap { ipa: Ipa(ipa) }),
            ControlFlow::Continue(()) => Plan::new(self, memory, frames, edit),
        }
    }

    /// Plans to map a range whatever it maps now.
    ///
    /// # Errors
    /// Any [`MapError`] but `Overlap` and `NotMapped`.
    pub fn plan_replace<'a, M: TableMemory, F: FrameSource>(
        &'a mut self,
        memory: &'a mut M,
        frames: &'a mut F,
        mapping: Mapping,
    ) -> Result<Plan<'a, M, F>, MapError> {
        let edit = self.edit_of_mapping(mapping)?;
        Plan::new(self, memory, frames, edit)
    }

    /// Plans to map nothing in `size` bytes at `ipa`. It does not matter what was mapped there; tables left empty go.
    ///
    /// # Errors
    /// [`MapError::Empty`], [`MapError::Misaligned`], [`MapError::OutOfRange`]; [`MapError::OutOfFrames`], since part
    /// of a block can only be unmapped by splitting it.
    pub fn plan_unmap<'a, M: TableMemory, F: FrameSource>(
        &'a mut self,
        memory: &'a mut M,
        frames: &'a mut F,
        ipa: Ipa,
        size: u64,
    ) -> Result<Plan<'a, M, F>, MapError> {
        let edit = self.edit(ipa, size, Change::Unmap)?;
        Plan::new(self, memory, frames, edit)
    }

    /// Plans to give `size` bytes at `ipa`, all of them mapped, other attributes.
    ///
    /// # Errors
    /// Any [`MapError`] but `Overlap` and `PhysicalOutOfRange`.
    pub fn plan_protect<'a, M: TableMemory, F: FrameSource>(
        &'a mut self,
        memory: &'a mut M,
        frames: &'a mut F,
        ipa: Ipa,
        size: u64,
        attributes: Attributes,
    ) -> Result<Plan<'a, M, F>, MapError> {
        let edit = self.edit(ipa, size, Change::Protect { attributes })?;
        let found = visit(memory, self.root_table(), edit.extent, &mut |slot, descriptor| match descriptor
            .kind(slot.level)
        {
            DescriptorUse::Invalid => ControlFlow::Break(slot.ipa.max(edit.extent.start)),
            DescriptorUse::Leaf | DescriptorUse::Table(_) => ControlFlow::Continue(()),
        });
        match found {
            ControlFlow::Break(ipa) => Err(MapError::NotMapped { ipa: Ipa(ipa) }),
            ControlFlow::Continue(()) => Plan::new(self, memory, frames, edit),
        }
    }

    /// Where `ipa` leads by the tables, or `None` if nothing is mapped there.
    #[must_use]
    pub fn translate<M: TableMemory>(&self, memory: &M, ipa: Ipa) -> Option<Translation> {
        if ipa.0 >= self.geometry.ipa_end() {
            return None;
        }
        let leaf = walk::descend_in(memory, &self.geometry.walk_from(self.root), ipa)?;
        let descriptor = Descriptor(leaf.raw);
        let level = TableLevel::of_leaf(leaf.level)?;
        Some(Translation {
            pa: Pa(leaf.output | ipa.0 & (level.span() - 1)),
            attributes: descriptor.attributes(self.encoding),
            level,
        })
    }

    /// Shows `see` each block and page, in ascending order.
    pub fn for_each_mapping<M: TableMemory>(&self, memory: &M, mut see: impl FnMut(Mapping)) {
        let root = self.root_table();
        let _: ControlFlow<()> = visit(memory, root, root.extent(), &mut |slot, descriptor| {
            if descriptor.kind(slot.level) == DescriptorUse::Leaf {
                see(Mapping {
                    ipa: Ipa(slot.ipa),
                    pa: descriptor.address(),
                    size: slot.level.span(),
                    attributes: descriptor.attributes(self.encoding),
                });
            }
            ControlFlow::Continue(())
        });
    }

    /// The frames that the tables take, the root's included.
    #[must_use]
    pub fn frames<M: TableMemory>(&self, memory: &M) -> u64 {
        tables::count_frames(memory, self.root_table())
    }

    /// Gives back every frame of the tables.
    ///
    /// No CPU may have them in `VTTBR_EL2` any more, and their VMID must not be loaded again before it has been
    /// invalidated: the allocator in [`vmid`](crate::vmid) sees to that, so no TLBI is needed here.
    pub fn destroy<M: TableMemory, F: FrameSource>(self, memory: &M, frames: &mut F) {
        tables::free_tree(memory, frames, self.root_table());
    }

    const fn root_table(&self) -> Table {
        Table::root(self.root, self.geometry)
    }

    fn edit_of_mapping(&self, mapping: Mapping) -> Result<Edit, MapError> {
        let Mapping { ipa, pa, size, attributes } = mapping;
        let edit = self.edit(ipa, size, Change::Map { pa, attributes })?;
        check_aligned(pa.0)?;
        let pa_bits = self.geometry.pa_bits();
        match pa.checked_add(size) {
            Some(end) if end.0 <= self.geometry.pa_end() => Ok(edit),
            _ => Err(MapError::PhysicalOutOfRange { pa, size, pa_bits }),
        }
    }

    fn edit(&self, ipa: Ipa, size: u64, change: Change) -> Result<Edit, MapError> {
        if size == 0 {
            return Err(MapError::Empty { ipa });
        }
        check_aligned(ipa.0)?;
        check_aligned(size)?;
        let ipa_bits = self.geometry.ipa_bits();
        match ipa.checked_add(size) {
            Some(end) if end.0 <= self.geometry.ipa_end() => {
                let extent = Extent { start: ipa.0, end: end.0 };
                Ok(Edit { extent, change, encoding: self.encoding })
            }
            _ => Err(MapError::OutOfRange { ipa, size, ipa_bits }),
        }
    }
}

fn check_aligned(value: u64) -> Result<(), MapError> {
    if value.is_multiple_of(PAGE_SIZE) { Ok(()) } else { Err(MapError::Misaligned { value }) }
}

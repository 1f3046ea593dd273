// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages of a VM's RAM that are taken away from it and given to it while it runs.
//!
//! What can fail comes first, and then a page changes its owner in both, the list and the tables, under one lock. A commit's order
//! of writes, barriers and invalidations is [`stage2`](vambrace_memory::stage2)'s.

use vambrace_hypervisor::memory::pieces::{PiecesError, RamPiece};
use vambrace_hypervisor::memory::room::NoRoom;
use vambrace_machine::layout;
use vambrace_memory::addr::PAGE_SIZE;
use vambrace_memory::stage2::{Attributes, MapError, Mapping};
use vambrace_memory::{Ipa, PaRange};
use vambrace_wire::bundle::assigned::{MAX_RAM_PIECES, RamPlacement};

use super::tables::{FreeFrames, LiveMaintenance, Tables};
use super::{GuestMemoryMap, MappedRam, take};
use crate::arch::barrier;
use crate::arch::clear::clear;
use crate::memory;

/// How many pieces there is more room for when the list of them is full.
const MORE_PLACES: usize = 16;

/// Why a page stays where it is. Nothing has been changed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum EditError {
    /// It has none there, or the list of its pieces cannot be changed.
    #[error("{0}")]
    Pieces(#[from] PiecesError),
    /// The list of its pieces cannot grow.
    #[error("{0}")]
    Room(#[from] NoRoom),
    /// The tables cannot be changed.
    #[error("{0}")]
    Map(#[from] MapError),
    /// Free memory is in so many pieces that the page could not be given back.
    #[error("free memory is in too many pieces")]
    NoPlace,
    /// A device that masters DMA reaches the page whatever stage 2 says.
    #[error("its RAM is mapped one to one, for devices that master DMA")]
    OneToOne,
    /// There is no page to give.
    #[error("no memory is free")]
    OutOfMemory,
}

/// The stage 2 of the VM in question is loaded on this CPU, under the VM's VMID: what is invalidated by IPA is that VM's.
#[derive(Debug)]
pub(crate) struct Stage2Loaded(());

impl Stage2Loaded {
    /// To be said by who has loaded it, and only then.
    pub(crate) const fn new() -> Self {
        Self(())
    }
}

impl GuestMemoryMap {
    /// Takes a page of the RAM away from the VM, which may run. When this returns no CPU reaches it any more, and all that was
    /// in it has been cleared, out to memory.
    ///
    /// # Errors
    /// [`EditError`]; the page is the VM's still.
    pub(crate) fn take_page(&self, offset: u64, _: &Stage2Loaded) -> Result<PaRange, EditError> {
        if self.placement == RamPlacement::OneToOne {
            return Err(EditError::OneToOne);
        }
        if !memory::has_place() {
            return Err(EditError::NoPlace);
        }
        self.make_place()?;
        let page = {
            let mut mapped = self.ram.lock();
            let MappedRam { stage2, ram } = &mut *mapped;
            ram.pieces.locate(offset, PAGE_SIZE).ok_or(PiecesError::NotThere)?;
            let ipa = Ipa(layout::RAM.0.saturating_add(offset));
            let (mut tables, mut frames) = (Tables, FreeFrames);
            let plan = stage2.plan_unmap(&mut tables, &mut frames, ipa, PAGE_SIZE)?;
            let page = ram.pieces.remove(offset, PAGE_SIZE)?;
            plan.commit(&mut LiveMaintenance);
            page
        };
        // SAFETY: EL2 maps all RAM; the VM has lost the page, and nobody else has it.
        unsafe { clear(page) };
        Ok(page)
    }

    /// Gives a page to the VM, which may run, in a place where it has none. There is nothing in it, out to memory.
    ///
    /// # Errors
    /// [`EditError`]; the page is the caller's still.
    pub(crate) fn give_page(&self, offset: u64, page: PaRange) -> Result<(), EditError> {
        // Without room a page still goes where it was.
        let room = self.make_place();
        let mut mapped = self.ram.lock();
        let MappedRam { stage2, ram } = &mut *mapped;
        let ipa = Ipa(layout::RAM.0.saturating_add(offset));
        let mapping = Mapping { ipa, pa: page.start(), size: page.len(), attributes: Attributes::RAM };
        let (mut tables, mut frames) = (Tables, FreeFrames);
        let plan = stage2.plan_map(&mut tables, &mut frames, mapping)?;
        // Another may have executed what was there: no CPU may go on from what its instruction cache remembers of that.
        barrier::ic_ialluis();
        barrier::dsb_ish();
        if let Err(error) = ram.pieces.insert(offset, page) {
            return Err(room.err().unwrap_or(error.into()));
        }
        plan.commit(&mut LiveMaintenance);
        Ok(())
    }

    /// Sees that the list has room for one piece more, which is taken of the heap before the lock.
    fn make_place(&self) -> Result<(), EditError> {
        let count = {
            let mapped = self.ram.lock();
            if !mapped.ram.pieces.is_full() {
                return Ok(());
            }
            mapped.ram.pieces.count()
        };
        if count >= MAX_RAM_PIECES {
            return Err(PiecesError::NoPlace.into());
        }
        let (place, room) = take::list::<RamPiece>(count.saturating_add(MORE_PLACES))?;
        let old = self.ram.lock().ram.pieces.move_to(place);
        drop((old, room));
        Ok(())
    }
}

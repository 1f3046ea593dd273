// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VM's physical memory: its RAM, its flash, and the stage-2 tables that show them to it.
//!
//! Everything is mapped when the VM is made and unmapped when it ends. In between a page of the RAM may be taken away from it
//! and another be given to it, while its vCPUs run ([`edit`]). So the list of the RAM's pieces and the tables are in one lock:
//! whoever looks up where RAM lies holds it for as long as it uses the answer. A vCPU that meets a page which is being changed
//! takes a stage-2 fault; who serves that takes the lock, and has the guest try again if the page is there by then. The VM's
//! own lock is taken first if both are needed.

mod copy;
pub(crate) mod edit;
mod tables;
mod take;

use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::sync::atomic::Ordering;

use vambrace_hypervisor::boot::board::assigned_range;
use vambrace_hypervisor::invariant;
use vambrace_hypervisor::memory::pieces::PiecesError;
use vambrace_hypervisor::memory::pool::{BLOCK, GIB};
use vambrace_hypervisor::memory::room::{self, NoRoom};
use vambrace_machine::{StopReason, layout};
use vambrace_memory::attributes::Stage2Encoding;
use vambrace_memory::stage2::{Attributes, Geometry, GeometryError, MapError, Mapping, Stage2};
use vambrace_memory::{GuestMemory, Ipa, OutsideMemory, Pa, PaRange};
use vambrace_wire::bundle::VmConfig;
use vambrace_wire::bundle::assigned::{RamPlacement, Registers};
use vambrace_wire::bundle::channel::ChannelAccess;

use self::tables::{FreeFrames, LiveMaintenance, Tables};
pub(crate) use self::take::Memory;
use self::take::{Flash, Ram};
use crate::arch::barrier;
use crate::arch::clear::clear;
use crate::arch::lock::{SpinMutex, SpinMutexGuard};
use crate::devices::channels;
use crate::memory;

/// From one channel's memory to the next one's.
const CHANNEL_STEP: usize = layout::CHANNEL_STRIDE as usize;

/// Why a VM's memory could not be had.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum SpaceError {
    /// Not enough free memory.
    #[error("{wanted} MiB are not free ({free} MiB are free in all)")]
    OutOfMemory {
        /// MiB wanted.
        wanted: u64,
        /// MiB free.
        free: u64,
    },
    /// There is enough, but in too many pieces.
    #[error("free memory is in too many pieces")]
    TooManyPieces,
    /// The board has not the memory that the VM's addresses mean, or it is in use.
    #[error("memory {0} of the board is not free for RAM one to one")]
    Elsewhere(PaRange),
    /// The list of its pieces cannot be had.
    #[error("{0}")]
    Room(#[from] NoRoom),
    /// The same.
    #[error("{0}")]
    Pieces(#[from] PiecesError),
    /// A channel has no memory.
    #[error("{0}")]
    Channel(#[from] channels::NoMemory),
    /// The CPU's IPA space is too small.
    #[error("{0}")]
    Geometry(#[from] GeometryError),
    /// The tables could not be made.
    #[error("{0}")]
    Map(#[from] MapError),
}

/// A VM's memory.
#[derive(Debug)]
pub(crate) struct GuestMemoryMap {
    ram: SpinMutex<MappedRam>,
    /// How many bytes the VM takes for its RAM, whether all of it is there or not.
    ram_len: u64,
    flash: Flash,
    geometry: Geometry,
    /// VTTBR_EL2 under VMID 0: the tables' root, which stays.
    vttbr: u64,
    placement: RamPlacement,
    /// Registers of the board's devices that belong to the VM.
    registers: Vec<Registers>,
    /// Memory that it shares with others.
    channels: Vec<(PaRange, ChannelAccess)>,
}

/// RAM and the tables of all that the VM sees, which change together.
#[derive(Debug)]
struct MappedRam {
    /// Given back first, when the map ends.
    stage2: ManuallyDrop<Stage2>,
    ram: Ram,
}

impl MappedRam {
    /// Maps what was not mapped before.
    fn map(&mut self, ipa: Ipa, memory: PaRange, attributes: Attributes) -> Result<(), MapError> {
        let mapping = Mapping { ipa, pa: memory.start(), size: memory.len(), attributes };
        self.stage2.plan_map(&mut Tables, &mut FreeFrames, mapping)?.commit(&mut LiveMaintenance);
        Ok(())
    }
}

impl Drop for MappedRam {
    fn drop(&mut self) {
        // SAFETY: here and nowhere else, and the map is gone afterwards.
        let stage2 = unsafe { ManuallyDrop::take(&mut self.stage2) };
        stage2.destroy(&Tables, &mut FreeFrames);
    }
}

impl GuestMemoryMap {
    /// How much of the heap [`GuestMemoryMap::new`] takes.
    pub(crate) fn room(config: &VmConfig) -> usize {
        room::piece(config.registers.len() * size_of::<Registers>(), 1)
            + room::list(config.channels.len(), size_of::<(PaRange, ChannelAccess)>())
    }

    /// Makes the tables that show its memory to a VM.
    pub(crate) fn new(
        memory: Memory,
        config: &VmConfig,
        pa_bits: u32,
        encoding: Stage2Encoding,
    ) -> Result<Self, SpaceError> {
        let Memory { ram, flash } = memory;
        let geometry = geometry(&ram, config, pa_bits)?;
        let shared =
            config.channels.iter().map(|end| channels::memory_of(end).map(|memory| (memory, end.access)));
        let channels = shared.collect::<Result<_, _>>()?;
        let stage2 = ManuallyDrop::new(Stage2::new(geometry, encoding, &mut FreeFrames)?);
        let mut space = Self {
            vttbr: stage2.vttbr(0),
            ram: SpinMutex::new(MappedRam { stage2, ram }),
            ram_len: config.memory,
            flash,
            geometry,
            placement: config.placement,
            registers: config.registers.clone(),
            channels,
        };
        space.map()?;
        Ok(space)
    }

    fn map(&mut self) -> Result<(), MapError> {
        let Self { ram, flash: Flash { firmware, erased, .. }, registers, channels, .. } = self;
        let mapped = ram.get_mut();
        let mut done = 0;
        while let Some((offset, memory)) = mapped.ram.pieces.next(done, u64::MAX) {
            mapped.map(Ipa(layout::RAM.0 + offset), memory, Attributes::RAM)?;
            done = offset + memory.len();
        }
        for registers in &*registers {
            mapped.map(Ipa(registers.ipa), assigned_range(registers), Attributes::DEVICE)?;
        }
        for (at, (memory, access)) in (layout::CHANNEL.0..).step_by(CHANNEL_STEP).zip(&*channels) {
            let attributes = match access {
                ChannelAccess::ReadWrite => Attributes::SHARED,
                ChannelAccess::ReadOnly => Attributes::SHARED_READ_ONLY,
            };
            mapped.map(Ipa(at), *memory, attributes)?;
        }
        if firmware.is_empty() {
            return Ok(());
        }
        for offset in (0..layout::FLASH.len()).step_by(BLOCK as usize) {
            let pa = firmware.at(offset, BLOCK).unwrap_or(erased.start());
            mapped.map(
                Ipa(layout::FLASH.start().0 + offset),
                PaRange::clamped(pa, BLOCK),
                Attributes::ROM,
            )?;
        }
        Ok(())
    }

    /// The shape of the tables.
    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// VTTBR_EL2 under a VMID.
    #[inline]
    pub(crate) fn vttbr(&self, vmid: u16) -> u64 {
        self.vttbr | u64::from(vmid) << 48
    }

    /// The memory as it is, and stays until the answer is dropped.
    #[inline]
    pub(crate) fn lock(&self) -> LockedMemory<'_> {
        LockedMemory { flash: &self.flash, mapped: self.ram.lock() }
    }

    /// The same, unless somebody uses or changes it.
    pub(crate) fn try_lock(&self) -> Option<LockedMemory<'_>> {
        Some(LockedMemory { flash: &self.flash, mapped: self.ram.try_lock()? })
    }

    /// Makes the memory ready for the VM's first boot epoch, from byte `done` on and `len` bytes at most: its RAM holds nothing, its
    /// flash is erased. Says from where to go on; `None` at the end. Out to memory, as for [`zero`](Self::zero).
    pub(crate) fn prepare(&self, done: u64, len: u64) -> Option<u64> {
        let next = {
            let mapped = self.ram.lock();
            if mapped.ram.is_clear { None } else { mapped.ram.pieces.next(done, len) }
        };
        if let Some((offset, part)) = next {
            // SAFETY: the RAM is mapped and owned by this space, and the VM has not started.
            unsafe { clear(part) };
            return Some(offset + part.len());
        }
        let Flash { firmware, erased, .. } = &self.flash;
        let in_flash = done.saturating_sub(self.ram_len);
        let part = part(*firmware, in_flash, len)
            .or_else(|| part(*erased, in_flash.checked_sub(firmware.len())?, len));
        let part = part?;
        // SAFETY: the flash is mapped and owned by this space, and the VM has not started.
        unsafe { memory::fill(part, 0xFF) };
        barrier::clean_invalidate(part);
        Some(self.ram_len + in_flash + part.len())
    }

    /// Fills memory with zeros, from byte `done` on and `len` bytes at most, out to memory: the next user may read it with its
    /// caches off. After a boot epoch that is the RAM; when there is no other to come, the firmware's copy, too. Says from where to
    /// go on; `None` at the end.
    pub(crate) fn zero(&self, done: u64, len: u64, then: StopReason) -> Option<u64> {
        let next = self.ram.lock().ram.pieces.next(done, len);
        if let Some((offset, part)) = next {
            // SAFETY: the RAM is mapped and owned by this space, and the VM's CPUs are stopped.
            unsafe { clear(part) };
            return Some(offset + part.len());
        }
        let starts_again = matches!(then, StopReason::Reset(_));
        let firmware = if starts_again { PaRange::EMPTY } else { self.flash.firmware };
        let in_flash = done.saturating_sub(self.ram_len);
        let Some(part) = part(firmware, in_flash, len) else {
            self.ram.lock().ram.is_clear = true;
            self.flash.is_clear.store(!starts_again, Ordering::Release);
            return None;
        };
        // SAFETY: the flash is mapped and owned by this space, and the VM's CPUs are stopped.
        unsafe { clear(part) };
        Some(self.ram_len + in_flash + part.len())
    }

    /// From here on the memory is the VM's to write to.
    pub(crate) fn note_used(&self) {
        self.ram.lock().ram.is_clear = false;
        self.flash.is_clear.store(false, Ordering::Release);
    }

    /// Cleans and invalidates RAM in the data caches, from byte `done` on and `len` bytes at most. Says from where to go on;
    /// `None` at the end.
    pub(crate) fn clean(&self, done: u64, len: u64) -> Option<u64> {
        let (offset, part) = self.ram.lock().ram.pieces.next(done, len)?;
        // It may be another's by now: whatever is cleaned there is none the worse for it.
        barrier::clean_invalidate(part);
        Some(offset + part.len())
    }

    /// Copies an image's part to guest memory, out to the point of coherency: the guest starts with caches off.
    pub(crate) fn place(&self, ipa: Ipa, image: &[u8]) {
        let memory = self.lock();
        let placed = memory.each_part(ipa, image.len(), |range, part| {
            let image = image.get(part).unwrap_or_default();
            let to: *mut u8 = core::ptr::with_exposed_provenance_mut(range.start().0 as usize);
            // SAFETY: this VM's memory, in which images do not live; its CPUs are stopped.
            unsafe { core::ptr::copy_nonoverlapping(image.as_ptr(), to, image.len()) };
            barrier::clean_invalidate(range);
        });
        invariant!(placed.is_some(), "images lie in their VM's memory");
    }
}

/// The shape that the tables of a VM need.
fn geometry(ram: &Ram, config: &VmConfig, pa_bits: u32) -> Result<Geometry, GeometryError> {
    let end = layout::RAM.0.saturating_add(config.memory);
    let high = if config.vcpus.len() as u64 > layout::GICR_COUNT { layout::GICR_HIGH.0 * 2 } else { 0 };
    let bits = 64 - end.max(high).saturating_sub(1).leading_zeros();
    let geometry = Geometry::for_machine(pa_bits, bits)?;
    let first = ram.pieces.part(0, u64::MAX).unwrap_or_default();
    let has_gib = first.len() >= GIB && first.start().is_aligned(GIB);
    Ok(if has_gib { geometry.with_gib_leaves() } else { geometry })
}

/// A VM's memory, which does not change meanwhile.
#[derive(Debug)]
pub(crate) struct LockedMemory<'a> {
    flash: &'a Flash,
    mapped: SpinMutexGuard<'a, MappedRam>,
}

impl LockedMemory<'_> {
    /// Where `len` bytes at `ipa` lie, if they all do, in one piece.
    #[inline]
    fn locate(&self, ipa: Ipa, len: u64) -> Option<Pa> {
        match ipa.0.checked_sub(layout::RAM.0) {
            Some(offset) => self.mapped.ram.pieces.locate(offset, len),
            None => self.flash.firmware.at(ipa.0.checked_sub(layout::FLASH.start().0)?, len),
        }
    }

    /// Shows `see` the memory of `len` bytes at `ipa`, piece after piece, and which of the bytes are in each. `None`, and nothing
    /// is seen, if they are not all there.
    fn each_part(
        &self,
        ipa: Ipa,
        len: usize,
        mut see: impl FnMut(PaRange, core::ops::Range<usize>),
    ) -> Option<()> {
        if let Some(pa) = self.locate(ipa, len as u64) {
            see(PaRange::clamped(pa, len as u64), 0..len);
            return Some(());
        }
        let pieces = &self.mapped.ram.pieces;
        let offset = ipa.0.checked_sub(layout::RAM.0)?;
        if !pieces.contains(offset, len as u64) {
            return None;
        }
        let mut done = 0;
        while let Some(part) =
            pieces.part(offset + done as u64, (len - done) as u64).filter(|part| !part.is_empty())
        {
            let end = done + part.len() as usize;
            see(part, done..end);
            done = end;
        }
        Some(())
    }

    #[cold]
    fn read_across(&self, ipa: Ipa, to: &mut [u8]) -> Option<()> {
        self.each_part(ipa, to.len(), |range, part| {
            let from = core::ptr::with_exposed_provenance(range.start().0 as usize);
            // SAFETY: the VM's memory, which stays its own while it is locked.
            unsafe { copy::read(from, to.get_mut(part).unwrap_or_default()) };
        })
    }

    #[cold]
    fn write_across(&self, ipa: Ipa, from: &[u8]) -> Option<()> {
        self.each_part(ipa, from.len(), |range, part| {
            let to = core::ptr::with_exposed_provenance_mut(range.start().0 as usize);
            // SAFETY: the VM's memory, which stays its own while it is locked.
            unsafe { copy::write(to, from.get(part).unwrap_or_default()) };
        })
    }
}

impl GuestMemory for LockedMemory<'_> {
    fn is_there(&self, ipa: Ipa) -> bool {
        self.locate(ipa, 1).is_some()
    }

    fn read(&self, ipa: Ipa, to: &mut [u8]) -> Result<(), OutsideMemory> {
        let Some(pa) = self.locate(ipa, to.len() as u64) else {
            return self.read_across(ipa, to).ok_or(OutsideMemory { ipa });
        };
        // SAFETY: the VM's memory, which stays its own while it is locked.
        unsafe { copy::read(core::ptr::with_exposed_provenance(pa.0 as usize), to) };
        Ok(())
    }

    fn write(&self, ipa: Ipa, from: &[u8]) -> Result<(), OutsideMemory> {
        let Some(pa) = self.locate(ipa, from.len() as u64) else {
            return self.write_across(ipa, from).ok_or(OutsideMemory { ipa });
        };
        // SAFETY: the VM's memory, which stays its own while it is locked.
        unsafe { copy::write(core::ptr::with_exposed_provenance_mut(pa.0 as usize), from) };
        Ok(())
    }
}

/// The part of `range` from byte `done` on, `len` bytes at most; `None` when there is none.
fn part(range: PaRange, done: u64, len: u64) -> Option<PaRange> {
    Some(range.part(done, len)).filter(|part| !part.is_empty())
}

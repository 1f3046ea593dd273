// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VM's physical memory: its RAM, its flash, and the stage-2 tables that show them to it.
//!
//! Everything is mapped when the VM is made and unmapped when it ends; in between the map does not change, so no
//! exit ever edits it.

use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicBool, Ordering};

use vambrace_hypervisor::boot::board::assigned_range;
use vambrace_hypervisor::invariant;
use vambrace_hypervisor::memory::pool::Contents;
use vambrace_hypervisor::memory::regions::From;
use vambrace_hypervisor::memory::room;
use vambrace_machine::{StopReason, layout};
use vambrace_memory::addr::PAGE_SIZE;
use vambrace_memory::attributes::Stage2Encoding;
use vambrace_memory::stage2::TableLevel;
use vambrace_memory::stage2::{
    Attributes, FrameSource, Geometry, GeometryError, Maintenance, MapError, Mapping, Reach, Stage2,
    TableMemory,
};
use vambrace_memory::{GuestMemory, Ipa, OutsideMemory, Pa, PaRange};
use vambrace_wire::bundle::VmConfig;
use vambrace_wire::bundle::assigned::{RamPlacement, Registers};
use vambrace_wire::bundle::channel::ChannelAccess;

use crate::arch::clear::clear;
use crate::arch::{barrier, mem};
use crate::devices::channels;
use crate::memory;

/// Blocks that RAM is aligned to where there is room.
const GIB: u64 = 1 << 30;
const BLOCK: u64 = 2 << 20;

/// From so many bytes on it does not matter that each is copied once, and how many at a time: nobody agrees with a guest
/// on values that large.
const BULK: usize = 64;

/// From one channel's memory to the next one's.
const CHANNEL_STEP: usize = layout::CHANNEL_STRIDE as usize;

/// Why a VM's memory could not be had.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum SpaceError {
    /// Not enough free memory in one piece.
    #[error("{wanted} MiB in one piece are not free ({free} MiB are free in all)")]
    OutOfMemory {
        /// MiB wanted.
        wanted: u64,
        /// MiB free.
        free: u64,
    },
    /// The board has not the memory that the VM's addresses mean, or it is in use.
    #[error("memory {0} of the board is not free for RAM one to one")]
    Elsewhere(PaRange),
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
    memory: Memory,
    /// Given back first, when the space ends.
    stage2: ManuallyDrop<Stage2>,
    geometry: Geometry,
    /// Registers of the board's devices that belong to the VM.
    registers: Vec<Registers>,
    /// Memory that it shares with others.
    channels: Vec<(PaRange, ChannelAccess)>,
}

/// Physical memory that is the VM's alone.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    ram: PaRange,
    /// The firmware, in whole blocks; empty for a VM without flash.
    flash: PaRange,
    /// One block of erased flash, shown wherever flash holds nothing.
    erased: PaRange,
    /// Nothing but zeros is in the RAM.
    ram_is_clear: AtomicBool,
    /// Nothing but zeros is in the flash.
    flash_is_clear: AtomicBool,
}

impl Memory {
    /// Takes RAM and flash for a VM, and nothing of the heap. `firmware` is how many bytes go to its flash.
    pub(crate) fn take(config: &VmConfig, firmware: u64) -> Result<Self, SpaceError> {
        let (ram, contents) = match config.placement {
            RamPlacement::Anywhere => take(config.memory)?,
            RamPlacement::OneToOne => take_one_to_one(config.memory)?,
        };
        // From here on what has been taken is given back, whatever fails.
        let mut memory = Self::default();
        memory.ram = ram;
        memory.ram_is_clear = AtomicBool::new(contents == Contents::Zeros);
        if config.flash {
            (memory.flash, _) = take(firmware.max(1).next_multiple_of(BLOCK))?;
            (memory.erased, _) = take(BLOCK)?;
        }
        Ok(memory)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        memory::give_back(self.ram, contents(&self.ram_is_clear));
        memory::give_back(self.flash, contents(&self.flash_is_clear));
        memory::release(self.erased);
    }
}

fn contents(is_clear: &AtomicBool) -> Contents {
    if is_clear.load(Ordering::Acquire) { Contents::Zeros } else { Contents::Unknown }
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
        let end = layout::RAM.0.saturating_add(config.memory);
        let high = if config.vcpus.len() as u64 > layout::GICR_COUNT { layout::GICR_HIGH.0 * 2 } else { 0 };
        let bits = 64 - end.max(high).saturating_sub(1).leading_zeros();
        let mut geometry = Geometry::for_machine(pa_bits, bits)?;
        let ram = memory.ram;
        if ram.len() >= GIB && ram.start().is_aligned(GIB) {
            geometry = geometry.with_gib_leaves();
        }
        let shared =
            config.channels.iter().map(|end| channels::memory_of(end).map(|memory| (memory, end.access)));
        let channels = shared.collect::<Result<_, _>>()?;
        let stage2 = ManuallyDrop::new(Stage2::new(geometry, encoding, &mut FreeFrames)?);
        let mut space = Self { memory, stage2, geometry, registers: config.registers.clone(), channels };
        space.map()?;
        Ok(space)
    }

    fn map(&mut self) -> Result<(), MapError> {
        let Self { memory: Memory { ram, flash, erased, .. }, stage2, registers, channels, .. } = self;
        let ram = Mapping { ipa: layout::RAM, pa: ram.start(), size: ram.len(), attributes: Attributes::RAM };
        stage2.plan_map(&mut Tables, &mut FreeFrames, ram)?.commit(&mut LiveMaintenance);
        for registers in &*registers {
            let board = assigned_range(registers);
            let device = Mapping {
                ipa: Ipa(registers.ipa),
                pa: board.start(),
                size: board.len(),
                attributes: Attributes::DEVICE,
            };
            stage2.plan_map(&mut Tables, &mut FreeFrames, device)?.commit(&mut LiveMaintenance);
        }
        for (at, (memory, access)) in (layout::CHANNEL.0..).step_by(CHANNEL_STEP).zip(&*channels) {
            let attributes = match access {
                ChannelAccess::ReadWrite => Attributes::SHARED,
                ChannelAccess::ReadOnly => Attributes::SHARED_READ_ONLY,
            };
            let channel = Mapping { ipa: Ipa(at), pa: memory.start(), size: memory.len(), attributes };
            stage2.plan_map(&mut Tables, &mut FreeFrames, channel)?.commit(&mut LiveMaintenance);
        }
        if flash.is_empty() {
            return Ok(());
        }
        for offset in (0..layout::FLASH.len()).step_by(BLOCK as usize) {
            let pa = flash.at(offset, BLOCK).unwrap_or(erased.start());
            let block = Mapping {
                ipa: Ipa(layout::FLASH.start().0 + offset),
                pa,
                size: BLOCK,
                attributes: Attributes::ROM,
            };
            stage2.plan_map(&mut Tables, &mut FreeFrames, block)?.commit(&mut LiveMaintenance);
        }
        Ok(())
    }

    /// The shape of the tables.
    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// VTTBR_EL2 under a VMID.
    pub(crate) fn vttbr(&self, vmid: u16) -> u64 {
        self.stage2.vttbr(vmid)
    }

    /// The RAM.
    pub(crate) fn ram(&self) -> PaRange {
        self.memory.ram
    }

    /// Where `len` bytes at `ipa` lie, if they all do.
    pub(crate) fn locate(&self, ipa: Ipa, len: u64) -> Option<Pa> {
        let within = |base: Ipa, range: PaRange| range.at(ipa.0.checked_sub(base.0)?, len);
        within(layout::RAM, self.memory.ram).or_else(|| within(layout::FLASH.start(), self.memory.flash))
    }

    /// Makes the memory ready for the VM's first boot epoch, from byte `done` on and `len` bytes at most: its RAM holds nothing, its
    /// flash is erased. Says from where to go on; `None` at the end. Out to memory, as for [`zero`](Self::zero).
    pub(crate) fn prepare(&self, done: u64, len: u64) -> Option<u64> {
        let Memory { ram, flash, erased, ram_is_clear, .. } = &self.memory;
        let done = if contents(ram_is_clear) == Contents::Zeros { done.max(ram.len()) } else { done };
        if let Some(part) = part(*ram, done, len) {
            // SAFETY: the RAM is mapped and owned by this space, and the VM has not started.
            unsafe { clear(part) };
            return Some(done + part.len());
        }
        let in_flash = done - ram.len();
        let part =
            part(*flash, in_flash, len).or_else(|| part(*erased, in_flash.checked_sub(flash.len())?, len));
        let part = part?;
        // SAFETY: the flash is mapped and owned by this space, and the VM has not started.
        unsafe { memory::fill(part, 0xFF) };
        barrier::clean_invalidate(part);
        Some(done + part.len())
    }

    /// Fills memory with zeros, from byte `done` on and `len` bytes at most, out to memory: the next user may read it with its
    /// caches off. After a boot epoch that is the RAM; when there is no other to come, the firmware's copy, too. Says from where to
    /// go on; `None` at the end.
    pub(crate) fn zero(&self, done: u64, len: u64, then: StopReason) -> Option<u64> {
        let Memory { ram, flash, ram_is_clear, flash_is_clear, .. } = &self.memory;
        let starts_again = matches!(then, StopReason::Reset(_));
        let flash = if starts_again { PaRange::EMPTY } else { *flash };
        let next = part(*ram, done, len).or_else(|| part(flash, done.checked_sub(ram.len())?, len));
        let Some(part) = next else {
            ram_is_clear.store(true, Ordering::Release);
            flash_is_clear.store(!starts_again, Ordering::Release);
            return None;
        };
        // SAFETY: RAM and flash are mapped and owned by this space, and the VM's CPUs are stopped.
        unsafe { clear(part) };
        Some(done + part.len())
    }

    /// From here on the memory is the VM's to write to.
    pub(crate) fn note_used(&self) {
        self.memory.ram_is_clear.store(false, Ordering::Release);
        self.memory.flash_is_clear.store(false, Ordering::Release);
    }

    /// Copies an image's part to guest memory, out to the point of coherency: the guest starts with caches off.
    pub(crate) fn place(&self, ipa: Ipa, image: &[u8]) {
        let Some(pa) = self.locate(ipa, image.len() as u64) else {
            invariant!("images lie in their VM's memory")
        };
        let to: *mut u8 = core::ptr::with_exposed_provenance_mut(pa.0 as usize);
        // SAFETY: `locate` says that all of it is this VM's memory; images live elsewhere; its CPUs are stopped.
        unsafe { core::ptr::copy_nonoverlapping(image.as_ptr(), to, image.len()) };
        barrier::clean_invalidate(PaRange::clamped(pa, image.len() as u64));
    }
}

impl Drop for GuestMemoryMap {
    fn drop(&mut self) {
        // SAFETY: here and nowhere else, and the space is gone afterwards.
        let stage2 = unsafe { ManuallyDrop::take(&mut self.stage2) };
        stage2.destroy(&Tables, &mut FreeFrames);
    }
}

impl GuestMemory for GuestMemoryMap {
    fn read(&self, ipa: Ipa, to: &mut [u8]) -> Result<(), OutsideMemory> {
        let pa = self.locate(ipa, to.len() as u64).ok_or(OutsideMemory { ipa })?;
        let mut from: *const u8 = core::ptr::with_exposed_provenance(pa.0 as usize);
        if to.len() >= BULK {
            // SAFETY: inside the VM's memory, which Rust never holds references into.
            unsafe { mem::copy_shared(to.as_mut_ptr(), from, to.len()) };
            return Ok(());
        }
        let mut rest = to;
        if from.addr().is_multiple_of(8) {
            // Descriptors are, and what else is read in numbers.
            let (words, tail) = rest.as_chunks_mut();
            for word in words {
                // SAFETY: inside the VM's memory and aligned; volatile, since the guest may write meanwhile.
                *word = unsafe { from.cast::<u64>().read_volatile() }.to_le_bytes();
                from = from.wrapping_add(8);
            }
            rest = tail;
        }
        while let Some((now, later)) = rest.split_at_mut_checked(unit(from.addr(), rest.len())) {
            // SAFETY: inside the VM's memory and aligned; volatile, since the guest may write meanwhile.
            unsafe {
                match now.len() {
                    0 => break,
                    4 => now.copy_from_slice(&from.cast::<u32>().read_volatile().to_le_bytes()),
                    2 => now.copy_from_slice(&from.cast::<u16>().read_volatile().to_le_bytes()),
                    _ => now.copy_from_slice(&[from.read_volatile()]),
                }
            }
            from = from.wrapping_add(now.len());
            rest = later;
        }
        Ok(())
    }

    fn write(&self, ipa: Ipa, from: &[u8]) -> Result<(), OutsideMemory> {
        let pa = self.locate(ipa, from.len() as u64).ok_or(OutsideMemory { ipa })?;
        let mut to: *mut u8 = core::ptr::with_exposed_provenance_mut(pa.0 as usize);
        if from.len() >= BULK {
            // SAFETY: inside the VM's memory, which Rust never holds references into.
            unsafe { mem::copy_shared(to, from.as_ptr(), from.len()) };
            return Ok(());
        }
        let mut rest = from;
        if to.addr().is_multiple_of(8) {
            let (words, tail) = rest.as_chunks();
            for word in words {
                // SAFETY: inside the VM's memory, which Rust never holds references into, and aligned.
                unsafe { to.cast::<u64>().write_volatile(u64::from_le_bytes(*word)) };
                to = to.wrapping_add(8);
            }
            rest = tail;
        }
        while let Some((now, later)) = rest.split_at_checked(unit(to.addr(), rest.len())) {
            // SAFETY: inside the VM's memory, which Rust never holds references into, and aligned.
            unsafe {
                match *now {
                    [a, b, c, d] => to.cast::<u32>().write_volatile(u32::from_le_bytes([a, b, c, d])),
                    [a, b] => to.cast::<u16>().write_volatile(u16::from_le_bytes([a, b])),
                    [a] => to.write_volatile(a),
                    _ => break,
                }
            }
            to = to.wrapping_add(now.len());
            rest = later;
        }
        Ok(())
    }
}

/// The part of `range` from byte `done` on, `len` bytes at most; `None` when there is none.
fn part(range: PaRange, done: u64, len: u64) -> Option<PaRange> {
    Some(range.part(done, len)).filter(|part| !part.is_empty())
}

/// How many bytes to move at once where eight cannot be: 4, 2 or 1, as many as the address is aligned to and as there are; 0 at
/// the end.
fn unit(address: usize, len: usize) -> usize {
    match (address % 4, len) {
        (_, 0) => 0,
        (0, 4..) => 4,
        (0 | 2, 2..) => 2,
        _ => 1,
    }
}

/// Takes memory in one piece, aligned so that the largest blocks fit.
fn take(len: u64) -> Result<(PaRange, Contents), SpaceError> {
    let alignments = if len >= GIB { &[GIB, BLOCK][..] } else { &[BLOCK][..] };
    let taken = alignments.iter().find_map(|align| memory::take_for_vm(len, *align, From::Bottom));
    taken.ok_or(SpaceError::OutOfMemory { wanted: len >> 20, free: memory::free_bytes() >> 20 })
}

/// Takes the memory that lies where the VM has its RAM.
fn take_one_to_one(len: u64) -> Result<(PaRange, Contents), SpaceError> {
    let range = PaRange::clamped(Pa(layout::RAM.0), len);
    let contents = memory::take_exactly(range).ok_or(SpaceError::Elsewhere(range))?;
    Ok((range, contents))
}

/// The tables' memory: EL2 maps all RAM one to one.
struct Tables;

impl TableMemory for Tables {
    fn read(&self, pa: Pa) -> u64 {
        let descriptor: *const u64 = core::ptr::with_exposed_provenance(pa.0 as usize);
        // SAFETY: only asked for the frames that `FreeFrames` gave out; volatile, since table walkers read too.
        unsafe { descriptor.read_volatile() }
    }

    fn write(&mut self, pa: Pa, value: u64) {
        let descriptor: *mut u64 = core::ptr::with_exposed_provenance_mut(pa.0 as usize);
        // SAFETY: only asked for the frames that `FreeFrames` gave out; volatile, since table walkers read too.
        unsafe { descriptor.write_volatile(value) }
    }
}

/// Frames from the top of free memory.
struct FreeFrames;

impl FrameSource for FreeFrames {
    fn allocate(&mut self) -> Option<Pa> {
        self.allocate_root(1)
    }

    fn allocate_root(&mut self, frames: usize) -> Option<Pa> {
        let len = PAGE_SIZE * frames as u64;
        let tables = memory::take_tables(len)?;
        // SAFETY: mapped, and nobody's but ours since a moment ago.
        unsafe { memory::fill(tables, 0) };
        Some(tables.start())
    }

    fn free(&mut self, frame: Pa) {
        memory::release_tables(PaRange::clamped(frame, PAGE_SIZE));
    }
}

/// The machine's TLB maintenance.
struct LiveMaintenance;

impl Maintenance for LiveMaintenance {
    fn publish(&mut self) {
        barrier::dsb_ishst();
    }

    fn invalidate_ipa(&mut self, ipa: Ipa, _leaf: Option<TableLevel>, _reach: Reach) {
        barrier::tlbi_ipas2e1is(ipa);
    }

    fn invalidate_stage1(&mut self) {
        barrier::tlbi_vmalle1is();
    }

    fn invalidate_vm(&mut self) {
        barrier::tlbi_vmalls12e1is();
    }

    fn complete(&mut self) {
        barrier::dsb_ish();
    }

    fn synchronize(&mut self) {
        barrier::isb();
    }
}

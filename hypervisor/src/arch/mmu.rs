// SPDX-License-Identifier: MIT OR Apache-2.0
//! EL2's own translation: one identity map, shared by all CPUs, made once before any guest runs.
//!
//! W^X: the image's text is read-only and executable, its constants read-only, everything else never
//! executable. The pages below the stacks stay unmapped, so an overflow faults instead of corrupting. Memory
//! that belongs to the firmware, and whatever the device tree does not mention, is not mapped at all.
//! The format of the tables is the crate `aarch64-paging`'s; the frames come from a small array in the image,
//! since at that time there is no allocator yet.

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use aarch64_paging::descriptor::{El23Attributes, PhysicalAddress};
use aarch64_paging::paging::{Constraints, El2, MemoryRegion, PageTable, RootTable, Translation};
use vambrace_memory::{Pa, PaRange};

use crate::arch::barrier::{self, dsb_ish, isb, tlbi_alle2};
use crate::arch::sysreg::{GuardedWrite, IdAa64mmfr0El1, MairEl2, Read, SctlrEl2, TcrEl2, Ttbr0El2};
use crate::boot::layout;
use crate::panic;

/// MAIR: 0 = Device-nGnRE, 1 = Normal, inner and outer write-back, read- and write-allocate.
const MAIR: u64 = 0xFF04;

const NORMAL: El23Attributes = El23Attributes::VALID
    .union(El23Attributes::ACCESSED)
    .union(El23Attributes::ATTRIBUTE_INDEX_1)
    .union(El23Attributes::INNER_SHAREABLE)
    .union(El23Attributes::USER_RES1);

/// Kinds of mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MappingKind {
    /// Executable and read-only.
    Text,
    /// Read-only.
    Constants,
    /// Readable and writable.
    Data,
    /// A device's registers.
    Device,
}

impl MappingKind {
    const fn attributes(self) -> El23Attributes {
        match self {
            Self::Text => NORMAL.union(El23Attributes::READ_ONLY),
            Self::Constants => NORMAL.union(El23Attributes::READ_ONLY).union(El23Attributes::XN),
            Self::Data => NORMAL.union(El23Attributes::XN),
            Self::Device => El23Attributes::VALID
                .union(El23Attributes::ACCESSED)
                .union(El23Attributes::ATTRIBUTE_INDEX_0)
                .union(El23Attributes::USER_RES1)
                .union(El23Attributes::XN),
        }
    }
}

/// Frames for the tables: 48 are enough for a board of many banks, at 4 KiB granularity around each hole.
const FRAMES: usize = 48;

#[repr(C, align(4096))]
struct FramePool([MaybeUninit<[u8; 4096]>; FRAMES]);

/// Each frame is cleared when it is handed out: most never are.
#[unsafe(link_section = ".noinit")]
static mut POOL: FramePool = FramePool([MaybeUninit::uninit(); FRAMES]);

/// Hands out the pool's frames, each once.
struct BootFrames {
    next: usize,
}

impl Translation<El23Attributes> for BootFrames {
    #[expect(clippy::panic, reason = "boot only; the image does not lie at address 0")]
    fn allocate_table(&mut self) -> (NonNull<PageTable<El23Attributes>>, PhysicalAddress) {
        if self.next >= FRAMES {
            panic::fail(format_args!(
                "the board's memory and reservations are in so many pieces that EL2's map needs more than {FRAMES} tables; \
                 the limit is in hypervisor/src/arch/mmu.rs"
            ));
        }
        // SAFETY: the index was just checked, so the address is inside the pool; the frame is nobody's yet.
        let frame = unsafe {
            let frame = (&raw mut POOL).cast::<PageTable<El23Attributes>>().add(self.next);
            frame.write_bytes(0, 1);
            frame
        };
        self.next = self.next.saturating_add(1);
        match NonNull::new(frame) {
            Some(frame) => (frame, PhysicalAddress(frame.addr().get())),
            None => panic!("the image lies at address 0"),
        }
    }

    unsafe fn deallocate_table(&mut self, _table: NonNull<PageTable<El23Attributes>>) {}

    #[expect(clippy::panic, reason = "boot only; no table lies at address 0")]
    fn physical_to_virtual(&self, pa: PhysicalAddress) -> NonNull<PageTable<El23Attributes>> {
        match NonNull::new(pa.0 as *mut PageTable<El23Attributes>) {
            Some(table) => table,
            None => panic!("a translation table at address 0"),
        }
    }
}

/// EL2's map while it is being made.
pub(crate) struct Map {
    root: RootTable<El2, BootFrames>,
}

/// What a CPU needs to use the map: values for its registers.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct MmuConfig {
    pub(crate) mair: u64,
    pub(crate) tcr: u64,
    pub(crate) ttbr0: u64,
    pub(crate) sctlr: u64,
}

impl Map {
    /// An empty map of 48 bits. Only one may ever be made: it owns the frame pool.
    pub(crate) fn new() -> Self {
        Self { root: RootTable::new(BootFrames { next: 0 }, 0, El2) }
    }

    /// Maps a range to itself; widened to whole pages.
    #[expect(clippy::panic, reason = "boot only; the ranges are the image's and the device tree's")]
    pub(crate) fn add(&mut self, range: PaRange, kind: MappingKind) {
        if range.is_empty() {
            return;
        }
        let region = MemoryRegion::new(range.start().0 as usize, range.end().0 as usize);
        let pa = PhysicalAddress(region.start().0);
        if let Err(error) =
            self.root.map_range(&region, pa, kind.attributes(), Constraints::NO_CONTIGUOUS_HINT)
        {
            panic!("EL2 cannot map {range}: {error}");
        }
    }

    /// How much memory its tables take, in bytes.
    pub(crate) fn size(&self) -> u64 {
        (self.root.translation().next * size_of::<PageTable<El23Attributes>>()) as u64
    }

    /// The register values that put the map to use.
    pub(crate) fn config(&self) -> MmuConfig {
        let pa_range = (IdAa64mmfr0El1.read() & 0xF).min(5);
        MmuConfig {
            mair: MAIR,
            // T0SZ = 16; walks inner shareable, write-back; 4 KiB granule; RES1 bits 31 and 23.
            tcr: 1 << 31 | 1 << 23 | pa_range << 16 | 0b11 << 12 | 0b01 << 10 | 0b01 << 8 | 16,
            ttbr0: self.root.to_physical().0 as u64,
            sctlr: SCTLR_ON,
        }
    }

    /// Switches this CPU, the first, to the map, for good.
    ///
    /// # Safety
    /// The map must cover all that EL2 uses: image, stacks, device tree, bundle, devices.
    pub(crate) unsafe fn activate(self) -> MmuOn {
        let config = self.config();
        let pool = PaRange::clamped(
            Pa((&raw const POOL).addr() as u64),
            (self.root.translation().next * size_of::<[u8; 4096]>()) as u64,
        );
        for written in [layout::written_at_boot(), pool] {
            // SAFETY: the caches are off and were since we came; the loader has cleaned its own lines of the image.
            // What they may still hold of it is older than what we have written since.
            unsafe { barrier::invalidate(written) };
        }
        // SAFETY: an identity map of all that is in use, says the caller; the tables live in the image for ever.
        unsafe {
            MairEl2.write(config.mair);
            TcrEl2.write(config.tcr);
            Ttbr0El2.write(config.ttbr0);
            tlbi_alle2();
            dsb_ish();
            isb();
            SctlrEl2.write(config.sctlr);
            isb();
        }
        core::mem::forget(self);
        MmuOn { config }
    }
}

/// EL2's map is used, and caches are on: there are locks and atomics from here on, whose exclusives need cacheable memory.
#[derive(Debug)]
pub(crate) struct MmuOn {
    config: MmuConfig,
}

impl MmuOn {
    /// What other CPUs need to use the same map.
    pub(crate) const fn config(&self) -> MmuConfig {
        self.config
    }
}

/// SCTLR_EL2 with MMU and caches off: the RES1 bits.
pub(crate) const SCTLR_OFF: u64 = 0x30C5_0830;
/// SCTLR_EL2 with MMU, caches, stack alignment check and WXN on.
const SCTLR_ON: u64 = SCTLR_OFF | 1 | 1 << 2 | 1 << 3 | 1 << 12 | 1 << 19;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The board's memory: who owns which part, and EL2's own heap.
//!
//! The heap serves boot and the making of VMs, for each of which there is [`Room`] first; nothing that a guest does
//! allocates. It grows by taking pieces from the top of free memory, so that the large aligned pieces stay whole for VMs' RAM.

use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use talc::TalcLock;
use talc::base::Talc;
use talc::base::binning::Binning;
use talc::source::Source;
use vambrace_hypervisor::memory::pool::{Contents, OutOfPieces, Pool};
use vambrace_hypervisor::memory::regions::{FreeMemory, From};
use vambrace_hypervisor::memory::room::{NoRoom, Promises};
use vambrace_memory::PaRange;
use vambrace_wire::message::MemoryUse;

use crate::arch::lock::SpinMutex;
use crate::console::ConsoleUp;

/// All memory that nobody owns.
static FREE: SpinMutex<Pool> = SpinMutex::new(Pool::new());

/// The heap takes memory in pieces of this size, in bytes.
const HEAP_PIECE: u64 = 128 << 10;

#[global_allocator]
static HEAP: TalcLock<SpinMutex<()>, FromFreeMemory> = TalcLock::new(FromFreeMemory);

/// Grows the heap from [`FREE`].
#[derive(Debug)]
struct FromFreeMemory;

// SAFETY: `acquire` claims memory that it has just become the only owner of, and never allocates itself.
unsafe impl Source for FromFreeMemory {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let wanted = (layout.size() as u64).checked_add(layout.align() as u64 + 4096).ok_or(())?;
        let len = wanted.checked_next_multiple_of(HEAP_PIECE).ok_or(())?;
        let piece = take(len, 4096, From::Top).ok_or(())?;
        let base = core::ptr::with_exposed_provenance_mut(piece.start().0 as usize);
        // SAFETY: the piece is mapped, ours alone, and stays so: the heap never gives memory back.
        unsafe { talc.claim(base, len as usize) }.map(drop).ok_or(())
    }
}

/// What memory is free is known: there is a heap.
#[derive(Debug)]
pub(crate) struct HeapUp(());

/// Takes what nobody uses but for `withheld`. Memory in too many pieces is lost, which is told.
pub(crate) fn start(_: &ConsoleUp, unused: &FreeMemory, withheld: PaRange) -> HeapUp {
    unused.iter().for_each(release);
    withhold(withheld);
    HeapUp(())
}

/// Declares a range free, whatever is in it. At boot for what the device tree lists, later for what EL2 has used.
pub(crate) fn release(range: PaRange) {
    give_back(range, Contents::Unknown);
}

/// Declares a range free that a VM has had.
pub(crate) fn give_back(range: PaRange, contents: Contents) {
    if FREE.lock().add(range, contents).is_err() {
        crate::console::warning!("memory {range} is lost: too many pieces");
    }
}

/// Takes a range out of what is free: other CPUs' stacks are there.
fn withhold(range: PaRange) {
    if FREE.lock().remove(range).is_err() {
        crate::console::warning!("memory above {} is lost: too many pieces", range.end());
    }
}

/// Takes `len` bytes of physical memory, aligned to `align`, for EL2, which sees to their contents.
pub(crate) fn take(len: u64, align: u64, from: From) -> Option<PaRange> {
    take_for_vm(len, align, from).map(|(range, _)| range)
}

/// Takes `len` bytes of physical memory, aligned to `align`, and says whether a VM may have them as they are.
pub(crate) fn take_for_vm(len: u64, align: u64, from: From) -> Option<(PaRange, Contents)> {
    FREE.lock().take(len, align, from)
}

/// Whether any range can be declared free, whatever it touches.
pub(crate) fn has_place() -> bool {
    FREE.lock().has_place()
}

/// Takes a VM's RAM of `len` bytes, in as many pieces as there are places in `pieces` at most, and says whether a VM may have it as
/// it is.
///
/// # Errors
/// [`OutOfPieces`]; nothing has been taken then.
pub(crate) fn take_ram(len: u64, pieces: &mut Vec<PaRange>) -> Result<Contents, OutOfPieces> {
    FREE.lock().take_ram(len, pieces)
}

/// Takes this very range of physical memory, if all of it is free, and says whether a VM may have it as it is.
pub(crate) fn take_exactly(range: PaRange) -> Option<Contents> {
    FREE.lock().take_exactly(range)
}

/// Bytes of stage-2 tables.
static TABLES: AtomicU64 = AtomicU64::new(0);

/// Takes `len` bytes for a VM's stage-2 tables, aligned to the next power of two.
pub(crate) fn take_tables(len: u64) -> Option<PaRange> {
    let tables = take(len, len.next_power_of_two(), From::Top)?;
    TABLES.fetch_add(len, Ordering::Relaxed);
    Some(tables)
}

/// Takes tables back.
pub(crate) fn release_tables(range: PaRange) {
    TABLES.fetch_sub(range.len(), Ordering::Relaxed);
    release(range);
}

/// What changes of the memory that EL2 takes; the rest is 0.
pub(crate) fn in_use() -> MemoryUse {
    let heap = *HEAP.lock().counters();
    MemoryUse {
        heap: heap.claimed_bytes as u64,
        values: heap.allocated_bytes as u64,
        tables: TABLES.load(Ordering::Relaxed),
        ..MemoryUse::default()
    }
}

/// Bytes free.
pub(crate) fn free_bytes() -> u64 {
    FREE.lock().total()
}

/// What of the heap is promised.
static PROMISES: SpinMutex<Promises> = SpinMutex::new(Promises::new());

/// Room in the heap: while it is held, as many bytes as were claimed can be allocated in its name without fail.
#[derive(Debug)]
pub(crate) struct Room(usize);

impl Room {
    /// Claims room, beyond what others have claimed.
    pub(crate) fn claim(bytes: usize) -> Result<Self, NoRoom> {
        PROMISES.lock().make(bytes, has_room)?;
        Ok(Self(bytes))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        PROMISES.lock().end(self.0);
    }
}

/// Whether the heap has so many bytes in one piece, or can get them.
fn has_room(bytes: usize) -> bool {
    let mut piece: Vec<u8> = Vec::new();
    let has_room = piece.try_reserve_exact(bytes).is_ok();
    // Nobody uses the piece: a compiler may leave such an allocation out and say that it went well.
    core::hint::black_box(&piece);

    has_room
}

/// Whether physical memory that nobody else has holds nothing but zeros.
pub(crate) fn is_clear(range: PaRange) -> bool {
    let start: *const u64 = core::ptr::with_exposed_provenance(range.start().0 as usize);
    // SAFETY: EL2 maps all RAM, and a range that was taken is a number of whole pages; volatile, since what is looked for is
    // whether somebody writes there who must not.
    (0..range.len() as usize / size_of::<u64>()).all(|at| unsafe { start.add(at).read_volatile() } == 0)
}

/// Fills physical memory with one byte, through the data cache.
///
/// # Safety
/// The range must be mapped in EL2 and owned by the caller: no guest and no Rust value is there.
pub(crate) unsafe fn fill(range: PaRange, byte: u8) {
    let start: *mut u8 = core::ptr::with_exposed_provenance_mut(range.start().0 as usize);
    if let Some(start) = NonNull::new(start) {
        // SAFETY: mapped and owned, says the caller.
        unsafe { start.write_bytes(byte, range.len() as usize) };
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory for the drivers: addresses are the same for CPU and devices.

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

const PAGES: usize = 64;

/// Pages for queues; given out once and never taken back, since the programs end.
#[repr(C, align(4096))]
struct Pool(UnsafeCell<[[u8; PAGE_SIZE]; PAGES]>);

// SAFETY: only reached by pointers to pages that are given out once each.
unsafe impl Sync for Pool {}

static POOL: Pool = Pool(UnsafeCell::new([[0; PAGE_SIZE]; PAGES]));
static USED: AtomicUsize = AtomicUsize::new(0);

/// A page for a buffer.
pub(in crate::programs) fn page() -> &'static mut [u8] {
    let (_, page) = Memory::dma_alloc(1, BufferDirection::Both);
    // SAFETY: given out just now, to nobody else, for good.
    unsafe { NonNull::slice_from_raw_parts(page, PAGE_SIZE).as_mut() }
}

/// Puts a value where it stays, and not on a stack.
pub(in crate::programs) fn keep<T>(value: T) -> &'static mut T {
    const { assert!(size_of::<T>() <= PAGE_SIZE && align_of::<T>() <= PAGE_SIZE) };
    let (_, page) = Memory::dma_alloc(1, BufferDirection::Both);
    let place = page.cast::<T>();
    // SAFETY: a page that was given out just now, to nobody else, for good; the value fits.
    unsafe {
        place.write(value);
        &mut *place.as_ptr()
    }
}

/// The drivers' view of memory.
#[derive(Debug)]
pub(in crate::programs) struct Memory;

// SAFETY: pages come from the pool, zeroed by the start-up code, each once; memory is mapped one to one.
unsafe impl Hal for Memory {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let first = USED.fetch_add(pages, Ordering::Relaxed);
        assert!(first + pages <= PAGES, "no pages are left");
        let at = POOL.0.get().cast::<u8>().wrapping_add(first * PAGE_SIZE);
        let page = NonNull::new(at).unwrap_or(NonNull::dangling());
        (at.expose_provenance() as PhysAddr, page)
    }

    unsafe fn dma_dealloc(_paddr: PhysAddr, _vaddr: NonNull<u8>, _pages: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(paddr: PhysAddr, _size: usize) -> NonNull<u8> {
        NonNull::new(core::ptr::with_exposed_provenance_mut(paddr as usize)).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr().expose_provenance() as PhysAddr
    }

    unsafe fn unshare(_paddr: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that the board's devices read and write: EL2 maps all of it one to one, and they are coherent.

use core::ptr::NonNull;

use vambrace_hypervisor::memory::regions::From;
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

use crate::memory;

/// The machine, as drivers see it.
#[derive(Debug)]
pub(crate) struct Dma;

/// Takes `len` bytes for good, zeroed, in whole pages.
pub(super) fn take(len: usize) -> Option<&'static mut [u8]> {
    let size = (len as u64).next_multiple_of(PAGE_SIZE as u64);
    let taken = memory::take(size, PAGE_SIZE as u64, From::Top)?;
    // SAFETY: mapped, and nobody's but ours since a moment ago.
    unsafe { memory::fill(taken, 0) };
    let at = core::ptr::with_exposed_provenance_mut(taken.start().0 as usize);
    // SAFETY: zeroed, and ours alone for good.
    Some(unsafe { core::slice::from_raw_parts_mut(at, len) })
}

// SAFETY: `take` gives out each page once, zeroed; memory is mapped one to one. Where it has none left, the drivers get a
// null address, at boot only, which they refuse.
unsafe impl Hal for Dma {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        match take(pages * PAGE_SIZE) {
            Some(memory) => {
                let at = NonNull::from(memory).cast::<u8>();
                (at.as_ptr().expose_provenance() as PhysAddr, at)
            }
            None => (0, NonNull::dangling()),
        }
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies between EL2's memory and a guest's, which the guest may read and write meanwhile.

use crate::arch::mem;

/// From so many bytes on it does not matter that each is copied once, and how many at a time: nobody agrees with a guest
/// on values that large.
const BULK: usize = 64;

/// Copies a VM's memory at `from`.
///
/// # Safety
/// As many bytes as `to` has are a VM's memory there, and stay so meanwhile.
pub(super) unsafe fn read(mut from: *const u8, to: &mut [u8]) {
    if to.len() >= BULK {
        // SAFETY: inside the VM's memory, says the caller, which Rust never holds references into.
        unsafe { mem::copy_shared(to.as_mut_ptr(), from, to.len()) };
        return;
    }
    let mut rest = to;
    if from.addr().is_multiple_of(8) {
        // Descriptors are, and what else is read in numbers.
        let (words, tail) = rest.as_chunks_mut();
        for word in words {
            // SAFETY: inside the VM's memory, says the caller, and aligned; volatile, since the guest may write meanwhile.
            *word = unsafe { from.cast::<u64>().read_volatile() }.to_le_bytes();
            from = from.wrapping_add(8);
        }
        rest = tail;
    }
    while let Some((now, later)) = rest.split_at_mut_checked(unit(from.addr(), rest.len())) {
        // SAFETY: inside the VM's memory, says the caller, and aligned; volatile, since the guest may write meanwhile.
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
}

/// Copies to a VM's memory at `to`.
///
/// # Safety
/// As many bytes as `from` has are a VM's memory there, and stay so meanwhile.
pub(super) unsafe fn write(mut to: *mut u8, from: &[u8]) {
    if from.len() >= BULK {
        // SAFETY: inside the VM's memory, says the caller, which Rust never holds references into.
        unsafe { mem::copy_shared(to, from.as_ptr(), from.len()) };
        return;
    }
    let mut rest = from;
    if to.addr().is_multiple_of(8) {
        let (words, tail) = rest.as_chunks();
        for word in words {
            // SAFETY: inside the VM's memory, says the caller, which Rust never holds references into, and aligned.
            unsafe { to.cast::<u64>().write_volatile(u64::from_le_bytes(*word)) };
            to = to.wrapping_add(8);
        }
        rest = tail;
    }
    while let Some((now, later)) = rest.split_at_checked(unit(to.addr(), rest.len())) {
        // SAFETY: inside the VM's memory, says the caller, which Rust never holds references into, and aligned.
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

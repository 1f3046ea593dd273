// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copying and filling memory: the two functions that the compiler calls for it, and memory that is shared. See `mem.S`.

core::arch::global_asm!(include_str!("mem.S"));

unsafe extern "C" {
    fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8;
}

/// Copies memory that a guest may write or read meanwhile: the compiler sees a call of which it knows nothing, so it can draw
/// no conclusions. What comes of such a race is any mixture of old and new bytes.
///
/// # Safety
/// `from` is mapped and can be read, `to` can be written and nobody but a guest uses it, both `len` bytes long and apart.
pub(crate) unsafe fn copy_shared(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: as the caller says; the function follows the procedure call standard.
    unsafe {
        core::arch::asm!(
            "bl {memcpy}",
            memcpy = sym memcpy,
            inout("x0") to => _,
            inout("x1") from => _,
            inout("x2") len => _,
            clobber_abi("C"),
        );
    }
}

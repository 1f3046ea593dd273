// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a kernel, its device tree and its initial RAM disk go in a VM's RAM.
//!
//! As QEMU's `virt` does it for the kernel and the RAM disk, so that a kernel finds itself where it does
//! there. The device tree goes to the start of RAM, below the kernel, where nothing can be in its way: QEMU
//! puts it there for firmware, and here it is the same for both. The rules are those of Linux's
//! Documentation/arch/arm64/booting.rst:
//!
//! - the kernel `text_offset` bytes from a 2 MiB boundary, as near to the start of RAM as possible;
//! - the device tree 8-byte aligned and at most 2 MiB long;
//! - the RAM disk within 32 GiB of the 1 GiB boundary below the kernel.

use vambrace_machine::layout::RAM;
use vambrace_memory::Ipa;

use super::kernel::KernelImage;
use crate::values::Size;

/// The alignment of a kernel's base.
const KERNEL_ALIGN: u64 = 2 << 20;

/// The alignment of the RAM disk, in bytes.
const INITRD_ALIGN: u64 = 4096;

/// The RAM disk lies half-way up the RAM, but no further up than this, in bytes, unless the kernel reaches
/// there.
const INITRD_OFFSET: u64 = 128 << 20;

/// The kernel and the RAM disk lie in one window of this size, in bytes.
const WINDOW: u64 = 32 << 30;

/// Where everything lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The device tree's first byte.
    pub device_tree: Ipa,
    /// The kernel's first byte, which is also its entry.
    pub kernel: Ipa,
    /// The RAM disk: first byte, and first byte after it.
    pub initrd: Option<(Ipa, Ipa)>,
}

/// The images do not fit into the VM's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the images do not fit")]
pub struct DoesNotFit {
    /// The memory with which they would; `None` when no memory is enough.
    pub needed: Option<Size>,
}

impl Placement {
    /// Places a kernel with its RAM disk (of `initrd` bytes) and its device tree (of `device_tree` bytes) in
    /// `memory` bytes of RAM.
    ///
    /// # Errors
    /// [`DoesNotFit`] when there is no room.
    pub fn new(
        memory: Size,
        kernel: &KernelImage,
        initrd: Option<u64>,
        device_tree: u64,
    ) -> Result<Self, DoesNotFit> {
        let never = DoesNotFit { needed: None };
        if [kernel.text_offset, kernel.image_size, initrd.unwrap_or(0)].iter().any(|size| *size > WINDOW) {
            return Err(never);
        }
        let base = if kernel.text_offset < device_tree { KERNEL_ALIGN } else { 0 };
        let start = base + kernel.text_offset;
        let lowest = (start + kernel.image_size).next_multiple_of(INITRD_ALIGN);
        let needed = lowest + initrd.unwrap_or(0);
        let window_start = (RAM.0 + start) & !((1 << 30) - 1);
        if device_tree > KERNEL_ALIGN || RAM.0 + needed > window_start + WINDOW {
            return Err(never);
        }
        if needed > memory.0 {
            return Err(DoesNotFit { needed: Some(Size(needed).align_up(KERNEL_ALIGN)) });
        }
        // QEMU's place, if the RAM disk fits there; else right behind the kernel, where it does.
        let usual = (memory.0 / 2).min(INITRD_OFFSET).next_multiple_of(INITRD_ALIGN).max(lowest);
        let initrd = initrd.map(|len| {
            let start = if len <= memory.0.saturating_sub(usual) { usual } else { lowest };
            (Ipa(RAM.0 + start), Ipa(RAM.0 + start + len))
        });
        Ok(Self { device_tree: RAM, kernel: Ipa(RAM.0 + start), initrd })
    }
}

#[cfg(test)]
mod tests;

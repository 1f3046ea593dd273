// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the image lies, from the linker script's symbols.

use vambrace_hypervisor::memory::regions::Range;

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __boot_stack_guard: u8;
    static __boot_stack_bottom: u8;
    static __noinit_start: u8;
    static __image_end: u8;
    static secondary_entry: u8;
}

macro_rules! address_of {
    ($symbol:ident) => {
        (&raw const $symbol).addr() as u64
    };
}

/// Everything, from header to boot stack.
pub(crate) fn image() -> Range {
    Range { start: address_of!(__image_start), end: address_of!(__image_end) }
}

/// What may be executed.
pub(crate) fn text() -> Range {
    Range { start: address_of!(__image_start), end: address_of!(__text_end) }
}

/// What may only be read.
pub(crate) fn constants() -> Range {
    Range { start: address_of!(__text_end), end: address_of!(__rodata_end) }
}

/// What may be written: data and bss.
pub(crate) fn data() -> Range {
    Range { start: address_of!(__rodata_end), end: address_of!(__boot_stack_guard) }
}

/// The page below the boot stack, never mapped.
pub(crate) fn boot_stack_guard() -> Range {
    Range { start: address_of!(__boot_stack_guard), end: address_of!(__boot_stack_bottom) }
}

/// What the first CPU writes before the MMU is on, EL2's tables apart: relocated constants, data, its stack.
pub(crate) fn written_at_boot() -> Range {
    Range { start: address_of!(__text_end), end: address_of!(__noinit_start) }
}

/// Where a further CPU starts, for PSCI CPU_ON.
pub(crate) fn secondary_entry_point() -> u64 {
    address_of!(secondary_entry)
}

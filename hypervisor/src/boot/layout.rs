// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the image lies, from the linker script's symbols.

use vambrace_hypervisor::invariant;
use vambrace_memory::{Pa, PaRange};

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

fn between(start: u64, end: u64) -> PaRange {
    match PaRange::between(Pa(start), Pa(end)) {
        Some(range) => range,
        None => invariant!("the linker script's symbols are in this order"),
    }
}

/// Everything, from header to boot stack.
pub(crate) fn image() -> PaRange {
    between(address_of!(__image_start), address_of!(__image_end))
}

/// What may be executed.
pub(crate) fn text() -> PaRange {
    between(address_of!(__image_start), address_of!(__text_end))
}

/// What may only be read.
pub(crate) fn constants() -> PaRange {
    between(address_of!(__text_end), address_of!(__rodata_end))
}

/// What may be written: data and bss.
pub(crate) fn data() -> PaRange {
    between(address_of!(__rodata_end), address_of!(__boot_stack_guard))
}

/// The page below the boot stack, never mapped.
pub(crate) fn boot_stack_guard() -> PaRange {
    between(address_of!(__boot_stack_guard), address_of!(__boot_stack_bottom))
}

/// What the first CPU writes before the MMU is on, EL2's tables apart: relocated constants, data, its stack.
pub(crate) fn written_at_boot() -> PaRange {
    between(address_of!(__text_end), address_of!(__noinit_start))
}

/// Where a further CPU starts, for PSCI CPU_ON.
pub(crate) fn secondary_entry_point() -> u64 {
    address_of!(secondary_entry)
}

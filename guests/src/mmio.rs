// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device registers, by plain loads and stores, which a hypervisor finds described in the syndrome.

use core::arch::asm;

/// Reads a 32-bit register.
#[must_use]
pub fn read32(address: u64) -> u32 {
    let value: u32;
    // SAFETY: the addresses used are those of devices, where no Rust object lies.
    unsafe { asm!("ldr {0:w}, [{1}]", out(reg) value, in(reg) address, options(nostack)) };
    value
}

/// Writes a 32-bit register.
pub fn write32(address: u64, value: u32) {
    // SAFETY: as for `read32`.
    unsafe { asm!("str {0:w}, [{1}]", in(reg) value, in(reg) address, options(nostack)) };
}

/// Reads a 64-bit register.
#[must_use]
pub fn read64(address: u64) -> u64 {
    let value: u64;
    // SAFETY: as for `read32`.
    unsafe { asm!("ldr {0}, [{1}]", out(reg) value, in(reg) address, options(nostack)) };
    value
}

/// Writes a 64-bit register.
pub fn write64(address: u64, value: u64) {
    // SAFETY: as for `read32`.
    unsafe { asm!("str {0}, [{1}]", in(reg) value, in(reg) address, options(nostack)) };
}

/// Writes an 8-bit register.
pub fn write8(address: u64, value: u8) {
    // SAFETY: as for `read32`.
    unsafe { asm!("strb {0:w}, [{1}]", in(reg) u32::from(value), in(reg) address, options(nostack)) };
}

/// Reads an 8-bit register.
#[must_use]
pub fn read8(address: u64) -> u8 {
    let value: u32;
    // SAFETY: as for `read32`.
    unsafe { asm!("ldrb {0:w}, [{1}]", out(reg) value, in(reg) address, options(nostack)) };
    value as u8
}

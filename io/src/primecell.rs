// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Arm's PrimeCell peripherals have in common: a bank of 32-bit registers on a 32-bit bus, with the
//! identification registers at its end.

use crate::bus::Width;

/// The `(offset, shift)` of the one or two words that an access covers: narrow ones find their byte lanes of one
/// word, 8-byte ones are two words, low word first. An access that is not aligned to its size finds nothing:
/// Device memory does not allow it, and for other memory types the result is the same as unimplemented space.
fn words(offset: u64, width: Width) -> impl Iterator<Item = (u64, u32)> {
    let count: u64 = match width {
        _ if !offset.is_multiple_of(width.bytes()) => 0,
        Width::Doubleword => 2,
        _ => 1,
    };
    (0..count).map(move |index| ((offset & !3) + 4 * index, 32 * index as u32))
}

/// Reads from a bank of 32-bit registers, of which `register` reads the one at an offset.
#[inline]
pub(crate) fn read(offset: u64, width: Width, mut register: impl FnMut(u64) -> u32) -> u64 {
    // What nearly all accesses are.
    if width == Width::Word && offset.is_multiple_of(4) {
        return register(offset).into();
    }
    let lane = 8 * (offset & 3) as u32;
    let value = words(offset, width).fold(0, |value, (at, shift)| value | (u64::from(register(at)) << shift));
    (value >> lane) & width.mask()
}

/// Writes to a bank of 32-bit registers, of which `register` writes the one at an offset. A narrow write to the
/// first byte or halfword of a register writes the whole register, zero-extended, since the peripheral bus
/// carries no byte strobes; one to another lane is ignored.
#[inline]
pub(crate) fn write(offset: u64, width: Width, value: u64, mut register: impl FnMut(u64, u32)) {
    if offset.is_multiple_of(4) {
        for (at, shift) in words(offset, width) {
            register(at, ((value & width.mask()) >> shift) as u32);
        }
    }
}

/// The identification registers PeriphID0-3 and PCellID0-3 at 0xFE0 to 0xFFC, of which `id` gives the bytes.
pub(crate) fn identification(offset: u64, id: [u8; 8]) -> u32 {
    offset
        .checked_sub(0xFE0)
        .and_then(|from| usize::try_from(from / 4).ok())
        .and_then(|index| id.get(index))
        .map_or(0, |byte| u32::from(*byte))
}

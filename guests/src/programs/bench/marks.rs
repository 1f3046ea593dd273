// SPDX-License-Identifier: MIT OR Apache-2.0
//! Marks for whoever watches each instruction run: where a round begins and ends.
//!
//! A mark is a move of a constant to the zero register: it does nothing, takes one instruction, needs no exit, and stands
//! outside what is counted. Rounds of different kinds may overlap, so each kind has a channel of its own. The program that
//! reads them is `vambrace bench`, in its `profile/marks.rs`, and has the same numbers.

/// An operation begins: x0 to x3 are its name, padded with zeros, x4 its channel.
macro_rules! operation_mark {
    () => {
        "movz xzr, #0x7b00"
    };
}

/// All has been done.
macro_rules! end_mark {
    () => {
        "movz xzr, #0x7b01"
    };
}

/// A round begins, before the counter is read for it.
macro_rules! begin_mark {
    ($channel:literal) => {
        concat!("movz xzr, #0x7b1", $channel)
    };
}

/// It ends, after that.
macro_rules! finish_mark {
    ($channel:literal) => {
        concat!("movz xzr, #0x7b2", $channel)
    };
}

/// Where a round of an operation is marked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    /// Begins and ends on one CPU.
    Here = 0,
    /// Ends on the sleeper's CPU.
    Sleeper = 1,
    /// From a WFI to the other vCPU.
    Switch = 2,
    /// From an SGI to the sleeper on the same CPU.
    Woken = 3,
    /// From the beginning of one computing vCPU's turn to that of the other's.
    Turn = 4,
    /// Nowhere: there is nothing to see but the guest's own instructions.
    Unmarked = 5,
}

/// The longest name, in bytes.
const NAME: usize = 32;

/// Marks the beginning of an operation.
pub(super) fn operation(name: &str, channel: Channel) {
    let mut bytes = [0; NAME];
    for (byte, letter) in bytes.iter_mut().zip(name.bytes()) {
        *byte = letter;
    }
    let word = |index: usize| {
        let chunk = bytes.get(index * 8..).and_then(|rest| rest.first_chunk()).copied();
        u64::from_le_bytes(chunk.unwrap_or_default())
    };
    // SAFETY: it does nothing.
    unsafe {
        core::arch::asm!(operation_mark!(), in("x0") word(0), in("x1") word(1), in("x2") word(2), in("x3") word(3),
            in("x4") channel as u64, options(nostack, nomem, preserves_flags));
    }
}

/// Marks the end of all.
pub(super) fn end() {
    // SAFETY: it does nothing.
    unsafe { core::arch::asm!(end_mark!(), options(nostack, nomem, preserves_flags)) };
}

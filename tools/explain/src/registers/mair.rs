// SPDX-License-Identifier: MIT OR Apache-2.0
//! MAIR: the memory types that descriptors choose from.
//!
//! The model in the crate `memory` keeps what changes a result; here the allocation hints are words too.

use super::{Layout, Register, Remark, bits, words, wrong};

pub(super) const REGISTERS: &[Register] = &[Register {
    names: &["MAIR_EL1", "MAIR_EL2"],
    title: "Memory Attribute Indirection Register: the eight memory types of AttrIndx",
    layout: Layout::Fixed(&[
        words(63, 56, "Attr7", attribute),
        words(55, 48, "Attr6", attribute),
        words(47, 40, "Attr5", attribute),
        words(39, 32, "Attr4", attribute),
        words(31, 24, "Attr3", attribute),
        words(23, 16, "Attr2", attribute),
        words(15, 8, "Attr1", attribute),
        words(7, 0, "Attr0", attribute),
    ]),
    remarks: unpredictable,
}];

/// One byte of MAIR in words; PAR_EL1.ATTR has the same format.
pub(crate) fn attribute(byte: u64) -> String {
    match byte {
        0x00 | 0x04 | 0x08 | 0x0C => device(byte).to_owned(),
        0x01 | 0x05 | 0x09 | 0x0D => format!("{}, XS = 0", device(byte)),
        0x40 => "Normal Non-cacheable, XS = 0".to_owned(),
        0xA0 => "Normal Write-Through, read-allocate, XS = 0".to_owned(),
        0xF0 => "Normal Write-Back, read- and write-allocate, tagged".to_owned(),
        _ if byte & 0xF0 == 0 || byte & 0x0F == 0 => "UNPREDICTABLE".to_owned(),
        0x44 => "Normal Non-cacheable".to_owned(),
        _ if byte & 0xF == byte >> 4 => format!("Normal {}", cache(byte & 0xF)),
        _ => format!("Normal, inner {}, outer {}", cache(byte & 0xF), cache(byte >> 4)),
    }
}

fn device(byte: u64) -> &'static str {
    match byte >> 2 & 0b11 {
        0 => "Device-nGnRnE",
        1 => "Device-nGnRE",
        2 => "Device-nGRE",
        _ => "Device-GRE",
    }
}

/// Half a byte: cacheability and allocation hints at one level of caches.
fn cache(nibble: u64) -> String {
    if nibble == 0b0100 {
        return "Non-cacheable".to_owned();
    }
    let policy = if nibble & 0b0100 == 0 { "Write-Through" } else { "Write-Back" };
    let transient = if nibble & 0b1000 == 0 { " transient" } else { "" };
    let allocate = match nibble & 0b11 {
        0b00 => "no allocation",
        0b01 => "write-allocate",
        0b10 => "read-allocate",
        _ => "read- and write-allocate",
    };
    format!("{policy}{transient}, {allocate}")
}

fn unpredictable(value: u64) -> Vec<Remark> {
    (0..8)
        .filter(|index| attribute(bits(value, index * 8 + 7, index * 8)) == "UNPREDICTABLE")
        .map(|index| wrong(format!("Attr{index} is an encoding that the architecture leaves UNPREDICTABLE")))
        .collect()
}

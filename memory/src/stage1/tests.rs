// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stage 1 on hand-built tables in a small guest memory.

mod random;
mod rules;

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::*;
use crate::OutsideMemory;
use crate::access::Rights;
use crate::features::Features;

/// Everything, but 48 bits of address.
const FEATURES: Features = Features { mmfr0: Features::FULL.mmfr0 & !0xf | 5, ..Features::FULL };
/// RAM of the guest.
const RAM: core::ops::Range<u64> = 0x4000_0000..0x5000_0000;
const ROOT0: u64 = 0x4000_0000;
const ROOT1: u64 = 0x4010_0000;

/// Sparse guest memory that counts reads.
#[derive(Default)]
struct Memory {
    words: BTreeMap<u64, u64>,
    next_table: u64,
    reads: RefCell<usize>,
}

impl GuestMemory for Memory {
    fn read(&self, ipa: Ipa, to: &mut [u8]) -> Result<(), OutsideMemory> {
        *self.reads.borrow_mut() += 1;
        let end = ipa.checked_add(to.len() as u64).ok_or(OutsideMemory { ipa })?;
        if !RAM.contains(&ipa.0) || end.0 > RAM.end {
            return Err(OutsideMemory { ipa });
        }
        assert!(ipa.is_aligned(8) && to.len() == 8, "only descriptors are read");
        to.copy_from_slice(&self.words.get(&ipa.0).copied().unwrap_or(0).to_le_bytes());
        Ok(())
    }

    fn write(&self, _: Ipa, _: &[u8]) -> Result<(), OutsideMemory> {
        panic!("a walk writes nothing");
    }
}

impl Memory {
    fn new() -> Self {
        Self { next_table: 0x4100_0000, ..Self::default() }
    }

    /// Puts `leaf` at `level` for `va` into the tables at `root`, making tables on the way, which get `table_bits`.
    ///
    /// The arithmetic is written out apart from the code under test: `page` and `stride` are log2 of the page size and of
    /// a table's entries.
    fn map(&mut self, shape: Shape, root: u64, va: u64, level: u32, leaf: u64, table_bits: u64) -> u64 {
        let mut table = root;
        for at in shape.start..level {
            let entry = table + shape.index(va, at) * 8;
            let next = match self.words.get(&entry) {
                Some(descriptor) => descriptor & 0x0000_ffff_ffff_f000,
                None => {
                    self.next_table += 0x1_0000;
                    self.words.insert(entry, self.next_table | table_bits | 0b11);
                    self.next_table
                }
            };
            table = next;
        }
        let entry = table + shape.index(va, level) * 8;
        self.words.insert(entry, leaf);
        entry
    }
}

/// The shape of a table tree.
#[derive(Clone, Copy, Debug)]
struct Shape {
    page: u32,
    stride: u32,
    start: u32,
    va_bits: u32,
}

impl Shape {
    /// 4 KiB pages, 39 bits.
    const SMALL: Self = Self { page: 12, stride: 9, start: 1, va_bits: 39 };
    /// 4 KiB pages, 48 bits.
    const LINUX: Self = Self { page: 12, stride: 9, start: 0, va_bits: 48 };

    fn index(self, va: u64, level: u32) -> u64 {
        let va = va & ((1 << self.va_bits) - 1);
        (va >> (self.page + self.stride * (3 - level))) & ((1 << self.stride) - 1)
    }

    fn regime(self) -> Regime {
        let (tg0, tg1) = match self.page {
            12 => (0b00, 0b10),
            14 => (0b10, 0b01),
            _ => (0b01, 0b11),
        };
        let size = 64 - u64::from(self.va_bits);
        Regime {
            // M, C, I.
            sctlr: 1 | 1 << 2 | 1 << 12,
            tcr: size | size << 16 | tg0 << 14 | tg1 << 30 | 0b101 << 32,
            ttbr0: ROOT0,
            ttbr1: ROOT1,
            mair: 0xff | 0x04 << 8,
            pan: false,
            hcr: 0,
            features: FEATURES,
        }
    }
}

/// A valid page: access flag, Inner Shareable, attribute 0; EL1 reads and writes, both may execute.
const PAGE: u64 = 0b11 | 0b11 << 8 | 1 << 10;
const BLOCK: u64 = PAGE & !0b10;
const EL0_BIT: u64 = 1 << 6;
const READ_ONLY: u64 = 1 << 7;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;

/// Whether the access is allowed, or the fault it takes.
fn attempt(
    memory: &Memory,
    regime: &Regime,
    va: u64,
    access: Access,
    el: El,
) -> Result<u64, (FaultKind, i8)> {
    translate(memory, regime, Va(va), access, el)
        .map(|translation| translation.ipa.0)
        .map_err(|fault| (fault.kind, fault.level))
}

fn read(memory: &Memory, regime: &Regime, va: u64) -> Result<u64, (FaultKind, i8)> {
    attempt(memory, regime, va, Access::Read, El::El1)
}

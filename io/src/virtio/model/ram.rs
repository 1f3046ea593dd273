// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest's memory that keeps a log of what the device did there.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use vambrace_memory::{GuestMemory, Ipa, OutsideMemory};

/// The first address of RAM.
pub const BASE: u64 = 0x4000_0000;
/// Its length in bytes.
pub const LEN: u64 = 0x20_0000;

/// RAM of [`LEN`] bytes from [`BASE`] on.
#[derive(Debug)]
pub struct Ram {
    bytes: RefCell<Vec<u8>>,
    writes: RefCell<Vec<(u64, u64)>>,
    accesses: Cell<u64>,
}

impl Default for Ram {
    fn default() -> Self {
        Self {
            bytes: RefCell::new(vec![0; LEN as usize]),
            writes: RefCell::default(),
            accesses: Cell::new(0),
        }
    }
}

impl Ram {
    /// RAM full of zeros.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what the device has done so far.
    pub fn clear_log(&self) {
        self.writes.borrow_mut().clear();
        self.accesses.set(0);
    }

    /// Where the device has written: first address and length.
    #[must_use]
    pub fn writes(&self) -> Vec<(u64, u64)> {
        self.writes.borrow().clone()
    }

    /// How often the device has read or written.
    #[must_use]
    pub fn accesses(&self) -> u64 {
        self.accesses.get()
    }

    /// The guest writes; what lies outside is dropped.
    pub fn store(&self, at: u64, from: &[u8]) {
        let mut bytes = self.bytes.borrow_mut();
        if let Some(to) = range(at, from.len()).and_then(|range| bytes.get_mut(range)) {
            to.copy_from_slice(from);
        }
    }

    /// The guest reads; what lies outside reads as zeros.
    #[must_use]
    pub fn load(&self, at: u64, len: usize) -> Vec<u8> {
        let bytes = self.bytes.borrow();
        let found = range(at, len).and_then(|range| bytes.get(range));
        found.map_or_else(|| vec![0; len], <[u8]>::to_vec)
    }

    /// The guest reads 16 bits.
    #[must_use]
    pub fn load_u16(&self, at: u64) -> u16 {
        self.load(at, 2).iter().rev().fold(0, |value, byte| value << 8 | u16::from(*byte))
    }

    /// The guest reads 32 bits.
    #[must_use]
    pub fn load_u32(&self, at: u64) -> u32 {
        self.load(at, 4).iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
    }
}

fn range(at: u64, len: usize) -> Option<core::ops::Range<usize>> {
    let start = usize::try_from(at.checked_sub(BASE)?).ok()?;
    Some(start..start.checked_add(len)?)
}

impl GuestMemory for Ram {
    fn read(&self, ipa: Ipa, to: &mut [u8]) -> Result<(), OutsideMemory> {
        self.accesses.set(self.accesses.get() + 1);
        let bytes = self.bytes.borrow();
        let from = range(ipa.0, to.len()).and_then(|range| bytes.get(range));
        to.copy_from_slice(from.ok_or(OutsideMemory { ipa })?);
        Ok(())
    }

    fn write(&self, ipa: Ipa, from: &[u8]) -> Result<(), OutsideMemory> {
        self.accesses.set(self.accesses.get() + 1);
        let mut bytes = self.bytes.borrow_mut();
        let to = range(ipa.0, from.len()).and_then(|range| bytes.get_mut(range));
        to.ok_or(OutsideMemory { ipa })?.copy_from_slice(from);
        self.writes.borrow_mut().push((ipa.0, from.len() as u64));
        Ok(())
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A VM's RAM on the workbench.

use std::cell::{Cell, RefCell};

use vambrace_machine::layout;
use vambrace_memory::{GuestMemory, Ipa, OutsideMemory};

use crate::bench::RAM_SIZE;

const CANARY: usize = 4096;
const CANARY_BYTE: u8 = 0xA5;

/// A VM's RAM, between canaries.
pub(crate) struct Ram {
    bytes: RefCell<Vec<u8>>,
    /// Writes by the code under test.
    pub(crate) writes: Cell<usize>,
}

impl Ram {
    pub(crate) fn new() -> Self {
        let mut bytes = vec![CANARY_BYTE; RAM_SIZE as usize + 2 * CANARY];
        bytes[CANARY..CANARY + RAM_SIZE as usize].fill(0);
        Self { bytes: RefCell::new(bytes), writes: Cell::new(0) }
    }

    fn place(ipa: Ipa, len: usize) -> Result<usize, OutsideMemory> {
        let offset = ipa.0.checked_sub(layout::RAM.0).ok_or(OutsideMemory { ipa })?;
        match offset.checked_add(len as u64) {
            Some(end) if end <= RAM_SIZE => Ok(CANARY + offset as usize),
            _ => Err(OutsideMemory { ipa }),
        }
    }

    /// Puts a word into memory, as the guest would.
    pub(crate) fn poke(&self, ipa: u64, bytes: &[u8]) {
        let at = Self::place(Ipa(ipa), bytes.len()).expect("in RAM");
        self.bytes.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// All of it.
    pub(crate) fn contents(&self) -> Vec<u8> {
        self.bytes.borrow()[CANARY..][..RAM_SIZE as usize].to_vec()
    }

    /// Whether nothing around the RAM has changed.
    pub(crate) fn is_confined(&self) -> bool {
        let bytes = self.bytes.borrow();
        let (before, rest) = bytes.split_at(CANARY);
        let after = &rest[RAM_SIZE as usize..];
        before.iter().chain(after).all(|byte| *byte == CANARY_BYTE)
    }
}

impl GuestMemory for Ram {
    fn read(&self, ipa: Ipa, to: &mut [u8]) -> Result<(), OutsideMemory> {
        let at = Self::place(ipa, to.len())?;
        to.copy_from_slice(&self.bytes.borrow()[at..at + to.len()]);
        Ok(())
    }

    fn write(&self, ipa: Ipa, from: &[u8]) -> Result<(), OutsideMemory> {
        self.writes.set(self.writes.get() + 1);
        let at = Self::place(ipa, from.len())?;
        self.bytes.borrow_mut()[at..at + from.len()].copy_from_slice(from);
        Ok(())
    }
}

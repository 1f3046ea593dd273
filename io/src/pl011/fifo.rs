// SPDX-License-Identifier: MIT OR Apache-2.0
//! The UART's FIFO: a ring in an array, so that state is plain data.

use serde::{Deserialize, Serialize};

/// Entries of a FIFO: 16 up to revision r1p4 of the PL011.
pub const FIFO_DEPTH: usize = 16;

/// Up to [`FIFO_DEPTH`] entries in order of arrival; each a byte, with its error flags above when received.
///
/// Every operation is safe on any value of the fields, also one that was read from a damaged file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fifo {
    entries: [u16; FIFO_DEPTH],
    first: u8,
    len: u8,
}

impl Fifo {
    pub(super) fn len(&self) -> usize {
        usize::from(self.len).min(FIFO_DEPTH)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an entry; the caller has seen that there is room, else nothing happens.
    pub(super) fn push(&mut self, entry: u16) {
        let at = (usize::from(self.first) + self.len()) % FIFO_DEPTH;
        if self.len() < FIFO_DEPTH
            && let Some(slot) = self.entries.get_mut(at)
        {
            *slot = entry;
            self.len = self.len.saturating_add(1);
        }
    }

    /// Takes the oldest entry.
    pub(super) fn pop(&mut self) -> Option<u16> {
        let first = usize::from(self.first) % FIFO_DEPTH;
        self.len = (self.len() as u8).checked_sub(1)?;
        self.first = ((first + 1) % FIFO_DEPTH) as u8;
        self.entries.get(first).copied()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

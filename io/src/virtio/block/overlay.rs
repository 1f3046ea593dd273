// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk in memory: an image that stays as it is, and over it what was written.
//!
//! The image may be shared by any number of VMs. What one of them writes goes, a block of 4 KiB at a time, into memory that
//! the caller gives; when that is full, writes to further blocks fail. What has been written never moves or goes away,
//! so a flush and a discard have nothing to do.

use super::disk::{DiskBackend, DiskStep, Operation, Tag};
use super::format::SECTOR;

/// Bytes of a block: what is copied when its first byte is written.
pub const BLOCK: usize = 4096;

/// A block that the disk does not have, or has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk has no block {0}, or no room for it")]
pub struct NoBlock(
    /// Its number.
    pub u32,
);

/// An image and what was written over it.
#[derive(Debug)]
pub struct Overlay<'a> {
    image: &'a [u8],
    /// Where each block of the disk is: 0 in the image, else in the block of `store` before this one.
    index: &'a mut [u32],
    store: &'a mut [u8],
    /// How many blocks of `store` are in use.
    used: u32,
}

impl<'a> Overlay<'a> {
    /// A new disk of as many blocks as `index` has entries, with `image` at its start and zeros behind; `store` takes what is
    /// written. Before it is used all of `index` is to be zero, or made so by [`Overlay::prepare`]: that is not done here, since it
    /// takes as long as the disk is large.
    #[must_use]
    pub fn new(image: &'a [u8], index: &'a mut [u32], store: &'a mut [u8]) -> Self {
        Self { image, index, store, used: 0 }
    }

    /// Prepares up to `most` blocks from number `first` on, and says how many that were: none behind the last one.
    pub fn prepare(&mut self, first: usize, most: usize) -> usize {
        let blocks = self.index.get_mut(first..).unwrap_or_default();
        let count = blocks.len().min(most);
        if let Some(blocks) = blocks.get_mut(..count) {
            blocks.fill(0);
        }
        count
    }

    /// How many sectors it has.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.index.len() as u64 * (BLOCK as u64 / SECTOR)
    }

    /// How many bytes more can be written, at least.
    #[must_use]
    pub fn room(&self) -> usize {
        self.store.len().saturating_sub(self.used as usize * BLOCK) / BLOCK * BLOCK
    }

    /// The blocks that have been written, by number, with their bytes.
    pub fn written(&self) -> impl Iterator<Item = (u32, &[u8])> {
        (0..).zip(&*self.index).filter_map(|(block, &entry)| {
            let start = (entry.checked_sub(1)? as usize).checked_mul(BLOCK)?;
            Some((block, self.store.get(start..start.checked_add(BLOCK)?)?))
        })
    }

    /// Writes a whole block, as [`Overlay::written`] had it.
    ///
    /// # Errors
    /// [`NoBlock`]; nothing has changed then.
    pub fn restore(&mut self, block: u32, bytes: &[u8; BLOCK]) -> Result<(), NoBlock> {
        self.own(block as usize).ok_or(NoBlock(block))?.copy_from_slice(bytes);
        Ok(())
    }

    /// Reads from within a block.
    fn read(&self, block: usize, offset: usize, to: &mut [u8]) -> Option<()> {
        let entry = *self.index.get(block)?;
        if let Some(slot) = entry.checked_sub(1) {
            let start = (slot as usize).checked_mul(BLOCK)?.checked_add(offset)?;
            to.copy_from_slice(self.store.get(start..start.checked_add(to.len())?)?);
            return Some(());
        }
        let start = block.checked_mul(BLOCK)?.checked_add(offset)?;
        let image = self.image.get(start..).unwrap_or_default();
        let len = image.len().min(to.len());
        let (found, beyond) = to.split_at_mut_checked(len)?;
        found.copy_from_slice(image.get(..len)?);
        beyond.fill(0);
        Some(())
    }

    /// The bytes of a block to be written; the first time it moves into the store. `None` when that is full.
    fn own(&mut self, block: usize) -> Option<&mut [u8]> {
        let entry = *self.index.get(block)?;
        let slot = entry.checked_sub(1).unwrap_or(self.used);
        let start = (slot as usize).checked_mul(BLOCK)?;
        let end = start.checked_add(BLOCK)?;
        if entry == 0 {
            let to = self.store.get_mut(start..end)?;
            let image = self.image.get(block.checked_mul(BLOCK)?..).unwrap_or_default();
            let len = image.len().min(BLOCK);
            let (found, beyond) = to.split_at_mut_checked(len)?;
            found.copy_from_slice(image.get(..len)?);
            beyond.fill(0);
            self.used = self.used.checked_add(1)?;
            *self.index.get_mut(block)? = self.used;
        }
        self.store.get_mut(start..end)
    }

    /// Does something with each piece of a block that the `len` bytes from `sector` on lie in.
    fn each(
        &mut self,
        sector: u64,
        len: u64,
        mut act: impl FnMut(&mut Self, Piece) -> Option<()>,
    ) -> Option<()> {
        let first = sector.checked_mul(SECTOR)?;
        let mut at = 0;
        while at < len {
            let position = usize::try_from(first.checked_add(at)?).ok()?;
            let offset = position % BLOCK;
            let part = usize::try_from(len - at).ok()?.min(BLOCK - offset);
            act(self, Piece { block: position / BLOCK, offset, at: at as usize, len: part })?;
            at += part as u64;
        }
        Some(())
    }

    fn carry_out(&mut self, operation: Operation<'_>) -> Option<()> {
        match operation {
            Operation::Read { sector, to } => self.each(sector, to.len() as u64, |disk, piece| {
                disk.read(piece.block, piece.offset, to.get_mut(piece.at..piece.at + piece.len)?)
            }),
            Operation::Write { sector, from } => self.each(sector, from.len() as u64, |disk, piece| {
                let from = from.get(piece.at..piece.at + piece.len)?;
                let to = disk.own(piece.block)?.get_mut(piece.offset..piece.offset + piece.len)?;
                to.copy_from_slice(from);
                Some(())
            }),
            Operation::WriteZeroes { sector, sectors, .. } => {
                self.each(sector, sectors.checked_mul(SECTOR)?, |disk, piece| {
                    disk.own(piece.block)?.get_mut(piece.offset..piece.offset + piece.len)?.fill(0);
                    Some(())
                })
            }
            Operation::Flush | Operation::Discard { .. } => Some(()),
        }
    }
}

/// A piece of a block: where it is in it, and where among the bytes that are moved.
#[derive(Clone, Copy, Debug)]
struct Piece {
    block: usize,
    offset: usize,
    at: usize,
    len: usize,
}

impl DiskBackend for Overlay<'_> {
    fn start(&mut self, _tag: Tag, operation: Operation<'_>) -> DiskStep {
        if self.carry_out(operation).is_some() { DiskStep::Done } else { DiskStep::Failed }
    }

    fn poll(&mut self, _tag: Tag, _read: &mut [u8]) -> DiskStep {
        // Nothing is ever pending here. A state that says otherwise comes from another disk.
        DiskStep::Failed
    }
}

#[cfg(test)]
mod tests;

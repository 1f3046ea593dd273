// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical memory that is a VM's alone, from when it is taken until it is given back.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use vambrace_hypervisor::memory::pieces::{RamPiece, RamPieces, scatter};
use vambrace_hypervisor::memory::pool::{BLOCK, Contents, OutOfPieces};
use vambrace_hypervisor::memory::regions::From;
use vambrace_hypervisor::memory::room::{self, NoRoom};
use vambrace_machine::layout;
use vambrace_memory::{Pa, PaRange};
use vambrace_wire::bundle::VmConfig;
use vambrace_wire::bundle::assigned::{MAX_RAM_PIECES, RamPlacement};

use super::SpaceError;
use crate::memory::{self, Room};

/// For how many pieces there is room at first, and then, when it is not enough. Nearly always there is one.
const PLACES: [usize; 4] = [1, 16, 128, MAX_RAM_PIECES];

/// RAM and flash.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(super) ram: Ram,
    pub(super) flash: Flash,
}

impl Memory {
    /// Takes RAM and flash for a VM, and of the heap the list of the RAM's pieces. `firmware` is how many bytes go to its flash.
    pub(crate) fn take(config: &VmConfig, firmware: u64) -> Result<Self, SpaceError> {
        // What has been taken is given back, whatever fails.
        let ram = Ram::take(config)?;
        let flash = if config.flash { Flash::take(firmware)? } else { Flash::default() };
        Ok(Self { ram, flash })
    }
}

/// A VM's RAM.
#[derive(Debug)]
pub(super) struct Ram {
    pub(super) pieces: RamPieces,
    /// Nothing but zeros is in it.
    pub(super) is_clear: bool,
}

impl Ram {
    fn take(config: &VmConfig) -> Result<Self, SpaceError> {
        match config.placement {
            RamPlacement::OneToOne => Self::take_one_to_one(config.memory),
            RamPlacement::Anywhere => Self::take_anywhere(config.memory, None),
            RamPlacement::Pieces { size } => Self::take_anywhere(config.memory, Some(size)),
        }
    }

    /// Takes the memory that lies where the VM has its RAM.
    fn take_one_to_one(len: u64) -> Result<Self, SpaceError> {
        let range = PaRange::clamped(Pa(layout::RAM.0), len);
        let contents = memory::take_exactly(range).ok_or(SpaceError::Elsewhere(range))?;
        Self::new(&[range], contents, None)
    }

    fn take_anywhere(len: u64, size: Option<u64>) -> Result<Self, SpaceError> {
        for places in PLACES {
            let (mut runs, room) = list::<PaRange>(places)?;
            let taken = memory::take_ram(len, &mut runs);
            drop(room);
            match taken {
                Ok(contents) => return Self::new(&runs, contents, size),
                Err(OutOfPieces::NoPlace) => {}
                Err(OutOfPieces::NoMemory) => {
                    return Err(SpaceError::OutOfMemory {
                        wanted: len >> 20,
                        free: memory::free_bytes() >> 20,
                    });
                }
            }
        }
        Err(SpaceError::TooManyPieces)
    }

    /// The RAM that is made of these, which have been taken; in pieces of `size` bytes, if so wanted.
    fn new(runs: &[PaRange], contents: Contents, size: Option<u64>) -> Result<Self, SpaceError> {
        let pieces = pieces_of(runs, size);
        if pieces.is_err() {
            runs.iter().for_each(|run| memory::give_back(*run, contents));
        }
        Ok(Self { pieces: pieces?, is_clear: contents == Contents::Zeros })
    }

    pub(super) fn contents(&self) -> Contents {
        contents(self.is_clear)
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        let contents = self.contents();
        self.pieces.iter().for_each(|piece| memory::give_back(piece.memory, contents));
    }
}

fn pieces_of(runs: &[PaRange], size: Option<u64>) -> Result<RamPieces, SpaceError> {
    let count = size.map_or(runs.len(), |size| scatter(runs, size).count());
    if count > MAX_RAM_PIECES {
        return Err(SpaceError::TooManyPieces);
    }
    let room = Room::claim(room_for::<RamPiece>(count.saturating_add(1)))?;
    let pieces = match size {
        Some(size) => RamPieces::new(scatter(runs, size)),
        None => RamPieces::new(runs.iter().copied()),
    };
    drop(room);
    Ok(pieces?)
}

const fn room_for<T>(places: usize) -> usize {
    room::piece(places.saturating_mul(size_of::<T>()), align_of::<T>())
}

/// An empty list that has room for `places` values, while that in the heap which was claimed for it is held.
pub(super) fn list<T>(places: usize) -> Result<(Vec<T>, Room), NoRoom> {
    let bytes = room_for::<T>(places);
    let room = Room::claim(bytes)?;
    let mut list = Vec::new();
    list.try_reserve_exact(places).map_err(|_| NoRoom { bytes })?;
    Ok((list, room))
}

/// A VM's flash, in whole blocks; empty for a VM without.
#[derive(Debug, Default)]
pub(super) struct Flash {
    /// The firmware.
    pub(super) firmware: PaRange,
    /// One block of erased flash, shown wherever flash holds nothing.
    pub(super) erased: PaRange,
    /// Nothing but zeros is in the firmware's part.
    pub(super) is_clear: AtomicBool,
}

impl Flash {
    fn take(firmware: u64) -> Result<Self, SpaceError> {
        let mut flash = Self::default();
        flash.firmware = take_blocks(firmware.max(1).next_multiple_of(BLOCK))?;
        flash.erased = take_blocks(BLOCK)?;
        Ok(flash)
    }
}

fn take_blocks(len: u64) -> Result<PaRange, SpaceError> {
    let out_of_memory = || SpaceError::OutOfMemory { wanted: len >> 20, free: memory::free_bytes() >> 20 };
    memory::take(len, BLOCK, From::Bottom).ok_or_else(out_of_memory)
}

impl Drop for Flash {
    fn drop(&mut self) {
        memory::give_back(self.firmware, contents(self.is_clear.load(Ordering::Acquire)));
        memory::release(self.erased);
    }
}

const fn contents(is_clear: bool) -> Contents {
    if is_clear { Contents::Zeros } else { Contents::Unknown }
}

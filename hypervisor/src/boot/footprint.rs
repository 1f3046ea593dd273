// SPDX-License-Identifier: MIT OR Apache-2.0
//! What lies in memory when EL2 comes, what of memory EL2 maps, and what of that it hands out.
//!
//! A loader reserves what it has loaded: U-Boot puts the device tree and the initrd into the memory reservation block
//! (Devicetree Specification, "Memory Reservation Block"), beside what the firmware keeps for itself. So these two are mapped
//! whatever is reserved, and nothing else of the reservations is.

use vambrace_memory::{Pa, PaRange};

use crate::boot::board::Board;
use crate::memory::regions::{FreeMemory, TooManyRanges};

const PAGE: u64 = 4096;

/// What lies in memory already, in whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    image: PaRange,
    tree: PaRange,
    bundle: PaRange,
}

/// The bundle is not where it could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// The tree says of an initrd that is elsewhere.
    #[error(
        "the initrd at {} (/chosen, linux,initrd-start and linux,initrd-end) does not lie in the board's \
         memory as /memory tells of it",
        .0
    )]
    Initrd(PaRange),
    /// What is behind the image says to be longer than there is memory.
    #[error(
        "the bundle behind the image says to be {}, but the board's memory ends before; load the whole file \
         that `vambrace build` has made, at a lower address",
        .0
    )]
    BehindImage(PaRange),
}

/// Where the bundle is: the initrd, or directly behind the image. Empty when there is none. `announced` reads how long a bundle
/// at an address says to be, 0 if none is there; it is only asked of memory in which `header` bytes can be read.
///
/// # Errors
/// [`Misplaced`] when part of it is not in the board's memory.
pub fn find_bundle(
    board: &Board,
    image: PaRange,
    header: u64,
    announced: impl FnOnce(Pa) -> u64,
) -> Result<PaRange, Misplaced> {
    let is_inside = |range: PaRange| board.memory.iter().any(|bank| bank.contains_range(range));
    if let Some(initrd) = board.initrd {
        return if is_inside(initrd) { Ok(initrd) } else { Err(Misplaced::Initrd(initrd)) };
    }
    if !is_inside(PaRange::clamped(image.end(), header)) {
        return Ok(PaRange::EMPTY);
    }
    let bundle = PaRange::clamped(image.end(), announced(image.end()));
    if is_inside(bundle) { Ok(bundle) } else { Err(Misplaced::BehindImage(bundle)) }
}

impl Footprint {
    /// Of image, device tree and bundle, wherever these are.
    #[must_use]
    pub fn new(image: PaRange, tree: PaRange, bundle: PaRange) -> Self {
        Self { image: image.widened(PAGE), tree: tree.widened(PAGE), bundle: bundle.widened(PAGE) }
    }

    /// Bytes of device tree and bundle.
    #[must_use]
    pub const fn loaded(&self) -> u64 {
        self.tree.len() + self.bundle.len()
    }

    /// Adds what EL2 maps as data: memory, but for the image, which is mapped by its parts, and `guards`; of what is reserved
    /// nothing but device tree and bundle. Into a list of the caller's, since there is little stack.
    ///
    /// # Errors
    /// [`TooManyRanges`].
    pub fn add_mapped(
        &self,
        board: &Board,
        guards: impl IntoIterator<Item = PaRange>,
        memory: &mut FreeMemory,
    ) -> Result<(), TooManyRanges> {
        add_unreserved(board, memory)?;
        for loaded in [self.tree, self.bundle] {
            memory.add(loaded)?;
        }
        for hole in [self.image].into_iter().chain(guards) {
            memory.remove(hole)?;
        }
        Ok(())
    }

    /// Adds what nobody uses.
    ///
    /// # Errors
    /// [`TooManyRanges`].
    pub fn add_unused(&self, board: &Board, memory: &mut FreeMemory) -> Result<(), TooManyRanges> {
        add_unreserved(board, memory)?;
        for hole in [self.image, self.tree, self.bundle] {
            memory.remove(hole)?;
        }
        Ok(())
    }
}

/// Adds the pages of memory of which the tree says that they are anybody's.
fn add_unreserved(board: &Board, memory: &mut FreeMemory) -> Result<(), TooManyRanges> {
    for bank in &board.memory {
        memory.add(bank.narrowed(PAGE))?;
    }
    for hole in &board.reserved {
        memory.remove(hole.widened(PAGE))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: PaRange = range(0x4020_0000, 0x8_0000);
    const TREE: PaRange = range(0x4820_0000, 0x1F00);
    const BUNDLE: PaRange = range(0x4800_0000, 0x12_3456);
    const FIRMWARE: PaRange = range(0x4000_0000, 0x10_0800);

    const fn range(start: u64, len: u64) -> PaRange {
        PaRange::new(Pa(start), len).unwrap()
    }

    /// A board as U-Boot leaves it: what it has loaded is reserved.
    fn board(reserved: &[PaRange]) -> Board {
        let mut board = Board::unknown();
        board.memory.push(range(0x4000_0000, 512 << 20));
        board.reserved.extend(reserved.iter().copied());
        board.initrd = Some(BUNDLE);
        board
    }

    fn holds(memory: &FreeMemory, range: PaRange) -> bool {
        memory.iter().any(|part| part.contains_range(range))
    }

    fn touches(memory: &FreeMemory, range: PaRange) -> bool {
        memory.iter().any(|part| part.overlaps(range))
    }

    fn mapped(board: &Board, tree: PaRange, guards: &[PaRange]) -> FreeMemory {
        let mut memory = FreeMemory::new();
        let footprint = Footprint::new(IMAGE, tree, BUNDLE);
        footprint.add_mapped(board, guards.iter().copied(), &mut memory).unwrap();
        memory
    }

    fn unused(board: &Board, tree: PaRange) -> FreeMemory {
        let mut memory = FreeMemory::new();
        Footprint::new(IMAGE, tree, BUNDLE).add_unused(board, &mut memory).unwrap();
        memory
    }

    #[test]
    fn what_was_loaded_is_mapped_and_handed_to_nobody_whatever_is_reserved() {
        let around = range(0x47FF_F000, 0x100_1000);
        for reserved in [&[][..], &[FIRMWARE], &[FIRMWARE, BUNDLE], &[FIRMWARE, BUNDLE, TREE], &[around]] {
            let board = board(reserved);
            let (mapped, unused) = (mapped(&board, TREE, &[]), unused(&board, TREE));
            for loaded in [TREE, BUNDLE] {
                assert!(holds(&mapped, loaded), "{loaded:x?} with {reserved:x?}");
                assert!(!touches(&unused, loaded), "{loaded:x?} with {reserved:x?}");
            }
        }
    }

    #[test]
    fn what_the_firmware_keeps_and_the_image_are_not_mapped_as_data() {
        let guard = range(0x5000_0000, 4096);
        let mapped = mapped(&board(&[FIRMWARE, BUNDLE]), TREE, &[guard]);
        for hole in [FIRMWARE.widened(4096), IMAGE, guard] {
            assert!(!touches(&mapped, hole), "{hole:x?}");
        }
    }

    #[test]
    fn a_tree_that_is_in_no_memory_bank_is_mapped() {
        let tree = range(0x0E00_0000, 0x2000);
        assert!(holds(&mapped(&board(&[]), tree, &[]), tree));
        assert!(!touches(&unused(&board(&[]), tree), tree));
    }

    #[test]
    fn a_bundle_without_memory_is_told_and_not_read() {
        let never = |_: Pa| panic!("read");
        let mut board = board(&[]);
        assert_eq!(find_bundle(&board, IMAGE, 64, never), Ok(BUNDLE));
        let beyond = range(0x5FFF_0000, 0x1_1000);
        board.initrd = Some(beyond);
        assert_eq!(find_bundle(&board, IMAGE, 64, never), Err(Misplaced::Initrd(beyond)));
        board.initrd = None;
        assert_eq!(find_bundle(&board, range(0x6000_0000, 0), 64, never), Ok(PaRange::EMPTY));
        let behind = |len| find_bundle(&board, IMAGE, 64, |_| len);
        assert_eq!(behind(0).map(|bundle| bundle.is_empty()), Ok(true));
        assert_eq!(behind(1 << 20), Ok(range(IMAGE.end().0, 1 << 20)));
        assert_eq!(behind(1 << 30), Err(Misplaced::BehindImage(range(IMAGE.end().0, 1 << 30))));
    }
}

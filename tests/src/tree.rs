// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boards that are not quite QEMU's: its device tree, changed.
//!
//! QEMU keeps what it is given with `-dtb`, but for memory and `/chosen`, which it writes itself.

use std::path::PathBuf;

use dtoolkit::fdt::Fdt;
use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::DeviceTree;
use libtest_mimic::Failed;
use tempfile::TempDir;

/// As QEMU makes it for four CPUs.
const VIRT: &[u8] = include_bytes!("../../hypervisor/src/boot/board/qemu-virt.dtb");

/// A device tree in a file.
#[derive(Debug)]
pub struct Tree {
    _folder: TempDir,
    path: PathBuf,
}

impl Tree {
    /// QEMU's, changed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(change: impl FnOnce(&mut DeviceTree)) -> Result<Self, Failed> {
        let mut tree = DeviceTree::from_fdt(&Fdt::new(VIRT).map_err(|error| error.to_string())?);
        change(&mut tree);
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("board.dtb");
        std::fs::write(&path, tree.to_dtb())?;
        Ok(Self { _folder: folder, path })
    }

    /// QEMU's, with memory that the firmware keeps for itself: where it begins and ends.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn with_reservations(kept: &[(u64, u64)]) -> Result<Self, Failed> {
        let kept = kept.iter().map(|(start, end)| MemoryReservation::new(*start, end.saturating_sub(*start)));
        Self::new(|tree| tree.memory_reservations.extend(kept))
    }

    /// QEMU's arguments for a board that says to be so.
    #[must_use]
    pub fn qemu_args(&self) -> [String; 2] {
        ["-dtb".to_owned(), self.path.display().to_string()]
    }
}

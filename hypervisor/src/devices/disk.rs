// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMs' disks: an image of the bundle with what was written over it, in RAM; or a part of a disk of the board.

use vambrace_hypervisor::host_io::board_disk::{NoSlot, Owner};
use vambrace_hypervisor::memory::regions::From;
use vambrace_ids::VmId;
use vambrace_io::virtio::block;
use vambrace_io::virtio::block::disk::{DiskStep, Operation, Part, Tag};
use vambrace_io::virtio::block::format::SECTOR;
use vambrace_io::virtio::block::overlay::{BLOCK, Overlay};
use vambrace_memory::PaRange;
use vambrace_memory::addr::PAGE_SIZE;
use vambrace_wire::bundle::Bundle;
use vambrace_wire::bundle::io::{self, Backing};

use crate::arch::clear::clear;
use crate::arch::lock::SpinMutex;
use crate::host_io::disk::{self as board, BoardDisk};
use crate::{host_io, memory};

/// Why there is no such disk.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum DiskError {
    /// What is written to it has no room.
    #[error("{wanted} MiB in one piece are not free for what is written to a disk")]
    OutOfMemory {
        /// MiB wanted.
        wanted: u64,
    },
    /// It goes beyond the end of what it lies on.
    #[error("a disk goes beyond the end of the board's, which has {sectors} sectors")]
    TooLarge {
        /// What the board's disk has.
        sectors: u64,
    },
    /// What it lies on has no room for its requests.
    #[error("{0}")]
    NoSlot(#[from] NoSlot),
}

/// The backend of a VM's disk.
#[derive(Debug)]
pub(crate) enum VmDisk {
    /// An image of the bundle.
    Image(ImageDisk),
    /// On a disk of the board.
    Board(PartOfDisk),
}

impl VmDisk {
    /// For VM `vm`.
    pub(crate) fn new(vm: VmId, disk: &io::DiskConfig, bundle: &Bundle<'static>) -> Result<Self, DiskError> {
        match disk.backing {
            Backing::Image { blob, room } => {
                ImageDisk::new(bundle.blob(blob), disk.sectors, room).map(Self::Image)
            }
            Backing::Board { disk: index, first } => {
                PartOfDisk::new(vm, index, first, disk.sectors).map(Self::Board)
            }
        }
    }
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Something was done.
    More,
    /// Nothing was left to do.
    Over,
}

impl VmDisk {
    /// Does the next part of what has to be done before the VM starts, of up to `most` bytes.
    pub(crate) fn prepare(&mut self, most: u64) -> Progress {
        match self {
            Self::Image(disk) => disk.prepare(most),
            Self::Board(_) => Progress::Over,
        }
    }

    /// The VM is over, and its disk with it: clears the next part of what it has written, of up to `most` bytes.
    pub(crate) fn clear(&mut self, most: u64) -> Progress {
        match self {
            Self::Image(disk) => disk.clear(most),
            Self::Board(_) => Progress::Over,
        }
    }
}

impl block::disk::DiskBackend for VmDisk {
    fn start(&mut self, tag: Tag, operation: Operation<'_>) -> DiskStep {
        match self {
            Self::Image(disk) => disk.overlay.start(tag, operation),
            Self::Board(disk) => disk.start(tag, operation),
        }
    }

    fn poll(&mut self, tag: Tag, read: &mut [u8]) -> DiskStep {
        match self {
            Self::Image(disk) => disk.overlay.poll(tag, read),
            Self::Board(disk) => disk.on.lock().poll(disk.owner, tag, read),
        }
    }
}

/// A part of a disk of the board.
pub(crate) struct PartOfDisk {
    on: &'static SpinMutex<BoardDisk>,
    part: Part,
    owner: Owner,
}

impl PartOfDisk {
    fn new(vm: VmId, index: u16, first: u64, sectors: u64) -> Result<Self, DiskError> {
        let on = host_io::disk(index).ok_or(DiskError::TooLarge { sectors: 0 })?;
        let mut disk = on.lock();
        let capacity = disk.capacity();
        if first.checked_add(sectors).is_none_or(|end| end > capacity) {
            return Err(DiskError::TooLarge { sectors: capacity });
        }
        let owner = board::attach(&mut disk, vm)?;
        Ok(Self { on, part: Part { first, sectors }, owner })
    }

    fn start(&mut self, tag: Tag, operation: Operation<'_>) -> DiskStep {
        // The device has held the sectors against the disk's end. What lies behind that is others', so they are again.
        match self.part.place(operation) {
            Some(operation) => self.on.lock().operate(self.owner, tag, operation),
            None => DiskStep::Failed,
        }
    }
}

impl Drop for PartOfDisk {
    fn drop(&mut self) {
        self.on.lock().detach(self.owner);
        // Its slots are for others now.
        host_io::wake_waiting();
    }
}

impl core::fmt::Debug for PartOfDisk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?} from sector {}", self.owner, self.part.first)
    }
}

/// A disk in RAM.
#[derive(Debug)]
pub(crate) struct ImageDisk {
    overlay: Overlay<'static>,
    /// The memory that it has: the index, and then what is written.
    memory: PaRange,
    store: u64,
    /// Blocks whose index is ready.
    prepared: usize,
    /// What was written, once it is no disk any more, as far as it is not clear yet.
    written: PaRange,
}

impl ImageDisk {
    fn new(image: &'static [u8], sectors: u64, room: u64) -> Result<Self, DiskError> {
        let blocks = sectors.div_ceil(BLOCK as u64 / SECTOR);
        let index =
            blocks.saturating_mul(size_of::<u32>() as u64).saturating_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1);
        let len = index.saturating_add(room);
        let memory = memory::take(len, PAGE_SIZE, From::Top);
        let memory = memory.ok_or(DiskError::OutOfMemory { wanted: len.div_ceil(1 << 20) })?;
        let start = memory.start().0;
        let index_at = core::ptr::with_exposed_provenance_mut(start as usize);
        let store_at = core::ptr::with_exposed_provenance_mut((start + index) as usize);
        // SAFETY: two parts of memory that is mapped, and ours alone until `drop`, which the overlay does not outlive; any bytes are
        // numbers. Of the store only what has been written is ever read, and the index is prepared before the VM starts.
        let (index, written) = unsafe {
            (
                core::slice::from_raw_parts_mut(index_at, blocks as usize),
                core::slice::from_raw_parts_mut(store_at, room as usize),
            )
        };
        let overlay = Overlay::new(image, index, written);
        Ok(Self { overlay, memory, store: room, prepared: 0, written: PaRange::EMPTY })
    }

    fn prepare(&mut self, most: u64) -> Progress {
        let count = self.overlay.prepare(self.prepared, most as usize / size_of::<u32>());
        self.prepared = self.prepared.saturating_add(count);
        if count == 0 { Progress::Over } else { Progress::More }
    }

    fn end(&mut self) {
        let written = self.store - self.overlay.room() as u64;
        self.written = self.memory.part(self.memory.len() - self.store, written);
        self.overlay = Overlay::new(&[], &mut [], &mut []);
        self.store = 0;
    }

    fn clear(&mut self, most: u64) -> Progress {
        if self.store != 0 {
            self.end();
        }
        let next = self.written.part(0, most);
        if next.is_empty() {
            return Progress::Over;
        }
        // SAFETY: ours, and no reference to it is left. Nobody else is to see what a VM has written.
        unsafe { clear(next) };
        self.written = self.written.from(next.end());
        Progress::More
    }
}

impl Drop for ImageDisk {
    fn drop(&mut self) {
        // A VM that has lived has had it cleared, a step at a time; of one that has not nothing was written.
        while self.clear(u64::MAX) == Progress::More {}
        memory::release(self.memory);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where things come to lie in the board's memory.
//!
//! The manifest does not fix it. QEMU's `virt` puts hypervisor, bundle and device tree in place; EL2 then gives
//! each VM RAM from the bottom of what is left, in the manifest's order: in one piece aligned to 2 MiB, or to
//! 1 GiB if it is that large and there is room; where there is no such piece, in several (`layout/free.rs`). Its own stacks, heap and
//! tables come from the top. This is tried for images of several sizes: what comes out the same for all is certain, the
//! rest is about.

mod free;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use vambrace_wire::bundle::assigned::RamPlacement;

use crate::manifest::io::{DiskSource, VirtioDevice, VmDisk};
use crate::manifest::{Boot, Manifest, Vm};
use crate::values::{FirmwareSource, InitrdSource, KernelSource, Size};

use free::Free;
pub use free::MAX_PIECES;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Where RAM starts on QEMU's `virt`.
pub const BOARD_RAM: u64 = 0x4000_0000;
/// Where QEMU loads an Image that names no offset of its own: behind room for its own first instructions.
const IMAGE_OFFSET: u64 = 2 * MIB;
/// QEMU puts the initrd half-way up the RAM, but no further up than this.
const INITRD_OFFSET: u64 = 128 * MIB;
/// What QEMU aligns the device tree to, and how much room it gives it.
const TREE_ALIGN: u64 = 2 * MIB;
const TREE_SIZE: u64 = MIB;
/// Blocks of stage 2.
const BLOCK: u64 = 2 * MIB;
/// The hypervisor's image, its static data included.
const IMAGE_SIZE: u64 = 512 * KIB;
/// EL2's heap and tables, and a stack for each further CPU, with a guard page.
const HEAP_SIZE: u64 = MIB;
const STACK_SIZE: u64 = 36 * KIB;

/// A piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The first byte.
    pub start: u64,
    /// Its length in bytes.
    pub size: u64,
}

impl Piece {
    /// The first byte after it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start + self.size
    }
}

/// What one VM has in physical memory. Nothing where there is no room while the others run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmPlace {
    /// Its RAM, in the order in which the VM has it; what [`RamPlacement::Pieces`] cuts is whole here.
    pub ram: Vec<Piece>,
    /// Firmware, for VMs that have some.
    pub flash: Option<Piece>,
    /// The block that stands for the rest of the flash.
    pub erased: Option<Piece>,
}

/// The whole board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The hypervisor's image.
    pub image: Piece,
    /// The bundle.
    pub bundle: Piece,
    /// The board's device tree.
    pub tree: Piece,
    /// EL2's heap, tables and stacks.
    pub own: Piece,
    /// Room for what VMs write to disks in images, and for channels.
    pub written: Piece,
    /// In the manifest's order.
    pub vms: Vec<VmPlace>,
    /// How much is left, in bytes.
    pub free: u64,
}

/// How large to take the images for.
#[derive(Clone, Copy, Debug)]
pub enum Images {
    /// Half the guess.
    Small,
    /// The guess itself.
    Guessed,
    /// Twice the guess.
    Large,
}

impl Images {
    fn scale(self, guess: u64) -> u64 {
        match self {
            Self::Small => guess / 2,
            Self::Guessed => guess,
            Self::Large => guess * 2,
        }
    }
}

/// Places everything, for VMs that are all there at once. Those that wait for another get what the others leave.
#[must_use]
pub fn place(manifest: &Manifest, images: Images) -> Placement {
    let at_once = |waits: bool| {
        let all = manifest.vms.iter().enumerate();
        all.filter(move |(_, vm)| vm.after.is_some() == waits).map(|(index, _)| index)
    };
    place_these(manifest, images, at_once(false).chain(at_once(true)))
}

/// Whether the VM of this index has room when it is the only one.
#[must_use]
pub fn fits_alone(manifest: &Manifest, index: usize, images: Images) -> bool {
    let placement = place_these(manifest, images, std::iter::once(index));
    placement.vms.get(index).is_some_and(|place| !place.ram.is_empty())
}

/// Places the VMs of these indexes, in this order.
fn place_these(manifest: &Manifest, images: Images, order: impl Iterator<Item = usize>) -> Placement {
    let memory = manifest.board.memory.0;
    let one_to_one = manifest.one_to_one().map(|vm| Piece { start: BOARD_RAM, size: vm.memory.0 });
    let start = one_to_one.map_or(BOARD_RAM + IMAGE_OFFSET, |below| below.end());
    let image = Piece { start, size: images.scale(IMAGE_SIZE) };
    let half_way = BOARD_RAM + (memory / 2).min(INITRD_OFFSET);
    // Not below the image.
    let bundle_start = half_way.max(image.end().next_multiple_of(4 * KIB));
    let bundle =
        Piece { start: bundle_start, size: images.scale(bundle_size(manifest)).next_multiple_of(4 * KIB) };
    let tree = Piece { start: bundle.end().next_multiple_of(TREE_ALIGN), size: TREE_SIZE };
    let own_size = HEAP_SIZE + STACK_SIZE * u64::from(manifest.board.cpus.saturating_sub(1));
    let own = Piece { start: (BOARD_RAM + memory).saturating_sub(own_size), size: own_size };

    let mut free = Free::new(BOARD_RAM, memory);
    let size = written_size(manifest);
    let written = Piece { start: own.start.saturating_sub(size), size };
    for piece in [image, bundle, tree, own, written].into_iter().chain(one_to_one) {
        free.remove(piece);
    }
    let folder = manifest.source.folder();
    let mut vms = vec![VmPlace::default(); manifest.vms.len()];
    for index in order {
        if let (Some(vm), Some(place)) = (manifest.vms.get(index), vms.get_mut(index)) {
            *place = place_vm(vm, folder, images, &mut free);
        }
    }
    Placement { image, bundle, tree, own, written, vms, free: free.total() }
}

/// The room for what VMs write to disks in images, and the channels.
fn written_size(manifest: &Manifest) -> u64 {
    let rooms = disk_images(manifest).map(|(_, room)| room.0);
    let channels = manifest.channels.iter().map(|channel| channel.size.0);
    rooms.chain(channels).fold(0u64, u64::saturating_add).next_multiple_of(4 * KIB)
}

/// The disks whose contents are in the bundle, and their room.
fn disk_images(manifest: &Manifest) -> impl Iterator<Item = (&Path, Size)> {
    manifest.vms.iter().flat_map(|vm| &vm.virtio).filter_map(|device| match device {
        VirtioDevice::Disk(VmDisk { source: DiskSource::Image { path, room, .. }, .. }) => {
            Some((path.as_path(), *room))
        }
        _ => None,
    })
}

fn place_vm(vm: &Vm, folder: &Path, images: Images, free: &mut Free) -> VmPlace {
    let size = vm.memory.0;
    let ram = match vm.placement {
        RamPlacement::Anywhere => free.take_ram(size, None),
        RamPlacement::Pieces { size: shown_as } => free.take_ram(size, Some(shown_as)),
        RamPlacement::OneToOne => vec![Piece { start: BOARD_RAM, size }],
    };
    let without_flash = VmPlace { ram, ..VmPlace::default() };
    let Boot::Firmware(source) = &vm.boot else { return without_flash };
    if without_flash.ram.is_empty() {
        return without_flash;
    }
    let firmware = images.scale(firmware_size(folder, source)).max(1);
    let flash = free.take(firmware.next_multiple_of(BLOCK));
    VmPlace { flash, erased: free.take(BLOCK), ..without_flash }
}

/// The images' sizes, each counted once, with a bundle's head.
fn bundle_size(manifest: &Manifest) -> u64 {
    let folder = manifest.source.folder();
    let (mut kernels, mut initrds, mut firmwares) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for vm in &manifest.vms {
        match &vm.boot {
            Boot::Kernel { kernel, initrd } => {
                kernels.insert(kernel);
                initrds.extend(initrd);
            }
            Boot::Firmware(source) => {
                firmwares.insert(source);
            }
        }
    }
    let kernels = kernels.into_iter().map(|source| match source {
        KernelSource::File(path) => file_size(folder, path, 32 * MIB),
        KernelSource::Debian { .. } => 36 * MIB,
        KernelSource::Guest { .. } => 64 * KIB,
    });
    let initrds = initrds.into_iter().map(|source| match source {
        InitrdSource::File(path) => file_size(folder, path, 16 * MIB),
        InitrdSource::Demo | InitrdSource::Debian => MIB,
    });
    let firmwares = firmwares.into_iter().map(|source| firmware_size(folder, source));
    let disks: BTreeSet<&Path> = disk_images(manifest).map(|(path, _)| path).collect();
    let disks = disks.into_iter().map(|path| file_size(folder, path, 64 * MIB));
    4 * KIB + kernels.chain(initrds).chain(firmwares).chain(disks).sum::<u64>()
}

fn firmware_size(folder: &Path, source: &FirmwareSource) -> u64 {
    match source {
        FirmwareSource::File(path) => file_size(folder, path, 2 * MIB),
        FirmwareSource::DebianUBoot => MIB,
    }
}

/// A file's size; it may be compressed, so this is a guess too.
fn file_size(folder: &Path, path: &Path, guess: u64) -> u64 {
    fs::metadata(folder.join(path)).map_or(guess, |file| file.len())
}

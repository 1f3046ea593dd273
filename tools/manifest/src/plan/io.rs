// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMs' virtio devices, and where disks lie.

use std::fs;

use vambrace_wire::bundle::io::{self, Backing, DISK_NAME_LEN, VirtioDevice};

use super::{Planner, Stop, partition};
use crate::debian::ROOT_SIZE;
use crate::diagnostic::{Code, Diagnostic, Span};
use crate::manifest::io::{self as manifest, BoardDisk, Card, DiskSource, NewDisk, SECTOR, VmDisk};
use crate::manifest::{Manifest, Vm};
use crate::values::Size;

impl Planner<'_> {
    /// The VM's virtio devices, by slot.
    pub(super) fn virtio(&mut self, vm: &Vm) -> Result<Vec<VirtioDevice>, Stop> {
        let mut disks = 0;
        let mut device = |device: &manifest::VirtioDevice| {
            Ok(match device {
                manifest::VirtioDevice::Entropy => VirtioDevice::Entropy,
                manifest::VirtioDevice::Console => VirtioDevice::Console,
                manifest::VirtioDevice::Card(card) => VirtioDevice::Network(port(card)),
                manifest::VirtioDevice::Disk(disk) => {
                    let number = disks;
                    disks += 1;
                    VirtioDevice::Disk(self.disk(vm, disk, number)?)
                }
            })
        };
        vm.virtio.iter().map(&mut device).collect()
    }

    fn disk(&mut self, vm: &Vm, disk: &VmDisk, number: usize) -> Result<io::DiskConfig, Stop> {
        let location = find_disk(self.manifest, disk).map_err(|wrong| self.report(*wrong))?;
        let (backing, sectors) = match (location, &disk.source) {
            (DiskLocation::Board { disk, first, sectors }, _) => (Backing::Board { disk, first }, sectors),
            (DiskLocation::Image { size }, DiskSource::Image { path, room, .. }) => {
                let bytes = self.read(path, vm, &disk.span)?;
                let blob = self.blobs.add(bytes.into())?;
                self.room += room.0;
                (Backing::Image { blob, room: room.0 }, size.div_ceil(SECTOR))
            }
            (DiskLocation::Image { .. }, _) => return Err(Stop::Reported),
        };
        let mut name = format!("{}-{number}", vm.name);
        name.drain(..name.len().saturating_sub(DISK_NAME_LEN));
        Ok(io::DiskConfig { name, sectors, access: disk.access, backing })
    }
}

/// Where a VM's disk is.
enum DiskLocation {
    /// In the bundle; so many bytes.
    Image { size: u64 },
    /// On a disk of the board.
    Board { disk: u16, first: u64, sectors: u64 },
}

/// Whether a VM's disk is where it should be, as far as the files tell that are there now.
pub(crate) fn check_disk(manifest: &Manifest, disk: &VmDisk) -> Result<(), Box<Diagnostic>> {
    if let DiskSource::Partition { disk: index, .. } = &disk.source
        && let Some(board) = manifest.board.disks.get(usize::from(*index))
        && !manifest.folder().join(&board.image).exists()
    {
        // It is made when the board is run.
        return Ok(());
    }
    find_disk(manifest, disk).map(drop)
}

fn find_disk(manifest: &Manifest, disk: &VmDisk) -> Result<DiskLocation, Box<Diagnostic>> {
    let wrong = |title: String| Diagnostic::new(Code::DiskSize, title);
    match &disk.source {
        DiskSource::Image { path, size, .. } => {
            let found = fs::metadata(manifest.folder().join(path));
            let len = found.map_err(|error| {
                let title = format!("cannot read {}: {error}", path.display());
                Diagnostic::new(Code::UnusableFile, title).label(disk.span.clone(), "")
            })?;
            let len = len.len();
            let size = size.map_or(len, |size| size.0);
            if size < len || size == 0 {
                let title = format!("{} does not fit on this disk", path.display());
                let wrong = wrong(title).label(disk.span.clone(), format!("it has {len} bytes"));
                return Err(Box::new(wrong.help("raise `size`, or leave it out")));
            }
            Ok(DiskLocation::Image { size })
        }
        DiskSource::Board { disk: index, start, size } => {
            let board = board_disk(manifest, *index, &disk.span)?;
            let whole = board_size(manifest, board)?;
            let left = whole.0.saturating_sub(start.0);
            let size = size.map_or(left, |size| size.0);
            if size == 0 || size > left {
                let title = format!("this disk goes beyond the end of `{}`", board.name);
                let wrong = wrong(title).label(disk.span.clone(), "");
                return Err(Box::new(wrong.note(format!("`{}` has {whole}", board.name))));
            }
            Ok(DiskLocation::Board { disk: *index, first: start.0 / SECTOR, sectors: size / SECTOR })
        }
        DiskSource::Partition { disk: index, name } => {
            let board = board_disk(manifest, *index, &disk.span)?;
            let file = manifest.folder().join(&board.image);
            let place = partition::find(&file, &board.name, name);
            let place = place.map_err(|wrong| Box::new(wrong.label(disk.span.clone(), "")))?;
            Ok(DiskLocation::Board { disk: *index, first: place.start, sectors: place.end - place.start })
        }
    }
}

/// The disk of the board with this index, which the manifest has by then.
fn board_disk<'a>(manifest: &'a Manifest, index: u16, span: &Span) -> Result<&'a BoardDisk, Box<Diagnostic>> {
    let missing = || Diagnostic::new(Code::NoSuchName, "there is no such disk").label(span.clone(), "");
    manifest.board.disks.get(usize::from(index)).ok_or_else(|| Box::new(missing()))
}

/// How large a disk of the board is.
fn board_size(manifest: &Manifest, disk: &BoardDisk) -> Result<Size, Box<Diagnostic>> {
    let path = manifest.folder().join(&disk.image);
    let size = match (fs::metadata(&path), disk.new) {
        (Ok(found), _) if found.is_file() => Size(found.len()),
        (Err(error), Some(new)) if error.kind() == std::io::ErrorKind::NotFound => match new {
            NewDisk::Empty(size) => size,
            NewDisk::Debian => Size(ROOT_SIZE),
        },
        _ => {
            let title = format!("there is no file {}", path.display());
            let missing = Diagnostic::new(Code::MissingFile, title).label(disk.span.clone(), "");
            let help = "add `size`, and an empty one is made, or `system = \"debian\"`";
            return Err(Box::new(missing.help(help)));
        }
    };
    Ok(Size(size.0 / SECTOR * SECTOR))
}

fn port(card: &Card) -> io::PortConfig {
    io::PortConfig {
        network: card.network,
        mac: card.mac,
        mtu: card.mtu,
        addresses: card.addresses,
        rate: card.rate.map(|rate| rate.0),
    }
}

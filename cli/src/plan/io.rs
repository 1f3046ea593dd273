// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMs' virtio devices, and where disks lie.

use std::fs;
use std::path::Path;

use vambrace_wire::bundle::io::{self, Backing, DISK_NAME_LEN, VirtioDevice};

use super::{Planner, Stop, partition};
use crate::diagnostic::{Code, Diagnostic, Span};
use crate::manifest::io::{self as manifest, BoardDisk, Card, Disk, DiskSource, NewDisk, SECTOR};
use crate::manifest::{Size, Vm};
use crate::setup::debian::ROOT_SIZE;

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

    fn disk(&mut self, vm: &Vm, disk: &Disk, number: usize) -> Result<io::Disk, Stop> {
        let (backing, sectors) = match &disk.source {
            DiskSource::Image { path, size, room } => self.image(vm, path, *size, *room, &disk.span)?,
            DiskSource::Board { disk: index, start, size } => {
                let board: Vec<BoardDisk> = self.manifest.board.disks.clone();
                let Some(board) = board.get(usize::from(*index)) else { return Err(Stop::Reported) };
                let whole = self.board_disk(board)?;
                let left = whole.0.saturating_sub(start.0);
                let size = size.map_or(left, |size| size.0);
                if size == 0 || size > left {
                    let title = format!("this disk goes beyond the end of `{}`", board.name);
                    return Err(self.report(
                        Diagnostic::new(Code::DiskSize, title)
                            .label(disk.span.clone(), "")
                            .note(format!("`{}` has {whole}", board.name)),
                    ));
                }
                (Backing::Board { disk: *index, first: start.0 / SECTOR }, size / SECTOR)
            }
            DiskSource::Partition { disk: index, name } => {
                let Some(board) = self.manifest.board.disks.get(usize::from(*index)) else {
                    return Err(Stop::Reported);
                };
                let file = self.manifest.source.folder().join(&board.image);
                let place = partition::find(&file, &board.name, name);
                let place = place.map_err(|wrong| self.report(wrong.label(disk.span.clone(), "")))?;
                (Backing::Board { disk: *index, first: place.start }, place.end - place.start)
            }
        };
        let mut name = format!("{}-{number}", vm.name);
        name.drain(..name.len().saturating_sub(DISK_NAME_LEN));
        Ok(io::Disk { name, sectors, access: disk.access, backing })
    }

    /// A disk in the bundle, and its sectors.
    fn image(
        &mut self,
        vm: &Vm,
        path: &Path,
        size: Option<Size>,
        room: Size,
        span: &Span,
    ) -> Result<(Backing, u64), Stop> {
        let bytes = self.read(path, vm, span)?;
        let len = bytes.len() as u64;
        let size = size.map_or(len, |size| size.0);
        if size < len || size == 0 {
            let title = format!("{} does not fit on this disk", path.display());
            return Err(self.report(
                Diagnostic::new(Code::DiskSize, title)
                    .label(span.clone(), format!("it has {len} bytes"))
                    .help("raise `size`, or leave it out"),
            ));
        }
        let blob = self.blobs.add(bytes.into())?;
        self.room += room.0;
        Ok((Backing::Image { blob, room: room.0 }, size.div_ceil(SECTOR)))
    }

    /// How large a disk of the board is.
    fn board_disk(&mut self, disk: &BoardDisk) -> Result<Size, Stop> {
        let path = self.manifest.source.folder().join(&disk.image);
        let size = match (fs::metadata(&path), disk.new) {
            (Ok(found), _) if found.is_file() => Size(found.len()),
            (Err(error), Some(new)) if error.kind() == std::io::ErrorKind::NotFound => match new {
                NewDisk::Empty(size) => size,
                NewDisk::Debian => Size(ROOT_SIZE),
            },
            _ => {
                let title = format!("there is no file {}", path.display());
                return Err(self.report(
                    Diagnostic::new(Code::MissingFile, title)
                        .label(disk.span.clone(), "")
                        .help("add `size`, and an empty one is made, or `system = \"debian\"`"),
                ));
            }
        };
        Ok(Size(size.0 / SECTOR * SECTOR))
    }
}

fn port(card: &Card) -> io::Port {
    io::Port {
        network: card.network,
        mac: card.mac,
        mtu: card.mtu,
        addresses: card.addresses,
        rate: card.rate.map(|rate| rate.0),
    }
}

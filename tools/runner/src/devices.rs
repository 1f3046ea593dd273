// SPDX-License-Identifier: MIT OR Apache-2.0
//! The board's devices that a manifest asks for, as arguments of QEMU.

use std::fs::File;
use std::path::Path;

use vambrace_wire::bundle::io::Uplink;

use vambrace_manifest::io::{BoardDisk, NewDisk};
use vambrace_manifest::{Manifest, Vm, slots};
use vambrace_setup::{self as setup, Setup, SetupError};

/// Makes the files of the board's disks that are not there yet.
///
/// # Errors
/// When one cannot be made.
pub fn make_disks(manifest: &Manifest, setup: &Setup) -> Result<(), SetupError> {
    manifest.board.disks.iter().try_for_each(|disk| {
        let path = manifest.folder().join(&disk.image);
        if path.exists() { Ok(()) } else { make(&path, disk, setup) }
    })
}

/// What QEMU plays the board's disks with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// The files that the manifest names: how soon they answer depends on the computer.
    Files,
    /// Nothing, which reads as zeros and answers at once, without the computer's disk and clock.
    Zeros,
}

impl Medium {
    /// QEMU's options for what a disk stands on.
    fn options(self, folder: &Path, disk: &BoardDisk) -> String {
        match (self, disk.new) {
            (Self::Zeros, Some(NewDisk::Empty(size))) => {
                format!("driver=null-co,read-zeroes=on,size={}", size.0)
            }
            _ => {
                // QEMU takes a comma for the next option, unless there are two.
                let file = folder.join(&disk.image).display().to_string().replace(',', ",,");
                format!("format=raw,discard=unmap,file={file}")
            }
        }
    }
}

/// QEMU's arguments for the board's disks, which are files, and its network card.
#[must_use]
pub fn devices(manifest: &Manifest) -> Vec<String> {
    devices_on(manifest, Medium::Files)
}

/// The same, where disks that are empty at first may stand on something else.
#[must_use]
pub fn devices_on(manifest: &Manifest, medium: Medium) -> Vec<String> {
    let mut arguments = Vec::new();
    let board = &manifest.board;
    let has_uplink = manifest.networks.iter().any(|network| network.uplink == Uplink::Board);
    if has_uplink || !board.disks.is_empty() || !board.devices.is_empty() {
        // Otherwise the slots speak virtio 0.9.5.
        arguments.extend(["-global", "virtio-mmio.force-legacy=false"].map(str::to_owned));
    }
    let mut slots = slots::free(&board.devices);
    let mut bus = || slots.next().map(|slot| format!(",bus={}", slot.bus())).unwrap_or_default();
    for disk in &board.disks {
        let (name, options) = (&disk.name, medium.options(manifest.folder(), disk));
        arguments.extend([
            "-drive".to_owned(),
            format!("if=none,id=disk-{name},{options}"),
            "-device".to_owned(),
            format!("virtio-blk-device,drive=disk-{name},serial={name}{}", bus()),
        ]);
    }
    for device in &board.devices {
        arguments.extend(["-device".to_owned(), format!("{},bus={}", device.qemu, device.slot.bus())]);
    }
    if has_uplink {
        // Addresses by DHCP from 10.0.2.15 on, the computer at 10.0.2.2, a name server at 10.0.2.3.
        let ports = manifest.networks.iter().flat_map(|network| &network.ports);
        let forwards: String = ports.map(|port| format!(",hostfwd={port}")).collect();
        arguments.extend(["-netdev".to_owned(), format!("user,id=uplink{forwards}"), "-device".to_owned()]);
        arguments.push(format!("virtio-net-device,netdev=uplink{}", bus()));
    }
    arguments
}

/// The first QEMU whose `virt` has a second UART outside the secure world.
pub const SECOND_UART_SINCE: (u32, u32) = (9, 1);

/// The board's second UART.
const SECOND_UART: &str = "/pl011@9040000";

/// The VM to which the board's second UART is assigned.
#[must_use]
pub fn needs_second_uart(manifest: &Manifest) -> Option<&str> {
    let has = |vm: &&Vm| vm.assigned.iter().any(|device| device.path == SECOND_UART);
    manifest.vms.iter().find(has).map(|vm| vm.name.as_str())
}

/// QEMU's arguments for the board's second UART, which is there only if it leads somewhere: nowhere, unless one of the
/// user's arguments says where.
#[must_use]
pub fn second_uart(manifest: &Manifest, given: &[String]) -> Vec<String> {
    let leads_somewhere = given.iter().any(|argument| argument == "-serial");
    if needs_second_uart(manifest).is_none() || leads_somewhere {
        return Vec::new();
    }
    ["-serial", "null"].map(str::to_owned).into()
}

/// Makes a disk's file.
fn make(path: &Path, disk: &BoardDisk, setup: &Setup) -> Result<(), SetupError> {
    match disk.new {
        Some(NewDisk::Empty(size)) => File::create_new(path)
            .and_then(|file| file.set_len(size.0))
            .map_err(|error| SetupError::file("make", path, &error)),
        Some(NewDisk::Debian) => setup::disk::copy(&setup.debian_root()?, path),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vambrace_manifest::diagnostic::Source;
    use vambrace_manifest::{self as manifest, BoardOptions};

    fn manifest(assign: &str) -> Manifest {
        let text = format!("[[vm]]\nname = \"a\"\nkernel = \"guest:hello\"\nassign = [{assign}]\n");
        let source = Source { path: "m.toml".into(), text };
        manifest::parse(source, &BoardOptions::default()).unwrap().0
    }

    #[test]
    fn ports_of_the_computer_lead_to_the_uplinks_network() {
        let text = "[[vm]]\nname = \"a\"\nkernel = \"guest:hello\"\n[[network]]\nname = \"lan\"\nuplink = \"board\"\n\
                    ports = [\"2222:22\", \"5353:10.0.2.21:53/udp\"]\n";
        let source = Source { path: "m.toml".into(), text: text.into() };
        let manifest = manifest::parse(source, &BoardOptions::default()).unwrap().0;
        let due = "user,id=uplink,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp:127.0.0.1:5353-10.0.2.21:53";
        assert!(devices(&manifest).iter().any(|argument| argument == due), "{:?}", devices(&manifest));
    }

    #[test]
    fn the_boards_devices_are_in_their_slots() {
        let text = include_str!("../../manifest/src/plan/trusted.toml");
        let source = Source { path: "m.toml".into(), text: text.into() };
        let manifest = manifest::parse(source, &BoardOptions::default()).unwrap().0;
        let arguments = devices(&manifest).join(" ");
        for part in [
            "virtio-net-device,netdev=uplink,bus=virtio-mmio-bus.31",
            "virtio-rng-device,bus=virtio-mmio-bus.9",
            "force-legacy=false",
        ] {
            assert!(arguments.contains(part), "{part}: {arguments}");
        }
    }

    #[test]
    fn the_second_uart_is_there_when_somebody_has_it() {
        let (with, without) = (manifest("\"/pl011@9040000\""), manifest("\"/pl061@9030000\""));
        assert_eq!(needs_second_uart(&with), Some("a"));
        assert_eq!(second_uart(&with, &[]), ["-serial", "null"]);
        assert_eq!(second_uart(&with, &["-serial".into(), "file:x".into()]), [""; 0]);
        assert_eq!((needs_second_uart(&without), second_uart(&without, &[])), (None, Vec::new()));
    }
}

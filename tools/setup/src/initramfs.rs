// SPDX-License-Identifier: MIT OR Apache-2.0
//! The initramfs: busybox and an init of twenty lines.
//!
//! The demo's init introduces its VM in one line, `vambrace-demo: NAME up: KERNEL-RELEASE cpus=N memory=KIB`. NAME is
//! `vambrace.name=` on the kernel's command line. With the word `vambrace.interactive` there it then gives a
//! shell, otherwise it powers the VM off. Another mounts a disk and hands over to the system there.
//!
//! The archive is cpio's "newc" format, compressed with gzip; the same busybox gives the same bytes (see
//! "initramfs buffer format" in the kernel's documentation). Where a program of our own is init there is nothing else in
//! it, and it is not compressed.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Write};

use cpio::NewcBuilder;
use flate2::{Compression, GzBuilder};

/// The word on the kernel's command line that asks for a shell.
pub const INTERACTIVE: &str = "vambrace.interactive";

/// Begins the word on the kernel's command line that names the VM.
pub const NAME: &str = "vambrace.name=";

/// Introduces the VM.
pub const DEMO: &str = concat!(include_str!("initramfs/begin.sh"), include_str!("initramfs/demo.sh"));

/// Moves data, and counts how much it takes; which `vambrace bench` reads.
pub const TRAFFIC: &str = concat!(include_str!("initramfs/begin.sh"), include_str!("initramfs/traffic.sh"));

/// Starts the system on a disk.
pub const ROOT: &str = concat!(include_str!("initramfs/begin.sh"), include_str!("initramfs/root.sh"));

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Packs the initramfs around a statically linked arm64 busybox; `init` is a script for its shell.
///
/// # Errors
/// Only when an in-memory write fails.
pub fn build(busybox: &[u8], init: &str) -> io::Result<Vec<u8>> {
    let mut archive = Archive::new(&["bin", "dev", "proc", "sys", "tmp"])?;
    archive.add(NewcBuilder::new("bin/busybox").mode(PROGRAM), busybox)?;
    archive.add(NewcBuilder::new("init").mode(PROGRAM), init.as_bytes())?;
    let archive = cpio::newc::trailer(archive.bytes)?;

    let mut packed = GzBuilder::new().mtime(0).write(Vec::new(), Compression::fast());
    packed.write_all(&archive)?;
    packed.finish()
}

/// Packs the initramfs whose only program runs a guest under KVM, and starts at once: the program is an arm64 ELF file
/// without libraries, `guest` a flat image, `tree` its device tree.
///
/// # Errors
/// Only when an in-memory write fails.
pub fn of_runner(runner: &[u8], guest: &[u8], tree: &[u8]) -> io::Result<Vec<u8>> {
    let mut archive = Archive::new(&["dev"])?;
    // A miscellaneous device of a fixed number (Documentation/admin-guide/devices.txt).
    let kvm = NewcBuilder::new("dev/kvm").mode(CHARACTER_DEVICE).rdev_major(10).rdev_minor(232);
    archive.add(kvm, &[])?;
    for (path, data) in [("init", runner), ("guest", guest), ("tree", tree)] {
        archive.add(NewcBuilder::new(path).mode(PROGRAM), data)?;
    }
    cpio::newc::trailer(archive.bytes)
}

/// An archive with a statically linked program as init, with a console for it and a folder for procfs.
///
/// # Errors
/// Only when an in-memory write fails.
pub fn of_init(program: &[u8]) -> io::Result<Vec<u8>> {
    let mut archive = Archive::new(&["dev", "proc"])?;
    archive.add(NewcBuilder::new("init").mode(PROGRAM), program)?;
    cpio::newc::trailer(archive.bytes)
}

/// An archive with a program and its libraries, by their names. It goes before another one, as [`of_modules`]'s.
///
/// # Errors
/// Only when an in-memory write fails.
pub fn of_program(name: &str, program: &[u8], libraries: &BTreeMap<String, Vec<u8>>) -> io::Result<Vec<u8>> {
    let mut archive = Archive::new(&["bin", "dev", "lib"])?;
    archive.add(NewcBuilder::new(&format!("bin/{name}")).mode(PROGRAM), program)?;
    for (name, library) in libraries {
        archive.add(NewcBuilder::new(&format!("lib/{name}")).mode(PROGRAM), library)?;
    }
    archive.finish_before_another()
}

/// An archive with kernel modules, in the order in which they are to be loaded: what [`build`]'s init looks for. It goes
/// before another one, and fills whole words (see "initramfs buffer format").
///
/// # Errors
/// Only when an in-memory write fails.
pub fn of_modules(modules: &[(String, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut archive = Archive::new(&["dev", "modules"])?;
    for (name, module) in modules {
        archive.add(NewcBuilder::new(&format!("modules/{name}.ko")).mode(FILE), module)?;
    }
    let order: String = modules.iter().map(|(name, _)| format!("{name}\n")).collect();
    archive.add(NewcBuilder::new("modules/order").mode(FILE), order.as_bytes())?;
    archive.finish_before_another()
}

struct Archive {
    bytes: Vec<u8>,
    files: u32,
}

impl Archive {
    /// Folders, `dev` among them, and the console.
    fn new(folders: &[&str]) -> io::Result<Self> {
        let mut archive = Self { bytes: Vec::new(), files: 0 };
        for folder in folders {
            archive.add(NewcBuilder::new(folder).mode(FOLDER).nlink(2), &[])?;
        }
        // The kernel opens it for init before init can mount devtmpfs.
        let console = NewcBuilder::new("dev/console").mode(CHARACTER_DEVICE).rdev_major(5).rdev_minor(1);
        archive.add(console, &[])?;
        Ok(archive)
    }

    fn add(&mut self, entry: NewcBuilder, data: &[u8]) -> io::Result<()> {
        self.files += 1;
        let len = u32::try_from(data.len()).map_err(io::Error::other)?;
        let mut writer = entry.ino(self.files).write(&mut self.bytes, len);
        io::copy(&mut Cursor::new(data), &mut writer)?;
        writer.finish().map(drop)
    }

    /// The whole archive, in whole words, so that another one can follow.
    fn finish_before_another(self) -> io::Result<Vec<u8>> {
        let mut bytes = cpio::newc::trailer(self.bytes)?;
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn unpack(packed: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
        list(bytes)
    }

    fn list(bytes: Vec<u8>) -> Vec<(String, u32, Vec<u8>)> {
        let mut reader = Cursor::new(bytes);
        let mut files = Vec::new();
        loop {
            let mut entry = cpio::NewcReader::new(reader).unwrap();
            if entry.entry().is_trailer() {
                return files;
            }
            let (name, mode) = (entry.entry().name().to_owned(), entry.entry().mode());
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            files.push((name, mode, data));
            reader = entry.finish().unwrap();
        }
    }

    #[test]
    fn init_and_busybox_are_executable_and_whole() {
        let files = unpack(&build(b"ELF, odd length", DEMO).unwrap());
        let find = |name: &str| files.iter().find(|file| file.0 == name).unwrap();
        assert_eq!(
            (find("bin/busybox").1, find("bin/busybox").2.as_slice()),
            (0o100_755, &b"ELF, odd length"[..])
        );
        assert_eq!((find("init").1, find("init").2.as_slice()), (0o100_755, DEMO.as_bytes()));
        assert_eq!(find("dev/console").1, 0o020_600);
    }

    #[test]
    fn the_runner_starts_first_and_finds_what_it_runs() {
        let plain = of_runner(b"ELF", b"image", b"tree").unwrap();
        let mut packed = GzBuilder::new().write(Vec::new(), Compression::fast());
        packed.write_all(&plain).unwrap();
        let files = unpack(&packed.finish().unwrap());
        let find = |name: &str| files.iter().find(|file| file.0 == name).unwrap();
        assert_eq!((find("init").1, find("init").2.as_slice()), (PROGRAM, &b"ELF"[..]));
        assert_eq!((find("guest").2.as_slice(), find("tree").2.as_slice()), (&b"image"[..], &b"tree"[..]));
        assert_eq!((find("dev/kvm").1, find("dev/console").1), (CHARACTER_DEVICE, CHARACTER_DEVICE));
    }

    #[test]
    fn modules_come_with_their_order() {
        let modules = [("jbd2".to_owned(), b"ELF".to_vec()), ("ext4".to_owned(), b"ELF too".to_vec())];
        let packed = of_modules(&modules).unwrap();
        assert_eq!(packed.len() % 4, 0);
        let files = list(packed);
        let find = |name: &str| files.iter().find(|file| file.0 == name).unwrap();
        assert_eq!(find("modules/order").2, b"jbd2\next4\n");
        assert_eq!(find("modules/ext4.ko").2, b"ELF too");
    }

    #[test]
    fn a_program_has_its_libraries_where_the_linker_is() {
        let libraries = [("libc.so.6".to_owned(), b"ELF".to_vec())].into();
        let packed = of_program("iperf3", b"ELF too", &libraries).unwrap();
        assert_eq!(packed.len() % 4, 0);
        let files = list(packed);
        let find = |name: &str| files.iter().find(|file| file.0 == name).unwrap();
        assert_eq!((find("bin/iperf3").1, find("bin/iperf3").2.as_slice()), (PROGRAM, &b"ELF too"[..]));
        assert_eq!((find("lib/libc.so.6").1, find("lib/libc.so.6").2.as_slice()), (PROGRAM, &b"ELF"[..]));
    }

    #[test]
    fn the_same_busybox_gives_the_same_bytes() {
        assert_eq!(build(b"busybox", DEMO).unwrap(), build(b"busybox", DEMO).unwrap());
    }

    #[test]
    fn a_program_is_init_with_a_console() {
        let files = list(of_init(b"ELF").unwrap());
        let names: Vec<&str> = files.iter().map(|file| file.0.as_str()).collect();
        assert_eq!(names, ["dev", "proc", "dev/console", "init"]);
        assert_eq!((files[3].1, files[3].2.as_slice()), (PROGRAM, &b"ELF"[..]));
    }

    #[test]
    fn init_knows_the_words_that_the_command_says() {
        assert!(DEMO.contains(INTERACTIVE) && DEMO.contains(NAME) && ROOT.contains(NAME));
    }
}

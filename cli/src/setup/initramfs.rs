// SPDX-License-Identifier: MIT OR Apache-2.0
//! The demo's initramfs: busybox and an init of twenty lines.
//!
//! Init introduces its VM in one line, `vambrace-demo: NAME up: KERNEL-RELEASE cpus=N memory=KIB`. NAME is
//! `vambrace.name=` on the kernel's command line. With the word `vambrace.interactive` there it then gives a
//! shell, otherwise it powers the VM off.
//!
//! The archive is cpio's "newc" format, compressed with gzip; the same busybox gives the same bytes (see
//! "initramfs buffer format" in the kernel's documentation).

use std::io::{self, Cursor, Write};

use cpio::NewcBuilder;
use flate2::{Compression, GzBuilder};

/// The word on the kernel's command line that asks for a shell.
pub const INTERACTIVE: &str = "vambrace.interactive";

/// Begins the word on the kernel's command line that names the VM.
pub const NAME: &str = "vambrace.name=";

const INIT: &str = include_str!("initramfs/init.sh");

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Packs the initramfs around a statically linked arm64 busybox.
///
/// # Errors
/// Only when an in-memory write fails.
pub fn build(busybox: &[u8]) -> io::Result<Vec<u8>> {
    let mut archive = Archive { bytes: Vec::new(), files: 0 };
    for folder in ["bin", "dev", "proc", "sys", "tmp"] {
        archive.add(NewcBuilder::new(folder).mode(FOLDER).nlink(2), &[])?;
    }
    // The kernel opens it for init before init can mount devtmpfs.
    let console = NewcBuilder::new("dev/console").mode(CHARACTER_DEVICE).rdev_major(5).rdev_minor(1);
    archive.add(console, &[])?;
    archive.add(NewcBuilder::new("bin/busybox").mode(PROGRAM), busybox)?;
    archive.add(NewcBuilder::new("init").mode(PROGRAM), INIT.as_bytes())?;
    let archive = cpio::newc::trailer(archive.bytes)?;

    let mut packed = GzBuilder::new().mtime(0).write(Vec::new(), Compression::fast());
    packed.write_all(&archive)?;
    packed.finish()
}

struct Archive {
    bytes: Vec<u8>,
    files: u32,
}

impl Archive {
    fn add(&mut self, entry: NewcBuilder, data: &[u8]) -> io::Result<()> {
        self.files += 1;
        let len = u32::try_from(data.len()).map_err(io::Error::other)?;
        let mut writer = entry.ino(self.files).write(&mut self.bytes, len);
        io::copy(&mut Cursor::new(data), &mut writer)?;
        writer.finish().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn unpack(packed: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
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
        let files = unpack(&build(b"ELF, odd length").unwrap());
        let find = |name: &str| files.iter().find(|file| file.0 == name).unwrap();
        assert_eq!(
            (find("bin/busybox").1, find("bin/busybox").2.as_slice()),
            (0o100_755, &b"ELF, odd length"[..])
        );
        assert_eq!((find("init").1, find("init").2.as_slice()), (0o100_755, INIT.as_bytes()));
        assert_eq!(find("dev/console").1, 0o020_600);
    }

    #[test]
    fn the_same_busybox_gives_the_same_bytes() {
        assert_eq!(build(b"busybox").unwrap(), build(b"busybox").unwrap());
    }

    #[test]
    fn init_knows_the_words_that_the_command_says() {
        assert!(INIT.contains(INTERACTIVE) && INIT.contains(NAME));
    }
}

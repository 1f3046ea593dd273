// SPDX-License-Identifier: MIT OR Apache-2.0
//! The drivers that Debian's kernel has as modules, for the devices that a VM can have.
//!
//! `modules.dep` is made where a kernel is installed, so what a module needs is read in the module itself: section
//! `.modinfo` has a line `depends=`. They go into an archive in the order in which they can be loaded, unpacked, since not
//! every kernel unpacks them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use lzma_rust2::XzReader;
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection};

use super::super::{SetupError, initramfs};
use super::package;

/// What VMs may want; of these, a kernel may have some built in.
const WANTED: [&str; 11] = [
    "virtio_mmio",
    "virtio_rng",
    "virtio_console",
    "virtio_blk",
    // Asked for by its algorithm's name only, by ext4.
    "crc32c_generic",
    "ext4",
    "virtio_net",
    "af_packet",
    "gpio_pl061",
    "rtc_pl031",
    "sbsa_gwdt",
];

/// What tells archives of these drivers, in the cache, from those of others.
pub(super) fn mark() -> String {
    let crc = crc::Crc::<u64>::new(&crc::CRC_64_ECMA_182);
    format!("~{:016x}", crc.checksum(WANTED.join(" ").as_bytes()))
}

/// Packs the modules of a kernel's package into an archive, which a kernel takes beside its initial RAM disk.
///
/// # Errors
/// When the package, or a module in it, cannot be read.
pub(super) fn pack(archive: &Path, to: &Path) -> Result<(), SetupError> {
    let folder = to.with_extension("unpacked");
    package::extract_all(archive, "*/kernel/*", &folder)?;
    let mut modules = Modules { found: BTreeMap::new(), chosen: Vec::new() };
    modules.find(&folder).map_err(|error| SetupError::file("read", &folder, &error))?;
    for name in WANTED {
        modules.choose(name)?;
    }
    let packed = initramfs::of_modules(&modules.chosen).and_then(|packed| fs::write(to, packed));
    packed.map_err(|error| SetupError::file("write", to, &error))?;
    fs::remove_dir_all(&folder).map_err(|error| SetupError::file("remove", &folder, &error))
}

struct Modules {
    /// Every module's file, by its name.
    found: BTreeMap<String, PathBuf>,
    /// Names and contents, those before that others need.
    chosen: Vec<(String, Vec<u8>)>,
}

impl Modules {
    /// Finds all modules in a folder and below.
    fn find(&mut self, folder: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                self.find(&path)?;
            } else if let Some(name) = path.file_name().and_then(|name| name.to_str()).and_then(module_name) {
                self.found.insert(name, path);
            }
        }
        Ok(())
    }

    /// Takes a module and what it needs, unless it is built into the kernel or taken already.
    fn choose(&mut self, name: &str) -> Result<(), SetupError> {
        let Some(path) = self.found.remove(name) else { return Ok(()) };
        let module = read(&path).map_err(|error| SetupError::file("read", &path, &error))?;
        for needed in dependencies(&module) {
            self.choose(&needed)?;
        }
        self.chosen.push((name.to_owned(), module));
        Ok(())
    }
}

/// The module's name, from its file's: in names a dash is as good as an underscore.
fn module_name(file: &str) -> Option<String> {
    let stem = file.strip_suffix(".ko").or_else(|| file.strip_suffix(".ko.xz"))?;
    Some(stem.replace('-', "_"))
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let bytes = fs::read(path)?;
    if path.extension().is_none_or(|extension| extension != "xz") {
        return Ok(bytes);
    }
    let mut module = Vec::new();
    XzReader::new(Cursor::new(bytes), true).read_to_end(&mut module)?;
    Ok(module)
}

/// The modules that a module needs.
fn dependencies(module: &[u8]) -> Vec<String> {
    let Ok(file) = ElfFile64::<LittleEndian>::parse(module) else { return Vec::new() };
    let Some(Ok(info)) = file.section_by_name(".modinfo").map(|section| section.data()) else {
        return Vec::new();
    };
    let lines = info.split(|byte| *byte == 0).filter_map(|line| std::str::from_utf8(line).ok());
    let names = lines.filter_map(|line| line.strip_prefix("depends=")).flat_map(|names| names.split(','));
    names.filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_named_after_their_files() {
        assert_eq!(module_name("virtio-rng.ko.xz").as_deref(), Some("virtio_rng"));
        assert_eq!(module_name("ext4.ko").as_deref(), Some("ext4"));
        assert_eq!(module_name("modules.order"), None);
    }

    #[test]
    fn what_is_no_module_needs_nothing() {
        assert!(dependencies(b"depends=jbd2\0").is_empty());
    }
}

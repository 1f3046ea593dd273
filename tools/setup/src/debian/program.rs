// SPDX-License-Identifier: MIT OR Apache-2.0
//! One of Debian's programs with the libraries that it needs, for an initramfs.
//!
//! What a program needs its ELF file says (`DT_NEEDED`), as the dynamic linker reads it; the packages that bring it are those
//! that apt would install. All libraries go to `/lib`, where the linker looks and is itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use object::LittleEndian;
use object::elf::{DT_NEEDED, FileHeader64};
use object::read::elf::FileHeader;

use super::super::{Cache, SetupError, initramfs};
use super::{open, package};
use crate::progress::Progress;
use vambrace_manifest::debian::SERIES;

/// What a package's libraries match, whether a file or a link to one.
const LIBRARIES: &str = "*/aarch64-linux-gnu/*.so*";
/// The dynamic linker, by the name that programs ask for.
const LINKER: &str = "ld-linux-aarch64.so.1";
/// The program's file in the cache.
const ARCHIVE: &str = "program.cpio";

/// What the C library opens by itself when it ends a thread.
const UNWINDER: &str = "libgcc_s.so.1";

/// The archive with the program `name` of the package of that name, from the cache or made: to go before an initramfs.
///
/// # Errors
/// When its packages cannot be fetched or read.
pub(super) fn archive(cache: &Cache, progress: Progress, name: &str) -> Result<PathBuf, SetupError> {
    let cached = || cache.newest(name, "").map(|folder| folder.join(ARCHIVE));
    if let Some(file) = cached() {
        return Ok(file);
    }
    let _lock = cache.lock("debian")?;
    // Another process may have made it while we waited.
    if let Some(file) = cached() {
        return Ok(file);
    }
    let step = progress.step(&format!("fetching {name}"));
    let apt = open(cache, SERIES[0].suite, &step)?;
    let staging = cache.staging()?;
    let folder = |name: &str| {
        let folder = staging.path().join(name);
        fs::create_dir(&folder)
            .map(|()| folder.clone())
            .map_err(|error| SetupError::file("make", &folder, &error))
    };
    let packages = apt.download_all(&apt.closure(&[name])?, &folder("packages")?, &step)?;
    step.detail("unpacking");
    let mut found = Found::default();
    for (index, archive) in packages.iter().enumerate() {
        let to = staging.path().join(index.to_string());
        // Many have none.
        if package::extract_all(archive, LIBRARIES, &to).is_ok() {
            found.look(&to).map_err(|error| SetupError::file("read", &to, &error))?;
        }
    }
    let is_its_own = |path: &&PathBuf| {
        let file = path.file_name().and_then(|file| file.to_str());
        file.is_some_and(|file| file.starts_with(&format!("{name}_")))
    };
    let of_package =
        packages.iter().find(is_its_own).ok_or_else(|| failed(name, "its package did not come"))?;
    let binary = staging.path().join("program");
    package::extract(of_package, &format!("./usr/bin/{name}"), &binary)?;
    let program = fs::read(&binary).map_err(|error| SetupError::file("read", &binary, &error))?;

    let beside = [LINKER, UNWINDER];
    let chosen =
        beside.iter().try_for_each(|name| found.choose(name)).and_then(|()| found.choose_all(&program));
    chosen.map_err(|missing| failed(name, &missing))?;
    let complete = folder("complete")?;
    let to = complete.join(ARCHIVE);
    let packed =
        initramfs::of_program(name, &program, &found.chosen).and_then(|packed| fs::write(&to, packed));
    packed.map_err(|error| SetupError::file("write", &to, &error))?;
    let version = package::version(of_package).unwrap_or_else(|| "unknown".to_owned());
    Ok(cache.adopt(&complete, name, &version)?.join(ARCHIVE))
}

fn failed(name: &str, why: &str) -> SetupError {
    SetupError::new(
        format!("cannot make an archive of Debian's {name}: {why}"),
        "delete the cache folder (vambrace doctor shows it) and try again; if it fails again, report it",
    )
}

/// The libraries that packages bring.
#[derive(Debug, Default)]
struct Found {
    /// Their files by the names that programs ask for.
    files: BTreeMap<String, PathBuf>,
    /// What is needed of them.
    chosen: BTreeMap<String, Vec<u8>>,
}

impl Found {
    /// Finds all libraries in a folder and below.
    fn look(&mut self, folder: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.look(&entry.path())?;
            } else if let Ok(name) = entry.file_name().into_string() {
                // A library for a program's own use lies deeper, so the first one counts.
                self.files.entry(name).or_insert_with(|| entry.path());
            }
        }
        Ok(())
    }

    /// Takes a library and what it needs, unless it is taken already; or names what is missing.
    fn choose(&mut self, name: &str) -> Result<(), String> {
        if self.chosen.contains_key(name) {
            return Ok(());
        }
        let file = self.files.get(name).ok_or_else(|| format!("no package has {name}"))?;
        let library = fs::read(file).map_err(|error| format!("{name}: {error}"))?;
        self.chosen.insert(name.to_owned(), library.clone());
        self.choose_all(&library)
    }

    /// Takes all that a program or library needs.
    fn choose_all(&mut self, binary: &[u8]) -> Result<(), String> {
        let needed = needed(binary).map_err(|error| format!("it cannot be read: {error}"))?;
        needed.iter().try_for_each(|name| self.choose(name))
    }
}

/// The names of the libraries that a program or library needs.
fn needed(binary: &[u8]) -> object::Result<Vec<String>> {
    let header = FileHeader64::<LittleEndian>::parse(binary)?;
    let table = header.sections(LittleEndian, binary)?.dynamic_table(LittleEndian, binary)?;
    let entries = table.iter().filter(|entry| entry.tag == DT_NEEDED);
    entries.map(|entry| Ok(String::from_utf8_lossy(table.string(entry)?).into_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with nothing but a dynamic section and its strings.
    fn elf(names: &[&str]) -> Vec<u8> {
        let mut strings = vec![0];
        let mut entries: Vec<(u64, u64)> = Vec::new();
        for name in names {
            entries.push((1, strings.len() as u64));
            strings.extend([name.as_bytes(), b"\0"].concat());
        }
        // Something else, then the end.
        entries.extend([(30, 8), (0, 0)]);
        let dynamic: Vec<u8> = entries
            .iter()
            .flat_map(|(tag, value)| [tag.to_le_bytes(), value.to_le_bytes()].concat())
            .collect();
        let sections = 64 + dynamic.len() + strings.len().next_multiple_of(8);
        let mut file = b"\x7FELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        let words = |words: &[u16]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        file.extend([words(&[3, 183]), 1u32.to_le_bytes().into()].concat());
        file.extend([0, 0, sections as u64].iter().flat_map(|word| word.to_le_bytes()));
        file.extend([0u32.to_le_bytes().into(), words(&[64, 56, 0, 64, 3, 2])].concat());
        file.extend_from_slice(&dynamic);
        file.extend_from_slice(&strings);
        file.resize(sections, 0);
        let section = |kind: u32, offset: usize, size: usize, link: u32| {
            let head = [0u32, kind].iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
            let place =
                [0, 0, offset as u64, size as u64].iter().flat_map(|word| word.to_le_bytes()).collect();
            [head, place, [link, 0].iter().flat_map(|word| word.to_le_bytes()).collect(), vec![0; 16]]
                .concat()
        };
        file.extend([section(0, 0, 0, 0), section(6, 64, dynamic.len(), 2)].concat());
        file.extend(section(3, 64 + dynamic.len(), strings.len(), 0));
        file
    }

    fn found(folder: &Path, files: &[(&str, &[&str])]) -> Found {
        for (name, needs) in files {
            fs::write(folder.join(name), elf(needs)).unwrap();
        }
        let mut found = Found::default();
        found.look(folder).unwrap();
        found
    }

    #[test]
    fn what_is_needed_is_taken_with_what_that_needs_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let files: [(&str, &[&str]); 4] = [
            ("libc.so.6", &["ld.so"]),
            ("ld.so", &[]),
            ("libx.so.1", &["libc.so.6", "libx.so.1"]),
            ("liby.so.1", &[]),
        ];
        let mut found = found(folder.path(), &files);
        found.choose_all(&elf(&["libx.so.1"])).unwrap();
        let names: Vec<&str> = found.chosen.keys().map(String::as_str).collect();
        assert_eq!(names, ["ld.so", "libc.so.6", "libx.so.1"]);
    }

    #[test]
    fn a_library_that_nobody_brings_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut found = found(folder.path(), &[("libx.so.1", &["libz.so.1"])]);
        assert_eq!(found.choose_all(&elf(&["libx.so.1"])), Err("no package has libz.so.1".to_owned()));
    }

    #[test]
    fn what_is_no_program_is_told() {
        let error = Found::default().choose_all(b"#!/bin/sh").unwrap_err();
        assert!(error.starts_with("it cannot be read"), "{error}");
    }
}

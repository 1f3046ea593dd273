// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bootable images: a linked program made flat, and the hypervisor joined with its bundle.
//!
//! ```text
//! 0                      image_size, rounded up to 4 KiB
//! +-------------------+------------------------+--------
//! | Image header, EL2 | zeros (its .bss)       | bundle
//! +-------------------+------------------------+--------
//! ```
//!
//! Whatever boots Linux loads the whole file, whose size its header announces; the hypervisor finds the bundle
//! directly behind itself. The header is the kernel's, "Booting AArch64 Linux", section 4.

use object::elf::{SHF_ALLOC, SHF_EXECINSTR, SHT_NOBITS};
use object::read::elf::{ElfFile64, ProgramHeader, SectionHeader};
use object::{LittleEndian, Object, ObjectSection};
use serde::Serialize;

/// Where the parts of the combined image begin, in bytes.
pub const ALIGN: usize = 4096;

/// The header's magic number, at offset 56.
const MAGIC: &[u8; 4] = b"ARM\x64";
const MAGIC_AT: usize = 56;
/// Where the header says how far above the start of RAM the image is to be.
const OFFSET_AT: usize = 8;
/// Offset of the image's size in memory.
const SIZE_AT: usize = 16;
/// And of its flags.
const FLAGS_AT: usize = 24;

/// No flat image is larger; more means a program linked for scattered addresses.
const LARGEST: u64 = 1 << 30;

/// Why no image could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Not a 64-bit ELF file.
    #[error("not a 64-bit little-endian ELF program: {0}")]
    NotElf(String),
    /// A segment lies outside its file, or the segments are too far apart.
    #[error("its segments make no flat image")]
    Scattered,
    /// The Image header is missing.
    #[error("it does not begin with a Linux arm64 Image header")]
    NoHeader,
}

/// Lays out a linked program's segments by physical address, from the lowest one on.
///
/// What only takes up memory at the end (`.bss`) is left out; the program's header tells its size.
///
/// # Errors
/// See [`ImageError`].
pub fn flatten(elf: &[u8]) -> Result<Vec<u8>, ImageError> {
    let file =
        ElfFile64::<LittleEndian>::parse(elf).map_err(|error| ImageError::NotElf(error.to_string()))?;
    let mut segments = Vec::new();
    for header in file.elf_program_headers() {
        let is_load = header.p_type(LittleEndian) == object::elf::PT_LOAD;
        if is_load && header.p_filesz(LittleEndian) > 0 {
            let bytes = header.data(LittleEndian, elf).map_err(|()| ImageError::Scattered)?;
            segments.push((header.p_paddr(LittleEndian), bytes));
        }
    }
    let base = segments.iter().map(|(address, _)| *address).min().ok_or(ImageError::Scattered)?;
    let mut flat = Vec::new();
    for (address, bytes) in segments {
        let offset = address - base;
        if offset >= LARGEST {
            return Err(ImageError::Scattered);
        }
        let start = usize::try_from(offset).map_err(|_| ImageError::Scattered)?;
        let end = start + bytes.len();
        if flat.len() < end {
            flat.resize(end, 0);
        }
        flat[start..end].copy_from_slice(bytes);
    }
    Ok(flat)
}

/// How much of a program is what, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sections {
    /// Instructions.
    pub text: u64,
    /// Constants, and what relocates the program.
    pub rodata: u64,
    /// Variables that do not start as zero.
    pub data: u64,
    /// Variables that do, and stacks; not in the file.
    pub bss: u64,
}

/// Counts a linked program's sections.
///
/// # Errors
/// [`ImageError::NotElf`].
pub fn sections(elf: &[u8]) -> Result<Sections, ImageError> {
    let file =
        ElfFile64::<LittleEndian>::parse(elf).map_err(|error| ImageError::NotElf(error.to_string()))?;
    let mut sections = Sections::default();
    for section in file.sections() {
        let header = section.elf_section_header();
        let flags = header.sh_flags(LittleEndian);
        let part = if !flags.contains(SHF_ALLOC) {
            continue;
        } else if header.sh_type(LittleEndian) == SHT_NOBITS {
            &mut sections.bss
        } else if flags.contains(SHF_EXECINSTR) {
            &mut sections.text
        } else if section.name() == Ok(".data") {
            &mut sections.data
        } else {
            &mut sections.rodata
        };
        *part += header.sh_size(LittleEndian);
    }
    Ok(sections)
}

/// The size in memory that an Image header announces.
///
/// # Errors
/// [`ImageError::NoHeader`].
pub fn memory_size(image: &[u8]) -> Result<u64, ImageError> {
    if image.get(MAGIC_AT..MAGIC_AT + MAGIC.len()) != Some(MAGIC) {
        return Err(ImageError::NoHeader);
    }
    let size = image.get(SIZE_AT..).and_then(|rest| rest.first_chunk()).ok_or(ImageError::NoHeader)?;
    Ok(u64::from_le_bytes(*size))
}

/// Has a loader put an image so many bytes above the start of RAM, rather than as low as it can: what is below is for a VM.
///
/// # Errors
/// [`ImageError::NoHeader`].
pub fn load_above(image: &mut [u8], offset: u64) -> Result<(), ImageError> {
    memory_size(image)?;
    let mut set = |at: usize, value: u64| {
        let field = image.get_mut(at..at + 8).ok_or(ImageError::NoHeader)?;
        field.copy_from_slice(&value.to_le_bytes());
        Ok(())
    };
    set(OFFSET_AT, offset)?;
    // Little-endian, 4 KiB pages, and no longer anywhere in memory.
    set(FLAGS_AT, 0x2)
}

/// Joins the hypervisor and a bundle into one bootable file.
///
/// The header then announces the size of both, so that a loader keeps the bundle free, and moves it along when
/// it moves the image. The hypervisor knows its own size without it.
///
/// # Errors
/// [`ImageError::NoHeader`], or [`ImageError::Scattered`] for a hypervisor of impossible size.
pub fn combine(hypervisor: &[u8], bundle: &[u8]) -> Result<Vec<u8>, ImageError> {
    let size = memory_size(hypervisor)?;
    if size > LARGEST {
        return Err(ImageError::Scattered);
    }
    let size = usize::try_from(size).map_err(|_| ImageError::Scattered)?;
    let start = size.max(hypervisor.len()).next_multiple_of(ALIGN);
    let mut image = Vec::with_capacity(start + bundle.len());
    image.extend_from_slice(hypervisor);
    image.resize(start, 0);
    image.extend_from_slice(bundle);
    let announced = (image.len() as u64).to_le_bytes();
    if let Some(field) = image.get_mut(SIZE_AT..SIZE_AT + announced.len()) {
        field.copy_from_slice(&announced);
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 64-bit ELF file with the given segments: physical address, bytes.
    fn elf(segments: &[(u64, &[u8])]) -> Vec<u8> {
        let headers = 64 + 56 * segments.len();
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend([2u16, 183].map(u16::to_le_bytes).concat());
        file.extend(1u32.to_le_bytes());
        file.extend([0u64, 64, 0].map(u64::to_le_bytes).concat());
        file.extend(0u32.to_le_bytes());
        let count = u16::try_from(segments.len()).unwrap();
        file.extend([64u16, 56, count, 0, 0, 0].map(u16::to_le_bytes).concat());
        let mut offset = headers as u64;
        for (address, bytes) in segments {
            let len = bytes.len() as u64;
            file.extend([1u32, 5].map(u32::to_le_bytes).concat());
            file.extend(
                [offset, 0xFFFF_0000_0000_0000, *address, len, len + 0x1000, 8]
                    .map(u64::to_le_bytes)
                    .concat(),
            );
            offset += len;
        }
        for (_, bytes) in segments {
            file.extend_from_slice(bytes);
        }
        file
    }

    fn hypervisor(memory: u64, len: usize) -> Vec<u8> {
        let mut image = vec![0xAA; len];
        image[SIZE_AT..SIZE_AT + 8].copy_from_slice(&memory.to_le_bytes());
        image[MAGIC_AT..MAGIC_AT + 4].copy_from_slice(MAGIC);
        image
    }

    #[test]
    fn segments_lie_at_their_physical_addresses() {
        let flat = flatten(&elf(&[(0x4008_0010, b"data"), (0x4008_0000, b"text")])).unwrap();
        assert_eq!(flat, [b"text".as_slice(), &[0; 12], b"data"].concat());
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(matches!(flatten(b"#!/bin/sh"), Err(ImageError::NotElf(_))));
        assert_eq!(flatten(&elf(&[])), Err(ImageError::Scattered));
        assert_eq!(flatten(&elf(&[(0, b"a"), (1 << 40, b"b")])), Err(ImageError::Scattered));
        assert_eq!(combine(&[0; 100], b""), Err(ImageError::NoHeader));
        assert_eq!(combine(&hypervisor(u64::MAX, 100), b""), Err(ImageError::Scattered));
    }

    #[test]
    fn a_loader_is_told_how_far_above_the_start_of_ram() {
        let mut image = hypervisor(0x5000, 0x3000);
        load_above(&mut image, 64 << 20).unwrap();
        assert_eq!(image[OFFSET_AT..OFFSET_AT + 8], (64u64 << 20).to_le_bytes());
        assert_eq!(image[FLAGS_AT..FLAGS_AT + 8], 2u64.to_le_bytes());
        assert_eq!(memory_size(&image), Ok(0x5000));
        assert_eq!(load_above(&mut [0; 100], 0), Err(ImageError::NoHeader));
    }

    #[test]
    fn the_bundle_follows_the_memory_that_the_hypervisor_takes() {
        let image = combine(&hypervisor(0x5001, 0x3000), b"bundle").unwrap();
        assert_eq!(&image[0x6000..], b"bundle");
        assert_eq!(&image[0x3000..0x6000], [0; 0x3000]);
        assert_eq!(memory_size(&image), Ok(0x6006));
    }
}

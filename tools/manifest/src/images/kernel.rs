// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels and firmware: is this file one that an arm64 VM can start, and if not, what is it?
//!
//! A kernel is an arm64 `Image` (Linux, Documentation/arch/arm64/booting.rst), bare, packed with gzip, or
//! inside the EFI "zboot" wrapper with gzip. Everything else is recognised as far as its first bytes tell,
//! because "not a kernel" helps nobody who downloaded the wrong one.

use vambrace_memory::granule::Granule;

use super::gzip;
use crate::diagnostic::Code;

/// The largest kernel after unpacking, in bytes; what is larger is no kernel but a trap.
const MAX_UNPACKED: u64 = 512 << 20;

/// The largest firmware: one bank of flash, in bytes.
const MAX_FIRMWARE: usize = 64 << 20;

/// Where an `Image` without `image_size` (Linux before 3.17) wants to be.
const OLD_TEXT_OFFSET: u64 = 0x8_0000;

/// An arm64 `Image`, unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelImage {
    /// The bytes that go into memory.
    pub bytes: Vec<u8>,
    /// Its distance from a 2 MiB boundary.
    pub text_offset: u64,
    /// The memory it needs from its first byte on, in bytes; at least the file's length.
    pub image_size: u64,
    /// The granule of its stage 1, if the header says which.
    pub granule: Option<Granule>,
}

/// Why a file cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct NotBootable {
    /// The rule that is broken.
    pub code: Code,
    /// What the file is: completes "this is ...".
    pub what: String,
    /// What to do about it.
    pub help: String,
}

impl NotBootable {
    fn new(code: Code, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, what: what.into(), help: help.into() }
    }
}

impl KernelImage {
    /// Opens a kernel, unpacking it when it is packed.
    ///
    /// # Errors
    /// [`NotBootable`] says what the file is instead.
    pub fn open(bytes: Vec<u8>) -> Result<Self, NotBootable> {
        if bytes.starts_with(GZIP) {
            return Self::unpack(&bytes).and_then(Self::bare);
        }
        match zboot(&bytes) {
            Some(("gzip", payload)) => Self::unpack(payload).and_then(Self::bare),
            Some((packer, _)) => Err(NotBootable::new(
                Code::WrongFormat,
                format!("an EFI zboot kernel, packed with {packer}"),
                "of zboot kernels, those packed with gzip can be unpacked here; use the build's \
                 arch/arm64/boot/Image",
            )),
            None => Self::bare(bytes),
        }
    }

    fn bare(bytes: Vec<u8>) -> Result<Self, NotBootable> {
        if bytes.get(56..60) != Some(b"ARM\x64") {
            return Err(foreign(&bytes));
        }
        let word =
            |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().map(u64::from_le_bytes);
        let (Some(text_offset), Some(image_size), Some(flags)) = (word(8), word(16), word(24)) else {
            return Err(foreign(&bytes));
        };
        if image_size != 0 && flags & 1 != 0 {
            return Err(NotBootable::new(
                Code::WrongArchitecture,
                "a big-endian arm64 kernel",
                "build it with CONFIG_CPU_LITTLE_ENDIAN",
            ));
        }
        let len = bytes.len() as u64;
        let text_offset = if image_size == 0 { OLD_TEXT_OFFSET } else { text_offset };
        // Bits 1 and 2 of the flags; older kernels have zero there, for "not said".
        let granule = match flags >> 1 & 3 {
            1 => Some(Granule::Kib4),
            2 => Some(Granule::Kib16),
            3 => Some(Granule::Kib64),
            _ => None,
        };
        Ok(Self { bytes, text_offset, image_size: image_size.max(len), granule })
    }

    fn unpack(packed: &[u8]) -> Result<Vec<u8>, NotBootable> {
        match gzip::unpack(packed, MAX_UNPACKED) {
            Ok(bytes) if bytes.len() as u64 > MAX_UNPACKED => Err(NotBootable::new(
                Code::WrongFormat,
                "a gzip file that unpacks to more than 512 MiB",
                "a kernel is smaller; is this a disk image?",
            )),
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(NotBootable::new(
                Code::UnusableFile,
                format!("a damaged gzip file ({error})"),
                "download or build it again",
            )),
        }
    }
}

/// The packer's name and the packed kernel inside an EFI zboot image (Linux, zboot-header.S).
fn zboot(bytes: &[u8]) -> Option<(&str, &[u8])> {
    if bytes.get(4..8) != Some(b"zimg") {
        return None;
    }
    let word =
        |at: usize| bytes.get(at..)?.first_chunk().copied().map(|word| u32::from_le_bytes(word) as usize);
    let (offset, len) = (word(8)?, word(12)?);
    let name = bytes.get(24..56)?.split(|byte| *byte == 0).next()?;
    Some((std::str::from_utf8(name).ok()?, bytes.get(offset..offset.checked_add(len)?)?))
}

/// Checks that a firmware image can be put in flash and started at its first byte.
///
/// # Errors
/// [`NotBootable`] says what the file is instead.
pub fn check_firmware(bytes: &[u8]) -> Result<(), NotBootable> {
    if bytes.len() > MAX_FIRMWARE {
        return Err(NotBootable::new(
            Code::DoesNotFit,
            format!("{} MiB long", bytes.len().div_ceil(1 << 20)),
            "the flash holds 64 MiB; is this a disk image?",
        ));
    }
    if bytes.starts_with(ELF) {
        let error = elf(bytes);
        return Err(NotBootable {
            help: "the flash takes the raw image, such as u-boot.bin".into(),
            ..error
        });
    }
    // Execution begins with the first word, and zero is no instruction. Firmware for x86 begins with zeros,
    // since there execution begins at the end.
    if bytes.first_chunk() == Some(&[0; 4]) {
        return Err(NotBootable::new(
            Code::WrongArchitecture,
            "no arm64 firmware: it begins with zeros, not with an instruction",
            USE_U_BOOT,
        ));
    }
    if bytes.first_chunk().is_some_and(|word| is_aarch32(u32::from_le_bytes(*word))) {
        return Err(NotBootable::new(
            Code::WrongArchitecture,
            "32-bit Arm firmware: it begins with an AArch32 instruction, and VMs start in AArch64",
            USE_U_BOOT,
        ));
    }
    Ok(())
}

/// Whether this is how the vectors of AArch32 begin: `B`, or `LDR PC, [PC, #..]` up or down.
///
/// In A64 the first is ANDS of a register, the others are no instruction of a CPU without SVE: nothing begins so.
const fn is_aarch32(word: u32) -> bool {
    word >> 24 == 0xEA || matches!(word >> 12, 0xE_59FF | 0xE_51FF)
}

/// Whether firmware is UEFI's: a firmware volume (UEFI Platform Initialization, "Firmware Volume Header").
#[must_use]
pub fn is_uefi(bytes: &[u8]) -> bool {
    bytes.get(0x28..0x2C) == Some(b"_FVH")
}

const GZIP: &[u8] = &[0x1F, 0x8B];
const ELF: &[u8] = b"\x7FELF";
const USE_U_BOOT: &str =
    "use a build for QEMU's arm64 `virt` board, such as U-Boot's qemu_arm64: `debian:u-boot`";
const USE_IMAGE: &str = "use the kernel build's arch/arm64/boot/Image";
const USE_ARM64: &str = "Vambrace runs arm64 kernels: use arch/arm64/boot/Image of a kernel built for arm64";
const UNPACK: &str = "unpack it first; of packed kernels, only gzip is unpacked here";

/// Files that are taken for kernels: where to look, for which bytes, and what it then is.
const KNOWN: [(usize, &[u8], Code, &str, &str); 12] = [
    (0x202, b"HdrS", Code::WrongArchitecture, "an x86 kernel (bzImage)", USE_ARM64),
    (0x24, &[0x18, 0x28, 0x6F, 0x01], Code::WrongArchitecture, "a 32-bit Arm kernel (zImage)", USE_ARM64),
    (0x30, b"RISCV\0\0\0", Code::WrongArchitecture, "a RISC-V kernel (Image)", USE_ARM64),
    (0, &[0x27, 0x05, 0x19, 0x56], Code::WrongFormat, "a kernel in U-Boot's wrapper (uImage)", USE_IMAGE),
    (0, &[0xD0, 0x0D, 0xFE, 0xED], Code::WrongFormat, "a device tree or FIT image", USE_IMAGE),
    (0, &[0xFD, b'7', b'z', b'X', b'Z'], Code::WrongFormat, "packed with xz", UNPACK),
    (0, &[0x28, 0xB5, 0x2F, 0xFD], Code::WrongFormat, "packed with zstd", UNPACK),
    (0, b"BZh", Code::WrongFormat, "packed with bzip2", UNPACK),
    (0, &[0x02, 0x21, 0x4C, 0x18], Code::WrongFormat, "packed with lz4", UNPACK),
    (0, &[0x04, 0x22, 0x4D, 0x18], Code::WrongFormat, "packed with lz4", UNPACK),
    (
        0,
        b"!<arch>",
        Code::WrongFormat,
        "a Debian package or an archive",
        "unpack it and use the Image inside",
    ),
    (0, b"070701", Code::WrongFormat, "an initial RAM disk (cpio)", "name it as `initrd`, and a kernel here"),
];

/// What a file without the arm64 `Image` header is.
fn foreign(bytes: &[u8]) -> NotBootable {
    if bytes.starts_with(ELF) {
        return elf(bytes);
    }
    KNOWN
        .into_iter()
        .find(|(at, magic, ..)| bytes.get(*at..).is_some_and(|rest| rest.starts_with(magic)))
        .map(|(_, _, code, what, help)| NotBootable::new(code, what, help))
        .unwrap_or_else(|| {
            NotBootable::new(Code::WrongFormat, "no arm64 kernel: the Image header is missing", USE_IMAGE)
        })
}

/// What an ELF file is, by its `e_machine`.
fn elf(bytes: &[u8]) -> NotBootable {
    let big_endian = bytes.get(5) == Some(&2);
    let machine = match bytes.get(18..20) {
        Some(&[low, high]) if !big_endian => u16::from_le_bytes([low, high]),
        Some(&[high, low]) => u16::from_be_bytes([high, low]),
        _ => 0,
    };
    let architecture = match machine {
        3 | 62 => "x86",
        40 => "32-bit Arm",
        183 => return NotBootable::new(Code::WrongFormat, "an ELF file (vmlinux)", USE_IMAGE),
        243 => "RISC-V",
        _ => "another processor",
    };
    NotBootable::new(Code::WrongArchitecture, format!("an ELF file for {architecture}"), USE_ARM64)
}

#[cfg(test)]
mod tests;

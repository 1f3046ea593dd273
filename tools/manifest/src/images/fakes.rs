// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images for tests.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// An arm64 `Image` of 4 KiB that asks for `image_size` bytes.
pub(crate) fn image(text_offset: u64, image_size: u64, flags: u64) -> Vec<u8> {
    let mut bytes = vec![0xAA; 4096];
    bytes[8..16].copy_from_slice(&text_offset.to_le_bytes());
    bytes[16..24].copy_from_slice(&image_size.to_le_bytes());
    bytes[24..32].copy_from_slice(&flags.to_le_bytes());
    bytes[56..60].copy_from_slice(b"ARM\x64");
    bytes
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// A kernel in the EFI zboot wrapper.
pub(crate) fn zboot(packer: &str, packed: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[4..8].copy_from_slice(b"zimg");
    bytes[8..12].copy_from_slice(&64u32.to_le_bytes());
    bytes[12..16].copy_from_slice(&(packed.len() as u32).to_le_bytes());
    bytes[24..24 + packer.len()].copy_from_slice(packer.as_bytes());
    bytes.extend_from_slice(packed);
    bytes
}

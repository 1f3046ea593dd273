// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::*;
use crate::images::fakes::{gzip, image, zboot};

#[test]
fn an_image_says_what_it_needs() {
    let kernel = KernelImage::open(image(0, 40 << 20, 0xA)).unwrap();
    assert_eq!((kernel.text_offset, kernel.image_size, kernel.bytes.len()), (0, 40 << 20, 4096));
    let older = KernelImage::open(image(0x8_0000, 16 << 20, 0)).unwrap();
    assert_eq!((older.text_offset, older.image_size), (0x8_0000, 16 << 20));
}

#[test]
fn before_linux_3_17_the_header_said_less() {
    // The offset may be big-endian there, and counts for nothing.
    let kernel = KernelImage::open(image(0x0000_0800_0000_0000, 0, 1)).unwrap();
    assert_eq!((kernel.text_offset, kernel.image_size), (0x8_0000, 4096));
}

#[test]
fn a_file_is_never_smaller_than_its_memory() {
    assert_eq!(KernelImage::open(image(0, 1, 0)).unwrap().image_size, 4096);
}

#[test]
fn packed_kernels_are_unpacked() {
    let bare = image(0, 2 << 20, 0);
    let kernel = KernelImage::open(bare.clone()).unwrap();
    assert_eq!(KernelImage::open(gzip(&bare)), Ok(kernel.clone()));
    assert_eq!(KernelImage::open(zboot("gzip", &gzip(&bare))), Ok(kernel));
    let error = KernelImage::open(zboot("zstd22", &bare)).unwrap_err();
    assert_eq!(
        (error.code, error.what.as_str()),
        (Code::WrongFormat, "an EFI zboot kernel, packed with zstd22")
    );
}

#[test]
fn what_unpacks_without_end_is_refused() {
    let zeros = vec![0; 1 << 20];
    let mut packed = Vec::new();
    let mut packer = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::fast());
    for _ in 0..513 {
        std::io::Write::write_all(&mut packer, &zeros).unwrap();
    }
    packer.finish().unwrap();
    assert_eq!(KernelImage::open(packed).unwrap_err().code, Code::WrongFormat);
}

#[test]
fn firmware_begins_with_an_instruction_and_fits_the_flash() {
    assert_eq!(check_firmware(&[0x14; 64 << 20]), Ok(()));
    assert_eq!(check_firmware(&vec![0x14; (64 << 20) + 1]).unwrap_err().code, Code::DoesNotFit);
    assert_eq!(check_firmware(&[0; 16]).unwrap_err().code, Code::WrongArchitecture);
    // B, LDR PC, [PC, #0x18], LDR PC, [PC, #-4].
    for word in [0xEA00_00B8u32, 0xE59F_F018, 0xE51F_F004] {
        let error = check_firmware(&[word.to_le_bytes(), [0; 4]].concat()).unwrap_err();
        assert_eq!(error.code, Code::WrongArchitecture);
        assert!(error.what.contains("32-bit"), "{}", error.what);
    }
    // How arm64 firmware does begin: B, NOP, MRS X0, CurrentEL, ADR X0, LDR X0, MOVZ X0.
    for word in [0x1400_000Au32, 0xD503_201F, 0xD538_4240, 0x1000_0000, 0x5800_0000, 0xD280_0000] {
        assert_eq!(check_firmware(&word.to_le_bytes()), Ok(()), "{word:#x}");
    }
}

#[test]
fn the_header_tells_the_granule() {
    let granule = |flags| KernelImage::open(image(0, 2 << 20, flags)).unwrap().granule;
    let found = [0, 2, 4, 6, 0xA].map(granule);
    let due = [None, Some(Granule::Kib4), Some(Granule::Kib16), Some(Granule::Kib64), Some(Granule::Kib4)];
    assert_eq!(found, due);
    assert_eq!(
        check_firmware(b"\x7FELF").unwrap_err().help,
        "the flash takes the raw image, such as u-boot.bin"
    );
}

proptest! {
    #[test]
    fn no_file_is_too_strange(
        mut bytes in prop::collection::vec(any::<u8>(), 0..700),
        magic in prop::sample::select(vec![
            (0, GZIP), (0, ELF), (4, b"zimg".as_slice()), (56, b"ARM\x64"), (0x202, b"HdrS"),
        ]),
        known: bool,
    ) {
        let (at, magic) = magic;
        if let Some(place) = bytes.get_mut(at..at + magic.len()).filter(|_| known) {
            place.copy_from_slice(magic);
        }
        drop(check_firmware(&bytes));
        if let Ok(kernel) = KernelImage::open(bytes) {
            prop_assert!(kernel.image_size >= kernel.bytes.len() as u64);
        }
    }
}

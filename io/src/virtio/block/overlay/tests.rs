// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::*;
use crate::virtio::block::disk::Blocks;

const TAG: Tag = Tag(0);

fn read(disk: &mut Overlay<'_>, sector: u64, sectors: usize) -> Option<Vec<u8>> {
    let mut to = vec![0xEE; sectors * 512];
    let step = disk.start(TAG, Operation::Read { sector, to: &mut to });
    (step == DiskStep::Done).then_some(to)
}

/// A disk's index is as long as the disk is large: nobody goes through all of it at once.
#[test]
fn what_another_disk_has_left_is_prepared_a_part_at_a_time() {
    let (mut index, mut store) = ([9; 5], [0xAA; BLOCK]);
    let mut disk = Overlay::new(&[7; 100], &mut index, &mut store);
    let mut first = 0;
    let counts: Vec<usize> = std::iter::repeat_with(|| {
        let count = disk.prepare(first, 2);
        first += count;
        count
    })
    .take(4)
    .collect();
    assert_eq!(counts, [2, 2, 1, 0]);
    assert_eq!(disk.room(), BLOCK);
    assert_eq!(read(&mut disk, 0, 1).unwrap()[..101], [&[7; 100][..], &[0]].concat());
    assert_eq!(disk.prepare(usize::MAX, 1), 0);
}

#[test]
fn the_image_is_read_and_never_written() {
    let image: Vec<u8> = (0..5000).map(|at| (at % 251) as u8).collect();
    let (mut index, mut store) = ([0; 3], [0xAA; 2 * BLOCK]);
    let mut disk = Overlay::new(&image, &mut index, &mut store);
    assert_eq!((disk.sectors(), disk.room()), (24, 2 * BLOCK));
    let mut wanted = image.clone();
    wanted.resize(3 * BLOCK, 0);
    assert_eq!(read(&mut disk, 0, 24).unwrap(), wanted, "zeros behind the image");
    assert_eq!(disk.start(TAG, Operation::Write { sector: 7, from: &[1; 1024] }), DiskStep::Done);
    wanted[7 * 512..9 * 512].fill(1);
    assert_eq!(read(&mut disk, 0, 24).unwrap(), wanted);
    assert_eq!(disk.room(), 0);
    assert_eq!(disk.start(TAG, Operation::Write { sector: 16, from: &[1; 512] }), DiskStep::Failed, "full");
    assert_eq!(
        disk.start(TAG, Operation::Write { sector: 15, from: &[2; 512] }),
        DiskStep::Done,
        "has a place"
    );
    wanted[15 * 512..16 * 512].fill(2);
    assert_eq!(read(&mut disk, 0, 24).unwrap(), wanted);
    assert_eq!(
        read(&mut Overlay::new(&image, &mut index, &mut store), 0, 24).unwrap(),
        wanted,
        "all is in the store"
    );
    assert_eq!(image[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn what_is_not_on_the_disk_fails() {
    let (mut index, mut store) = ([0; 1], [0; BLOCK]);
    let mut disk = Overlay::new(&[], &mut index, &mut store);
    for (sector, sectors) in [(8, 1), (7, 2), (u64::MAX, 1), (u64::MAX / 512, 1), (u64::MAX / 512 + 1, 1)] {
        assert_eq!(read(&mut disk, sector, sectors), None, "{sector}");
        let from = vec![1; sectors * 512];
        assert_eq!(disk.start(TAG, Operation::Write { sector, from: &from }), DiskStep::Failed);
        let zeroes = Operation::WriteZeroes { sector, sectors: u64::MAX, blocks: Blocks::Keep };
        assert_eq!(disk.start(TAG, zeroes), DiskStep::Failed);
    }
}

proptest! {
    #[test]
    fn it_is_a_disk(
        image in prop::collection::vec(any::<u8>(), 0..3 * BLOCK),
        writes in prop::collection::vec((0u64..32, 1usize..12, any::<u8>(), any::<bool>()), 0..20),
    ) {
        let (mut index, mut store) = ([0; 4], [0x55; 4 * BLOCK]);
        let mut model = image.clone();
        model.resize(4 * BLOCK, 0);
        let mut disk = Overlay::new(&image, &mut index, &mut store);
        for (sector, sectors, byte, zeroes) in writes {
            let sectors = sectors.min(32 - sector as usize);
            let from = vec![if zeroes { 0 } else { byte }; sectors * 512];
            let operation = if zeroes {
                Operation::WriteZeroes { sector, sectors: sectors as u64, blocks: Blocks::MayUnmap }
            } else {
                Operation::Write { sector, from: &from }
            };
            prop_assert_eq!(disk.start(TAG, operation), DiskStep::Done);
            model[sector as usize * 512..][..from.len()].copy_from_slice(&from);
            prop_assert_eq!(&read(&mut disk, 0, 32).unwrap(), &model);
        }
    }

    /// An index from a damaged file may be nonsense; it still may not panic.
    #[test]
    fn a_damaged_index_does_no_harm(mut index in prop::collection::vec(any::<u32>(), 0..4), small in 0u32..4) {
        if let Some(first) = index.first_mut() {
            *first = small;
        }
        let mut store = [0; 2 * BLOCK];
        let mut disk = Overlay::new(&[1; 100], &mut index, &mut store);
        let _ = read(&mut disk, 0, 32);
        let _ = disk.start(TAG, Operation::Write { sector: 3, from: &[7; 8192] });
        let _ = disk.room();
    }
}

#[test]
fn what_was_written_is_restored_over_the_same_image() {
    let image: Vec<u8> = (0..5000).map(|at| (at % 251) as u8).collect();
    let (mut index, mut store) = ([0; 3], [0xAA; 2 * BLOCK]);
    let mut disk = Overlay::new(&image, &mut index, &mut store);
    for sector in [20, 3, 21] {
        assert_eq!(disk.start(TAG, Operation::Write { sector, from: &[sector as u8; 512] }), DiskStep::Done);
    }
    let (mut index, mut store) = ([0; 3], [0x55; 2 * BLOCK]);
    let mut other = Overlay::new(&image, &mut index, &mut store);
    assert_eq!(disk.written().map(|(block, _)| block).collect::<Vec<_>>(), [0, 2]);
    for (block, bytes) in disk.written() {
        other.restore(block, bytes.try_into().unwrap()).unwrap();
    }
    assert_eq!(read(&mut other, 0, 24), read(&mut disk, 0, 24));
    assert_eq!(other.restore(1, &[0; BLOCK]), Err(NoBlock(1)), "full");
    assert_eq!(other.restore(3, &[0; BLOCK]), Err(NoBlock(3)), "beyond the end");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::*;

const TREE: u64 = 10_000;

fn kernel(text_offset: u64, image_size: u64) -> KernelImage {
    KernelImage { bytes: Vec::new(), text_offset, image_size, granule: None }
}

/// Where things lie, counted from the start of RAM.
fn placed(mib: u64, kernel: &KernelImage, initrd: u64) -> (u64, (u64, u64)) {
    let place = Placement::new(Size::mib(mib), kernel, Some(initrd), TREE).unwrap();
    assert_eq!(place.device_tree, RAM);
    let (start, end) = place.initrd.unwrap();
    (place.kernel.0 - RAM.0, (start.0 - RAM.0, end.0 - RAM.0))
}

/// Found with QEMU 10: `-M virt -S -kernel Image -initrd FILE`, then `info roms` in its monitor.
#[test]
fn as_qemu_does() {
    let modern = kernel(0, 40 << 20);
    assert_eq!(placed(512, &modern, 1000), (2 << 20, (128 << 20, (128 << 20) + 1000)));
    assert_eq!(placed(128, &modern, 1000), (2 << 20, (64 << 20, (64 << 20) + 1000)));
    assert_eq!(placed(2048, &kernel(0x8_0000, 16 << 20), 1000).0, 0x8_0000);
    assert_eq!(placed(64, &modern, 1000).1.0, 42 << 20);
    // A kernel that reaches further pushes the RAM disk up.
    assert_eq!(placed(512, &kernel(0, 140 << 20), 1000).1.0, 142 << 20);
}

#[test]
fn a_tight_vm_has_its_ram_disk_right_behind_the_kernel() {
    assert_eq!(placed(64, &kernel(0, 30 << 20), 32 << 20), (2 << 20, (32 << 20, 64 << 20)));
}

#[test]
fn a_tree_too_long_for_the_gap_moves_the_kernel() {
    let kernel = kernel(0x1000, 1 << 20);
    let start = |tree| Placement::new(Size::mib(8), &kernel, None, tree).unwrap().kernel.0 - RAM.0;
    assert_eq!((start(0x1000), start(0x1001)), (0x1000, 0x20_1000));
}

#[test]
fn what_does_not_fit_says_what_would() {
    let needed =
        |mib, kernel, initrd| Placement::new(Size::mib(mib), &kernel, initrd, TREE).unwrap_err().needed;
    assert_eq!(needed(32, kernel(0, 40 << 20), None), Some(Size::mib(42)));
    assert_eq!(needed(42, kernel(0, 40 << 20), Some(1)), Some(Size::mib(44)));
    assert_eq!(needed(42, kernel(u64::MAX, 0), None), None);
    assert_eq!(needed(42, kernel(0, u64::MAX), None), None);
    assert_eq!(needed(42, kernel(0, 0), Some(33 << 30)), None);
}

proptest! {
    #[test]
    fn nothing_overlaps_and_the_protocol_holds(
        steps in 2u64..600,
        text_offset in prop::sample::select(vec![0, 0x1000, 0x8_0000, 0x20_0000, 0x28_0000]),
        image_size in 0u64..600 << 20,
        initrd in prop::option::of(0u64..600 << 20),
        tree in 1u64..=2 << 20,
    ) {
        let memory = Size(steps * (2 << 20));
        let kernel = kernel(text_offset, image_size);
        match Placement::new(memory, &kernel, initrd, tree) {
            Ok(place) => {
                let mut ranges = vec![
                    (place.device_tree.0, place.device_tree.0 + tree),
                    (place.kernel.0, place.kernel.0 + image_size),
                ];
                ranges.extend(place.initrd.map(|(start, end)| (start.0, end.0)));
                ranges.sort_unstable();
                prop_assert!(ranges.is_sorted_by(|before, after| before.1 <= after.0), "{ranges:x?}");
                prop_assert!(ranges.iter().all(|(start, end)| RAM.0 <= *start && *end <= RAM.0 + memory.0));
                prop_assert_eq!((place.kernel.0 - text_offset) % (2 << 20), 0);
                prop_assert_eq!(place.device_tree.0 % 8, 0);
                prop_assert_eq!(place.initrd.map(|(start, end)| end.0 - start.0), initrd);
                prop_assert!(place.initrd.is_none_or(|(start, _)| start.is_aligned(4096)));
            }
            Err(error) => {
                let needed = error.needed.unwrap();
                prop_assert!(needed > memory);
                prop_assert!(Placement::new(needed, &kernel, initrd, tree).is_ok());
            }
        }
    }
}

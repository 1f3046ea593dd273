// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::*;

/// As QEMU 10 makes it for `-M virt,gic-version=3,virtualization=on -smp 4 -m 2G`.
const QEMU_VIRT: &[u8] = include_bytes!("qemu-virt.dtb");

#[test]
fn qemu_virt_is_understood() {
    let mut board = Board::unknown();
    board.discover(QEMU_VIRT).unwrap();
    assert_eq!(board.memory.as_slice(), [Range::new(0x4000_0000, 2 << 30)]);
    assert_eq!(board.cpus.as_slice(), [0, 1, 2, 3]);
    assert_eq!(board.conduit, Conduit::Smc);
    assert_eq!(board.gic.distributor, Range::new(0x0800_0000, 0x1_0000));
    assert_eq!(board.gic.redistributors.as_slice(), [Range::new(0x080A_0000, 0xF6_0000)]);
    assert_eq!(board.gic.maintenance, 25);
    assert_eq!(board.timer, TimerInterrupts { virtual_timer: 27, hypervisor_timer: 26 });
    assert_eq!(board.uart, Some(Uart { base: 0x0900_0000, intid: 33 }));
    assert!(!board.seed.is_empty());
}

#[test]
fn the_length_comes_from_the_header() {
    assert_eq!(device_tree_len(*QEMU_VIRT.first_chunk().unwrap()), Some(QEMU_VIRT.len()));
    assert_eq!(device_tree_len([0; 8]), None);
}

#[test]
fn what_the_trees_own_crate_refuses_is_refused() {
    let mut spared = 0;
    for at in 0..QEMU_VIRT.len() {
        let mut tree = QEMU_VIRT.to_vec();
        tree[at] ^= 0x81;
        if !sound::is_sound(&tree) {
            assert!(Fdt::new(&tree).is_err(), "byte {at:#x} is no damage");
        } else if Fdt::new(&tree).is_err() {
            spared += 1;
            walk(Fdt::new_unchecked(&tree).root());
        }
    }
    assert!(spared < 100, "{spared} damages pass: more than a few odd names");
}

/// Visits all there is.
fn walk(node: FdtNode<'_>) {
    let _ = node.name();
    for property in node.properties() {
        let _ = (property.name(), property.value());
    }
    node.children().for_each(walk);
}

proptest! {
    #[test]
    fn a_sound_tree_can_be_walked(
        damage in prop::collection::vec((0usize..QEMU_VIRT.len(), prop::sample::select(vec![0, 1, 2, 3, 4, 9, 0x40, 0xFF])), 1..4)
    ) {
        let mut tree = QEMU_VIRT.to_vec();
        damage.iter().for_each(|(at, value)| tree[*at] = *value);
        if sound::is_sound(&tree) {
            let fdt = Fdt::new_unchecked(&tree);
            fdt.memory_reservations().for_each(drop);
            walk(fdt.root());
        }
    }

    #[test]
    fn a_damaged_device_tree_never_panics(at in 0usize..QEMU_VIRT.len(), value: u8, cut in 0usize..QEMU_VIRT.len()) {
        let mut tree = QEMU_VIRT.to_vec();
        tree[at] = value;
        let _ = Board::unknown().discover(&tree);
        let _ = Board::unknown().discover(&tree[..cut]);
    }
}

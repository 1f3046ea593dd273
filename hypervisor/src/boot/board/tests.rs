// SPDX-License-Identifier: MIT OR Apache-2.0
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use proptest::prelude::*;
use vambrace_wire::bundle::assigned::{Interrupt, Registers, Trigger};

use super::*;

/// As QEMU 10 makes it for `-M virt,gic-version=3,virtualization=on -smp 4 -m 2G`.
const QEMU_VIRT: &[u8] = include_bytes!("qemu-virt.dtb");

fn range(start: u64, len: u64) -> PaRange {
    PaRange::new(Pa(start), len).unwrap()
}

#[test]
fn qemu_virt_is_understood() {
    let mut board = Board::unknown();
    board.discover(QEMU_VIRT).unwrap();
    assert_eq!(board.memory.as_slice(), [range(0x4000_0000, 2 << 30)]);
    assert_eq!(board.cpus.as_slice(), [0, 1, 2, 3]);
    assert_eq!(board.conduit, Conduit::Smc);
    assert_eq!(board.gic.distributor, range(0x0800_0000, 0x1_0000));
    assert_eq!(board.gic.redistributors.as_slice(), [range(0x080A_0000, 0xF6_0000)]);
    assert_eq!(board.gic.maintenance, Intid::new(25));
    assert_eq!(
        board.timer,
        TimerInterrupts { virtual_timer: Intid::new(27), hypervisor_timer: Intid::new(26) }
    );
    assert_eq!(board.uart, Some(UART));
    assert_eq!(board.named_console, Named::Used);
    assert!(!board.seed.is_empty());
}

const UART: Uart = Uart { base: Pa(0x0900_0000), intid: Some(Intid::new(33)) };
/// Where there may be a UART when there is no tree.
const GUESS: Uart = Uart { base: Pa(1), intid: None };

/// QEMU's tree, changed.
fn changed(change: impl FnOnce(&mut DeviceTreeNode)) -> Vec<u8> {
    let mut tree = DeviceTree::from_fdt(&Fdt::new(QEMU_VIRT).unwrap());
    change(&mut tree.root);
    tree.to_dtb()
}

fn discover(tree: &[u8]) -> Result<Board, BoardError> {
    let mut board = Board::unknown();
    board.discover(tree).map(|()| board)
}

/// Sets a property of the root's child `name`.
fn set(root: &mut DeviceTreeNode, name: &str, property: &str, value: impl dtoolkit::ToPropertyValue) {
    let property = DeviceTreeProperty::new(property, value).unwrap();
    root.child_mut(name).unwrap().add_property(property);
}

fn name_console(root: &mut DeviceTreeNode, path: &str) {
    set(root, "chosen", "stdout-path", path);
}

/// Moves the UART below a bus, with its registers at 0x1000 there.
fn move_uart_to_bus(root: &mut DeviceTreeNode, ranges: Option<&[u32]>) {
    let mut uart = root.remove_child("pl011@9000000").unwrap();
    uart.add_property(DeviceTreeProperty::new("reg", [0x1000u32, 0x1000]).unwrap());
    let mut bus = DeviceTreeNode::new("soc").unwrap();
    bus.add_property(DeviceTreeProperty::new("#address-cells", 1u32).unwrap());
    bus.add_property(DeviceTreeProperty::new("#size-cells", 1u32).unwrap());
    if let Some(ranges) = ranges {
        bus.add_property(DeviceTreeProperty::new("ranges", ranges).unwrap());
    }
    bus.add_child(uart);
    root.add_child(bus);
}

/// From bus address 0x1000 to 0x0900_0000, with two cells for the root's addresses.
const RANGES: [u32; 4] = [0, 0, 0x08FF_F000, 0x10_0000];

#[test]
fn however_many_memory_nodes_there_are_the_console_behind_them_is_found() {
    for (count, fits) in [(17, true), (MAX_BANKS, true), (MAX_BANKS + 1, false)] {
        let tree = changed(|root| {
            root.remove_child("memory@40000000");
            let uart = root.remove_child("pl011@9000000").unwrap();
            for index in 0..count as u32 {
                let start = 0x4000_0000 + index * 0x100_0000;
                let mut memory = DeviceTreeNode::new(format!("memory@{start:x}")).unwrap();
                memory.add_property(DeviceTreeProperty::new("device_type", "memory").unwrap());
                memory.add_property(DeviceTreeProperty::new("reg", [0u32, start, 0, 0x1000]).unwrap());
                root.add_child(memory);
            }
            root.add_child(uart);
        });
        assert_eq!(find_uart(Some(&tree), GUESS), Some(UART));
        match discover(&tree) {
            Ok(board) => assert!(fits && board.memory.len() == count),
            Err(error) => {
                assert!(!fits);
                assert_eq!(error, BoardError::TooMany { what: "memory banks", count, most: MAX_BANKS });
                assert!(
                    error
                        .to_string()
                        .starts_with("the device tree has 65 memory banks, and this build holds 64")
                );
            }
        }
    }
}

#[test]
fn whatever_a_board_lacks_its_console_is_found() {
    for name in ["cpus", "psci", "intc@8000000", "timer", "memory@40000000", "chosen"] {
        let tree = changed(|root| drop(root.remove_child(name).unwrap()));
        assert_eq!(discover(&tree).is_ok(), name == "chosen", "{name}");
        let uart = find_uart(Some(&tree), GUESS).unwrap();
        assert_eq!(uart.base, UART.base, "{name}");
    }
    assert_eq!(find_uart(None, GUESS), Some(GUESS));
    assert_eq!(find_uart(Some(&QEMU_VIRT[..100]), GUESS), Some(GUESS));
    let tree = changed(|root| drop(root.remove_child("pl011@9000000")));
    assert_eq!(find_uart(Some(&tree), GUESS), None);
}

#[test]
fn a_console_is_named_by_path_or_alias() {
    for path in ["/pl011@9000000", "/pl011", "/pl011@9000000:115200n8", "serial0", "serial0:115200"] {
        let board = discover(&changed(|root| {
            set(root, "aliases", "serial0", "/pl011@9000000");
            // One more, that is not meant.
            let mut other = root.child_mut("pl011@9000000").unwrap().clone();
            other.add_property(DeviceTreeProperty::new("reg", [0u32, 0x0904_0000, 0, 0x1000]).unwrap());
            let mut bus = DeviceTreeNode::new("first").unwrap();
            bus.add_child(other);
            root.add_child(bus);
            name_console(root, path);
        }))
        .unwrap();
        assert_eq!((board.uart, board.named_console), (Some(UART), Named::Used), "{path}");
    }
}

#[test]
fn a_console_that_cannot_be_is_told_and_another_is_used() {
    let told = |named: &str, change: fn(&mut DeviceTreeNode)| {
        let tree = changed(|root| {
            change(root);
            name_console(root, named);
        });
        let board = discover(&tree).unwrap();
        assert_eq!(board.uart, Some(UART), "{named}");
        assert_eq!(find_uart(Some(&tree), GUESS), Some(UART), "{named}");
        assert!(board.named_console.complaint().is_some(), "{named}");
        board.named_console
    };
    assert_eq!(told("/serial@1", |_| {}), Named::NotThere);
    assert_eq!(told("serial7", |_| {}), Named::NotThere);
    assert_eq!(told("/pl031@9010000", |_| {}), Named::NoDriver);
    let second = |root: &mut DeviceTreeNode| {
        let mut second = root.child_mut("pl011@9000000").unwrap().clone();
        second.add_property(DeviceTreeProperty::new("status", "disabled").unwrap());
        let mut bus = DeviceTreeNode::new("soc").unwrap();
        bus.add_child(second);
        root.add_child(bus);
    };
    assert_eq!(told("/soc/pl011@9000000", second), Named::NotUsable);
}

#[test]
fn a_console_on_a_bus_has_the_addresses_that_the_bus_shows() {
    for path in ["/soc/pl011@9000000", "serial0"] {
        let board = discover(&changed(|root| {
            move_uart_to_bus(root, Some(&RANGES));
            set(root, "aliases", "serial0", "/soc/pl011@9000000");
            name_console(root, path);
        }))
        .unwrap();
        assert_eq!((board.uart, board.named_console), (Some(UART), Named::Used), "{path}");
    }
    // Not named at all: still found, as the only one.
    let tree = changed(|root| move_uart_to_bus(root, Some(&RANGES)));
    assert_eq!(discover(&tree).unwrap().uart, Some(UART));
    // Beyond what the bus shows, or of a bus that shows nothing: not where the number would be without a bus.
    for ranges in [Some(&[0u32, 0, 0x08FF_F000, 0x1800][..]), None] {
        let board = discover(&changed(|root| {
            move_uart_to_bus(root, ranges);
            name_console(root, "/soc/pl011@9000000");
        }))
        .unwrap();
        assert_eq!((board.uart, board.named_console), (None, Named::OutOfReach));
    }
}

#[test]
fn interrupts_of_four_cells_are_read() {
    let tree = changed(|root| {
        set(root, "intc@8000000", "#interrupt-cells", 4u32);
        for node in root.children_mut() {
            let Some(old) = node.property("interrupts").map(|property| property.value().to_vec()) else {
                continue;
            };
            let new = old.chunks_exact(12).flat_map(|cells| [cells, &[0u8; 4][..]].concat());
            let new: Vec<u8> = new.collect();
            node.add_property(DeviceTreeProperty::new("interrupts", new).unwrap());
        }
    });
    let (three, four) = (discover(QEMU_VIRT).unwrap(), discover(&tree).unwrap());
    assert_eq!((three.uart, three.timer, &three.gic), (four.uart, four.timer, &four.gic));
    assert_eq!(virtio_slots(QEMU_VIRT, three.virtio), virtio_slots(&tree, four.virtio));
}

#[test]
fn a_timer_is_read_by_the_names_of_its_interrupts() {
    let named = |names: &[&str]| discover(&changed(|root| set(root, "timer", "interrupt-names", names)));
    let timer = named(&["virt", "phys", "hyp-phys", "sec-phys"]).unwrap().timer;
    assert_eq!(timer, TimerInterrupts { virtual_timer: Intid::new(29), hypervisor_timer: Intid::new(27) });
    assert_eq!(named(&["phys", "virt"]).unwrap_err(), BoardError::NoTimer(BoardKind::QemuVirt));
    // An SPI is no timer's.
    let tree = changed(|root| set(root, "timer", "interrupts", [0u32, 1, 4, 0, 2, 4, 0, 3, 4, 0, 4, 4]));
    assert_eq!(discover(&tree).unwrap_err(), BoardError::NoTimer(BoardKind::QemuVirt));
}

#[test]
fn what_is_disabled_is_not_there() {
    let without = |name: &str| discover(&changed(|root| set(root, name, "status", "disabled")));
    assert_eq!(
        without("intc@8000000").unwrap_err(),
        BoardError::NoGicV3 { instead: OtherGic::NotUsable, kind: BoardKind::QemuVirt }
    );
    assert_eq!(without("psci").unwrap_err(), BoardError::NoPsci);
    assert_eq!(without("timer").unwrap_err(), BoardError::NoTimer(BoardKind::QemuVirt));
    assert_eq!(without("memory@40000000").unwrap_err(), BoardError::NoMemory);
    assert_eq!(without("pl031@9010000").unwrap().rtc, None);
    assert_eq!(without("pl011@9000000").unwrap().uart, None);
    let slots = |tree: &[u8]| virtio_slots(tree, discover(tree).unwrap().virtio).len();
    assert_eq!(slots(QEMU_VIRT), 32);
    assert_eq!(slots(&changed(|root| set(root, "virtio_mmio@a000400", "status", "disabled"))), 31);
}

/// Pages that are assigned, and an interrupt.
fn has(tree: &[u8], pages: &[(u64, u64)], intids: &[u32]) -> Result<(), NotOnBoard> {
    let registers: Vec<_> =
        pages.iter().map(|(pa, len)| Registers { ipa: *pa, pa: *pa, len: *len }).collect();
    let interrupt = |intid: &u32| Interrupt { physical: *intid, intid: *intid, trigger: Trigger::Level };
    let interrupts: Vec<_> = intids.iter().map(interrupt).collect();
    discover(tree).unwrap().has_devices(tree, &registers, &interrupts)
}

const GPIO: (u64, u64) = (0x0903_0000, 0x1000);
const SECOND_UART: (u64, u64) = (0x0904_0000, 0x1000);

#[test]
fn what_is_assigned_has_to_be_a_device_of_this_board() {
    assert_eq!(has(QEMU_VIRT, &[], &[]), Ok(()));
    assert_eq!(has(QEMU_VIRT, &[GPIO, (0x0901_0000, 0x1000)], &[39, 34]), Ok(()));
    // A virtio slot has a part of a page.
    assert_eq!(has(QEMU_VIRT, &[(0x0A00_1000, 0x1000)], &[32 + 16 + 8]), Ok(()));
    let registers = |(start, len)| range(start, len);
    let kind = BoardKind::QemuVirt;
    let missing = NotOnBoard::Registers { registers: registers(SECOND_UART), kind };
    assert_eq!(has(QEMU_VIRT, &[GPIO, SECOND_UART], &[39]), Err(missing));
    assert!(missing.to_string().contains("a second -serial"), "{missing}");
    let beyond = (GPIO.0, 0x2000);
    assert_eq!(
        has(QEMU_VIRT, &[beyond], &[]),
        Err(NotOnBoard::Registers { registers: registers(beyond), kind })
    );
    // Another device's, one that is EL2's, and one that is nobody's.
    for intid in [34, 33, 60] {
        assert_eq!(has(QEMU_VIRT, &[GPIO], &[intid]), Err(NotOnBoard::Interrupt(Intid::new(intid))));
    }
}

#[test]
fn what_is_disabled_cannot_be_assigned() {
    let tree = changed(|root| set(root, "pl061@9030000", "status", "disabled"));
    assert!(matches!(has(&tree, &[GPIO], &[39]), Err(NotOnBoard::Registers { .. })));
}

#[test]
fn what_el2_uses_cannot_be_assigned() {
    for (own, what) in [
        (0x0900_0000, "console"),
        (0x0800_0000, "interrupt controller"),
        (0x080A_0000, "interrupt controller"),
        (0x4100_0000, "memory"),
    ] {
        let error = has(QEMU_VIRT, &[(own, 0x1000)], &[]).unwrap_err();
        assert!(matches!(error, NotOnBoard::Own(..)) && error.to_string().contains(what), "{error}");
    }
}

#[test]
fn advice_for_qemu_is_given_for_qemus_board_only() {
    for (compatible, is_qemus) in [("linux,dummy-virt", true), ("acme,board", false)] {
        for name in ["intc@8000000", "timer"] {
            let error = discover(&changed(|root| {
                root.add_property(DeviceTreeProperty::new("compatible", compatible).unwrap());
                root.remove_child(name);
            }))
            .unwrap_err();
            assert_eq!(error.to_string().contains("QEMU"), is_qemus, "{error}");
        }
    }
    let error =
        discover(&changed(|root| set(root, "intc@8000000", "compatible", "arm,gic-400"))).unwrap_err();
    assert!(error.to_string().contains("but a GICv2"), "{error}");
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
        let _ = find_uart(Some(&tree), GUESS);
        let _ = Board::unknown().discover(&tree[..cut]);
    }
}

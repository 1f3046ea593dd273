// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::registers::*;
use super::*;

const FEN: u32 = line::FEN;

fn get(uart: &mut Pl011, register: u64) -> u32 {
    uart.read(register, Width::Word) as u32
}

fn set(uart: &mut Pl011, register: u64, value: u32) {
    uart.write(register, Width::Word, u64::from(value));
}

/// A UART with its FIFOs on.
fn with_fifos() -> Pl011 {
    let mut uart = Pl011::new();
    set(&mut uart, LCR_H, FEN | 0x60);
    uart
}

fn in_loopback() -> Pl011 {
    let mut uart = with_fifos();
    set(&mut uart, CR, 0x301 | control::LBE);
    uart
}

#[test]
fn registers_after_reset() {
    let mut uart = Pl011::new();
    let wanted = [
        (DR, 0),
        (RSR, 0),
        (FR, 0x90),
        (ILPR, 0),
        (IBRD, 0),
        (FBRD, 0),
        (LCR_H, 0),
        (CR, 0x300),
        (IFLS, 0x12),
        (IMSC, 0),
        (RIS, 0),
        (MIS, 0),
        (ICR, 0),
        (DMACR, 0),
    ];
    for (register, value) in wanted {
        assert_eq!(get(&mut uart, register), value, "{register:#x}");
    }
    let id: Vec<_> = (0..8).map(|index| get(&mut uart, 0xFE0 + 4 * index)).collect();
    assert_eq!(id, [0x11, 0x10, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1]);
    assert!(!uart.irq_asserted());
}

#[test]
fn only_existing_bits_are_kept() {
    let wanted = [
        (ILPR, 0xFF),
        (IBRD, 0xFFFF),
        (FBRD, 0x3F),
        (LCR_H, 0xFF),
        (CR, 0xFF87),
        (IFLS, 0x3F),
        (IMSC, 0x7FF),
        (DMACR, 7),
    ];
    for (register, value) in wanted {
        let mut uart = Pl011::new();
        set(&mut uart, register, u32::MAX);
        assert_eq!(get(&mut uart, register), value, "{register:#x}");
        uart.reset();
        assert_eq!(uart, Pl011::new());
    }
}

#[test]
fn read_only_and_reserved_registers_stay() {
    let mut uart = Pl011::new();
    for register in [FR, RIS, MIS, 0x08, 0x14, 0x4C, 0x80, 0xFDC, 0xFE0, 0xFFC] {
        set(&mut uart, register, u32::MAX);
        assert_eq!(uart, Pl011::new(), "{register:#x}");
    }
    for register in [0x08, 0x14, 0x1C, 0x44, 0x4C, 0x80, 0xFDC] {
        assert_eq!(get(&mut uart, register), 0, "{register:#x}");
    }
}

#[test]
fn output_leaves_at_once_and_raises_the_interrupt() {
    let mut uart = with_fifos();
    set(&mut uart, DR, 0x141);
    assert_eq!(get(&mut uart, FR) & (flag::TXFE | flag::BUSY), flag::BUSY);
    assert_eq!(get(&mut uart, RIS), 0, "before the byte has left");
    assert_eq!(uart.take_output(), Some(0x41));
    assert_eq!(uart.take_output(), None);
    assert_eq!(get(&mut uart, FR), 0x90);
    assert_eq!(get(&mut uart, RIS), interrupt::TX);
    assert!(!uart.irq_asserted());
    set(&mut uart, IMSC, interrupt::TX);
    assert!(uart.irq_asserted());
    set(&mut uart, ICR, interrupt::TX);
    assert!(!uart.irq_asserted());
}

#[test]
fn output_that_nobody_takes_makes_the_guest_wait() {
    for (fifos, depth, level) in [(0, 1, 0), (FEN, 16, 8)] {
        let mut uart = Pl011::new();
        set(&mut uart, LCR_H, fifos);
        for sent in 0..depth {
            assert_eq!(get(&mut uart, FR) & flag::TXFF, 0, "{sent} of {depth}");
            set(&mut uart, DR, sent);
        }
        assert_eq!(get(&mut uart, FR) & (flag::TXFF | flag::BUSY), flag::TXFF | flag::BUSY);
        set(&mut uart, DR, 0xEE);
        for sent in 0..depth {
            assert_eq!(get(&mut uart, RIS) & interrupt::TX != 0, depth - sent <= level);
            assert_eq!(uart.take_output(), Some(sent as u8));
        }
        assert_eq!(uart.take_output(), None, "what a full FIFO was given is lost");
        assert_eq!(get(&mut uart, RIS) & interrupt::TX, interrupt::TX);
    }
}

#[test]
fn filling_the_transmitter_past_the_level_ends_its_interrupt() {
    let mut uart = with_fifos();
    set(&mut uart, IFLS, 0);
    set(&mut uart, DR, 0);
    uart.take_output();
    for _ in 0..2 {
        set(&mut uart, DR, 0);
        assert_eq!(get(&mut uart, RIS), interrupt::TX);
    }
    set(&mut uart, DR, 0);
    assert_eq!(get(&mut uart, RIS), 0);
}

#[test]
fn without_fifos_one_byte_is_held() {
    let mut uart = Pl011::new();
    assert_eq!(uart.receive(b"abc"), 1);
    assert_eq!(get(&mut uart, FR) & (flag::RXFE | flag::RXFF), flag::RXFF);
    assert_eq!(get(&mut uart, RIS) & interrupt::RX, interrupt::RX);
    assert_eq!(get(&mut uart, DR), u32::from(b'a'));
    assert_eq!(get(&mut uart, RIS), 0);
    assert_eq!(get(&mut uart, FR), 0x90);
    assert_eq!(uart.receive(b"bc"), 1);
}

#[test]
fn the_receiver_holds_back_what_does_not_fit() {
    let mut uart = with_fifos();
    let input: Vec<u8> = (0..40).collect();
    assert_eq!(uart.receive(&input), FIFO_DEPTH);
    assert_eq!(uart.receive(&input), 0);
    assert_eq!(get(&mut uart, RIS) & interrupt::OE, 0);
    assert_eq!(get(&mut uart, FR) & (flag::RXFE | flag::RXFF), flag::RXFF);
    assert_eq!(get(&mut uart, DR), 0);
    assert_eq!(uart.receive(&input[FIFO_DEPTH..]), 1);
    let rest: Vec<u32> = (0..FIFO_DEPTH).map(|_| get(&mut uart, DR)).collect();
    assert_eq!(rest, (1..=FIFO_DEPTH as u32).collect::<Vec<_>>());
    assert_eq!(get(&mut uart, FR), 0x90);
}

#[test]
fn the_receive_interrupt_follows_the_level() {
    for (field, level) in [(0, 2), (1, 4), (2, 8), (3, 12), (4, 14), (5, 14), (7, 14)] {
        let mut uart = with_fifos();
        set(&mut uart, IFLS, field << 3);
        for received in 1..=level {
            uart.receive(b"x");
            assert_eq!(get(&mut uart, RIS) & interrupt::RX != 0, received >= level, "{field} {received}");
        }
        uart.receive(b"x");
        get(&mut uart, DR);
        assert_eq!(get(&mut uart, RIS) & interrupt::RX, interrupt::RX, "back at the level");
        get(&mut uart, DR);
        assert_eq!(get(&mut uart, RIS) & interrupt::RX, 0, "one below the level");
    }
}

#[test]
fn changing_the_level_is_seen_at_once() {
    let mut uart = with_fifos();
    uart.receive(b"12345");
    assert_eq!(get(&mut uart, RIS) & interrupt::RX, 0);
    set(&mut uart, IFLS, 0);
    assert_eq!(get(&mut uart, RIS) & interrupt::RX, interrupt::RX);
    set(&mut uart, IFLS, 2 << 3);
    assert_eq!(get(&mut uart, RIS) & interrupt::RX, 0);
}

#[test]
fn the_timeout_tells_of_a_few_bytes_until_the_last_is_read() {
    let mut uart = with_fifos();
    set(&mut uart, IMSC, interrupt::RX | interrupt::RT);
    uart.receive(b"ls");
    assert_eq!(get(&mut uart, MIS), interrupt::RT);
    assert!(uart.irq_asserted());
    get(&mut uart, DR);
    assert!(uart.irq_asserted());
    get(&mut uart, DR);
    assert_eq!(get(&mut uart, RIS), 0);
    uart.receive(b"x");
    set(&mut uart, ICR, interrupt::RT);
    assert!(!uart.irq_asserted(), "cleared by hand, until more arrives");
    uart.receive(b"y");
    assert!(uart.irq_asserted());
}

#[test]
fn a_break_arrives_as_an_entry_with_its_error() {
    let mut uart = with_fifos();
    uart.receive(b"a");
    assert_eq!(uart.receive_break(), 1);
    assert_eq!(get(&mut uart, RIS) & interrupt::BE, interrupt::BE);
    assert_eq!(get(&mut uart, DR), 0x61);
    assert_eq!(get(&mut uart, RSR), 0);
    assert_eq!(get(&mut uart, DR), u32::from(error::BREAK));
    assert_eq!(get(&mut uart, RSR), 4);
    set(&mut uart, RSR, 0);
    assert_eq!(get(&mut uart, RSR), 0, "any write clears");
    assert_eq!(get(&mut uart, RIS), interrupt::BE);
    set(&mut uart, ICR, interrupt::BE);
    assert_eq!(get(&mut uart, RIS), 0);
}

#[test]
fn a_break_without_room_is_not_taken_and_loses_nothing() {
    let mut uart = with_fifos();
    assert_eq!(uart.receive(&[b'x'; FIFO_DEPTH]), FIFO_DEPTH);
    assert_eq!(uart.receive_break(), 0);
    assert_eq!(get(&mut uart, RIS) & (interrupt::OE | interrupt::BE), 0);
    assert_eq!(get(&mut uart, DR), u32::from(b'x'));
    assert_eq!(uart.receive_break(), 1, "there is room again");
}

#[test]
fn loopback_returns_bytes_and_disconnects_the_outside() {
    let mut uart = in_loopback();
    assert_eq!((uart.receive(b"x"), uart.receive_break()), (0, 0));
    set(&mut uart, DR, 0x55);
    assert_eq!(uart.take_output(), None);
    assert_eq!(get(&mut uart, RIS), interrupt::TX | interrupt::RT);
    assert_eq!(get(&mut uart, DR), 0x55);
    assert_eq!(get(&mut uart, FR), 0x90);
    set(&mut uart, LCR_H, FEN | line::BRK);
    assert_eq!(get(&mut uart, DR), u32::from(error::BREAK));
    set(&mut uart, LCR_H, FEN);
    assert_eq!(get(&mut uart, FR), 0x90, "the end of a break is no entry");
}

#[test]
fn loopback_returns_the_modem_lines() {
    let mut uart = in_loopback();
    for (output, input, raised) in [
        (control::RTS, flag::CTS, interrupt::CTS),
        (control::DTR, flag::DSR, interrupt::DSR),
        (control::OUT1, flag::DCD, interrupt::DCD),
        (control::OUT2, flag::RI, interrupt::RI),
    ] {
        set(&mut uart, CR, control::LBE | output);
        assert_eq!(get(&mut uart, FR), 0x90 | input);
        assert_eq!(get(&mut uart, RIS), raised);
        set(&mut uart, ICR, raised);
        set(&mut uart, CR, control::LBE);
        assert_eq!(get(&mut uart, RIS), raised, "the way back is a change too");
        set(&mut uart, ICR, u32::MAX);
    }
}

#[test]
fn an_overrun_is_told_and_loses_only_the_new_byte() {
    let mut uart = in_loopback();
    for byte in 0..=FIFO_DEPTH as u32 {
        assert_eq!(get(&mut uart, RIS) & interrupt::OE, 0);
        set(&mut uart, DR, byte);
    }
    assert_eq!(get(&mut uart, RIS) & interrupt::OE, interrupt::OE);
    assert_eq!(get(&mut uart, RSR), 8);
    assert_eq!(get(&mut uart, DR), u32::from(error::OVERRUN));
    assert_eq!(get(&mut uart, DR), 1, "there is room again");
    assert_eq!(get(&mut uart, RSR), 8, "until cleared");
    set(&mut uart, RSR, 1);
    assert_eq!(get(&mut uart, RSR), 0);
}

#[test]
fn switching_the_fifos_empties_the_receiver() {
    let mut uart = with_fifos();
    uart.receive(b"0123456789abcdefghij");
    set(&mut uart, LCR_H, FEN);
    assert_eq!(get(&mut uart, FR) & flag::RXFE, 0, "FEN is as before");
    set(&mut uart, LCR_H, 0);
    assert_eq!(get(&mut uart, FR), 0x90);
    assert_eq!(get(&mut uart, RIS), 0);
}

#[test]
fn narrow_and_wide_accesses() {
    let mut uart = Pl011::new();
    assert_eq!(uart.read(CR, Width::Byte), 0x00);
    assert_eq!(uart.read(CR + 1, Width::Byte), 0x03);
    assert_eq!(uart.read(CR, Width::Halfword), 0x300);
    assert_eq!(uart.read(CR, Width::Doubleword), 0x12_0000_0300, "CR and IFLS");
    assert_eq!(uart.read(CR + 1, Width::Halfword), 0, "not aligned");
    uart.write(DR, Width::Byte, 0x41);
    assert_eq!(uart.take_output(), Some(0x41));
    uart.write(DR + 1, Width::Byte, 0x41);
    uart.write(DR + 2, Width::Word, 0x41);
    assert_eq!(uart.take_output(), None);
    uart.write(IBRD, Width::Word, 0x1234);
    uart.write(FBRD, Width::Doubleword, 0x70_0000_0021);
    assert_eq!((get(&mut uart, FBRD), get(&mut uart, LCR_H)), (0x21, 0x70));
}

#[derive(Clone, Debug)]
enum Operation {
    Read(u64, Width),
    Write(u64, Width, u64),
    Receive(Vec<u8>),
    Break,
    Drain(usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    let offset = prop_oneof![4 => (0u64..19).prop_map(|word| word * 4), 1 => 0u64..0x1000];
    let width = (0u32..4).prop_map(Width::from_log2);
    prop_oneof![
        4 => (offset.clone(), width.clone()).prop_map(|(offset, width)| Operation::Read(offset, width)),
        6 => (offset, width, any::<u64>())
            .prop_map(|(offset, width, value)| Operation::Write(offset, width, value & width.mask())),
        3 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Operation::Receive),
        1 => Just(Operation::Break),
        2 => (0usize..40).prop_map(Operation::Drain),
    ]
}

fn apply(uart: &mut Pl011, operation: Operation) {
    match operation {
        Operation::Read(offset, width) => {
            uart.read(offset, width);
        }
        Operation::Write(offset, width, value) => uart.write(offset, width, value),
        Operation::Receive(bytes) => assert!(uart.receive(&bytes) <= bytes.len()),
        Operation::Break => assert!(uart.receive_break() <= 1),
        Operation::Drain(count) => (0..count).for_each(|_| {
            uart.take_output();
        }),
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_state_is_consistent(operations in prop::collection::vec(operation(), 0..100)) {
        let mut uart = Pl011::new();
        for operation in operations {
            apply(&mut uart, operation);
            let (raw, mask, flags) = (get(&mut uart, RIS), get(&mut uart, IMSC), get(&mut uart, FR));
            prop_assert_eq!(get(&mut uart, MIS), raw & mask);
            prop_assert_eq!(uart.irq_asserted(), raw & mask != 0);
            prop_assert_eq!(raw & !0x7FF, 0);
            prop_assert!(uart.received.len() <= uart.depth());
            prop_assert!(uart.transmitted.len() <= FIFO_DEPTH);
            prop_assert_eq!(flags & flag::RXFE != 0, uart.received.is_empty());
            prop_assert_eq!(flags & flag::TXFE != 0, uart.transmitted.is_empty());
            prop_assert!(raw & interrupt::RX == 0 || uart.received.len() >= uart.receive_level());
            prop_assert!(raw & interrupt::RT == 0 || !uart.received.is_empty());
            let saved = postcard::to_allocvec(&uart).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Pl011>(&saved).unwrap(), uart.clone());
        }
    }

    /// What is offered comes out in order and once, however it is cut up.
    #[test]
    fn input_arrives_in_order(
        input in prop::collection::vec(any::<u8>(), 0..200),
        reads in prop::collection::vec(0usize..40, 1..60),
        fifos in prop_oneof![Just(0), Just(FEN)],
    ) {
        let mut uart = Pl011::new();
        set(&mut uart, LCR_H, fifos);
        let (mut offered, mut got) = (0, Vec::new());
        for count in reads {
            offered += uart.receive(&input[offered..]);
            for _ in 0..count {
                if get(&mut uart, FR) & flag::RXFE == 0 {
                    got.push(uart.read(DR, Width::Byte) as u8);
                }
            }
        }
        prop_assert!(input[..offered].starts_with(&got));
        prop_assert_eq!(offered - got.len(), uart.received.len());
    }

    /// A state from a damaged file may be nonsense; it still may not panic.
    #[test]
    fn a_damaged_state_does_no_harm(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        operations in prop::collection::vec(operation(), 0..40),
    ) {
        let mut saved = postcard::to_allocvec(&Pl011::new()).unwrap();
        for (at, byte) in damage {
            *at.get_mut(&mut saved) = byte;
        }
        if let Ok(mut uart) = postcard::from_bytes::<Pl011>(&saved) {
            operations.into_iter().for_each(|operation| apply(&mut uart, operation));
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The UART and the clock, from a guest's store to the console and from a key to a list register.

use vambrace_ids::VcpuId;
use vambrace_interrupts::{ListRegister, State, VcpuRunState, VcpuSet};
use vambrace_io::pl011::FIFO_DEPTH;
use vambrace_io::platform::{Deadline, Time};
use vambrace_machine::devices::Device;
use vambrace_machine::host::Output;
use vambrace_machine::vm::Input;
use vambrace_machine::{StopReason, layout};
use vambrace_wire::message::{INPUT_WINDOW, ResetCause};

use crate::bench::Bench;

const GICD: u64 = layout::GICD.start().0;
const DR: u64 = Device::Pl011.base().0;
const FR: u64 = Device::Pl011.base().0 + 0x18;
const LCR_H: u64 = Device::Pl011.base().0 + 0x2C;
const IMSC: u64 = Device::Pl011.base().0 + 0x38;
const UARTICR: u64 = Device::Pl011.base().0 + 0x44;
const RX_AND_TIMEOUT: u64 = 1 << 4 | 1 << 6;
const UART_INTID: u32 = layout::SPI_BASE + Device::Pl011.spi();
const RTC_INTID: u32 = layout::SPI_BASE + Device::Pl031.spi();

fn say(bench: &mut Bench, text: &str) {
    for byte in text.bytes() {
        bench.write(DR, byte.into());
    }
}

/// Enables an SPI in Group 1, for this vCPU.
fn enable(bench: &mut Bench, intid: u32, vcpu: u16) {
    let bit = 1 << (intid % 32);
    bench.write(GICD, 0b10);
    bench.write(GICD + 0x084, bit);
    bench.write(GICD + 0x104, bit);
    bench.store(8, GICD + 0x6000 + 8 * u64::from(intid), layout::affinity(VcpuId::new(vcpu)));
}

/// What the list registers of a vCPU hold after a flush.
fn listed(bench: &mut Bench, vcpu: usize) -> Vec<(u32, State)> {
    let (id, machine) = (bench.vcpus[vcpu].id, bench.host.cores[vcpu].interface.clone());
    let mut vm = bench.vm.lock();
    let _ = vm.gic.sync(id, &machine);
    let interface = vm.gic.flush(id).expect("it exists").clone();
    bench.host.cores[vcpu].interface = interface.clone();
    let registers = interface.lr.iter().take(interface.used.into()).map(|lr| ListRegister(*lr));
    registers.map(|lr| (lr.intid().get(), lr.state())).collect()
}

/// A line that has room.
fn take(line: &mut Vec<u8>, bytes: &[u8]) -> usize {
    line.extend_from_slice(bytes);
    bytes.len()
}

#[test]
fn output_is_passed_on_by_the_line() {
    let mut bench = Bench::new(1);
    say(&mut bench, "hello");
    assert_eq!((bench.host.printed.as_slice(), bench.host.flush_asked), (&b""[..], true));
    say(&mut bench, ", world\n$ ");
    assert_eq!(bench.host.printed, b"hello, world\n");
    let mut flushed = Vec::new();
    bench.vm.lock().flush_console(|bytes| take(&mut flushed, bytes));
    bench.vm.lock().flush_console(|_| panic!("nothing is left"));
    assert_eq!(flushed, b"$ ");
}

#[test]
fn each_unfinished_line_asks_once_to_be_flushed() {
    let mut bench = Bench::new(1);
    for _ in 0..3 {
        say(&mut bench, "$");
        assert!(std::mem::take(&mut bench.host.flush_asked));
        say(&mut bench, " ls");
        assert!(!bench.host.flush_asked);
        say(&mut bench, "\n");
    }
}

#[test]
fn an_endless_line_is_passed_on_in_pieces() {
    let mut bench = Bench::new(1);
    let line = "0123456789".repeat(100);
    say(&mut bench, &line);
    let mut all = bench.host.printed.clone();
    assert!(all.len() > 800);
    bench.vm.lock().flush_console(|bytes| take(&mut all, bytes));
    assert_eq!(all, line.as_bytes());
}

const TXFF: u64 = 1 << 5;
const TRANSMIT: u64 = 1 << 5;

/// Writes as a driver does that looks whether there is room. Says how much it came to.
fn say_while_there_is_room(bench: &mut Bench, text: &[u8]) -> usize {
    let has_room = |bench: &mut Bench| bench.read(FR) & TXFF == 0;
    let mut sent = 0;
    while sent < text.len() && has_room(bench) {
        bench.write(DR, text[sent].into());
        sent += 1;
    }
    sent
}

#[test]
fn a_line_without_room_is_a_full_fifo_to_the_guest() {
    let text: Vec<u8> = (0..2000).map(|at| b"0123456789\n"[at % 11]).collect();
    for fifos in [0, 1 << 4] {
        let mut bench = Bench::new(1);
        enable(&mut bench, UART_INTID, 0);
        bench.write(LCR_H, fifos);
        bench.host.room = 300;
        let mut sent = say_while_there_is_room(&mut bench, &text);
        assert!((300..500).contains(&sent), "{sent}");
        assert_eq!(bench.read(FR) & TXFF, TXFF);
        // A driver that waits for the interrupt is told when there is room.
        bench.write(UARTICR, TRANSMIT);
        bench.write(IMSC, TRANSMIT);
        assert_eq!(listed(&mut bench, 0), []);
        bench.host.room = usize::MAX;
        let Bench { vm, host, .. } = &mut bench;
        let notify = vm.lock().output_has_room(|bytes| host.print(bytes));
        assert!(notify.contains(VcpuId::new(0)));
        assert_eq!(listed(&mut bench, 0), [(UART_INTID, State::Pending)]);
        sent += say_while_there_is_room(&mut bench, &text[sent..]);
        assert_eq!(sent, text.len());
        bench.vm.lock().flush_console(|bytes| take(&mut bench.host.printed, bytes));
        assert!(bench.host.printed == text, "nothing is lost, and all in order");
    }
}

#[test]
fn a_driver_that_polls_goes_on_when_there_is_room() {
    let mut bench = Bench::new(1);
    bench.host.room = 0;
    let sent = say_while_there_is_room(&mut bench, &[b'x'; 1000]);
    bench.host.room = usize::MAX;
    assert_eq!(bench.read(FR) & TXFF, TXFF, "as it was, until it was looked at");
    assert_eq!(bench.read(FR) & TXFF, 0);
    // The line has no end yet: the rest waits for it, for a moment.
    bench.vm.lock().flush_console(|bytes| take(&mut bench.host.printed, bytes));
    assert_eq!(bench.host.printed, vec![b'x'; sent]);
}

#[test]
fn a_key_becomes_an_interrupt_and_a_byte() {
    let mut bench = Bench::new(2);
    enable(&mut bench, UART_INTID, 1);
    bench.write(IMSC, RX_AND_TIMEOUT);
    assert_eq!(listed(&mut bench, 1), []);
    let notify = bench.vm.lock().type_keys(b"k");
    assert_eq!(notify.iter().collect::<Vec<_>>(), [VcpuId::new(1)]);
    assert_eq!(listed(&mut bench, 1), [(UART_INTID, State::Pending)]);
    assert_eq!(listed(&mut bench, 0), []);
    assert_eq!(bench.read(DR), u64::from(b'k'));
    assert_eq!(listed(&mut bench, 1), [], "the line is low again");
}

#[test]
fn an_interrupt_is_pending_again_while_its_line_is_high() {
    let mut bench = Bench::new(1);
    enable(&mut bench, UART_INTID, 0);
    bench.write(IMSC, RX_AND_TIMEOUT);
    let _ = bench.vm.lock().type_keys(b"k");
    assert_eq!(listed(&mut bench, 0), [(UART_INTID, State::Pending)]);
    // Acknowledged: active; and then ended, without the byte having been read.
    let lr = &mut bench.host.cores[0].interface.lr[0];
    *lr = *lr & !(3 << 62) | 2 << 62;
    assert_eq!(listed(&mut bench, 0), [(UART_INTID, State::Active)]);
    bench.host.cores[0].interface.lr[0] &= !(3 << 62);
    assert_eq!(listed(&mut bench, 0), [(UART_INTID, State::Pending)]);
}

#[test]
fn who_polls_for_an_interrupts_end_sees_it() {
    let mut bench = Bench::new(2);
    enable(&mut bench, UART_INTID, 1);
    bench.write(IMSC, RX_AND_TIMEOUT);
    let _ = bench.vm.lock().type_keys(b"k");
    assert_eq!(listed(&mut bench, 1), [(UART_INTID, State::Pending)]);
    bench.host.notified = VcpuSet::new();
    // GICD_ISACTIVER1, read by the first vCPU while the second handles the interrupt.
    let lr = &mut bench.host.cores[1].interface.lr[0];
    *lr = *lr & !(3 << 62) | 2 << 62;
    bench.read(GICD + 0x304);
    let [first, second] = [0, 1].map(VcpuId::new);
    assert!(bench.host.notified.contains(second) && !bench.host.notified.contains(first));
    listed(&mut bench, 1);
    assert_eq!(bench.read(GICD + 0x304), 1 << (UART_INTID % 32));
}

#[test]
fn an_interrupt_is_routed_beyond_the_eighth_vcpu() {
    let mut bench = Bench::new(20);
    enable(&mut bench, UART_INTID, 19);
    bench.write(IMSC, RX_AND_TIMEOUT);
    let notify = bench.vm.lock().type_keys(b"k");
    assert_eq!(notify.iter().collect::<Vec<_>>(), [VcpuId::new(19)]);
    assert_eq!(listed(&mut bench, 19), [(UART_INTID, State::Pending)]);
}

#[test]
fn a_waiting_vcpu_learns_that_there_is_input() {
    let mut bench = Bench::new(1);
    enable(&mut bench, UART_INTID, 0);
    bench.write(IMSC, RX_AND_TIMEOUT);
    // The guest has Group 1 on and masks no priority.
    bench.host.cores[0].interface.vmcr = 0xF8 << 24 | 0b10;
    let (id, machine) = (bench.vcpus[0].id, bench.host.cores[0].interface.clone());
    let mut vm = bench.vm.lock();
    let _ = vm.gic.sync(id, &machine);
    vm.gic.set_run_state(id, VcpuRunState::Blocked);
    assert!(!vm.gic.has_deliverable(id));
    let _ = vm.type_keys(b"x");
    assert!(vm.gic.has_deliverable(id));
}

/// Reads all that there is.
fn read_all(bench: &mut Bench) -> Vec<u8> {
    let mut read = Vec::new();
    while bench.read(FR) & 1 << 4 == 0 {
        read.push(bench.read(DR) as u8);
    }
    read
}

#[test]
fn no_key_is_lost_that_there_was_room_for() {
    let mut bench = Bench::new(1);
    bench.write(LCR_H, 1 << 4);
    let text: Vec<u8> = (0..INPUT_WINDOW).map(|n| b'a' + (n % 26) as u8).collect();
    for part in text.chunks(7) {
        let _ = bench.vm.lock().type_keys(part);
    }
    assert_eq!(
        bench.vm.lock().waiting_input(),
        INPUT_WINDOW - FIFO_DEPTH,
        "the UART's FIFO has the first ones"
    );
    assert_eq!(read_all(&mut bench), text);
    assert_eq!((bench.host.input_waits, bench.vm.lock().waiting_input()), (0, 0));
    // Far too many: the first ones are kept, and it is said how many.
    let keys = text.iter().chain(&text).map(|key| Input::Key(*key));
    let (taken, _) = bench.vm.lock().receive_input(keys);
    assert_eq!(taken, INPUT_WINDOW);
    assert_eq!(read_all(&mut bench), text);
}

#[test]
fn a_break_comes_between_the_keys_where_it_was_sent() {
    let mut bench = Bench::new(1);
    // Without FIFOs there is room for one entry at a time.
    for fifos in [0, 1 << 4] {
        bench.write(LCR_H, fifos);
        let input = [Input::Key(b'a'), Input::Break, Input::Key(b'h')];
        let (taken, _) = bench.vm.lock().receive_input(input.into_iter());
        assert_eq!(taken, 3);
        assert_eq!([bench.read(DR), bench.read(DR), bench.read(DR)], [0x61, 1 << 10, 0x68]);
        assert_eq!(bench.read(FR) & 1 << 4, 1 << 4, "there is no more");
    }
}

fn seconds_of(deadline: Deadline) -> u64 {
    let Deadline::Seconds(seconds) = deadline else { panic!("a clock goes by the time of day") };
    seconds
}

#[test]
fn the_clock_tells_the_time_and_rings() {
    let mut bench = Bench::new(1);
    let (time, alarm, mask) =
        (Device::Pl031.base().0, Device::Pl031.base().0 + 4, Device::Pl031.base().0 + 0x10);
    assert_eq!(bench.read(time), bench.host.seconds);
    enable(&mut bench, RTC_INTID, 0);
    bench.write(mask, 1);
    bench.write(alarm, bench.host.seconds + 60);
    assert_eq!(bench.vm.lock().next_deadline(seconds_of), Some(bench.host.seconds + 60));
    let at = |seconds| Time { seconds, count: 0 };
    let rings = bench.host.seconds + 60;
    assert!(bench.vm.lock().note_time(at(rings - 1)).is_empty());
    assert_eq!(listed(&mut bench, 0), []);
    assert!(bench.vm.lock().note_time(at(rings)).contains(VcpuId::new(0)));
    assert_eq!(listed(&mut bench, 0), [(RTC_INTID, State::Pending)]);
    assert!(!bench.vm.lock().waits_for_time());
}

#[test]
fn keys_typed_during_a_reset_are_for_the_next_life() {
    let mut bench = Bench::new(1);
    let _ = bench.vm.lock().type_keys(b"a");
    bench.vm.lock().stop(StopReason::Reset(ResetCause::Asked));
    let _ = bench.vm.lock().type_keys(b"q");
    bench.vm.lock().reset();
    assert_eq!(bench.read(FR) & 1 << 4, 0, "something has been received");
    assert_eq!(bench.read(DR), u64::from(b'q'), "what the UART had received is gone with it");
    assert_eq!(bench.read(FR) & 1 << 4, 1 << 4);
}

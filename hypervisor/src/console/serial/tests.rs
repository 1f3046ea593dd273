// SPDX-License-Identifier: MIT OR Apache-2.0
//! The queue before a line that is slow, by a model of a UART's transmitter (Arm DDI 0183, "UARTTXINTR").

use std::cell::RefCell;
use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const VMS: u16 = 3;

fn console(vm: u16) -> Source {
    Source::Console(VmId::first(vm))
}

fn affairs(vm: u16) -> Source {
    Source::Affairs(VmId::first(vm))
}

/// A UART whose FIFO empties when the test lets it.
struct Line {
    depth: usize,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    fifo: VecDeque<u8>,
    /// What has gone out.
    out: Vec<u8>,
    /// The interrupt: raised when the FIFO falls to an eighth, and gone when it is filled above that.
    raised: bool,
    unmasked: bool,
}

impl Line {
    fn new(depth: usize) -> Self {
        Self { depth, state: RefCell::default() }
    }

    /// Lets bytes out.
    fn pass(&self, bytes: usize) {
        let mut state = self.state.borrow_mut();
        for _ in 0..bytes {
            let Some(byte) = state.fifo.pop_front() else { break };
            state.out.push(byte);
            if state.fifo.len() == self.depth / 8 {
                state.raised = true;
            }
        }
    }

    fn interrupts(&self) -> bool {
        let state = self.state.borrow();
        state.raised && state.unmasked
    }

    fn out(&self) -> Vec<u8> {
        self.state.borrow().out.clone()
    }
}

impl Transmitter for Line {
    fn is_full(&self) -> bool {
        self.state.borrow().fifo.len() >= self.depth
    }

    fn send(&self, byte: u8) {
        assert!(!self.is_full(), "a byte is lost");
        let mut state = self.state.borrow_mut();
        state.fifo.push_back(byte);
        if state.fifo.len() > self.depth / 8 {
            state.raised = false;
        }
    }

    fn set_interrupt(&self, interrupt: Interrupt) {
        self.state.borrow_mut().unmasked = interrupt == Interrupt::On;
    }
}

/// Serves the UART's interrupt. Says which VMs are notified.
fn serve(queue: &mut SerialQueue, line: &Line) -> Vec<VmId> {
    queue.drain(line);
    std::iter::from_fn(|| queue.take_refused(line)).collect()
}

/// Runs the line until nothing happens any more, by its interrupts alone. Says which VMs were notified.
fn run_dry(queue: &mut SerialQueue, line: &Line) -> Vec<VmId> {
    let mut notified = Vec::new();
    loop {
        line.pass(1);
        if line.interrupts() {
            notified.extend(serve(queue, line));
        } else if line.state.borrow().fifo.is_empty() {
            return notified;
        }
    }
}

/// A piece of a source's, each byte of which tells whose it is.
fn piece(source: Source, len: usize) -> Vec<u8> {
    let byte = match source {
        Source::Console(vm) => 1 + vm.index() as u8,
        Source::Affairs(vm) => 101 + vm.index() as u8,
        Source::Hypervisor => 200,
    };
    vec![byte; len]
}

/// Lets a source say as much as it can.
fn flood(queue: &mut SerialQueue, line: &Line, source: Source, len: usize) -> usize {
    (0..).take_while(|_| queue.push(source, &piece(source, len), line).is_ok()).count()
}

#[test]
fn a_line_that_is_never_full_leaves_nothing_behind() {
    let (mut queue, line) = (SerialQueue::new(1), Line::new(usize::MAX));
    for _ in 0..1000 {
        assert_eq!(queue.push(console(0), &[7; 140], &line), Ok(()));
        assert!(queue.is_empty() && !line.state.borrow().unmasked);
    }
    line.pass(usize::MAX);
    assert_eq!(line.out(), [7; 140_000]);
}

#[test]
fn a_vm_that_floods_is_refused_alone_and_called_when_there_is_room() {
    let (mut queue, line) = (SerialQueue::new(VMS.into()), Line::new(16));
    for vm in 0..VMS - 1 {
        assert!(flood(&mut queue, &line, console(vm), 100) > 0);
        assert_eq!(flood(&mut queue, &line, console(vm), 100), 0);
    }
    assert_eq!(queue.take_refused(&line), None, "there is no room yet");
    // The last one has its own share, and EL2 its reserve.
    assert_eq!(queue.push(console(VMS - 1), &[9; 100], &line), Ok(()));
    assert_eq!(queue.push(affairs(0), &[9; 100], &line), Ok(()));
    assert_eq!(queue.push(Source::Hypervisor, &[9; 100], &line), Ok(()));
    assert_eq!(run_dry(&mut queue, &line), [0, 1].map(VmId::first), "each that was refused, once");
    assert!(queue.is_empty());
}

#[test]
fn what_el2_says_has_room_whatever_becomes_of_vms() {
    let (mut queue, line) = (SerialQueue::new(VMS.into()), Line::new(16));
    let one = flood(&mut queue, &line, affairs(0), 100);
    assert!((AFFAIRS_OF_ONE - 200..=AFFAIRS_OF_ONE + 16).contains(&(one * 105)), "{one}");
    assert!(flood(&mut queue, &line, affairs(1), 100) >= one - 1, "another's are not impaired");
    (0..VMS).for_each(|vm| {
        flood(&mut queue, &line, affairs(vm), 20);
    });
    let own = flood(&mut queue, &line, Source::Hypervisor, 100);
    assert!(own >= (RESERVE - AFFAIRS) / 105, "{own}");
}

#[test]
fn what_was_dropped_is_counted_and_told_when_there_is_room() {
    let (mut queue, line) = (SerialQueue::new(1), Line::new(16));
    flood(&mut queue, &line, Source::Hypervisor, 100);
    for _ in 0..4 {
        assert_eq!(queue.push(affairs(0), &[0; 100], &line), Err(Refused));
    }
    assert_eq!(queue.take_lost(100), None, "there is no room for it");
    run_dry(&mut queue, &line);
    assert_eq!((queue.take_lost(100), queue.take_lost(100)), (Some(5), None));
}

#[test]
fn a_long_piece_is_taken_when_its_vm_has_nothing_waiting() {
    let (mut queue, line) = (SerialQueue::new(VMS.into()), Line::new(16));
    // So that something waits.
    assert_eq!(queue.push(Source::Hypervisor, &[0; 100], &line), Ok(()));
    for vm in 0..VMS {
        assert_eq!(queue.push(console(vm), &piece(console(vm), LONGEST), &line), Ok(()));
        assert_eq!(queue.push(console(vm), &[1], &line), Err(Refused));
    }
}

#[derive(Clone, Debug)]
enum Event {
    Say(Source, usize),
    Pass(usize),
    /// The UART's interrupt is served, if it is there.
    Serve,
    /// An idle CPU looks.
    Idle,
}

fn event() -> impl Strategy<Value = Event> {
    let source = prop_oneof![
        6 => (0..VMS).prop_map(console),
        2 => (0..VMS).prop_map(affairs),
        1 => Just(Source::Hypervisor),
    ];
    prop_oneof![
        6 => (source, 0usize..300).prop_map(|(source, len)| Event::Say(source, len)),
        3 => (0usize..400).prop_map(Event::Pass),
        3 => Just(Event::Serve),
        1 => Just(Event::Idle),
    ]
}

proptest! {
    /// Whoever says what and however slow the line: pieces come out whole, in order, and all that were taken; nothing gets
    /// stuck; each VM that was refused is notified; each message of EL2's that was dropped is counted.
    #[test]
    fn nothing_is_lost_silently(
        depth in prop_oneof![Just(1usize), Just(16), Just(32)],
        events in prop::collection::vec(event(), 1..200),
    ) {
        let (mut queue, line) = (SerialQueue::new(VMS.into()), Line::new(depth));
        let (mut due, mut lost, mut told) = (Vec::new(), 0u32, 0u32);
        let mut refused = [false; VMS as usize];
        for event in &events {
            match event {
                Event::Say(source, len) => {
                    let piece = piece(*source, *len);
                    let others_wait = !queue.is_empty();
                    match (queue.push(*source, &piece, &line), source) {
                        (Ok(()), _) => due.extend(piece),
                        (Err(Refused), Source::Console(vm)) => {
                            prop_assert!(others_wait);
                            refused[vm.index()] = true;
                        }
                        (Err(Refused), _) => lost += 1,
                    }
                }
                Event::Pass(bytes) => line.pass(*bytes),
                Event::Serve if line.interrupts() => {
                    for vm in serve(&mut queue, &line) {
                        prop_assert!(std::mem::take(&mut refused[vm.index()]), "{vm:?} was not refused");
                    }
                }
                Event::Serve => {}
                Event::Idle => queue.drain(&line),
            }
            told += queue.take_lost(100).unwrap_or(0);
            prop_assert!(queue.len <= queue.ring.len());
            let something_waits = !queue.is_empty() || queue.notices > 0;
            prop_assert_eq!(something_waits, line.state.borrow().unmasked);
        }
        for vm in run_dry(&mut queue, &line) {
            prop_assert!(std::mem::take(&mut refused[vm.index()]));
        }
        prop_assert_eq!(line.out(), due);
        prop_assert_eq!(refused, [false; VMS as usize]);
        prop_assert_eq!(told + queue.take_lost(100).unwrap_or(0), lost);
        prop_assert!(queue.vms.iter().all(|used| used.console == 0 && used.affairs == 0));
        prop_assert_eq!((queue.reserved, queue.affairs, queue.notices), (0, 0, 0));
    }

    /// A VM that keeps to its share is never refused, whatever all others say.
    #[test]
    fn nobody_is_refused_for_anothers_sake(events in prop::collection::vec(event(), 1..200)) {
        const MODEST: u16 = VMS;
        let (mut queue, line) = (SerialQueue::new(usize::from(VMS) + 1), Line::new(16));
        for event in &events {
            match event {
                Event::Say(source, len) => {
                    let _ = queue.push(*source, &piece(*source, *len), &line);
                }
                Event::Pass(bytes) => line.pass(*bytes),
                Event::Serve | Event::Idle => queue.drain(&line),
            }
            if queue.vms[usize::from(MODEST)].console + 140 + HEADER <= SHARE {
                prop_assert_eq!(queue.push(console(MODEST), &[MODEST as u8; 140], &line), Ok(()));
            }
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command's end and the hypervisor's, one against the other.

use proptest::prelude::*;
use vambrace_machine::inbox::Inbox;
use vambrace_machine::vm::Input as Received;
use vambrace_wire::message::{Decoder, Piece, decode};

use super::*;

const VMS: u16 = 3;

/// A guest at the other end of the line, behind the hypervisor's inbox and a console of the same size.
#[derive(Default)]
struct Guest {
    inbox: Inbox,
    console: VecDeque<Received>,
    read: Vec<Received>,
}

impl Guest {
    fn hear(&mut self, vm: u16, frame: &[u8]) {
        let mut decoder = Decoder::new();
        for byte in frame {
            let Some(Piece::Frame(frame)) = decoder.push(*byte) else { continue };
            let (to, missed) = match decode(frame).unwrap() {
                ToHypervisor::Input { vm, position, bytes } => {
                    (vm, self.inbox.receive(position, bytes.iter().map(|key| Received::Key(*key))))
                }
                ToHypervisor::Inspect | ToHypervisor::Control { .. } => panic!("nobody asks"),
                ToHypervisor::Break { vm, position } => {
                    (vm, self.inbox.receive(position, [Received::Break].into_iter()))
                }
            };
            assert_eq!((to, missed), (vm, 0), "it had room, and nothing was left out");
        }
    }

    /// Reads so much; the position of which the command is told.
    fn read(&mut self, count: usize) -> Option<u32> {
        self.inbox.hand_over(|input| {
            let room = INPUT_WINDOW - self.console.len();
            self.console.extend(input.iter().take(room));
            input.len().min(room)
        });
        self.read.extend(self.console.drain(..count.min(self.console.len())));
        let position = self.inbox.untold(self.console.len())?;
        self.inbox.tell(position);
        Some(position)
    }
}

/// All that there is to send, to the guests.
fn send(outbox: &mut Outbox, guests: &mut [Guest]) {
    for (vm, guest) in (0..).zip(guests) {
        while let Some(frame) = outbox.next(vm) {
            guest.hear(vm, &frame);
        }
    }
}

fn guests() -> Vec<Guest> {
    (0..VMS).map(|_| Guest::default()).collect()
}

fn running() -> Outbox {
    let mut outbox = Outbox::new(VMS.into());
    (0..VMS).for_each(|vm| outbox.note_state(vm, VmState::Running));
    outbox
}

fn keys(bytes: &[u8]) -> Vec<Received> {
    bytes.iter().map(|key| Received::Key(*key)).collect()
}

#[test]
fn a_deaf_vm_stops_nobody_elses_input() {
    let (mut outbox, mut guests) = (running(), guests());
    let text = [b'x'; 100_000];
    (0..2).for_each(|vm| outbox.keys(vm, &text));
    for _ in 0..text.len() {
        send(&mut outbox, &mut guests);
        if let Some(position) = guests[1].read(30) {
            outbox.note_taken(1, position);
        }
    }
    assert!(guests[1].read == keys(&text));
    assert_eq!((outbox.waiting(0), outbox.waiting(1)), (text.len() - INPUT_WINDOW, 0));
}

#[test]
fn input_waits_for_its_vm_to_start_and_is_dropped_when_that_is_over() {
    let mut outbox = Outbox::new(1);
    outbox.keys(0, b"early");
    assert_eq!(outbox.next(0), None);
    outbox.note_state(0, VmState::Running);
    outbox.keys(0, b" bird");
    let mut guest = Guest::default();
    guest.hear(0, &outbox.next(0).unwrap());
    guest.read(99);
    assert_eq!(guest.read, keys(b"early bird"));
    outbox.keys(0, b"late");
    outbox.note_state(0, VmState::Off);
    outbox.keys(0, b"later");
    assert_eq!((outbox.waiting(0), outbox.next(0)), (0, None));
}

#[test]
fn the_input_of_a_vm_that_was_made_anew_begins_anew() {
    let mut outbox = Outbox::new(1);
    outbox.note_state(0, VmState::Running);
    outbox.keys(0, b"before");
    assert!(outbox.next(0).is_some());
    outbox.note_state(0, VmState::Off);
    outbox.note_state(0, VmState::Running);
    outbox.keys(0, b"after");
    let mut guest = Guest::default();
    guest.hear(0, &outbox.next(0).unwrap());
    guest.read(99);
    assert_eq!(guest.read, keys(b"after"));
}

#[test]
fn what_is_for_no_vm_is_dropped() {
    let mut outbox = Outbox::new(1);
    outbox.keys(7, b"x");
    outbox.serial_break(7);
    outbox.note_taken(7, 1);
    outbox.note_state(7, VmState::Running);
    assert_eq!((outbox.waiting(7), outbox.next(7)), (0, None));
}

proptest! {
    /// However it is typed and read, across the point at which the positions begin anew: all arrives, once and in order.
    #[test]
    fn all_that_is_typed_arrives(
        start in prop_oneof![Just(0u32), (u32::MAX - 2000)..=u32::MAX],
        typed in prop::collection::vec((0..VMS, prop::collection::vec(any::<u8>(), 0..700), any::<bool>()), 1..12),
        reads in prop::collection::vec((0..VMS, 0usize..600), 0..60),
    ) {
        let (mut outbox, mut guests) = (running(), guests());
        for (line, guest) in outbox.vms.iter_mut().zip(&mut guests) {
            (line.sent, line.taken) = (start, start);
            guest.inbox.receive(start, [].into_iter());
            guest.inbox.tell(start);
        }
        let mut due: Vec<Vec<Received>> = vec![Vec::new(); VMS.into()];
        let mut reads = reads.into_iter();
        let turn = |outbox: &mut Outbox, guests: &mut Vec<Guest>, vm: u16, count: usize| {
            send(outbox, guests);
            if let Some(position) = guests[usize::from(vm)].read(count) {
                outbox.note_taken(vm, position);
            }
        };
        for (vm, bytes, with_break) in &typed {
            outbox.keys(*vm, bytes);
            due[usize::from(*vm)].extend(keys(bytes));
            if *with_break {
                outbox.serial_break(*vm);
                due[usize::from(*vm)].push(Received::Break);
            }
            if let Some((vm, count)) = reads.next() {
                turn(&mut outbox, &mut guests, vm, count);
            }
        }
        for (vm, count) in reads {
            turn(&mut outbox, &mut guests, vm, count);
        }
        // The guests read on: as each reads at least as much as is told, no more rounds are needed than there are bytes.
        for _ in 0..due.iter().map(Vec::len).sum::<usize>() + 1 {
            (0..VMS).for_each(|vm| turn(&mut outbox, &mut guests, vm, 1));
        }
        for (guest, due) in guests.iter().zip(&due) {
            prop_assert_eq!(&guest.read, due);
        }
    }
}

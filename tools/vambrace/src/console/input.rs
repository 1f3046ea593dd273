// SPDX-License-Identifier: MIT OR Apache-2.0
//! Standard input that is no terminal: what comes by a pipe or from a file is typed on one VM's console.
//!
//! Nothing is read before the VM runs, since there is nobody to hear it, and no piece before most of the last one has been
//! taken, so that a long file is not kept in memory.

use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;

use vambrace_wire::message::VmState;

use vambrace_runner::{Event, Message};

/// How much is read at once, in bytes.
const PIECE: usize = 4096;

/// Input that one VM gets.
#[derive(Debug)]
pub struct Piped<R> {
    vm: u16,
    /// Where it comes from, until it is read.
    source: Option<R>,
    events: Sender<Event>,
    /// Asks for the next piece, once the source is read.
    next: Option<SyncSender<()>>,
    /// The next piece is to be asked for.
    is_due: bool,
}

impl<R: Read + Send + 'static> Piped<R> {
    /// Input from `source` for the VM of this index; `events` brings what has been read.
    pub fn new(vm: u16, source: R, events: Sender<Event>) -> Self {
        Self { vm, source: Some(source), events, next: None, is_due: false }
    }

    /// What is to be typed because of an event: on which VM's console, and what.
    pub fn absorb<'e>(&mut self, event: &'e Event) -> Option<(u16, &'e [u8])> {
        match event {
            Event::Message(Message::State { vm, state: VmState::Running }) if *vm == self.vm => {
                self.begin();
                None
            }
            Event::Keys(bytes) => {
                self.is_due = true;
                Some((self.vm, bytes))
            }
            _ => None,
        }
    }

    fn begin(&mut self) {
        let Some(source) = self.source.take() else { return };
        let (next, asked) = mpsc::sync_channel(1);
        let events = self.events.clone();
        // It ends with the program at the latest: a read from a pipe cannot be called off.
        thread::spawn(move || pass_on(source, &asked, &events));
        self.next = Some(next);
        self.is_due = true;
    }

    /// The VM whose input it is.
    #[must_use]
    pub fn vm(&self) -> u16 {
        self.vm
    }

    /// Reads on, if no more than a piece waits to be taken by the VM: `waiting` bytes.
    pub fn go_on(&mut self, waiting: usize) {
        if waiting > PIECE || !std::mem::take(&mut self.is_due) {
            return;
        }
        if let Some(next) = &self.next {
            // An error means that the input is over, or that it has been asked for already.
            let _ = next.try_send(());
        }
    }
}

/// Reads a piece each time it is asked for, to the end of the input.
fn pass_on(mut source: impl Read, asked: &Receiver<()>, events: &Sender<Event>) {
    let mut buffer = [0; PIECE];
    while asked.recv().is_ok() {
        let len = loop {
            match source.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.unwrap_or(0),
            }
        };
        let bytes = buffer.get(..len).unwrap_or_default();
        if bytes.is_empty() || events.send(Event::Keys(bytes.to_vec())).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn runs(vm: u16) -> Event {
        Event::Message(Message::State { vm, state: VmState::Running })
    }

    #[test]
    fn all_of_the_input_reaches_the_vm_in_order() {
        let text: Vec<u8> = (0..3 * PIECE + 7).map(|at| at as u8).collect();
        let (sender, events) = channel();
        let mut piped = Piped::new(1, io::Cursor::new(text.clone()), sender);
        assert_eq!(piped.absorb(&runs(1)), None);
        piped.go_on(0);
        let mut typed = Vec::new();
        while typed.len() < text.len() {
            let event = events.recv().unwrap();
            let (vm, bytes) = piped.absorb(&event).unwrap();
            assert_eq!(vm, 1);
            typed.extend_from_slice(bytes);
            piped.go_on(0);
        }
        assert_eq!(typed, text);
    }

    #[test]
    fn nothing_is_read_before_the_vm_runs_nor_before_room_is_there() {
        /// Reports each read.
        struct Reporting(Sender<()>);
        impl Read for Reporting {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let _ = self.0.send(());
                buffer.fill(b'x');
                Ok(buffer.len())
            }
        }
        let (sender, events) = channel();
        let (told, reads) = channel();
        let mut piped = Piped::new(0, Reporting(told), sender);
        piped.absorb(&runs(1));
        assert!(piped.source.is_some(), "another VM runs");
        for _ in 0..2 {
            piped.absorb(&runs(0));
            piped.go_on(0);
        }
        for _ in 0..2 {
            let piece = events.recv().unwrap();
            assert_eq!(reads.recv(), Ok(()));
            piped.absorb(&piece);
            piped.go_on(PIECE + 1);
            piped.go_on(PIECE);
        }
        let third = events.recv().unwrap();
        piped.absorb(&third);
        piped.go_on(PIECE + 1);
        drop(piped);
        // The reader has ended: nobody asked for a fourth piece.
        assert_eq!(reads.iter().count(), 1);
    }
}

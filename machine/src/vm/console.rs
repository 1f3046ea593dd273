// SPDX-License-Identifier: MIT OR Apache-2.0
//! The VM's console: what its UART and its virtio consoles say, by the line, and the keys that wait for them.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};
use vambrace_wire::message::INPUT_WINDOW;

/// Output is passed on in pieces of at most this many bytes.
const OUTPUT: usize = 128;

/// What comes in on a console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A byte.
    Key(u8),
    /// A break condition on the serial line. Only a UART hears it.
    Break,
}

/// What is on its way between a guest and whoever looks at its console.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Console {
    output: ArrayVec<u8, OUTPUT>,
    /// What waits until the guest has read what came before.
    input: ArrayVec<Input, INPUT_WINDOW>,
}

/// Whether output waits for the rest of its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// No, or it has waited before.
    No,
    /// Since now.
    Since,
}

impl Console {
    /// Takes what the guest has sent, as far as there is room; passes it on by the line, or when there is much of it.
    pub(crate) fn put_each(
        &mut self,
        bytes: &mut impl Iterator<Item = u8>,
        print: &mut impl FnMut(&[u8]) -> usize,
    ) -> Unfinished {
        let mut end_of_line = false;
        let was_empty = self.output.is_empty();
        loop {
            if self.output.is_full() {
                self.flush(print);
                if self.output.is_full() {
                    return Unfinished::No;
                }
            }
            let Some(byte) = bytes.next() else { break };
            self.output.push(byte);
            end_of_line |= byte == b'\n';
        }
        if end_of_line {
            self.flush(print);
        } else if was_empty && !self.output.is_empty() {
            return Unfinished::Since;
        }
        Unfinished::No
    }

    /// Passes unfinished output on, as much as there is room for.
    pub(crate) fn flush(&mut self, print: &mut impl FnMut(&[u8]) -> usize) {
        if self.output.is_empty() {
            return;
        }
        let taken = print(&self.output);
        if taken >= self.output.len() {
            self.output.clear();
        } else {
            self.output.drain(..taken);
        }
    }

    /// Takes what has come in, as much as there is room for, and says how much.
    pub(crate) fn add_input(&mut self, input: impl Iterator<Item = Input>) -> usize {
        let before = self.input.len();
        self.input.extend(input.take(self.input.remaining_capacity()));
        self.input.len() - before
    }

    /// What waits to be read.
    pub(crate) fn input(&self) -> &[Input] {
        &self.input
    }

    /// So much of it has been read.
    pub(crate) fn drop_input(&mut self, count: usize) {
        self.input.drain(..count.min(self.input.len()));
    }

    /// Takes keys, as many as fit into `to`, and says how many. Breaks are passed over.
    pub(crate) fn take_input(&mut self, to: &mut [u8]) -> usize {
        let (mut passed, mut count) = (0, 0);
        for input in &self.input {
            if let Input::Key(key) = input {
                let Some(to) = to.get_mut(count) else { break };
                *to = *key;
                count += 1;
            }
            passed += 1;
        }
        self.drop_input(passed);
        count
    }
}

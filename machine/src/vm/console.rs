// SPDX-License-Identifier: MIT OR Apache-2.0
//! The VM's console: what its UART and its virtio consoles say, by the line, and the keys that wait for them.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

/// Output is passed on in pieces of at most this many bytes.
const OUTPUT: usize = 128;

/// Keys that wait until the guest has read those before them.
const INPUT: usize = 512;

/// What is on its way between a guest and whoever looks at its console.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Console {
    output: ArrayVec<u8, OUTPUT>,
    input: ArrayVec<u8, INPUT>,
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
    /// Takes what the guest has sent; passes it on by the line, or when there is much of it.
    pub(crate) fn put(&mut self, bytes: &[u8], mut print: impl FnMut(&[u8])) -> Unfinished {
        self.put_each(bytes.iter().copied(), &mut print)
    }

    /// As [`Console::put`], byte by byte.
    pub(crate) fn put_each(
        &mut self,
        bytes: impl Iterator<Item = u8>,
        print: &mut impl FnMut(&[u8]),
    ) -> Unfinished {
        let mut end_of_line = false;
        let was_empty = self.output.is_empty();
        for byte in bytes {
            if self.output.is_full() {
                print(&self.output);
                self.output.clear();
            }
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

    /// Passes unfinished output on.
    pub(crate) fn flush(&mut self, print: impl FnOnce(&[u8])) {
        if !self.output.is_empty() {
            print(&self.output);
            self.output.clear();
        }
    }

    /// Keys that somebody has typed; what there is no room for is dropped.
    pub(crate) fn add_input(&mut self, keys: &[u8]) {
        let room = self.input.remaining_capacity();
        self.input.extend(keys.iter().copied().take(room));
    }

    /// The keys that wait.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input
    }

    /// So many of them have been read.
    pub(crate) fn drop_input(&mut self, count: usize) {
        self.input.drain(..count.min(self.input.len()));
    }

    /// Takes keys, as many as fit into `to`, and says how many.
    pub(crate) fn take_input(&mut self, to: &mut [u8]) -> usize {
        let count = self.input.len().min(to.len());
        for (to, key) in to.iter_mut().zip(&self.input) {
            *to = *key;
        }
        self.drop_input(count);
        count
    }
}

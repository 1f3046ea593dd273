// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was typed and waits for its VM.
//!
//! The hypervisor holds a little input for each VM ([`INPUT_WINDOW`]) and says when its guest has taken some; the rest
//! waits here, where there is room. So nothing typed is lost, however much it is and however slow the guest, and a
//! guest that reads nothing stops nobody else's.

use std::collections::VecDeque;

use vambrace_wire::message::{INPUT_WINDOW, MAX_FRAME, MAX_TEXT, ToHypervisor, VmState, encode};

/// The input of all VMs.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    vms: Vec<Line>,
}

/// The input of one VM.
#[derive(Clone, Debug)]
struct Line {
    waiting: VecDeque<Input>,
    /// The position of the first that waits.
    sent: u32,
    /// The position up to which the VM has taken it.
    taken: u32,
    hearing: Hearing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Key(u8),
    Break,
}

/// Where a VM is, as far as its input is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hearing {
    /// Nobody would take it yet.
    ToCome,
    Running,
    /// Nobody will take it any more.
    Over,
}

impl Line {
    const fn new() -> Self {
        Self { waiting: VecDeque::new(), sent: 0, taken: 0, hearing: Hearing::ToCome }
    }
}

impl Outbox {
    /// For so many VMs, none of which runs yet.
    pub(super) fn new(vms: usize) -> Self {
        Self { vms: vec![Line::new(); vms] }
    }

    /// Keys for a VM. What is for a VM that is over is dropped.
    pub(super) fn keys(&mut self, vm: u16, keys: &[u8]) {
        self.add(vm, keys.iter().map(|key| Input::Key(*key)));
    }

    /// A break for a VM, after the keys before it.
    pub(super) fn serial_break(&mut self, vm: u16) {
        self.add(vm, [Input::Break].into_iter());
    }

    fn add(&mut self, vm: u16, input: impl Iterator<Item = Input>) {
        if let Some(line) = self.vms.get_mut(usize::from(vm))
            && line.hearing != Hearing::Over
        {
            line.waiting.extend(input);
        }
    }

    /// A VM has changed state.
    pub(super) fn note_state(&mut self, vm: u16, state: VmState) {
        if let Some(line) = self.vms.get_mut(usize::from(vm)) {
            match state {
                // It was made anew, and counts from the beginning.
                VmState::Running if line.hearing == Hearing::Over => {
                    *line = Line { hearing: Hearing::Running, ..Line::new() };
                }
                VmState::Running | VmState::Reset(..) | VmState::Paused | VmState::Resumed => {
                    line.hearing = Hearing::Running;
                }
                VmState::Off | VmState::Crashed | VmState::NotMade => {
                    line.hearing = Hearing::Over;
                    line.waiting.clear();
                }
            }
        }
    }

    /// A VM has taken its input up to this position.
    pub(super) fn note_taken(&mut self, vm: u16, position: u32) {
        if let Some(line) = self.vms.get_mut(usize::from(vm)) {
            line.taken = position;
        }
    }

    /// How much waits here for a VM.
    pub(super) fn waiting(&self, vm: u16) -> usize {
        self.vms.get(usize::from(vm)).map_or(0, |line| line.waiting.len())
    }

    /// The next frame for the line, if the VM may be sent one.
    pub(super) fn next(&mut self, vm: u16) -> Option<Vec<u8>> {
        let line = self.vms.get_mut(usize::from(vm)).filter(|line| line.hearing == Hearing::Running)?;
        let room = INPUT_WINDOW.saturating_sub(line.sent.wrapping_sub(line.taken) as usize);
        let position = line.sent;
        if room > 0 && line.waiting.front() == Some(&Input::Break) {
            line.waiting.pop_front();
            line.sent = position.wrapping_add(1);
            return frame(&ToHypervisor::Break { vm, position });
        }
        let key = |input: &Input| if let Input::Key(key) = input { Some(*key) } else { None };
        let keys = line.waiting.iter().map_while(key).take(room.min(MAX_TEXT));
        let bytes: Vec<u8> = keys.collect();
        if bytes.is_empty() {
            return None;
        }
        line.waiting.drain(..bytes.len());
        line.sent = position.wrapping_add(bytes.len() as u32);
        frame(&ToHypervisor::Input { vm, position, bytes: &bytes })
    }
}

fn frame(message: &ToHypervisor<'_>) -> Option<Vec<u8>> {
    encode(message, &mut [0; MAX_FRAME]).ok().map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests;

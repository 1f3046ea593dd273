// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is expected of a run: texts on the VMs' consoles, texts that must not come, and guests' results.
//!
//! A text is looked for line by line. In a line that has no end yet (a prompt) it counts as found only if nothing that may
//! follow could undo it.

use regex::bytes::Regex;
use vambrace_wire::message::VmState;

use vambrace_manifest::run::Expected;

use vambrace_runner::{Event, Message};

/// So much of a line is kept, in bytes. Of a longer one, the last half goes on being looked at.
const LONGEST: usize = 8192;

/// Compares a run with what is expected of it.
#[derive(Clone, Debug)]
pub struct Judge {
    vms: Vec<Watched>,
}

#[derive(Clone, Debug)]
struct Watched {
    name: String,
    expected: Expected,
    /// For each text, whether it has come.
    has_come: Vec<bool>,
    /// What must not be, and was.
    failures: Vec<String>,
    result: Option<u32>,
    /// The line that it is at.
    line: Vec<u8>,
    has_ended: bool,
}

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Something is still to come.
    Open,
    /// All that is expected has come, or has become impossible.
    Decided,
    /// Something came that must not.
    Failed,
}

impl Judge {
    /// Of VMs with these names and what is expected of each.
    #[must_use]
    pub fn new(vms: impl IntoIterator<Item = (String, Expected)>) -> Self {
        let watched = |(name, expected): (String, Expected)| Watched {
            name,
            has_come: vec![false; expected.texts.len()],
            expected,
            failures: Vec::new(),
            result: None,
            line: Vec::new(),
            has_ended: false,
        };
        Self { vms: vms.into_iter().map(watched).collect() }
    }

    /// Whether anything at all is expected.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        !self.vms.iter().all(|vm| vm.expected.is_nothing())
    }

    /// Takes note of an event.
    pub fn absorb(&mut self, event: &Event) {
        let Event::Message(message) = event else { return };
        let of = |vm: &u16| usize::from(*vm);
        match message {
            Message::Console { vm, bytes } => self.with(of(vm), |vm| vm.console(bytes)),
            Message::Result { vm, number } => self.with(of(vm), |vm| vm.result(*number)),
            Message::State { vm, state } => self.with(of(vm), |vm| vm.state(*state)),
            _ => {}
        }
    }

    fn with(&mut self, vm: usize, note: impl FnOnce(&mut Watched)) {
        if let Some(vm) = self.vms.get_mut(vm) {
            note(vm);
        }
    }

    /// Whether the run goes on: to its own end, if nothing is expected.
    #[must_use]
    pub fn course(&self) -> Course {
        if self.vms.iter().any(|vm| !vm.failures.is_empty()) {
            Course::Failed
        } else if self.is_asked() && self.vms.iter().all(Watched::is_done) {
            Course::Decided
        } else {
            Course::Open
        }
    }

    /// What is not as expected, a line each, when the run is over.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        self.vms.iter().flat_map(Watched::all_failures).collect()
    }
}

impl Watched {
    fn console(&mut self, bytes: &[u8]) {
        if self.expected.texts.is_empty() && self.expected.never.is_empty() {
            return;
        }
        for byte in bytes {
            if *byte == b'\n' {
                self.look(&[b""]);
                self.line.clear();
                continue;
            }
            self.line.push(*byte);
            if self.line.len() >= LONGEST {
                self.look(&[b"a", b" "]);
                self.line.drain(..LONGEST / 2);
            }
        }
        // What follows may be part of a word or not.
        self.look(&[b"a", b" "]);
    }

    /// Looks at the line, if it went on in each of these ways.
    fn look(&mut self, ends: &[&[u8]]) {
        let len = self.line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
        let Some(text) = self.line.get(..len) else { return };
        if text.is_empty() && ends != [b""] {
            return;
        }
        let lines: Vec<Vec<u8>> = ends.iter().map(|end| [text, end].concat()).collect();
        let is_there = |regex: &Regex| lines.iter().all(|line| regex.is_match(line));
        for (regex, has_come) in self.expected.texts.iter().zip(&mut self.has_come) {
            *has_come |= is_there(regex);
        }
        if self.failures.is_empty()
            && let Some(regex) = self.expected.never.iter().find(|regex| is_there(regex))
        {
            let text = String::from_utf8_lossy(text);
            self.failures.push(format!("{} said what it must not, /{regex}/: {text}", self.name));
        }
    }

    fn result(&mut self, number: u32) {
        self.result = Some(number);
        let wanted = self.expected.result.unwrap_or(0);
        if number != wanted {
            self.failures.push(format!("{} gave the result {number}, not {wanted}", self.name));
        }
    }

    fn state(&mut self, state: VmState) {
        match state {
            VmState::Off | VmState::Crashed | VmState::NotMade => self.has_ended = true,
            VmState::Reset(..) => self.line.clear(),
            VmState::Running | VmState::Paused | VmState::Resumed => {}
        }
    }

    fn is_done(&self) -> bool {
        let has_result = self.expected.result.is_none() || self.result.is_some();
        let is_met = self.expected.has_aim() && has_result && self.has_come.iter().all(|come| *come);
        self.has_ended || is_met
    }

    fn all_failures(&self) -> Vec<String> {
        let mut all = self.failures.clone();
        let missing = self.expected.texts.iter().zip(&self.has_come).filter(|(_, come)| !**come);
        all.extend(missing.map(|(regex, _)| format!("{} did not say /{regex}/", self.name)));
        if let (Some(wanted), None) = (self.expected.result, self.result) {
            all.push(format!("{} gave no result, and {wanted} was expected", self.name));
        }
        all
    }
}

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is on the user's screen: the VM in focus as it writes, and of the others a notice.
//!
//! What a VM writes while another has the screen is kept, as much as is worth reading again, and shown when it
//! gets the focus.

use std::collections::VecDeque;

use vambrace_wire::message::VmState;

use super::{describe_ending, describe_level, describe_result, describe_state};
use vambrace_manifest::words::counted;
use vambrace_runner::{Event, Message};

/// How much of a VM's output is kept, in bytes.
const KEPT: usize = 64 << 10;

/// How much is shown of a VM that has written nothing since it last had the screen: its last lines.
const LAST_LINES: usize = 10;

/// Begins and ends what is not from a VM.
const BRIGHT: &str = "\x1b[7m";
const PLAIN: &str = "\x1b[0m";

/// The screen's state.
#[derive(Clone, Debug)]
pub struct Screen {
    vms: Vec<Pane>,
    focus: usize,
    /// The cursor stands at the beginning of a line.
    at_start: bool,
}

#[derive(Clone, Debug)]
struct Pane {
    name: String,
    /// The last of what it wrote.
    kept: VecDeque<u8>,
    /// How much of that the user has not seen.
    unseen: usize,
    /// It powered off or crashed, or was never made.
    has_ended: bool,
}

impl Screen {
    /// For VMs of these names; the one of index `focus` has the keyboard.
    #[must_use]
    pub fn new(names: &[String], focus: usize) -> Self {
        let pane =
            |name: &String| Pane { name: name.clone(), kept: VecDeque::new(), unseen: 0, has_ended: false };
        Self { vms: names.iter().map(pane).collect(), focus, at_start: true }
    }

    /// The VM that has the keyboard.
    #[must_use]
    pub fn focus(&self) -> usize {
        self.focus
    }

    /// The first line: how to get on.
    pub fn greet(&mut self, out: &mut Vec<u8>) {
        let name = self.vms.get(self.focus).map_or("", |vm| vm.name.as_str());
        let (number, count) = (self.focus + 1, self.vms.len());
        let text = format!(
            "{name} has the keyboard ({number} of {count}). Ctrl-] n: next VM, Ctrl-] h: help, Ctrl-] q: quit"
        );
        self.notice(&text, out);
    }

    /// Explains the keys and lists the VMs.
    pub fn help(&mut self, out: &mut Vec<u8>) {
        for text in [
            "Ctrl-] n      the next VM",
            "Ctrl-] 1 - 9  the VM of that number",
            "Ctrl-] b      a break on the VM's serial line: SysRq for Linux",
            "Ctrl-] s      what each VM and vCPU does",
            "Ctrl-] q      quit: all VMs are stopped at once",
            "Ctrl-] Ctrl-] sends Ctrl-] to the VM",
        ] {
            self.notice(text, out);
        }
        for index in 0..self.vms.len() {
            let Some(vm) = self.vms.get(index) else { continue };
            let mark = if index == self.focus { "*" } else { " " };
            let text = format!("{mark} {} {} {}", index + 1, vm.name, unseen(vm.unseen));
            self.notice(text.trim_end(), out);
        }
    }

    /// Gives a VM the focus and shows what it wrote meanwhile.
    pub fn switch(&mut self, to: usize, out: &mut Vec<u8>) {
        let count = self.vms.len();
        let Some(pane) = self.vms.get_mut(to) else {
            let are = if count == 1 { "is" } else { "are" };
            self.notice(&format!("there {are} {}; Ctrl-] h lists them", counted(count, "VM")), out);
            return;
        };
        let shown = if pane.unseen > 0 { pane.unseen } else { last_lines(&pane.kept) };
        let text = without_queries(pane.kept.iter().skip(pane.kept.len().saturating_sub(shown)).copied());
        pane.unseen = 0;
        let header = format!("{} ({} of {count})", pane.name, to + 1);
        self.focus = to;
        self.notice(&header, out);
        self.raw(&text, out);
    }

    /// The VM after the one in focus; those that have ended are passed over while others run.
    #[must_use]
    pub fn next(&self) -> usize {
        let count = self.vms.len();
        let after = |step| (self.focus + step) % count.max(1);
        let runs = |index: &usize| self.vms.get(*index).is_some_and(|vm| !vm.has_ended);
        (1..count).map(after).find(runs).unwrap_or_else(|| after(1))
    }

    /// Shows an event.
    pub fn absorb(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Message(Message::Console { vm, bytes }) => self.console(usize::from(*vm), bytes, out),
            Event::Message(Message::Report { vm, text }) => {
                let text = format!("{}: {text}", self.name(*vm));
                self.notice(&text, out);
            }
            Event::Message(Message::State { vm, state }) => {
                let text = format!("{} {}", self.name(*vm), describe_state(*state));
                self.notice(&text, out);
                self.note_state(usize::from(*vm), *state, out);
            }
            Event::Message(Message::Result { vm, number }) => {
                let text = format!("{} {}", self.name(*vm), describe_result(*number));
                self.notice(&text, out);
            }
            Event::Message(Message::Log { level, text }) => {
                self.notice(&format!("{}{text}", describe_level(*level)), out);
            }
            Event::Text(bytes) => self.raw(bytes, out),
            Event::Inspection(lines) => lines.iter().for_each(|text| self.notice(text, out)),
            Event::QemuSays(text) => self.notice(&format!("QEMU: {text}"), out),
            _ => {}
        }
        if let Some(text) = describe_ending(event) {
            self.notice(text, out);
        }
    }

    /// The keyboard does not stay with a VM that has ended.
    fn note_state(&mut self, vm: usize, state: VmState, out: &mut Vec<u8>) {
        let Some(pane) = self.vms.get_mut(vm) else { return };
        pane.has_ended = matches!(state, VmState::Off | VmState::Crashed | VmState::NotMade);
        let next = self.next();
        let another_runs = self.vms.get(next).is_some_and(|vm| !vm.has_ended);
        if vm == self.focus && self.vms.get(vm).is_some_and(|vm| vm.has_ended) && another_runs {
            self.switch(next, out);
        }
    }

    fn name(&self, vm: u16) -> &str {
        self.vms.get(usize::from(vm)).map_or("?", |vm| vm.name.as_str())
    }

    fn console(&mut self, vm: usize, bytes: &[u8], out: &mut Vec<u8>) {
        let in_focus = vm == self.focus;
        let Some(pane) = self.vms.get_mut(vm) else { return };
        pane.kept.extend(bytes);
        let excess = pane.kept.len().saturating_sub(KEPT);
        pane.kept.drain(..excess);
        if in_focus {
            self.raw(bytes, out);
        } else {
            pane.unseen = (pane.unseen + bytes.len()).min(pane.kept.len());
        }
    }

    /// As a VM wrote it.
    fn raw(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(bytes);
        if let Some(last) = bytes.last() {
            self.at_start = *last == b'\n';
        }
    }

    /// A line of ours.
    fn notice(&mut self, text: &str, out: &mut Vec<u8>) {
        if !self.at_start {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("{BRIGHT}[{text}]{PLAIN}\r\n").as_bytes());
        self.at_start = true;
    }
}

fn unseen(bytes: usize) -> String {
    if bytes == 0 { String::new() } else { format!("({bytes} bytes unseen)") }
}

/// Leaves out what asks the terminal for an answer (control sequences that end in `n` or `c`; ECMA-48, DSR and
/// DA): it has been answered or is no longer waited for, and the VM would take a second answer for typing.
fn without_queries(bytes: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut sequence = None;
    for byte in bytes {
        kept.push(byte);
        sequence = match (sequence, byte) {
            (_, 0x1B) => Some(kept.len() - 1),
            (Some(start), b'[') if kept.len() == start + 2 => Some(start),
            (Some(start), 0x20..=0x3F) if kept.len() > start + 2 => Some(start),
            (Some(start), b'n' | b'c') if kept.len() > start + 2 => {
                kept.truncate(start);
                None
            }
            _ => None,
        };
    }
    kept
}

/// The length of the last lines.
fn last_lines(kept: &VecDeque<u8>) -> usize {
    let ends = kept.iter().rev().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.map(|(from_end, _)| from_end).nth(LAST_LINES).unwrap_or(kept.len())
}

#[cfg(test)]
mod tests {
    use vambrace_wire::message::ResetCause;

    use super::*;

    fn console(vm: u16, text: &str) -> Event {
        Event::Message(Message::Console { vm, bytes: text.as_bytes().to_vec() })
    }

    fn screen() -> Screen {
        Screen::new(&["a".into(), "b".into()], 0)
    }

    fn shown(act: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        act(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_vm_in_focus_writes_as_it_likes_and_the_others_wait() {
        let mut screen = screen();
        assert_eq!(shown(|out| screen.absorb(&console(0, "prompt# "), out)), "prompt# ");
        assert_eq!(shown(|out| screen.absorb(&console(1, "behind\r\n"), out)), "");
        let text = shown(|out| screen.switch(1, out));
        assert_eq!(text, format!("\r\n{BRIGHT}[b (2 of 2)]{PLAIN}\r\nbehind\r\n"));
        assert_eq!((screen.focus(), screen.next()), (1, 0));
    }

    #[test]
    fn the_user_may_begin_with_any_vm() {
        let mut screen = Screen::new(&["a".into(), "b".into()], 1);
        assert!(shown(|out| screen.greet(out)).contains("b has the keyboard (2 of 2)"));
        assert_eq!(screen.focus(), 1);
    }

    #[test]
    fn all_that_was_not_seen_is_shown() {
        let mut screen = screen();
        for line in 0..30 {
            shown(|out| screen.absorb(&console(1, &format!("line {line}\n")), out));
        }
        let text = shown(|out| screen.switch(1, out));
        assert!(text.contains("line 0\n") && text.ends_with("line 29\n"), "{text}");
    }

    #[test]
    fn a_vm_that_wrote_nothing_new_shows_its_last_lines() {
        let mut screen = screen();
        let lines: String = (0..30).map(|line| format!("line {line}\n")).collect();
        shown(|out| screen.absorb(&console(0, &lines), out));
        shown(|out| screen.switch(1, out));
        let text = shown(|out| screen.switch(0, out));
        assert!(
            text.contains("line 20\n") && text.ends_with("line 29\n") && !text.contains("line 19\n"),
            "{text}"
        );
    }

    #[test]
    fn the_keyboard_leaves_a_vm_that_ends_for_one_that_runs() {
        let state = |vm, state| Event::Message(Message::State { vm, state });
        let mut screen = Screen::new(&["a".into(), "b".into(), "c".into()], 0);
        shown(|out| screen.absorb(&state(1, VmState::Off), out));
        assert_eq!(screen.focus(), 0);
        assert!(shown(|out| screen.absorb(&state(0, VmState::Crashed), out)).contains("c (3 of 3)"));
        shown(|out| screen.absorb(&state(2, VmState::Reset(1, ResetCause::Asked)), out));
        assert_eq!(screen.focus(), 2);
        shown(|out| screen.absorb(&state(2, VmState::Off), out));
        assert_eq!(screen.focus(), 2);
    }

    #[test]
    fn the_terminal_is_not_asked_again() {
        let clean = |text: &str| String::from_utf8(without_queries(text.bytes())).unwrap();
        assert_eq!(clean("~ # \x1b[6nls\x1b[>0c\x1b[c"), "~ # ls");
        assert_eq!(
            clean("\x1b[1;31mnice\x1b[0m \x1bc \x1b[2J\x1b"),
            "\x1b[1;31mnice\x1b[0m \x1bc \x1b[2J\x1b"
        );
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut screen = screen();
        for _ in 0..100 {
            shown(|out| screen.absorb(&console(1, &"y".repeat(10_000)), out));
        }
        assert_eq!(screen.vms[1].kept.len(), KEPT);
        assert!(shown(|out| screen.switch(1, out)).len() < KEPT + 100);
    }

    #[test]
    fn notices_begin_on_a_line_of_their_own() {
        let mut screen = screen();
        shown(|out| screen.absorb(&console(0, "half a line"), out));
        let off = Event::Message(Message::State { vm: 1, state: VmState::Off });
        assert_eq!(shown(|out| screen.absorb(&off, out)), format!("\r\n{BRIGHT}[b powered off]{PLAIN}\r\n"));
        assert!(shown(|out| screen.switch(7, out)).contains("there are 2 VMs"));
        assert!(shown(|out| screen.help(out)).contains("* 1 a"));
        assert!(shown(|out| screen.greet(out)).contains("Ctrl-] h: help"));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Consoles line by line: `linux-a | text`, for pipes, files and CI.

use std::io;

use super::input::Piped;
use super::{Next, Show, ShowError, describe_ending, describe_level, describe_result, describe_state, write};
use vambrace_manifest::OWN_NAME;
use vambrace_manifest::words::counted;
use vambrace_runner::{Event, Exit, Message, Session};

/// A line without an end is printed after this many bytes.
const LONGEST: usize = 4096;

/// Shows a session to its end. `input` is the VM that gets the standard input, if any does.
///
/// # Errors
/// When the output or a log cannot be written.
pub fn show(mut session: Session, run: &mut Show<'_>, input: Option<u16>) -> Result<Exit, ShowError> {
    let mut lines = Lines::new(run.names);
    let mut input = input.map(|vm| Piped::new(vm, io::stdin(), session.sender()));
    let exit = run.follow(&mut session, |session, event| {
        if let Some((vm, bytes)) = input.as_mut().and_then(|input| input.absorb(event)) {
            session.send(vm, bytes);
        }
        if let Some(input) = &mut input {
            input.go_on(session.waiting_input(input.vm()));
        }
        let mut out = Vec::new();
        lines.absorb(event, &mut out);
        write(&out).map(|()| Next::Continue)
    })?;
    let mut out = Vec::new();
    lines.finish(&mut out);
    match write(&out) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(exit),
    }
}

/// Puts bytes of several consoles together to lines.
#[derive(Clone, Debug)]
pub struct Lines {
    /// One for each VM, then the one for text outside any message.
    open: Vec<Vec<u8>>,
    /// As printed, all of one width.
    labels: Vec<String>,
}

impl Lines {
    /// For VMs of these names.
    #[must_use]
    pub fn new(names: &[String]) -> Self {
        let names = names.iter().map(String::as_str).chain([OWN_NAME]);
        let width = names.clone().map(|name| name.chars().count()).max().unwrap_or(0);
        let labels: Vec<String> = names.map(|name| format!("{name:width$} | ")).collect();
        Self { open: vec![Vec::new(); labels.len()], labels }
    }

    /// Appends the lines that an event completes to `out`.
    pub fn absorb(&mut self, event: &Event, out: &mut Vec<u8>) {
        match event {
            Event::Message(Message::Console { vm, bytes }) => self.bytes(usize::from(*vm), bytes, out),
            Event::Message(Message::Report { vm, text }) => self.line(usize::from(*vm), text, out),
            Event::Message(Message::State { vm, state }) => self.of_vm(*vm, &describe_state(*state), out),
            Event::Message(Message::Result { vm, number }) => {
                self.of_vm(*vm, &describe_result(*number), out);
            }
            Event::Message(Message::Log { level, text }) => {
                self.line(self.own(), &format!("{}{text}", describe_level(*level)), out);
            }
            Event::Message(Message::Hello { cpus, vms }) => {
                let (vms, cpus) = (counted(usize::from(*vms), "VM"), counted(usize::from(*cpus), "CPU"));
                self.line(self.own(), &format!("up with {vms} on {cpus}"), out);
            }
            Event::Text(bytes) => self.bytes(self.own(), bytes, out),
            Event::Inspection(lines) => lines.iter().for_each(|text| self.line(self.own(), text, out)),
            Event::QemuSays(text) => self.line(self.own(), &format!("QEMU: {text}"), out),
            _ => {}
        }
        if let Some(text) = describe_ending(event) {
            self.line(self.own(), text, out);
        }
    }

    /// Prints what has no line end yet.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        for index in 0..self.open.len() {
            self.end_line(index, out);
        }
    }

    /// A line of ours about a VM.
    fn of_vm(&mut self, vm: u16, text: &str, out: &mut Vec<u8>) {
        self.end_line(usize::from(vm), out);
        let name = self.labels.get(usize::from(vm)).map_or("", |label| label.trim_end_matches([' ', '|']));
        self.line(self.own(), &format!("{name} {text}"), out);
    }

    fn own(&self) -> usize {
        self.labels.len() - 1
    }

    fn bytes(&mut self, index: usize, bytes: &[u8], out: &mut Vec<u8>) {
        for byte in bytes {
            let Some(open) = self.open.get_mut(index) else { return };
            if *byte != b'\n' {
                open.push(*byte);
            }
            if *byte == b'\n' || open.len() >= LONGEST {
                self.print(index, out);
            }
        }
    }

    /// A line of its own, after what is open.
    fn line(&mut self, index: usize, text: &str, out: &mut Vec<u8>) {
        self.end_line(index, out);
        self.bytes(index, text.as_bytes(), out);
        self.print(index, out);
    }

    fn end_line(&mut self, index: usize, out: &mut Vec<u8>) {
        if self.open.get(index).is_some_and(|open| !open.is_empty()) {
            self.print(index, out);
        }
    }

    fn print(&mut self, index: usize, out: &mut Vec<u8>) {
        let (Some(open), Some(label)) = (self.open.get_mut(index), self.labels.get(index)) else { return };
        let end = open.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
        let start = open.iter().position(|byte| *byte != b'\r').unwrap_or(end);
        let text = open.get(start..end).unwrap_or_default();
        let label = if text.is_empty() { label.trim_end() } else { label };
        out.extend_from_slice(label.as_bytes());
        out.extend_from_slice(text);
        out.push(b'\n');
        open.clear();
    }
}

#[cfg(test)]
mod tests {
    use vambrace_wire::message::{LogLevel, VmState};

    use super::*;

    fn console(vm: u16, text: &str) -> Event {
        Event::Message(Message::Console { vm, bytes: text.as_bytes().to_vec() })
    }

    fn print(events: &[Event]) -> String {
        let mut lines = Lines::new(&["linux-a".into(), "b".into()]);
        let mut out = Vec::new();
        for event in events {
            lines.absorb(event, &mut out);
        }
        lines.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_kept_whole_and_carry_their_vms_name() {
        let text = print(&[
            console(0, "first ha"),
            console(1, "other\r\n\r\n"),
            console(0, "lf\r\nlast without end"),
        ]);
        assert_eq!(
            text,
            "b        | other\nb        |\nlinux-a  | first half\nlinux-a  | last without end\n"
        );
    }

    #[test]
    fn what_the_hypervisor_says_has_lines_of_its_own() {
        let text = print(&[
            Event::Message(Message::Hello { cpus: 4, vms: 2 }),
            console(1, "unfinished"),
            Event::Message(Message::Report { vm: 1, text: "why".into() }),
            Event::Message(Message::Result { vm: 1, number: 3 }),
            Event::Message(Message::State { vm: 1, state: VmState::Crashed }),
            Event::Message(Message::Log { level: LogLevel::Warning, text: "hm".into() }),
            Event::Text(b"panic\n".to_vec()),
            console(9, "nobody\n"),
            Event::TimedOut,
        ]);
        assert_eq!(
            text,
            "vambrace | up with 2 VMs on 4 CPUs\nb        | unfinished\nb        | why\n\
             vambrace | b gives 3 as its result\nvambrace | b crashed\nvambrace | warning: hm\nvambrace | panic\n\
             vambrace | the time is over: stopped\n"
        );
    }

    #[test]
    fn a_line_that_never_ends_is_printed_in_pieces() {
        let text = print(&[console(0, &"x".repeat(LONGEST + 10))]);
        assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), [LONGEST + 11, 21]);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What EL2 says on the board's serial line, and what it hears.
//!
//! To the command `vambrace` it speaks frames (`vambrace_wire::message`), asked for by `vambrace.wire=1` on the
//! command line; to a person with a terminal program it speaks lines with the VM's name before them. Nothing
//! that a guest can do prints more than a bounded amount.

use core::fmt::{self, Write};

use arrayvec::ArrayString;
use vambrace_wire::message::{FromHypervisor, Level, MAX_FRAME, MAX_TEXT, VmState, encode};

use crate::lock::SpinMutex;
use crate::uart::Uart;
use input::Listener;

mod input;

pub(crate) use input::{Heard, Held, enable_input, input_taken, receive, receive_held};

static CONSOLE: SpinMutex<Console> =
    SpinMutex::new(Console { uart: None, mode: Mode::Text, listener: Listener::new(), open: None });

/// How the line is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Lines for a person.
    Text,
    /// Frames for the command.
    Frames,
}

struct Console {
    uart: Option<Uart>,
    mode: Mode,
    listener: Listener,
    /// Text mode: the VM whose line is not finished yet.
    open: Option<u16>,
}

/// One line of text, cut at what a message holds.
type Line = ArrayString<MAX_TEXT>;

/// Gives the console its UART.
pub(crate) fn start(uart: Option<Uart>, mode: Mode) {
    let mut console = CONSOLE.lock();
    console.uart = uart;
    console.mode = mode;
}

/// Sends a message, or its text.
pub(crate) fn say(message: &FromHypervisor<'_>) {
    CONSOLE.lock().say(message);
}

/// Writes one line of the hypervisor's log.
pub(crate) fn log(level: Level, text: fmt::Arguments<'_>) {
    let line = one_line(text);
    say(&FromHypervisor::Log { level, text: &line });
}

/// Formats at most one message's worth; what is longer is cut.
pub(crate) fn one_line(text: fmt::Arguments<'_>) -> Line {
    struct Cut<'a>(&'a mut Line);
    impl Write for Cut<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for character in text.chars() {
                self.0.try_push(character).map_err(|_| fmt::Error)?;
            }
            Ok(())
        }
    }
    let mut line = Line::new();
    // An error means that the line is full: cut, as promised.
    let _ = Cut(&mut line).write_fmt(text);
    line
}

/// The last words of a hypervisor that failed: text, without the lock, since its holder may be what failed.
pub(crate) fn emergency(text: fmt::Arguments<'_>) {
    struct Raw(Uart);
    impl Write for Raw {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.send(text.as_bytes());
            Ok(())
        }
    }
    // SAFETY: nothing else will run on this CPU; another CPU's output may mix with ours, which is acceptable.
    unsafe { CONSOLE.force_unlock() };
    let console = CONSOLE.lock();
    if let Some(uart) = console.uart {
        if console.mode == Mode::Frames {
            let mut buffer = [0; MAX_FRAME];
            uart.send(encode(&FromHypervisor::Failed, &mut buffer).unwrap_or_default());
        }
        let _ = writeln!(Raw(uart), "\r\nvambrace: {text}\r");
    }
}

impl Console {
    fn say(&mut self, message: &FromHypervisor<'_>) {
        let Some(uart) = self.uart else { return };
        match self.mode {
            Mode::Frames => {
                let mut buffer = [0; MAX_FRAME];
                uart.send(encode(message, &mut buffer).unwrap_or_default());
            }
            Mode::Text => self.say_as_text(message),
        }
    }

    fn say_as_text(&mut self, message: &FromHypervisor<'_>) {
        match message {
            FromHypervisor::Console { vm, bytes } => {
                for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                    if self.open != Some(*vm) {
                        self.line(format_args!("vm{vm}| "));
                    }
                    self.send(line);
                    self.open = if line.ends_with(b"\n") { None } else { Some(*vm) };
                }
            }
            FromHypervisor::Hello { cpus, vms } => {
                let s = |count: u16| if count == 1 { "" } else { "s" };
                self.line(format_args!("vambrace: up with {cpus} CPU{}, {vms} VM{}\r\n", s(*cpus), s(*vms)));
            }
            FromHypervisor::Log { level, text } => {
                let word = match level {
                    Level::Error => "error: ",
                    Level::Warning => "warning: ",
                    Level::Info => "",
                };
                self.line(format_args!("vambrace: {word}{text}\r\n"));
            }
            FromHypervisor::State { vm, state } => match state {
                VmState::Running => self.line(format_args!("vambrace: vm{vm} starts\r\n")),
                VmState::Reset(count) => {
                    self.line(format_args!("vambrace: vm{vm} resets, number {count}\r\n"));
                }
                VmState::Off => self.line(format_args!("vambrace: vm{vm} is off\r\n")),
                VmState::Crashed => self.line(format_args!("vambrace: vm{vm} crashed\r\n")),
                VmState::NotMade => self.line(format_args!("vambrace: vm{vm} never started\r\n")),
            },
            FromHypervisor::Result { vm, number } => {
                self.line(format_args!("vambrace: vm{vm} gives {number} as its result\r\n"));
            }
            FromHypervisor::Report { vm, text } => self.line(format_args!("vm{vm}! {text}\r\n")),
            FromHypervisor::End => self.line(format_args!("vambrace: all VMs have ended\r\n")),
            // For programs.
            FromHypervisor::Taken { .. }
            | FromHypervisor::Life { .. }
            | FromHypervisor::Gone { .. }
            | FromHypervisor::Memory { .. }
            | FromHypervisor::Vcpu(_)
            | FromHypervisor::Inspected { .. }
            | FromHypervisor::Failed => {}
        }
    }

    /// Starts a new line and writes to it.
    fn line(&mut self, text: fmt::Arguments<'_>) {
        if self.open.take().is_some() {
            self.send(b"\r\n");
        }
        let line = one_line(text);
        self.send(line.as_bytes());
    }

    fn send(&self, bytes: &[u8]) {
        if let Some(uart) = &self.uart {
            uart.send(bytes);
        }
    }
}

macro_rules! warning {
    ($($argument:tt)*) => { $crate::console::log(vambrace_wire::message::Level::Warning, format_args!($($argument)*)) };
}
pub(crate) use warning;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages as lines for a person: each with its VM's name before it.

use core::fmt::{self, Write};

use arrayvec::ArrayVec;
use vambrace_hypervisor::console::serial::LONGEST;
use vambrace_wire::message::{FromHypervisor, LogLevel, ResetCause, VmState};

/// As much of a console as is said at once: with a name before each byte it is not more than a piece may be.
pub(super) const CONSOLE_AT_ONCE: usize = 32;

/// A message as text.
pub(super) struct Text {
    pub(super) bytes: ArrayVec<u8, LONGEST>,
    /// The VM whose line is not finished yet.
    pub(super) open: Option<u16>,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text.as_bytes());
        Ok(())
    }
}

impl Text {
    /// The text of a message, behind an unfinished line of this VM's.
    pub(super) fn new(open: Option<u16>, message: &FromHypervisor<'_>) -> Self {
        let mut this = Self { bytes: ArrayVec::new(), open };
        this.say(message);
        this
    }

    /// What is too long is cut.
    fn add(&mut self, bytes: &[u8]) {
        let room = self.bytes.remaining_capacity();
        self.bytes.extend(bytes.iter().copied().take(room));
    }

    /// Starts a new line and writes to it.
    fn line(&mut self, text: fmt::Arguments<'_>) {
        if self.open.take().is_some() {
            self.add(b"\r\n");
        }
        // It is cut, and never fails.
        let _ = self.write_fmt(text);
    }

    fn console(&mut self, vm: u16, bytes: &[u8]) {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.open != Some(vm) {
                self.line(format_args!("vm{vm}| "));
            }
            self.add(line);
            self.open = if line.ends_with(b"\n") { None } else { Some(vm) };
        }
    }

    fn say(&mut self, message: &FromHypervisor<'_>) {
        match message {
            FromHypervisor::Console { vm, bytes } => self.console(*vm, bytes),
            FromHypervisor::Hello { cpus, vms } => {
                let s = |count: u16| if count == 1 { "" } else { "s" };
                self.line(format_args!("vambrace: up with {cpus} CPU{}, {vms} VM{}\r\n", s(*cpus), s(*vms)));
            }
            FromHypervisor::Log { level, text } => {
                let word = match level {
                    LogLevel::Error => "error: ",
                    LogLevel::Warning => "warning: ",
                    LogLevel::Info => "",
                };
                self.line(format_args!("vambrace: {word}{text}\r\n"));
            }
            FromHypervisor::State { vm, state } => match state {
                VmState::Running => self.line(format_args!("vambrace: vm{vm} starts\r\n")),
                VmState::Reset(count, cause) => {
                    let by = match cause {
                        ResetCause::Asked => "",
                        ResetCause::Watchdog => " by its watchdog",
                    };
                    self.line(format_args!("vambrace: vm{vm} was reset{by}, number {count}\r\n"));
                }
                VmState::Off => self.line(format_args!("vambrace: vm{vm} is off\r\n")),
                VmState::Crashed => self.line(format_args!("vambrace: vm{vm} crashed\r\n")),
                VmState::NotMade => self.line(format_args!("vambrace: vm{vm} never started\r\n")),
                VmState::Paused => self.line(format_args!("vambrace: vm{vm} is paused\r\n")),
                VmState::Resumed => self.line(format_args!("vambrace: vm{vm} goes on\r\n")),
            },
            FromHypervisor::Result { vm, number } => {
                self.line(format_args!("vambrace: vm{vm} gives {number} as its result\r\n"));
            }
            FromHypervisor::Report { vm, text } => self.line(format_args!("vm{vm}! {text}\r\n")),
            FromHypervisor::End => self.line(format_args!("vambrace: all VMs have ended\r\n")),
            // For programs.
            FromHypervisor::Taken { .. }
            | FromHypervisor::BootEpoch { .. }
            | FromHypervisor::Gone { .. }
            | FromHypervisor::Migrated { .. }
            | FromHypervisor::Replaced { .. }
            | FromHypervisor::Memory { .. }
            | FromHypervisor::Vcpu(_)
            | FromHypervisor::Inspected { .. }
            | FromHypervisor::Failed => {}
        }
    }
}

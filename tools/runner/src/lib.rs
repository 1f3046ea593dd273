// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a manifest to running VMs: the headless runner, which tests and the bench use and the command builds upon.
//!
//! [`build`] makes the bundle; the rest runs it in QEMU and listens.
//!
//! [`Session`] is the connection: a QEMU process and the events that come out of it. [`Running`] keeps all that
//! was said and waits for words with a deadline, never by sleeping. [`run`] goes straight to the [`RunOutcome`].

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use vambrace_setup::qemu::Qemu;
use vambrace_wire::message::VmControl;

pub mod build;
mod command_line;
mod counted;
mod devices;
mod error;
mod exit;
mod outbox;
mod outcome;
mod qmp;
mod session;

pub use self::command_line::{arguments, quote};
pub use self::counted::run_counted;
pub use self::devices::{
    Medium, SECOND_UART_SINCE, devices, devices_on, make_disks, needs_second_uart, second_uart,
};
pub use self::error::StartError;
pub use self::exit::Exit;
pub use self::outcome::{Ending, RunOutcome, Summary, VmOutcome};
pub use self::session::spawn;
pub use self::session::{Event, Message, Session};

/// Something to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// QEMU.
    pub qemu: Qemu,
    /// The board it plays.
    pub board: Board,
    /// What it boots.
    pub boot: Boot,
    /// The VMs' names, in the bundle's order.
    pub vms: Vec<String>,
    /// When to give up.
    pub timeout: Option<Duration>,
}

/// The board that QEMU plays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// QEMU's name for the processor.
    pub cpu: String,
    /// How many CPUs.
    pub cpus: u16,
    /// RAM in bytes.
    pub memory: u64,
    /// What moves its time.
    pub clock: Clock,
    /// Further arguments, after ours.
    pub qemu_args: Vec<String>,
}

/// What moves the board's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The computer's own.
    #[default]
    Host,
    /// The count of instructions, at 1 GHz: each run is the same as the last.
    Instructions,
}

/// What QEMU boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// The hypervisor's image, and the bundle as its initrd.
    Parts {
        /// As [`vambrace_setup::Bare::hypervisor`].
        hypervisor: Vec<u8>,
        /// As [`vambrace_manifest::plan::build`] makes it.
        bundle: Vec<u8>,
    },
    /// A kernel alone, without Vambrace: what it says arrives as text outside any message.
    Kernel {
        /// A Linux arm64 Image.
        image: Vec<u8>,
        /// Its command line.
        cmdline: String,
    },
    /// Memory as a VM finds it, without Vambrace and without a boot loader.
    Memory {
        /// What lies where, by physical address.
        parts: Vec<(u64, Vec<u8>)>,
        /// The address at which the first CPU starts, the first byte of a part.
        start: u64,
    },
    /// A file with both, as `vambrace build` writes it.
    File(PathBuf),
}

/// Why nothing runs.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file for QEMU could not be written.
    #[error("cannot write the images for QEMU: {0}\nmake room in the folder for temporary files")]
    Files(#[source] std::io::Error),
    /// QEMU could not be started.
    #[error("cannot start QEMU: {0}\ntype: vambrace doctor")]
    Qemu(#[source] std::io::Error),
}

/// What was waited for did not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// In the given time.
    #[error("{what:?} did not come within {seconds} s")]
    TooLate {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// Before the end.
    #[error("{what:?} did not come before the end: {ending:?}")]
    Ended {
        /// What was waited for.
        what: String,
        /// How it ended.
        ending: Ending,
    },
}

/// A folder for files that QEMU is given, deleted with the value.
///
/// # Errors
/// When it cannot be made.
pub fn folder() -> Result<tempfile::TempDir, RunError> {
    tempfile::Builder::new().prefix("vambrace-").tempdir().map_err(RunError::Files)
}

/// Runs to the end.
///
/// # Errors
/// When QEMU cannot be started. Whatever happens afterwards is in the [`RunOutcome`].
pub fn run(config: &Config) -> Result<RunOutcome, RunError> {
    Ok(Running::start(config)?.finish())
}

/// A running board whose every word is kept.
#[derive(Debug)]
pub struct Running {
    session: Session,
    outcome: RunOutcome,
    /// For each VM, how much of its console [`Running::wait_for`] has passed over.
    passed: Vec<usize>,
}

impl Running {
    /// Starts QEMU. It is killed when the returned value is dropped, or when the calling thread ends.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub fn start(config: &Config) -> Result<Self, RunError> {
        Ok(Self {
            session: Session::start(config)?,
            outcome: RunOutcome::new(&config.vms),
            passed: vec![0; config.vms.len()],
        })
    }

    /// All that was said up to now.
    #[must_use]
    pub fn so_far(&self) -> &RunOutcome {
        &self.outcome
    }

    /// Types on a VM's console.
    pub fn send(&mut self, vm: u16, keys: &str) {
        self.session.send(vm, keys.as_bytes());
    }

    /// Sends a break on a VM's serial line.
    pub fn send_break(&mut self, vm: u16) {
        self.session.send_break(vm);
    }

    /// Has the hypervisor do something to a VM.
    pub fn control(&mut self, vm: u16, control: VmControl) {
        self.session.control(vm, control);
    }

    /// Asks the hypervisor what its vCPUs do.
    pub fn inspect(&mut self) {
        self.session.inspect();
    }

    /// Waits for a text on a VM's console. The next call for this VM looks behind it.
    ///
    /// # Errors
    /// When it does not come in time or the board ends first.
    pub fn wait_for(&mut self, vm: u16, text: &str, within: Duration) -> Result<(), WaitError> {
        let index = usize::from(vm);
        let mut end = None;
        self.wait_until(text, within, |outcome, passed| {
            let start = passed.get(index).copied().unwrap_or(0);
            let console = outcome.vms.get(index).map_or(&[][..], |vm| vm.console.as_slice());
            end =
                find(console.get(start..).unwrap_or(&[]), text.as_bytes()).map(|at| start + at + text.len());
            end.is_some()
        })?;
        if let (Some(passed), Some(end)) = (self.passed.get_mut(index), end) {
            *passed = end;
        }
        Ok(())
    }

    /// Waits until the outcome so far satisfies a condition; `what` names it in the error.
    ///
    /// # Errors
    /// When it does not come in time or the board ends first.
    pub fn wait_for_outcome(
        &mut self,
        what: &str,
        within: Duration,
        mut holds: impl FnMut(&RunOutcome) -> bool,
    ) -> Result<(), WaitError> {
        self.wait_until(what, within, |outcome, _| holds(outcome))
    }

    fn wait_until(
        &mut self,
        what: &str,
        within: Duration,
        mut holds: impl FnMut(&RunOutcome, &[usize]) -> bool,
    ) -> Result<(), WaitError> {
        let deadline = Instant::now() + within;
        loop {
            if holds(&self.outcome, &self.passed) {
                return Ok(());
            }
            if let Some(ending) = self.outcome.summary.ending {
                return Err(WaitError::Ended { what: what.to_owned(), ending });
            }
            match self.session.next(Some(deadline)) {
                Some(event) => self.outcome.absorb(&event),
                None => {
                    return Err(WaitError::TooLate { what: what.to_owned(), seconds: within.as_secs() });
                }
            }
        }
    }

    /// Waits for the end.
    #[must_use]
    pub fn finish(mut self) -> RunOutcome {
        while self.outcome.summary.ending.is_none() {
            if let Some(event) = self.session.next(None) {
                self.outcome.absorb(&event);
            }
        }
        self.outcome
    }

    /// Ends it now.
    #[must_use]
    pub fn stop(mut self) -> RunOutcome {
        self.outcome.summary.ending.get_or_insert(Ending::Stopped);
        self.session.kill();
        self.outcome
    }
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    if text.is_empty() {
        return Some(0);
    }
    bytes.windows(text.len()).position(|window| window == text)
}

#[cfg(test)]
mod tests;

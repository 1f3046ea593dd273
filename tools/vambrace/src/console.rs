// SPDX-License-Identifier: MIT OR Apache-2.0
//! The VMs' consoles, shown to the user.
//!
//! On a terminal one VM has the keyboard and the screen; an escape key switches ([`terminal`]). Elsewhere each
//! line is printed whole, after its VM's name ([`lines`]).

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM};
use signal_hook::iterator::Signals;
use vambrace_wire::message::{LogLevel, ResetCause, VmState};

use crate::expect::{Course, Judge};
pub use inspection::Inspection;
pub use logs::Logs;
use vambrace_runner::{Ending, Event, Exit, Session, Summary};

pub mod input;
pub mod inspection;
pub mod keyboard;
pub mod lines;
pub mod logs;
pub mod raw_mode;
pub mod screen;
pub mod terminal;

/// How long a run goes on after what must not come has come.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Whether a person sits in front of us.
#[must_use]
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Why a run is not shown to its end.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// The terminal or the standard output is of no use.
    #[error(transparent)]
    Terminal(#[from] io::Error),
    /// A log cannot be written.
    #[error("cannot write the log {path}: {error}", path = .path.display())]
    Log {
        /// Its path.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A run, as it is shown.
#[derive(Debug)]
pub struct Show<'a> {
    /// The VMs' names.
    pub names: &'a [String],
    /// The VM that gets what is typed or comes by a pipe, if the user named one; otherwise it is the first.
    pub input: Option<u16>,
    /// What is expected.
    pub judge: Judge,
    /// Where all is written down.
    pub logs: Option<Logs>,
    /// What the VMs do, when it is asked.
    pub inspection: Inspection,
}

impl Show<'_> {
    /// Shows a session to its end, on a terminal or line by line, and says what was not as expected.
    ///
    /// # Errors
    /// When the terminal cannot be set up, or the output or a log cannot be written.
    pub fn show(mut self, session: Session) -> Result<Exit, ShowError> {
        listen_for_signals(&session)?;
        let exit = self.show_at(session)?;
        if matches!(exit, Exit::Signal(_)) {
            return Ok(exit);
        }
        let failures = self.judge.failures();
        for failure in &failures {
            eprintln!("vambrace: {failure}");
        }
        Ok(if exit == Exit::Success && !failures.is_empty() { Exit::Unexpected } else { exit })
    }

    fn show_at(&mut self, session: Session) -> Result<Exit, ShowError> {
        let vm = self.input.unwrap_or(0);
        if is_interactive() {
            return terminal::show(session, self, vm);
        }
        // A terminal whose output goes elsewhere is nobody's to read, unless the user says so: what reads it in the background
        // is stopped.
        let is_heard = self.input.is_some() || !io::stdin().is_terminal();
        lines::show(session, self, is_heard.then_some(vm))
    }

    /// Hands events to `show` until the end, and returns the exit code.
    fn follow(
        &mut self,
        session: &mut Session,
        mut show: impl FnMut(&mut Session, &Event) -> io::Result<Next>,
    ) -> Result<Exit, ShowError> {
        let mut summary = Summary::new(self.names.len());
        let mut stop_at = None;
        while summary.ending.is_none() {
            let Some(event) = session.next(stop_at) else {
                if stop_at.is_some() {
                    summary.ending = Some(Ending::Stopped);
                    session.kill();
                }
                continue;
            };
            summary.absorb(&event);
            self.judge.absorb(&event);
            let inspection = self.inspection.absorb(&event).map(Event::Inspection);
            for event in inspection.iter().chain([&event]) {
                if let Some(logs) = &mut self.logs {
                    logs.absorb(event)?;
                }
                match show(session, event) {
                    Ok(Next::Continue) => {}
                    // Nobody reads any more: as if the signal for it had ended us.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                        return Ok(Exit::Signal(SIGPIPE));
                    }
                    Err(error) => return Err(error.into()),
                    Ok(Next::Quit) => {
                        summary.ending = Some(Ending::Stopped);
                        session.kill();
                    }
                }
            }
            if let Event::Signal(signal) = event {
                session.kill();
                return Ok(Exit::Signal(signal));
            }
            match self.judge.course() {
                Course::Open => {}
                Course::Decided => stop_at = Some(Instant::now()),
                // What is said after a panic tells why.
                Course::Failed => _ = stop_at.get_or_insert(Instant::now() + LAST_WORDS),
            }
        }
        if let Some(logs) = &mut self.logs {
            logs.finish()?;
        }
        if let Some(Ending::Broken(code)) = summary.ending {
            let code = code.map_or("by a signal".to_owned(), |code| format!("with exit code {code}"));
            eprintln!("vambrace: QEMU ended {code} before the VMs did; what it said stands above");
        }
        Ok(summary.exit())
    }
}

/// Turns the signals that ask us to end into events, so that QEMU and the terminal are left in order.
fn listen_for_signals(session: &Session) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let events = session.sender();
    thread::spawn(move || signals.forever().try_for_each(|signal| events.send(Event::Signal(signal))));
    Ok(())
}

/// What comes after an event has been shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Continue,
    /// The user wants to end it.
    Quit,
}

/// So many resets are a loop, and said to be one, once.
const OFTEN: u32 = 5;

/// A VM's change of state, in words.
fn describe_state(state: VmState) -> String {
    match state {
        VmState::Running => "runs".to_owned(),
        VmState::Reset(count, cause) => describe_reset(count, cause),
        VmState::Off => "powered off".to_owned(),
        VmState::Crashed => "crashed".to_owned(),
        VmState::NotMade => "never started".to_owned(),
        VmState::Paused => "is paused".to_owned(),
        VmState::Resumed => "goes on".to_owned(),
    }
}

/// A VM's reset, in words.
fn describe_reset(count: u32, cause: ResetCause) -> String {
    let (by, often) = match cause {
        ResetCause::Asked => ("", "as a Linux that panics with `panic=-1` on its command line?"),
        ResetCause::Watchdog => (" by its watchdog", "does anything feed it?"),
    };
    match count {
        1 => format!("was reset{by}"),
        OFTEN => format!("was reset{by}, {OFTEN} times by now: again and again, {often}"),
        _ => format!("was reset{by}, {count} times by now"),
    }
}

/// A VM's result, in words.
fn describe_result(number: u32) -> String {
    format!("gives {number} as its result")
}

/// A log line's beginning.
fn describe_level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error: ",
        LogLevel::Warning => "warning: ",
        LogLevel::Info => "",
    }
}

/// What is worth saying after the end, beyond what the VMs and the hypervisor said themselves.
fn describe_ending(event: &Event) -> Option<&'static str> {
    match event {
        Event::TimedOut => Some("the time is over: stopped"),
        Event::Message(vambrace_runner::Message::Failed) => Some("the hypervisor itself failed; its report:"),
        _ => None,
    }
}

/// Writes all of it, at once.
fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

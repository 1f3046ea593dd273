// SPDX-License-Identifier: MIT OR Apache-2.0
//! The VMs' consoles, shown to the user.
//!
//! On a terminal one VM has the keyboard and the screen; an escape key switches ([`terminal`]). Elsewhere each
//! line is printed whole, after its VM's name ([`lines`]).

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::Instant;

use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM};
use signal_hook::iterator::Signals;
use vambrace_wire::message::{Level, VmState};

use crate::exit::Exit;
use crate::runner::{Ending, Event, Session, Summary};

pub mod keyboard;
pub mod lines;
pub mod raw_mode;
pub mod screen;
pub mod terminal;

/// The name that the hypervisor's own lines carry.
pub const OWN_NAME: &str = "vambrace";

/// Whether a person sits in front of us.
#[must_use]
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Shows a session to its end, on a terminal or line by line.
///
/// # Errors
/// When the terminal cannot be set up, or the output cannot be written.
pub fn show(session: Session, names: &[String]) -> io::Result<Exit> {
    listen_for_signals(&session)?;
    if is_interactive() { terminal::show(session, names) } else { lines::show(session, names) }
}

/// Turns the signals that ask us to end into events, so that QEMU and the terminal are left in order.
fn listen_for_signals(session: &Session) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let events = session.sender();
    thread::spawn(move || signals.forever().try_for_each(|signal| events.send(Event::Signal(signal))));
    Ok(())
}

/// Hands events to `show` until the end, and returns the exit code.
fn follow(
    session: &mut Session,
    vms: usize,
    mut show: impl FnMut(&mut Session, &Event) -> io::Result<Next>,
) -> io::Result<Exit> {
    let mut summary = Summary::new(vms);
    while summary.ending.is_none() {
        let Some(event) = session.next(None::<Instant>) else { continue };
        summary.absorb(&event);
        match show(session, &event) {
            Ok(Next::Continue) => {}
            // Nobody reads any more: as if the signal for it had ended us.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Signal(SIGPIPE)),
            Err(error) => return Err(error),
            Ok(Next::Quit) => {
                summary.ending = Some(Ending::Stopped);
                session.kill();
            }
        }
        if let Event::Signal(signal) = event {
            session.kill();
            return Ok(Exit::Signal(signal));
        }
    }
    if let Some(Ending::Broken(code)) = summary.ending {
        let code = code.map_or("by a signal".to_owned(), |code| format!("with exit code {code}"));
        eprintln!("vambrace: QEMU ended {code} before the VMs did; what it said stands above");
    }
    Ok(summary.exit())
}

/// What comes after an event has been shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Continue,
    /// The user wants to end it.
    Quit,
}

/// A VM's change of state, in words.
fn describe_state(state: VmState) -> String {
    match state {
        VmState::Running => "runs".to_owned(),
        VmState::Reset(1) => "was reset".to_owned(),
        VmState::Reset(count) => format!("was reset, {count} times by now"),
        VmState::Off => "powered off".to_owned(),
        VmState::Crashed => "crashed".to_owned(),
    }
}

/// A log line's beginning.
fn describe_level(level: Level) -> &'static str {
    match level {
        Level::Error => "error: ",
        Level::Warning => "warning: ",
        Level::Info => "",
    }
}

/// What is worth saying after the end, beyond what the VMs and the hypervisor said themselves.
fn describe_ending(event: &Event) -> Option<&'static str> {
    match event {
        Event::TimedOut => Some("the time is over: stopped"),
        Event::Message(crate::runner::Message::Failed) => Some("the hypervisor itself failed; its report:"),
        _ => None,
    }
}

/// Writes all of it, at once.
fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A run whose instructions are counted: all that the board's CPUs executed, to its end.
//!
//! The clock of `-icount` also passes over what nobody executes, when all CPUs sleep; QEMU's own count does not, and it is
//! told on the control line. A board that is switched off is kept for that (`-no-shutdown`).

use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use super::qmp::Qmp;
use super::{Config, RunError, RunOutcome, Running};

/// Runs to the end; what came of it, and how many instructions it took, unless QEMU ended by itself.
///
/// # Errors
/// When QEMU cannot be started. Whatever happens afterwards is in the [`RunOutcome`].
pub fn run_counted(mut config: Config) -> Result<(RunOutcome, Option<u64>), RunError> {
    let folder = super::folder()?;
    let socket = folder.path().join("qmp");
    let listener = UnixListener::bind(&socket).map_err(RunError::Files)?;
    let control = ["-no-shutdown".to_owned(), "-qmp".to_owned(), format!("unix:{}", socket.display())];
    config.board.qemu_args.extend(control);
    let counting = thread::spawn(move || count(&listener));
    let running = Running::start(&config);
    let outcome = running.map(Running::finish);
    // If QEMU never came to it, somebody else has to.
    drop(UnixStream::connect(&socket));
    let instructions = counting.join().ok().flatten();
    Ok((outcome?, instructions))
}

/// Waits until the board is switched off, takes the count and ends QEMU.
fn count(listener: &UnixListener) -> Option<u64> {
    let mut qmp = Qmp::accept(listener).ok()?;
    qmp.wait_for("STOP").ok()?;
    let count = qmp.execute("query-replay").ok()?.get("icount")?.as_u64();
    // It may be gone before it has answered.
    let _ = qmp.execute("quit");
    count
}

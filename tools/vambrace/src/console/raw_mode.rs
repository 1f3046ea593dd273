// SPDX-License-Identifier: MIT OR Apache-2.0
//! The terminal's raw mode: each key arrives at once, and none of them means a signal.
//!
//! It ends with the guard, with a panic, and before a signal ends us, so that the user gets back the shell as it
//! was left.

use std::io;
use std::sync::{Mutex, Once};

use rustix::stdio::stdin;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

/// How the terminal was before; `None` while it is not ours.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode, while it exists.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Switches the terminal on standard input to raw mode.
    ///
    /// Output is left as it is: the terminal goes on to add carriage returns, which do no harm after the VMs' own.
    ///
    /// # Errors
    /// When standard input is no terminal.
    pub fn enter() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        raw.input_modes -= InputModes::ICRNL | InputModes::INLCR | InputModes::IXON | InputModes::ISTRIP;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        restore_on_panic();
        if let Ok(mut slot) = BEFORE.lock() {
            slot.get_or_insert(before);
        }
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back; does nothing when that has been done.
fn restore() {
    if let Ok(mut slot) = BEFORE.lock()
        && let Some(before) = slot.take()
    {
        // Nobody is left to tell.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
    }
}

/// A release build aborts on a panic, without running destructors.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            hook(panic);
        }));
    });
}

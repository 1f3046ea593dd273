// SPDX-License-Identifier: MIT OR Apache-2.0
//! Consoles on a terminal: one VM at a time, switched by the escape key.

use std::io::{self, Read};
use std::sync::mpsc::Sender;
use std::thread;

use super::keyboard::{Action, Keyboard};
use super::raw_mode::RawMode;
use super::screen::Screen;
use super::{Next, Show, ShowError, write};
use vambrace_runner::{Event, Exit, Session};

/// Shows a session to its end; the VM of index `focus` has the keyboard first.
///
/// # Errors
/// When the terminal cannot be set up or written to, or a log cannot be written.
pub fn show(mut session: Session, run: &mut Show<'_>, focus: u16) -> Result<Exit, ShowError> {
    let mut screen = Screen::new(run.names, usize::from(focus));
    let mut keyboard = Keyboard::default();
    let mut out = Vec::new();
    screen.greet(&mut out);
    write(&out)?;
    let raw_mode = RawMode::enter()?;
    let keys = session.sender();
    // It ends with the program: a read from a terminal cannot be called off.
    thread::spawn(move || read_keys(&keys));

    let exit = run.follow(&mut session, |session, event| {
        let mut out = Vec::new();
        let mut next = Next::Continue;
        match event {
            Event::Keys(keys) => {
                for action in keyboard.press(keys) {
                    next = act(action, &mut screen, session, &mut out);
                    if next == Next::Quit {
                        break;
                    }
                }
            }
            other => screen.absorb(other, &mut out),
        }
        write(&out).map(|()| next)
    });
    drop(raw_mode);
    exit
}

fn act(action: Action, screen: &mut Screen, session: &mut Session, out: &mut Vec<u8>) -> Next {
    match action {
        Action::Type(keys) => session.send(in_focus(screen), &keys),
        Action::Break => session.send_break(in_focus(screen)),
        Action::Switch(to) => screen.switch(to, out),
        Action::Next => screen.switch(screen.next(), out),
        Action::Inspect => session.inspect(),
        Action::Help => screen.help(out),
        Action::Quit => return Next::Quit,
    }
    Next::Continue
}

fn in_focus(screen: &Screen) -> u16 {
    u16::try_from(screen.focus()).unwrap_or(u16::MAX)
}

fn read_keys(events: &Sender<Event>) {
    let mut buffer = [0; 1024];
    let mut stdin = io::stdin().lock();
    while let Ok(len) = stdin.read(&mut buffer) {
        let keys = buffer.get(..len).unwrap_or_default();
        if keys.is_empty() || events.send(Event::Keys(keys.to_vec())).is_err() {
            return;
        }
    }
}

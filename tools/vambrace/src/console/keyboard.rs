// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the keys mean: all go to the VM in focus, but for those after the escape key.

/// The escape key: Ctrl-], as in telnet.
pub const ESCAPE: u8 = 0x1D;

/// What a run of keys asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// These go to the VM in focus.
    Type(Vec<u8>),
    /// Focus on the VM of this index.
    Switch(usize),
    /// Focus on the next VM.
    Next,
    /// Send a break to the VM in focus.
    Break,
    /// Ask what each vCPU does.
    Inspect,
    /// Show the help.
    Help,
    /// End it all.
    Quit,
}

/// The keyboard's state: whether the last key was the escape key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keyboard {
    escaped: bool,
}

impl Keyboard {
    /// What these keys ask for, in order.
    pub fn press(&mut self, keys: &[u8]) -> Vec<Action> {
        let mut actions = Vec::new();
        for key in keys {
            if !std::mem::take(&mut self.escaped) {
                if *key == ESCAPE {
                    self.escaped = true;
                } else {
                    add_typed(&mut actions, *key);
                }
                continue;
            }
            match *key {
                ESCAPE => add_typed(&mut actions, ESCAPE),
                b'1'..=b'9' => actions.push(Action::Switch(usize::from(key - b'1'))),
                b'n' | b'N' => actions.push(Action::Next),
                b'b' | b'B' => actions.push(Action::Break),
                b's' | b'S' => actions.push(Action::Inspect),
                b'q' | b'Q' => actions.push(Action::Quit),
                // Whoever presses another key needs it.
                _ => actions.push(Action::Help),
            }
        }
        actions
    }
}

fn add_typed(actions: &mut Vec<Action>, key: u8) {
    match actions.last_mut() {
        Some(Action::Type(keys)) => keys.push(key),
        _ => actions.push(Action::Type(vec![key])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_to_the_vm_and_escapes_to_us() {
        let mut keyboard = Keyboard::default();
        assert_eq!(
            keyboard.press(b"ls\r\x1Dn\x1D2\x1Dbcat\x1D\x1D\x03"),
            [
                Action::Type(b"ls\r".to_vec()),
                Action::Next,
                Action::Switch(1),
                Action::Break,
                Action::Type(b"cat\x1D\x03".to_vec())
            ]
        );
    }

    #[test]
    fn an_escape_may_be_split_between_reads() {
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.press(b"\x1D"), []);
        assert_eq!(keyboard.press(b"q"), [Action::Quit]);
        assert_eq!(keyboard.press(b"\x1Dx\x1Ds"), [Action::Help, Action::Inspect]);
        assert_eq!(keyboard.press(b"q"), [Action::Type(b"q".to_vec())]);
    }
}

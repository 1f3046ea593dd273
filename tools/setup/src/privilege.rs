// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may install packages: root, or a user whom `sudo` asks no password.

use std::process::Command;

use super::process;

/// How a program is run as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// We are root.
    Root,
    /// Through `sudo -n`.
    Sudo,
    /// Not at all.
    None,
}

impl Privilege {
    /// Finds out.
    #[must_use]
    pub fn detect() -> Self {
        if rustix::process::geteuid().is_root() {
            Self::Root
        } else if process::answer(Command::new("sudo").args(["-n", "true"])).is_some() {
            Self::Sudo
        } else {
            Self::None
        }
    }

    /// A command that runs `program` as root, or `None`.
    #[must_use]
    pub fn command(self, program: &str) -> Option<Command> {
        match self {
            Self::Root => Some(Command::new(program)),
            Self::Sudo => {
                let mut command = Command::new("sudo");
                command.args(["-n", "--", program]);
                Some(command)
            }
            Self::None => None,
        }
    }
}

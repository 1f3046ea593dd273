// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command's exit codes.

use std::process::ExitCode;

/// How the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well; after `run`, all VMs have powered off.
    Success,
    /// A VM crashed.
    Crashed,
    /// A VM could not be made, as when the board has too little memory for it.
    NotMade,
    /// A figure of the bench is worse than its target.
    Missed,
    /// The manifest or the arguments are wrong.
    Usage,
    /// Something is missing on this computer and could not be fetched.
    Setup,
    /// The hypervisor itself failed.
    Hypervisor,
    /// What was expected of a VM did not come, or what must not did.
    Unexpected,
    /// `--timeout` was reached.
    TimedOut,
    /// A signal ended us.
    Signal(i32),
}

impl Exit {
    /// The number that the shell sees.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Crashed | Self::NotMade | Self::Missed => 1,
            Self::Usage => 2,
            Self::Setup => 3,
            Self::Hypervisor => 4,
            Self::Unexpected => 5,
            Self::TimedOut => 124,
            Self::Signal(signal) => u8::try_from(signal).unwrap_or(0).saturating_add(128),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

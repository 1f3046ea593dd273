// SPDX-License-Identifier: MIT OR Apache-2.0
//! Accesses, and what tables let them do.

use serde::{Deserialize, Serialize};

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Reads data.
    Read,
    /// Writes data.
    Write,
    /// Fetches an instruction.
    Execute,
}

impl Access {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Execute];
}

/// The exception level an access is made for. (`LDTR` and its kind at EL1 are made for EL0.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum El {
    /// Unprivileged.
    El0,
    /// Privileged.
    El1,
}

/// What one exception level may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rights {
    /// Data reads.
    pub read: bool,
    /// Data writes.
    pub write: bool,
    /// Instruction fetches.
    pub execute: bool,
}

impl Rights {
    /// Everything.
    pub const ALL: Self = Self { read: true, write: true, execute: true };

    /// Whether this access is one of them.
    #[must_use]
    pub const fn allow(self, access: Access) -> bool {
        match access {
            Access::Read => self.read,
            Access::Write => self.write,
            Access::Execute => self.execute,
        }
    }

    const fn and(self, other: Self) -> Self {
        Self {
            read: self.read && other.read,
            write: self.write && other.write,
            execute: self.execute && other.execute,
        }
    }
}

/// What both exception levels may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Permissions {
    /// EL1.
    pub el1: Rights,
    /// EL0.
    pub el0: Rights,
}

impl Permissions {
    /// Everything: what a stage that is off allows.
    pub const ALL: Self = Self { el1: Rights::ALL, el0: Rights::ALL };

    /// What `el` may do.
    #[must_use]
    pub const fn of(self, el: El) -> Rights {
        match el {
            El::El0 => self.el0,
            El::El1 => self.el1,
        }
    }

    /// Whether `el` may make this access.
    #[must_use]
    pub const fn allow(self, access: Access, el: El) -> bool {
        self.of(el).allow(access)
    }

    /// What both stages allow.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { el1: self.el1.and(other.el1), el0: self.el0.and(other.el0) }
    }
}

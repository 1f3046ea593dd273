// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages on the board's serial line.
//!
//! One UART carries every VM's console, the hypervisor's log and the keyboard. Each message is a postcard value
//! with a CRC-16, COBS-encoded and ended by a zero byte; whatever else arrives (firmware's greetings, a panic
//! report) is text and shown as such. A message begins with a zero byte too, so that text before it cannot
//! damage it.

use serde::{Deserialize, Serialize};

pub use self::account::{Life, MemoryUse};
pub use self::frame::{Decoder, FrameError, Piece, decode, encode};

pub mod account;
pub mod frame;

/// The longest message in bytes, before encoding.
pub const MAX_LEN: usize = 300;

/// The longest string or byte slice that fits in any message; longer ones are sent in pieces.
pub const MAX_TEXT: usize = 256;

/// The longest frame: COBS adds one byte in 254, the CRC two, the delimiters two.
pub const MAX_FRAME: usize = MAX_LEN + 8;

/// What the hypervisor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromHypervisor<'a> {
    /// It is up: said once, before any VM starts.
    Hello {
        /// Physical CPUs running.
        cpus: u16,
        /// VMs in the bundle.
        vms: u16,
    },
    /// A line of the hypervisor's own log.
    Log {
        /// How serious.
        level: Level,
        /// One line, without its end.
        text: &'a str,
    },
    /// Bytes that a VM wrote to its console.
    Console {
        /// Index in the bundle.
        vm: u16,
        /// As written.
        bytes: &'a [u8],
    },
    /// A VM changed state.
    State {
        /// Index in the bundle.
        vm: u16,
        /// The state it is now in.
        state: VmState,
    },
    /// A piece of a VM's crash report.
    Report {
        /// Index in the bundle.
        vm: u16,
        /// One line, without its end.
        text: &'a str,
    },
    /// A life of a VM is over, by its end or by a reset.
    Life {
        /// Index in the bundle.
        vm: u16,
        /// Its course.
        life: Life,
    },
    /// A VM is no more, and its memory is free. Times are counts of the system counter.
    Gone {
        /// Index in the bundle.
        vm: u16,
        /// When its memory had been cleared.
        cleared: u64,
        /// When all of it was free.
        at: u64,
    },
    /// The memory that EL2 takes.
    Memory {
        /// VMs that exist; 0 also says that it was so before the first.
        vms: u16,
        /// What for.
        memory: MemoryUse,
    },
    /// All VMs have ended; the board powers off next.
    End,
    /// The hypervisor itself failed; the report follows as text.
    Failed,
}

/// How serious a log line is. A guest that misbehaves is never an error of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// Ours to mend.
    Error,
    /// Something the user should know.
    Warning,
    /// What happens.
    Info,
}

/// The states of a VM that are worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VmState {
    /// It runs.
    Running,
    /// It asked for a reset and starts again; how often it has by now.
    Reset(u32),
    /// It powered itself off.
    Off,
    /// It was stopped for a fault of its own.
    Crashed,
}

/// What the command says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToHypervisor<'a> {
    /// Keys typed for a VM's console.
    Input {
        /// Index in the bundle.
        vm: u16,
        /// As typed.
        bytes: &'a [u8],
    },
}

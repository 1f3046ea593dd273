// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages on the board's serial line.
//!
//! One UART carries every VM's console, the hypervisor's log and the keyboard. Each message is a postcard value
//! with a CRC-16, COBS-encoded and ended by a zero byte; whatever else arrives (firmware's greetings, a panic
//! report) is text and shown as such. A message begins with a zero byte too, so that text before it cannot
//! damage it.

use serde::{Deserialize, Serialize};

pub use self::account::{BootEpoch, MemoryUse};
pub use self::frame::{Decoder, FrameError, Piece, decode, encode};
pub use self::inspection::{TOLD_EXITS, ToldExit, VcpuActivity, VcpuReport};

pub mod account;
pub mod frame;
pub mod inspection;

/// The longest message in bytes, before encoding.
pub const MAX_LEN: usize = 300;

/// The longest string or byte slice that fits in any message; longer ones are sent in pieces.
pub const MAX_TEXT: usize = 256;

/// The longest frame: COBS adds one byte in 254, the CRC two, the delimiters two.
pub const MAX_FRAME: usize = MAX_LEN + 8;

/// How much input of a VM may be on its way to it: what the command has sent and the VM's console has not taken.
///
/// So what a VM does not take waits with the command, whose memory is large, and is never dropped; and a VM that takes
/// nothing stops nobody else's input. A break counts as a byte.
pub const INPUT_WINDOW: usize = 256;

/// The hypervisor says how much input was taken when it is this much more than it last said.
///
/// Less than [`INPUT_WINDOW`], so that whoever has sent that much is told.
pub const INPUT_TOLD: u32 = 64;

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
        level: LogLevel,
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
    /// A VM's console has taken all input before this position; see [`INPUT_WINDOW`].
    Taken {
        /// Index in the bundle.
        vm: u16,
        /// The position, counted from 0 when the board starts and beyond [`u32::MAX`] from 0 again.
        position: u32,
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
    /// A boot epoch of a VM is over, by its end or by a reset.
    BootEpoch {
        /// Index in the bundle.
        vm: u16,
        /// Its course.
        epoch: BootEpoch,
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
    /// A VM has given a number as its result: once in each boot epoch.
    Result {
        /// Index in the bundle.
        vm: u16,
        /// The number.
        number: u32,
    },
    /// What a vCPU does: part of the answer to [`ToHypervisor::Inspect`].
    Vcpu(VcpuReport),
    /// A vCPU that was asked to move is affine to another physical CPU.
    Migrated {
        /// Index in the bundle.
        vm: u16,
        /// The vCPU.
        vcpu: u16,
        /// The CPU's index on the board.
        cpu: u16,
    },
    /// It is over that a page of a VM's RAM is replaced: as was asked, or since that cannot be done, or since the VM stops.
    Replaced {
        /// Index in the bundle.
        vm: u16,
        /// How many times.
        times: u32,
    },
    /// A physical CPU has told of all its vCPUs.
    Inspected {
        /// Its index.
        cpu: u16,
    },
}

/// How serious a log line is. A guest that misbehaves is never an error of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogLevel {
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
    /// It was reset and starts again: how often it has by now, and why this time.
    Reset(u32, ResetCause),
    /// It powered itself off.
    Off,
    /// It was stopped for a fault of its own.
    Crashed,
    /// It never started: it could not be made, and the log says why.
    NotMade,
    /// Nothing of it moves: no vCPU, no device, no timer.
    Paused,
    /// It was paused, and goes on.
    Resumed,
}

/// Why a VM was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResetCause {
    /// It asked for it.
    Asked,
    /// It did not feed its watchdog in time.
    Watchdog,
}

/// What can be done to a VM from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VmControl {
    /// A VM that runs is paused: [`VmState::Paused`] says when it is.
    Pause,
    /// A VM that is paused, or about to be, goes on.
    Resume,
    /// A VM that exists is switched off, whatever it does.
    Destroy,
    /// A VM that is over is made and started anew.
    Create,
    /// A vCPU that is not pinned moves to another physical CPU: [`FromHypervisor::Migrated`] says when it is there.
    Migrate {
        /// The vCPU.
        vcpu: u16,
        /// The CPU's index on the board.
        cpu: u16,
    },
    /// A page of the RAM of a VM that runs is taken away from it, and a while later another given to it in its place:
    /// [`FromHypervisor::Replaced`] says when that is over.
    ReplacePage {
        /// The page's number in the RAM.
        page: u32,
        /// How many times.
        times: u32,
    },
}

/// What the command says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToHypervisor<'a> {
    /// Keys typed for a VM's console. Not before the VM is [`VmState::Running`], and never more than [`INPUT_WINDOW`] beyond
    /// what it has taken.
    Input {
        /// Index in the bundle.
        vm: u16,
        /// The first key's position: how many keys and breaks were sent to this VM before it.
        position: u32,
        /// As typed.
        bytes: &'a [u8],
    },
    /// A break on a VM's serial line, which is what Linux takes for the SysRq key.
    Break {
        /// Index in the bundle.
        vm: u16,
        /// As that of a key.
        position: u32,
    },
    /// Each physical CPU is to tell what its vCPUs do: [`FromHypervisor::Vcpu`] for each, then
    /// [`FromHypervisor::Inspected`].
    Inspect,
    /// Something is to be done to a VM. What its state does not allow is not done, and the log says so.
    Control {
        /// Index in the bundle.
        vm: u16,
        /// What.
        control: VmControl,
    },
}

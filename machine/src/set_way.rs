// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cache maintenance by set and way: DC ISW, CSW and CISW.
//!
//! By set and way a vCPU could only reach the caches of the physical CPU under it, and others' lines in them. What it
//! means to do, in a loop over all sets and ways, is to clean and invalidate all of its memory: the first instruction
//! of a loop does just that, a bounded part at each exit, and the rest of the loop has nothing left to do. A loop ends
//! with a pause, with another operation, or when its first operand comes round again.

use serde::{Deserialize, Serialize};
use vambrace_cpu::trap::SetWay;

use crate::host::{Clock, GuestRam};

/// Instructions of one loop follow each other within this time, in ticks: 10 ms at 1 GHz, and longer where the counter
/// is slower, as the CPUs are too. A later one begins anew. Generous, since the vCPU may be interrupted or have to wait
/// for its turn in between, and a loop that is taken for two costs a second flush at each of its steps.
const LOOP_GAP: u64 = 10_000_000;

/// An operation and its operand: what tells one instruction of a loop from the next.
type Instruction = (SetWay, u64);

/// How far the flush has come that stands for a loop over sets and ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetWayFlush {
    /// Nothing is known to be flushed.
    #[default]
    None,
    /// The memory is being flushed for this instruction.
    Running {
        /// The operation and its operand.
        instruction: (SetWay, u64),
        /// Bytes of RAM done.
        done: u64,
    },
    /// All of it has been flushed for the loop that began with this instruction.
    Done {
        /// The operation and its operand.
        first: (SetWay, u64),
        /// When the last instruction of the loop came, as a physical count.
        last: u64,
    },
}

/// Whether an instruction has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Unfinished,
    Done,
}

impl SetWayFlush {
    /// Emulates an instruction, or a part of it.
    pub(crate) fn step(&mut self, instruction: Instruction, host: &mut (impl Clock + GuestRam)) -> Progress {
        let now = host.now();
        let done = match *self {
            Self::Running { instruction: of, done } if of == instruction => done,
            Self::Done { first, last }
                if first.0 == instruction.0
                    && first.1 != instruction.1
                    && now.saturating_sub(last) < LOOP_GAP =>
            {
                *self = Self::Done { first, last: now };
                return Progress::Done;
            }
            _ => 0,
        };
        match host.clean_memory(done) {
            Some(done) => {
                *self = Self::Running { instruction, done };
                Progress::Unfinished
            }
            None => {
                // Not `now`: the flush itself takes its time.
                *self = Self::Done { first: instruction, last: host.now() };
                Progress::Done
            }
        }
    }
}

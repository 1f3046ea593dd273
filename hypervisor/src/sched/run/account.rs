// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who pays for a CPU's time.
//!
//! Whoever causes a switch pays for it. A vCPU that leaves of its own accord, to wait or to be off, pays for being taken out
//! and for putting in the next one. One that wakes and takes another's place pays for both halves, too. At the end of a
//! slice each pays its own half. So what a neighbour does is in no vCPU's account, and to sleep often costs what it costs.

use vambrace_cpu::scheduler::{RunQueue, RunQueueIndex};

use super::now;

/// A CPU's time since it was last charged.
#[derive(Debug)]
pub(super) struct Account {
    /// Up to here all is charged.
    since: u64,
    /// Who pays for what comes until the next vCPU is loaded.
    pub(super) payer: Payer,
}

/// Who pays for a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payer {
    /// The one that is put in, with what comes after.
    Next,
    /// The vCPU with this run-queue index, which has left.
    Left(RunQueueIndex),
}

impl Account {
    pub(super) fn new() -> Self {
        Self { since: now(), payer: Payer::Next }
    }

    /// The vCPU with run-queue index `id` pays for all until now.
    #[inline(always)]
    pub(super) fn charge(&mut self, queue: &mut RunQueue, id: RunQueueIndex) {
        let now = now();
        queue.charge(id, now.saturating_sub(self.since));
        self.since = now;
    }

    /// The switch is over: one that has left pays for it.
    #[inline(always)]
    pub(super) fn close(&mut self, queue: &mut RunQueue) {
        if let Payer::Left(left) = self.payer {
            self.charge(queue, left);
            self.payer = Payer::Next;
        }
    }

    /// Nobody pays for the time until now: the CPU was idle.
    pub(super) fn forgive(&mut self) {
        *self = Self::new();
    }

    /// Nobody here pays for the time since `began`: it was for a VM that has no vCPU loaded.
    pub(super) fn leave_out(&mut self, began: u64) {
        self.since = self.since.saturating_add(now().saturating_sub(began));
    }
}

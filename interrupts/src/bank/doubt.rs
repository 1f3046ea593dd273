// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which interrupts are in doubt; see [`crate::resample`].

use super::Bank;

impl Bank {
    /// Interrupt `n`, which is in a list register, is pending there, and the guest does not take it at once. Says whether its
    /// line may fall meanwhile.
    pub(crate) fn doubt(&mut self, n: u32) -> bool {
        let bit = 1 << n & self.linked & self.follows_line & !self.active;
        self.in_doubt |= bit;
        bit != 0
    }

    /// The same for all of `which` that are pending, in no list register. Returns the groups of those that could be
    /// acknowledged.
    pub(crate) fn doubt_pending(&mut self, which: u32, groups: u32) -> u32 {
        self.in_doubt |= self.linked & self.follows_line & self.latch & !self.active & which;
        let waiting = self.in_doubt & self.deliverable(groups);
        u32::from(waiting & !self.group != 0) | u32::from(waiting & self.group != 0) << 1
    }

    /// Whether interrupt `n` is in doubt.
    pub(crate) const fn is_in_doubt(&self, n: u32) -> bool {
        self.in_doubt >> n & 1 != 0
    }

    /// The line of interrupt `n` is high.
    pub(crate) const fn confirm(&mut self, n: u32) {
        self.in_doubt &= !(1 << n);
    }

    /// Takes back those of `which` that are in doubt, and are in no list register: they pend no more, and their physical
    /// interrupts are to be deactivated. Returns them.
    pub(crate) fn take_doubtful_back(&mut self, which: u32) -> u32 {
        let back = self.in_doubt & self.linked & self.latch & which & !self.resident;
        self.in_doubt &= !back;
        self.latch &= !back;
        self.release_ended();
        back
    }

    /// The guest acknowledges interrupt `n`, which is in no list register.
    pub(crate) fn acknowledge(&mut self, n: u32) {
        let bit = 1 << n;
        self.latch &= !bit;
        self.in_doubt &= !bit;
        self.active |= bit;
        self.acknowledged |= bit;
        let priority = self.priority(n);
        if let Some(running) = self.running_priority.get_mut(n as usize) {
            *running = priority;
        }
    }
}

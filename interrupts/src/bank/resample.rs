// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which interrupts are to be resampled; see [`crate::resample`].

use super::Bank;

impl Bank {
    /// Interrupt `n`, which is in a list register, is pending there, and the guest does not take it at once. Says whether its
    /// line may fall meanwhile.
    pub(crate) fn mark_for_resample(&mut self, n: u32) -> bool {
        let bit = 1 << n & self.linked & self.follows_line & !self.active;
        self.needs_resample |= bit;
        bit != 0
    }

    /// The same for all of `which` that are pending, in no list register. Returns the groups of those that could be
    /// acknowledged.
    pub(crate) fn mark_pending_for_resample(&mut self, which: u32, groups: u32) -> u32 {
        self.needs_resample |= self.linked & self.follows_line & self.latch & !self.active & which;
        let waiting = self.needs_resample & self.deliverable(groups);
        u32::from(waiting & !self.group != 0) | u32::from(waiting & self.group != 0) << 1
    }

    /// Whether interrupt `n` is to be resampled.
    pub(crate) const fn needs_resample(&self, n: u32) -> bool {
        self.needs_resample >> n & 1 != 0
    }

    /// The line of interrupt `n` is high.
    pub(crate) const fn confirm_line(&mut self, n: u32) {
        self.needs_resample &= !(1 << n);
    }

    /// Takes back those of `which` that are to be resampled, and are in no list register: they pend no more, and their physical
    /// interrupts are to be deactivated. Returns them.
    pub(crate) fn withdraw_unconfirmed(&mut self, which: u32) -> u32 {
        let back = self.needs_resample & self.linked & self.latch & which & !self.in_lr;
        self.needs_resample &= !back;
        self.latch &= !back;
        self.drop_ended_links();
        back
    }

    /// The guest acknowledges interrupt `n`, which is in no list register.
    pub(crate) fn acknowledge(&mut self, n: u32) {
        let bit = 1 << n;
        self.latch &= !bit;
        self.needs_resample &= !bit;
        self.active |= bit;
        self.acknowledged |= bit;
        let priority = self.priority(n);
        if let Some(running) = self.running_priority.get_mut(n as usize) {
            *running = priority;
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The doorbell of a channel: how the members of a piece of shared memory notify each other, and learn who is there.
//!
//! One page of 32-bit registers for each member, described in `docs/channel.md`. A notification sets the sender's bit in CAUSE
//! of each member that it is for, and a member's interrupt is asserted while its CAUSE is not 0: so no notification is lost,
//! and several are one interrupt. The caller takes the mask of members to notify ([`Doorbell::take_doorbell_mask`]) and notifies them
//! afterwards, since a CPU may not hold two VMs' locks.

use serde::{Deserialize, Serialize};
use vambrace_state::{Version, restore_fields};

use crate::bus::{MmioDevice, Width};
use crate::primecell;

/// Offsets of the registers, each of 32 bits.
pub mod registers {
    /// [`MAGIC`](super::MAGIC); read-only.
    pub const MAGIC: u64 = 0x00;
    /// 1; read-only.
    pub const VERSION: u64 = 0x04;
    /// The reader's number; read-only.
    pub const NUMBER: u64 = 0x08;
    /// How many members the channel has; read-only.
    pub const MEMBERS: u64 = 0x0C;
    /// The members that run, a bit each; read-only.
    pub const STATE: u64 = 0x10;
    /// Notifies the members whose bits are written; reads as 0.
    pub const NOTIFY: u64 = 0x14;
    /// Why the interrupt is asserted; a one that is written clears its bit.
    pub const CAUSE: u64 = 0x18;
}

/// "VMBD", little-endian.
pub const MAGIC: u32 = 0x4442_4D56;

/// CAUSE: STATE has changed. The bits from 0 on are the members that have notified this one.
pub const STATE_CHANGED: u32 = 1 << 31;

/// A member's doorbell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doorbell {
    version: Version<1>,
    number: u8,
    members: u8,
    state: u32,
    cause: u32,
    /// The members to be notified, a bit each.
    doorbell_mask: u32,
}

restore_fields!(Doorbell {
    whole version,
    same number,
    same members,
    whole state,
    whole cause,
    whole doorbell_mask,
});

impl Doorbell {
    /// That of member `number`, of `members`: 31 at most, since the last bit of CAUSE is another's.
    #[must_use]
    pub fn new(number: u8, members: u8) -> Self {
        Self { version: Version, number, members: members.min(31), state: 0, cause: 0, doorbell_mask: 0 }
    }

    /// Whether the interrupt is asserted.
    #[must_use]
    pub fn irq_asserted(&self) -> bool {
        self.cause != 0
    }

    /// The members that the guest has notified since this was asked last, a bit each.
    pub fn take_doorbell_mask(&mut self) -> u32 {
        core::mem::take(&mut self.doorbell_mask)
    }

    /// Member `from` notifies this one.
    pub fn notified(&mut self, from: u8) {
        if from < self.members {
            self.cause |= 1 << from;
        }
    }

    /// These members run now, a bit each.
    pub fn set_state(&mut self, state: u32) {
        if core::mem::replace(&mut self.state, state) != state {
            self.cause |= STATE_CHANGED;
        }
    }

    fn read_register(&self, at: u64) -> u32 {
        match at {
            registers::MAGIC => MAGIC,
            registers::VERSION => 1,
            registers::NUMBER => self.number.into(),
            registers::MEMBERS => self.members.into(),
            registers::STATE => self.state,
            registers::CAUSE => self.cause,
            _ => 0,
        }
    }

    fn write_register(&mut self, at: u64, value: u32) {
        match at {
            // Bits without a member are ignored.
            registers::NOTIFY => self.doorbell_mask |= value & ((1 << self.members) - 1),
            registers::CAUSE => self.cause &= !value,
            _ => {}
        }
    }
}

impl MmioDevice for Doorbell {
    fn read(&mut self, offset: u64, width: Width) -> u64 {
        primecell::read(offset, width, |at| self.read_register(at))
    }

    fn write(&mut self, offset: u64, width: Width, value: u64) {
        primecell::write(offset, width, value, |at, word| self.write_register(at, word));
    }

    fn label(&self) -> &'static str {
        "doorbell"
    }

    /// Forgets notifications; STATE stays, since the other members run on.
    fn reset(&mut self) {
        (self.cause, self.doorbell_mask) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(doorbell: &mut Doorbell, at: u64) -> u64 {
        doorbell.read(at, Width::Word)
    }

    #[test]
    fn a_member_knows_who_it_is() {
        let mut doorbell = Doorbell::new(2, 3);
        let known = [registers::MAGIC, registers::VERSION, registers::NUMBER, registers::MEMBERS];
        assert_eq!(known.map(|at| read(&mut doorbell, at)), [u64::from(MAGIC), 1, 2, 3]);
        assert_eq!((read(&mut doorbell, registers::NOTIFY), read(&mut doorbell, 0xFFC)), (0, 0));
    }

    #[test]
    fn notifications_add_up_until_they_are_cleared() {
        let mut doorbell = Doorbell::new(0, 3);
        doorbell.notified(1);
        doorbell.notified(2);
        doorbell.notified(1);
        doorbell.notified(3);
        assert_eq!(read(&mut doorbell, registers::CAUSE), 0b110);
        doorbell.write(registers::CAUSE, Width::Word, 0b010);
        assert!(doorbell.irq_asserted());
        doorbell.write(registers::CAUSE, Width::Word, 0b100);
        assert!(!doorbell.irq_asserted());
    }

    #[test]
    fn only_members_are_notified() {
        let mut doorbell = Doorbell::new(0, 3);
        doorbell.write(registers::NOTIFY, Width::Word, 0xFFFF_FFFC);
        doorbell.write(registers::NOTIFY, Width::Word, 1);
        assert_eq!((doorbell.take_doorbell_mask(), doorbell.take_doorbell_mask()), (0b101, 0));
    }

    #[test]
    fn a_change_of_state_is_told_once() {
        let mut doorbell = Doorbell::new(0, 2);
        doorbell.set_state(0b11);
        doorbell.write(registers::CAUSE, Width::Word, STATE_CHANGED.into());
        doorbell.set_state(0b11);
        assert!(!doorbell.irq_asserted());
        doorbell.set_state(0b01);
        assert_eq!(read(&mut doorbell, registers::STATE), 1);
        assert_eq!(read(&mut doorbell, registers::CAUSE), u64::from(STATE_CHANGED));
    }

    #[test]
    fn a_reset_forgets_notifications_and_not_who_runs() {
        let mut doorbell = Doorbell::new(0, 2);
        doorbell.set_state(0b11);
        doorbell.notified(1);
        doorbell.write(registers::NOTIFY, Width::Word, 2);
        doorbell.reset();
        assert_eq!((doorbell.irq_asserted(), doorbell.take_doorbell_mask()), (false, 0));
        assert_eq!(read(&mut doorbell, registers::STATE), 0b11);
    }
}

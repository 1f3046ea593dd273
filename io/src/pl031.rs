// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PL031 real-time clock (Arm DDI 0224): seconds since 1970, and one alarm.
//!
//! It has no clock of its own: the caller says what time it is ([`Pl031::advance`]) before each access and when
//! [`Pl031::next_deadline`] has come. Like a clock with a battery it always runs: RTCCR reads as started, as on
//! QEMU's `virt` board.

use serde::{Deserialize, Serialize};
use vambrace_state::Version;

use crate::bus::{MmioDevice, Width};
use crate::platform::{Deadline, DeviceModel, Time};
use crate::primecell;

/// Offsets of the registers (Arm DDI 0224, "Register summary").
pub mod registers {
    /// The time.
    pub const DR: u64 = 0x000;
    /// The time of the alarm.
    pub const MR: u64 = 0x004;
    /// Sets the time.
    pub const LR: u64 = 0x008;
    /// Control: started.
    pub const CR: u64 = 0x00C;
    /// Interrupt mask: one lets through.
    pub const IMSC: u64 = 0x010;
    /// Raw interrupt status.
    pub const RIS: u64 = 0x014;
    /// Masked interrupt status.
    pub const MIS: u64 = 0x018;
    /// Interrupt clear: one clears.
    pub const ICR: u64 = 0x01C;
}

/// PeriphID0-3 and PCellID0-3: part 0x031, designed by Arm, of the revision that QEMU's `virt` board has.
const ID: [u8; 8] = [0x31, 0x10, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1];

/// CR.start, and the only bit of the interrupt registers.
const BIT: u32 = 1;

/// The clock's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pl031 {
    version: Version<1>,
    /// The caller's time, in seconds since 1970.
    now: u64,
    /// What the guest's time is ahead of the caller's, in seconds; wraps.
    ahead: u32,
    load: u32,
    alarm: u32,
    mask: u32,
    raw_interrupt: u32,
}

impl Pl031 {
    /// A clock after reset, at `now` seconds since 1970.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self { version: Version, now, ahead: 0, load: 0, alarm: 0, mask: 0, raw_interrupt: 0 }
    }

    /// Tells the time, in seconds since 1970; the alarm goes off when its second has come in between. A time before
    /// the last one is ignored.
    pub fn advance(&mut self, now: u64) {
        let Some(elapsed) = now.checked_sub(self.now) else { return };
        if elapsed >= self.until_alarm() {
            self.raw_interrupt = BIT;
        }
        self.now = now;
    }

    /// When the caller should tell the time next, in seconds since 1970: when the alarm will raise the interrupt.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let waits = self.mask & !self.raw_interrupt & BIT != 0;
        if waits { self.now.checked_add(self.until_alarm()) } else { None }
    }

    /// Whether the interrupt line RTCINTR is high: it is a level, to be looked at after each call.
    #[must_use]
    pub fn irq_asserted(&self) -> bool {
        self.raw_interrupt & self.mask != 0
    }

    /// The guest's time.
    fn time(&self) -> u32 {
        (self.now as u32).wrapping_add(self.ahead)
    }

    /// Seconds until the time equals the alarm; a whole period of the counter when it does so now, since that match
    /// has been seen.
    fn until_alarm(&self) -> u64 {
        match self.alarm.wrapping_sub(self.time()) {
            0 => 1 << 32,
            seconds => u64::from(seconds),
        }
    }

    /// Looks for a match after the guest has set the time or the alarm.
    fn compare(&mut self) {
        if self.alarm == self.time() {
            self.raw_interrupt = BIT;
        }
    }

    fn read_register(&self, offset: u64) -> u32 {
        match offset {
            registers::DR => self.time(),
            registers::MR => self.alarm,
            registers::LR => self.load,
            registers::CR => BIT,
            registers::IMSC => self.mask,
            registers::RIS => self.raw_interrupt,
            registers::MIS => self.raw_interrupt & self.mask,
            _ => primecell::identification(offset, ID),
        }
    }

    fn write_register(&mut self, offset: u64, value: u32) {
        match offset {
            registers::MR => {
                self.alarm = value;
                self.compare();
            }
            registers::LR => {
                self.load = value;
                self.ahead = value.wrapping_sub(self.now as u32);
                self.compare();
            }
            registers::IMSC => self.mask = value & BIT,
            registers::ICR => self.raw_interrupt &= !value,
            _ => {}
        }
    }
}

impl MmioDevice for Pl031 {
    fn read(&mut self, offset: u64, width: Width) -> u64 {
        primecell::read(offset, width, |at| self.read_register(at))
    }

    fn write(&mut self, offset: u64, width: Width, value: u64) {
        primecell::write(offset, width, value, |at, word| self.write_register(at, word));
    }

    fn label(&self) -> &'static str {
        "PL031 real-time clock"
    }

    /// The time stays, as that of a clock with a battery; what the guest had set it to is forgotten.
    fn reset(&mut self) {
        *self = Self::new(self.now);
    }
}

impl DeviceModel for Pl031 {
    fn power_on(now: Time) -> Self {
        Self::new(now.seconds)
    }

    #[inline]
    fn irq_line(&self) -> bool {
        self.irq_asserted()
    }

    fn note_time(&mut self, now: Time) {
        self.advance(now.seconds);
    }

    #[inline]
    fn deadline(&self) -> Option<Deadline> {
        self.next_deadline().map(Deadline::Seconds)
    }
}

#[cfg(test)]
mod tests;

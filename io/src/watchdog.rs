// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Generic Watchdog of Arm's Base System Architecture (DEN 0094, "Generic Watchdog"), revision 1.
//!
//! It goes by the system counter, which for a VM is its virtual count: so it stands still while the VM is paused. A guest that
//! does not refresh it until the count has passed the compare value gets an interrupt, WS0. One that lets as much time pass
//! again is reset, by WS1. The second time begins when the first was noticed: a VM that did not have a CPU meanwhile still has
//! all of it to take the interrupt.
//!
//! Two frames of 4 KiB side by side: the control frame, then the refresh frame.

use serde::{Deserialize, Serialize};

use crate::bus::{MmioDevice, Width};
use crate::platform::{Deadline, DeviceModel, Time};
use crate::primecell;
use vambrace_state::Version;

/// Offsets of the registers, from the first frame's start on (DEN 0094, "Register summary").
pub mod registers {
    /// Control and status.
    pub const WCS: u64 = 0x000;
    /// Offset: what is added to the count to make the compare value; bits 31 to 0.
    pub const WOR: u64 = 0x008;
    /// Bits 47 to 32 of the offset.
    pub const WOR_HIGH: u64 = 0x00C;
    /// Compare value; bits 31 to 0.
    pub const WCV: u64 = 0x010;
    /// Bits 63 to 32 of the compare value.
    pub const WCV_HIGH: u64 = 0x014;
    /// Interface identification, in both frames.
    pub const W_IIDR: u64 = 0xFCC;
    /// The refresh frame.
    pub const REFRESH: u64 = 0x1000;
    /// Refresh: any write is one.
    pub const WRR: u64 = REFRESH;
}

/// Bits of WCS.
pub mod status {
    /// The watchdog counts.
    pub const EN: u32 = 1 << 0;
    /// The interrupt is asserted; read-only.
    pub const WS0: u32 = 1 << 1;
    /// The reset is asserted; read-only.
    pub const WS1: u32 = 1 << 2;
}

/// W_IIDR: architecture revision 1, implemented by Arm (JEP106 0x43B), as QEMU's board `sbsa-ref` has it.
const IIDR: u32 = 0x0001_043B;

/// What has been asserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Stage {
    /// Nothing.
    Quiet,
    /// WS0.
    Interrupt,
    /// WS0 and WS1.
    Reset,
}

/// The watchdog's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watchdog {
    version: Version<1>,
    /// The count that was told last.
    now: u64,
    enabled: bool,
    stage: Stage,
    /// WOR, 48 bits.
    offset: u64,
    /// WCV.
    compare: u64,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self { version: Version, now: 0, enabled: false, stage: Stage::Quiet, offset: 0, compare: 0 }
    }
}

impl Watchdog {
    /// An explicit refresh: it is quiet, and the time begins anew.
    fn refresh(&mut self) {
        self.stage = Stage::Quiet;
        self.compare = self.now.saturating_add(self.offset);
    }

    fn read_register(&self, at: u64) -> u32 {
        match at {
            registers::WCS => {
                let bit = |is_set: bool, bit: u32| if is_set { bit } else { 0 };
                bit(self.enabled, status::EN)
                    | bit(self.stage >= Stage::Interrupt, status::WS0)
                    | bit(self.stage == Stage::Reset, status::WS1)
            }
            registers::WOR => self.offset as u32,
            registers::WOR_HIGH => (self.offset >> 32) as u32,
            registers::WCV => self.compare as u32,
            registers::WCV_HIGH => (self.compare >> 32) as u32,
            _ if at % registers::REFRESH == registers::W_IIDR => IIDR,
            _ => 0,
        }
    }

    fn write_register(&mut self, at: u64, value: u32) {
        const LOW: u64 = 0xFFFF_FFFF;
        let (low, high) = (u64::from(value), u64::from(value) << 32);
        match at {
            registers::WCS => {
                self.enabled = value & status::EN != 0;
                self.refresh();
            }
            registers::WOR => {
                self.offset = self.offset & !LOW | low;
                self.refresh();
            }
            registers::WOR_HIGH => {
                self.offset = self.offset & LOW | high & (0xFFFF << 32);
                self.refresh();
            }
            registers::WCV => self.compare = self.compare & !LOW | low,
            registers::WCV_HIGH => self.compare = self.compare & LOW | high,
            registers::WRR => self.refresh(),
            _ => {}
        }
    }
}

impl MmioDevice for Watchdog {
    fn read(&mut self, offset: u64, width: Width) -> u64 {
        primecell::read(offset, width, |at| self.read_register(at))
    }

    fn write(&mut self, offset: u64, width: Width, value: u64) {
        primecell::write(offset, width, value, |at, word| self.write_register(at, word));
    }

    fn label(&self) -> &'static str {
        "generic watchdog"
    }

    /// The VM's count begins anew, too.
    fn reset(&mut self) {
        *self = Self::default();
    }
}

impl DeviceModel for Watchdog {
    fn power_on(now: Time) -> Self {
        Self { now: now.count, ..Self::default() }
    }

    fn irq_line(&self) -> bool {
        self.stage >= Stage::Interrupt
    }

    fn note_time(&mut self, now: Time) {
        self.now = self.now.max(now.count);
        if !self.enabled || self.now <= self.compare {
            return;
        }
        match self.stage {
            Stage::Quiet => {
                self.refresh();
                self.stage = Stage::Interrupt;
            }
            Stage::Interrupt => self.stage = Stage::Reset,
            Stage::Reset => {}
        }
    }

    #[inline]
    fn deadline(&self) -> Option<Deadline> {
        self.enabled.then(|| Deadline::Count(self.compare.saturating_add(1)))
    }

    fn reset_line(&self) -> bool {
        self.stage == Stage::Reset
    }
}

#[cfg(test)]
mod tests;

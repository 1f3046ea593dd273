// SPDX-License-Identifier: MIT OR Apache-2.0
//! Platform devices: those that a machine has at a fixed place, one of each at most.
//!
//! A model has no clock of its own and calls nobody. The machine tells it the time before each access and when
//! [`DeviceModel::deadline`] has come, and looks at its lines afterwards.

use serde::{Deserialize, Serialize};

use crate::bus::MmioDevice;

/// What time it is, on both clocks that devices go by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: u64,
    /// The VM's virtual count (CNTVCT_EL0), which stands still while the VM is paused.
    pub count: u64,
}

/// When a device is to be told the time, on the clock that it goes by. Those of one device can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deadline {
    /// In seconds since 1970.
    Seconds(u64),
    /// As a virtual count.
    Count(u64),
}

/// What a machine needs of a model beside its registers.
pub trait DeviceModel: MmioDevice + Sized {
    /// The device as it is when the VM is made.
    fn power_on(now: Time) -> Self;

    /// Whether its interrupt line is high: it is a level, to be looked at after each call.
    fn irq_line(&self) -> bool;

    /// Tells the time. A time before the last one is ignored.
    #[inline]
    fn note_time(&mut self, now: Time) {
        let _ = now;
    }

    /// When it is to be told the time next, though nobody touches it: its lines may change then.
    #[inline]
    fn deadline(&self) -> Option<Deadline> {
        None
    }

    /// Whether it has the whole machine reset. Its deadline has passed then.
    fn reset_line(&self) -> bool {
        false
    }
}

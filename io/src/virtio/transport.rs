// SPDX-License-Identifier: MIT OR Apache-2.0
//! What driver and device have agreed on, and the queues between them, whatever bus the registers are on.
//!
//! Devices do their work through this: it knows which queue may be touched now, and makes of a driver's error the end of
//! the device, so that a device's own code sees nothing but whole chains.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};
use vambrace_memory::GuestMemory;
use vambrace_state::{Version, restore_fields};

use super::mmio::registers::{interrupt, status};
use super::queue::{Chain, Fault, Notice, Queue, Taken, Used};

/// The most queues of a device.
pub(super) const MAX_QUEUES: usize = 2;

/// What the registers hold, and the queues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Transport {
    pub(super) version: Version<1>,
    pub(super) status: u32,
    /// What the driver takes; from FEATURES_OK on, what both work by.
    pub(super) features: u64,
    /// What it takes beyond the 64 that can be offered: never anything, if it keeps the rules.
    pub(super) features_beyond: u32,
    pub(super) device_features_sel: u32,
    pub(super) driver_features_sel: u32,
    pub(super) queue_sel: u32,
    pub(super) queues: ArrayVec<Queue, MAX_QUEUES>,
    pub(super) interrupts: u32,
    pub(super) generation: u32,
    /// The queues that the driver has notified of since the device last looked, a bit each.
    pub(super) notified: u32,
    /// What made the device need a reset.
    pub(super) fault: Option<Fault>,
}

restore_fields!(Transport {
    whole version,
    whole status,
    whole features,
    whole features_beyond,
    whole device_features_sel,
    whole driver_features_sel,
    whole queue_sel,
    wholes queues,
    whole interrupts,
    whole generation,
    whole notified,
    whole fault,
});

impl Transport {
    pub(super) fn new(queues: usize) -> Self {
        Self {
            version: Version,
            status: 0,
            features: 0,
            features_beyond: 0,
            device_features_sel: 0,
            driver_features_sel: 0,
            queue_sel: 0,
            queues: (0..queues.min(MAX_QUEUES)).map(|_| Queue::default()).collect(),
            interrupts: 0,
            generation: 0,
            notified: 0,
            fault: None,
        }
    }

    /// Whether the driver is ready, and neither side has given up.
    pub(super) fn is_live(&self) -> bool {
        let ends = status::NEEDS_RESET | status::FAILED;
        self.status & (status::DRIVER_OK | ends) == status::DRIVER_OK
    }

    /// What both sides work by.
    pub(super) fn features(&self) -> u64 {
        self.features
    }

    /// Whether both sides work by all of `features`.
    pub(super) fn has(&self, features: u64) -> bool {
        self.features & features == features
    }

    /// The device cannot go on with this driver (2.1.1).
    pub(super) fn fail(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
        if self.status & status::DRIVER_OK != 0 {
            self.interrupts |= interrupt::CONFIGURATION;
        }
        self.status |= status::NEEDS_RESET;
    }

    /// The configuration has changed: a driver that works is told (2.5.2).
    pub(super) fn configuration_changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        if self.is_live() {
            self.interrupts |= interrupt::CONFIGURATION;
        }
    }

    /// A queue that may be worked on. `None` before DRIVER_OK (2.1.2), after an error, and when the driver has not made it
    /// ready.
    pub(super) fn live(&mut self, queue: usize) -> Option<&mut Queue> {
        let is_live = self.is_live();
        self.queues.get_mut(queue).filter(|queue| is_live && queue.ready)
    }

    /// Does something with a queue that may be worked on; what goes wrong there is the end of the device.
    fn with<T>(&mut self, queue: usize, act: impl FnOnce(&mut Queue, u64) -> Result<T, Fault>) -> Option<T> {
        let features = self.features;
        match act(self.live(queue)?, features) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.fail(fault);
                None
            }
        }
    }

    /// Takes the next chain of a queue into `chain`.
    pub(super) fn take(&mut self, queue: usize, memory: &impl GuestMemory, chain: &mut Chain) -> Taken {
        self.with(queue, |queue, features| queue.take(memory, features, chain)).unwrap_or(Taken::Nothing)
    }

    /// Leaves the `count` chains that were last taken to be taken again.
    pub(super) fn put_back(&mut self, queue: usize, count: u16) {
        if let Some(queue) = self.live(queue) {
            queue.put_back(count);
        }
    }

    /// Returns a chain into which `written` bytes were written.
    pub(super) fn complete(&mut self, queue: usize, memory: &impl GuestMemory, head: u16, written: u32) {
        self.complete_all(queue, memory, &[Used { head, written }]);
    }

    /// Returns chains that the driver may only see together.
    pub(super) fn complete_all(&mut self, queue: usize, memory: &impl GuestMemory, chains: &[Used]) {
        let notice = self.with(queue, |queue, features| queue.complete(memory, features, chains));
        if notice == Some(Notice::Due) {
            self.interrupts |= interrupt::USED_BUFFER;
        }
    }

    /// Asks for notifications of a queue; says whether something came in the meantime.
    pub(super) fn listen(&mut self, queue: usize, memory: &impl GuestMemory) -> Taken {
        match self.with(queue, |queue, features| queue.listen(memory, features)) {
            Some(0) | None => Taken::Nothing,
            Some(_) => Taken::Chain,
        }
    }

    /// Takes note of a notification.
    pub(super) fn heard(&mut self, queue: usize) {
        self.notified &= !(1 << queue);
    }

    /// Begins to work on a queue: no notification is needed until it says otherwise.
    pub(super) fn begin(&mut self, queue: usize, memory: &impl GuestMemory) {
        self.heard(queue);
        self.with(queue, |queue, features| queue.ignore(memory, features));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device's side of a split virtqueue (virtio 1.2, 2.7).
//!
//! The driver is not trusted. Whatever it writes into the queue, the device reads each field once, checks the copy and
//! works with it, so it does not matter what the guest changes meanwhile. What the specification forbids to a driver is a
//! [`Fault`]; the transport makes DEVICE_NEEDS_RESET of it.
//!
//! # Size
//! A queue has up to [`MAX_SIZE`] entries, and a chain is never longer than its queue (2.7.5.3.1), indirect or not. So a
//! chain, copied, is an array of known size in the device's own value or on the stack, and nothing is allocated. 128 is
//! what Linux's drivers keep in flight without having to wait, and 2 KiB a chain is what EL2's stack bears.
//!
//! # Order
//! The driver runs on other CPUs, and both sides rely on the order in which the other sees their accesses. Guest memory is
//! read and written by volatile accesses, which the compiler keeps among one another, and neither it nor the CPU moves them
//! across [`fence`]. On AArch64 `Acquire` is DMB ISHLD, `Release` and `SeqCst` are DMB ISH; the guest's CPUs are in the
//! same inner shareable domain. Rust's memory model knows fences between atomics only; guest memory is outside of it, as a
//! device's registers are, and what counts is what the compiler and the architecture do. Three places need it:
//! - `Acquire` between the available index and what it announces (2.7.13.3 from the other side);
//! - `Release` between a used entry and the index that announces it (2.7.8.2);
//! - `SeqCst` between a write and the read that decides whether the other side must be woken: used index, then
//!   `used_event` (2.7.7.2); `avail_event`, then the available index (2.7.10.1). Each side first writes, then reads,
//!   so at least one sees the other's write.

use core::sync::atomic::{Ordering, fence};

use serde::{Deserialize, Serialize};
use vambrace_memory::{GuestMemory, Ipa};

use super::feature;

mod chain;
mod fault;

pub(super) use chain::{Buffer, Chain};
pub use fault::Fault;

/// The most entries of a queue, and so the most descriptors of a chain: QueueNumMax.
pub const MAX_SIZE: u16 = 128;

/// `VIRTQ_AVAIL_F_NO_INTERRUPT` (2.7.6).
const NO_INTERRUPT: u16 = 1;
/// `VIRTQ_USED_F_NO_NOTIFY` (2.7.8).
const NO_NOTIFY: u16 = 1;

/// Where the two rings have their fields (2.7.6, 2.7.8).
mod ring {
    pub(super) const FLAGS: u64 = 0;
    pub(super) const INDEX: u64 = 2;
    pub(super) const ENTRIES: u64 = 4;
    pub(super) const AVAILABLE_ENTRY: u64 = 2;
    pub(super) const USED_ENTRY: u64 = 8;
}

/// What [`Queue::take`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Taken {
    /// The driver has nothing available.
    Nothing,
    /// A chain, which is the device's until it is completed or put back.
    Chain,
}

/// Whether the other side has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Notice {
    /// It asked to be left alone.
    Suppressed,
    /// It waits.
    Due,
}

/// One virtqueue as the driver has set it up, and how far it has been worked off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Queue {
    /// Entries: QueueNum.
    pub(super) size: u16,
    /// QueueReady.
    pub(super) ready: bool,
    /// The descriptor table.
    pub(super) descriptors: u64,
    /// The available ring.
    pub(super) available: u64,
    /// The used ring.
    pub(super) used: u64,
    /// How many chains have been taken, modulo 2^16.
    next_available: u16,
    /// How many have been returned, modulo 2^16.
    next_used: u16,
    /// `next_used` when it was last decided whether to interrupt the driver.
    decided: u16,
    /// The driver's notifications are wanted.
    listening: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            size: MAX_SIZE,
            ready: false,
            descriptors: 0,
            available: 0,
            used: 0,
            next_available: 0,
            next_used: 0,
            decided: 0,
            listening: true,
        }
    }
}

impl Queue {
    /// Begins at index 0, if size and addresses are those of a queue.
    pub(super) fn start(&mut self) -> Result<(), Fault> {
        self.check()?;
        *self = Self { ready: true, ..self.stopped() };
        Ok(())
    }

    /// Ends; size and addresses stay.
    pub(super) fn stop(&mut self) {
        *self = self.stopped();
    }

    fn stopped(&self) -> Self {
        Self {
            size: self.size,
            descriptors: self.descriptors,
            available: self.available,
            used: self.used,
            ..Self::default()
        }
    }

    /// Sizes and alignments as in 2.7; no part runs over the end of the address space.
    fn check(&self) -> Result<(), Fault> {
        if !self.size.is_power_of_two() || self.size > MAX_SIZE {
            return Err(Fault::Size { size: self.size });
        }
        let size = u64::from(self.size);
        let parts = [
            (self.descriptors, 16, 16 * size),
            (self.available, 2, ring::ENTRIES + ring::AVAILABLE_ENTRY * size + 2),
            (self.used, 4, ring::ENTRIES + ring::USED_ENTRY * size + 2),
        ];
        for (base, align, len) in parts {
            if !base.is_multiple_of(align) || base.checked_add(len).is_none() {
                return Err(Fault::Area { ipa: Ipa(base) });
            }
        }
        Ok(())
    }

    /// An address in one of the queue's parts. A queue has been checked before it is ready; a damaged one that was read
    /// from a file wraps round to an address that is outside or inside the guest's own memory.
    fn at(base: u64, offset: u64) -> Ipa {
        Ipa(base.wrapping_add(offset))
    }

    /// The place of an index in the rings.
    fn slot(&self, index: u16) -> u64 {
        u64::from(index & self.size.wrapping_sub(1))
    }

    /// How many chains the driver has made available and the device has not taken.
    fn waiting(&self, memory: &impl GuestMemory) -> Result<u16, Fault> {
        let index = memory.read_u16(Self::at(self.available, ring::INDEX))?;
        let waiting = index.wrapping_sub(self.next_available);
        if waiting > self.size {
            return Err(Fault::Jump { by: waiting, size: self.size });
        }
        Ok(waiting)
    }

    /// Takes the next available chain into `chain`.
    ///
    /// # Errors
    /// [`Fault`]: the queue is not one that a driver may make.
    pub(super) fn take(
        &mut self,
        memory: &impl GuestMemory,
        features: u64,
        chain: &mut Chain,
    ) -> Result<Taken, Fault> {
        if self.waiting(memory)? == 0 {
            return Ok(Taken::Nothing);
        }
        fence(Ordering::Acquire);
        let slot = self.slot(self.next_available);
        let entry = Self::at(self.available, ring::ENTRIES + ring::AVAILABLE_ENTRY * slot);
        let head = memory.read_u16(entry)?;
        chain.read(memory, self, features, head)?;
        self.next_available = self.next_available.wrapping_add(1);
        Ok(Taken::Chain)
    }

    /// Makes the `count` chains that were last taken available to the device again.
    pub(super) fn put_back(&mut self, count: u16) {
        self.next_available = self.next_available.wrapping_sub(count);
    }

    /// Writes the used entries of some chains, each with its head and the bytes that were written into it, then lets the
    /// driver see all of them at once, and says whether it wants to know.
    ///
    /// # Errors
    /// [`Fault`]: the used ring or the available ring is outside the VM's memory.
    pub(super) fn complete(
        &mut self,
        memory: &impl GuestMemory,
        features: u64,
        chains: &[Used],
    ) -> Result<Notice, Fault> {
        for used in chains {
            let entry = Self::at(self.used, ring::ENTRIES + ring::USED_ENTRY * self.slot(self.next_used));
            let value = u64::from(used.head) | u64::from(used.written) << 32;
            memory.write(entry, &value.to_le_bytes())?;
            self.next_used = self.next_used.wrapping_add(1);
        }
        fence(Ordering::Release);
        memory.write_u16(Self::at(self.used, ring::INDEX), self.next_used)?;
        self.notice(memory, features)
    }

    /// Whether the driver wants an interrupt for what was returned since the last decision (2.7.7).
    fn notice(&mut self, memory: &impl GuestMemory, features: u64) -> Result<Notice, Fault> {
        fence(Ordering::SeqCst);
        let before = core::mem::replace(&mut self.decided, self.next_used);
        let due = if features & feature::EVENT_IDX != 0 {
            let behind = ring::ENTRIES + ring::AVAILABLE_ENTRY * u64::from(self.size);
            let event = memory.read_u16(Self::at(self.available, behind))?;
            is_passed(event, before, self.next_used)
        } else {
            memory.read_u16(Self::at(self.available, ring::FLAGS))? & NO_INTERRUPT == 0
        };
        Ok(if due { Notice::Due } else { Notice::Suppressed })
    }

    /// Asks the driver for a notification of the next chain, and says how many it has made available meanwhile: those
    /// may come without (2.7.10).
    ///
    /// # Errors
    /// [`Fault`]: a ring is outside the VM's memory, or the available index has jumped.
    pub(super) fn listen(&mut self, memory: &impl GuestMemory, features: u64) -> Result<u16, Fault> {
        if features & feature::EVENT_IDX != 0 {
            let behind = ring::ENTRIES + ring::USED_ENTRY * u64::from(self.size);
            memory.write_u16(Self::at(self.used, behind), self.next_available)?;
        } else if !self.listening {
            memory.write_u16(Self::at(self.used, ring::FLAGS), 0)?;
        }
        self.listening = true;
        fence(Ordering::SeqCst);
        self.waiting(memory)
    }

    /// Spares the driver its notifications. With EVENT_IDX there is nothing to do: an index that has been passed asks
    /// for none.
    ///
    /// # Errors
    /// [`Fault`]: the used ring is outside the VM's memory.
    pub(super) fn ignore(&mut self, memory: &impl GuestMemory, features: u64) -> Result<(), Fault> {
        if self.listening && features & feature::EVENT_IDX == 0 {
            memory.write_u16(Self::at(self.used, ring::FLAGS), NO_NOTIFY)?;
        }
        self.listening = false;
        Ok(())
    }
}

/// What the driver gets back: an entry of the used ring (2.7.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Used {
    /// The chain's first descriptor.
    pub(super) head: u16,
    /// How many bytes the device wrote into it.
    pub(super) written: u32,
}

/// Whether going from `before` to `now` makes the entry after `event` (2.7.10.1, `vring_need_event`).
fn is_passed(event: u16, before: u16, now: u16) -> bool {
    now.wrapping_sub(event).wrapping_sub(1) < now.wrapping_sub(before)
}

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Input on its way to a VM: received in anybody's time, taken in the VM's own.
//!
//! Whoever receives it puts it here and calls the VM; it needs no lock of the VM's for that. One of the VM's CPUs takes it
//! over into the console ([`Inbox::deliver`]). Both together hold no more than [`INPUT_WINDOW`], which the sender knows: it
//! sends more when it is told that some was taken ([`Inbox::untold`]). So nothing is dropped for want of room.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};
use vambrace_interrupts::VcpuSet;
use vambrace_wire::message::{INPUT_TOLD, INPUT_WINDOW};

use crate::vm::{Input, Vm};

/// Input that waits for one of the VM's CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbox {
    waiting: ArrayVec<Input, INPUT_WINDOW>,
    /// The position behind all that was received.
    end: u32,
    /// The position up to which the sender knows that it was taken.
    told: u32,
}

impl Inbox {
    /// Nothing has been received.
    #[must_use]
    pub const fn new() -> Self {
        Self { waiting: ArrayVec::new_const(), end: 0, told: 0 }
    }

    /// Takes what was received, whose first item has this position. Says how much is missing: what the line has damaged
    /// before it, or what there is no room for, as its sender has not kept to the window.
    pub fn receive(&mut self, position: u32, mut input: impl ExactSizeIterator<Item = Input>) -> u32 {
        let lost = position.wrapping_sub(self.end);
        self.end = position.wrapping_add(input.len() as u32);
        let room = self.waiting.remaining_capacity();
        self.waiting.extend(input.by_ref().take(room));
        lost.wrapping_add(input.len() as u32)
    }

    /// Hands all that the VM's console has room for to it. The vCPUs are to be notified, and the VM may have work then.
    #[must_use = "the vCPUs must be notified"]
    pub fn deliver(&mut self, vm: &mut Vm) -> VcpuSet {
        let mut notify = VcpuSet::new();
        self.hand_over(|input| {
            let (taken, moved) = vm.receive_input(input.iter().copied());
            notify = moved;
            taken
        });
        notify
    }

    /// Hands what waits to `take`, which says how much of it, from the front, it has taken.
    pub fn hand_over(&mut self, take: impl FnOnce(&[Input]) -> usize) {
        let taken = take(&self.waiting);
        self.waiting.drain(..taken.min(self.waiting.len()));
    }

    /// The position up to which the VM has taken its input, if it is time to tell the sender; `in_vm` is how much waits in
    /// the VM's console ([`Vm::waiting_input`]).
    #[must_use]
    pub fn untold(&self, in_vm: usize) -> Option<u32> {
        let taken = self.end.wrapping_sub((self.waiting.len() + in_vm) as u32);
        (taken.wrapping_sub(self.told) >= INPUT_TOLD).then_some(taken)
    }

    /// The sender has been told of this position.
    pub fn tell(&mut self, position: u32) {
        self.told = position;
    }
}

#[cfg(test)]
mod tests;

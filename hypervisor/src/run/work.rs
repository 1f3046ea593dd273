// SPDX-License-Identifier: MIT OR Apache-2.0
//! The turns of a VM's virtio devices, and console lines that wait for their end.

use super::slots::State;
use super::{Pcpu, now};
use crate::cell::VmCell;
use crate::devices::{self, Turn};
use crate::exit_host::Flush;
use crate::percpu;

impl Pcpu {
    /// Gives the devices of the VM in slot `id` a turn, in that vCPU's time. If it is not enough, the next comes when the
    /// guest has had as much time as this one took.
    #[cold]
    #[inline(never)]
    pub(super) fn work(&mut self, id: u16, cell: &VmCell) {
        let began = now();
        let (turn, flush) = devices::turn(cell, &mut self.buffer);
        if flush == Flush::Soon {
            self.flush_soon(id);
        }
        if turn == Turn::NotOver
            && let Some(Some(slot)) = self.slots.get_mut(usize::from(id))
        {
            let now = now();
            slot.work_at = now.saturating_add(now.saturating_sub(began));
            self.note_deadline(id);
        }
    }

    /// It is time for the next turn of the VM in slot `id`: its vCPU is called, or another if that has been switched off.
    pub(super) fn work_again(&mut self, id: u16) {
        match self.slots.get(usize::from(id)) {
            Some(Some(slot)) if slot.state == State::Off => slot.cell.call_worker(),
            _ => percpu::call(self.index as u16, id),
        }
    }

    /// The VM in slot `id` has said something, and is perhaps about to say more.
    pub(super) fn flush_soon(&mut self, id: u16) {
        if let Some(Some(slot)) = self.slots.get_mut(usize::from(id)) {
            slot.flush_at = now().saturating_add(self.flush_delay);
            self.note_deadline(id);
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which interrupts of a vCPU get its list registers.
//!
//! If not all fit: the most urgent pending one always gets a list register, then come the active ones, whose end
//! would otherwise cost an exit each, then the other pending ones. Pending interrupts of a group that the guest
//! has disabled in its CPU interface come after all others, or they would block those it has enabled.

use crate::intid::{Intid, SpiIndex};
use crate::list_register::VirtualCpuInterface;
use crate::vcpu_set::bits;
use crate::vgic::{Vcpu, Vgic};

/// An interrupt, in the order of urgency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(u32);

impl Key {
    /// Bit 31: the guest has disabled its group; bits 23:16: the priority; bits 14:1: the INTID; bit 0: Group 1.
    pub(crate) fn new(intid: Intid, priority: u8, group1: bool, interface: &VirtualCpuInterface) -> Self {
        let disabled = !interface.groups() >> u32::from(group1) & 1;
        Self(disabled << 31 | u32::from(priority) << 16 | (intid.get() & 0x7FFF) << 1 | u32::from(group1))
    }

    pub(crate) const fn intid(self) -> Intid {
        Intid::new(self.0 >> 1 & 0x7FFF)
    }

    pub(crate) const fn is_group1(self) -> bool {
        self.0 & 1 != 0
    }

    pub(crate) const fn priority(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// Whether the guest has the interrupt's group enabled.
    pub(crate) const fn is_enabled(self) -> bool {
        self.0 >> 31 == 0
    }
}

/// The most urgent interrupts, at most 16, in order.
#[derive(Debug)]
pub(crate) struct Shortlist {
    keys: [Key; 16],
    len: usize,
    limit: usize,
    /// How many there are, with those that did not get on the list.
    pub(crate) total: usize,
}

impl Shortlist {
    pub(crate) fn new(limit: usize) -> Self {
        Self { keys: [Key::default(); 16], len: 0, limit: limit.min(16), total: 0 }
    }

    pub(crate) fn insert(&mut self, key: Key) {
        self.total = self.total.saturating_add(1);
        let place = self.get(self.limit).partition_point(|&other| other < key);
        if place >= self.limit {
            return;
        }
        self.len = (self.len + 1).min(self.limit);
        if let Some(tail) = self.keys.get_mut(place..self.len) {
            tail.rotate_right(1);
            if let Some(first) = tail.first_mut() {
                *first = key;
            }
        }
    }

    /// The first `count` of them, or as many as there are.
    pub(crate) fn get(&self, count: usize) -> &[Key] {
        self.keys.get(..count.min(self.len)).unwrap_or(&[])
    }
}

/// Why an interrupt is visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visited {
    /// It is pending, and may be acknowledged.
    Deliverable,
    /// It is active by a write of ISACTIVER.
    MadeActive,
    /// It is active since the guest acknowledged it.
    Acknowledged,
}

/// What a vCPU's list registers are flushed from.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) pending: Shortlist,
    pub(crate) active: Shortlist,
}

impl Vgic {
    /// Calls `visit` with each interrupt of a vCPU that is deliverable or active. What is in list registers is
    /// left out.
    fn visit(&self, vcpu: &Vcpu, mut visit: impl FnMut(Key, Visited)) {
        let private = core::iter::once((&vcpu.private, u32::MAX, Intid::new(0)));
        let shared = bits(vcpu.spis.used.into()).filter_map(|word| {
            let index = word as usize;
            Some((self.spis.get(index)?, *vcpu.spis.words.get(index)?, SpiIndex::at(index, 0).intid()))
        });
        for (bank, members, base) in private.chain(shared) {
            let members = members & !bank.in_lr;
            let active = bank.active() & members;
            for n in bits((bank.deliverable(self.groups) & members | active).into()) {
                let (state, priority) = if active >> n & 1 == 0 {
                    (Visited::Deliverable, bank.priority(n))
                } else if bank.acknowledged() >> n & 1 == 0 {
                    (Visited::MadeActive, bank.priority(n))
                } else {
                    (Visited::Acknowledged, bank.running_priority(n))
                };
                let is_group1 = bank.group1() >> n & 1 != 0;
                let key = Key::new(Intid::new(base.get() + n), priority, is_group1, &vcpu.interface);
                visit(key, state);
            }
        }
    }

    /// The most urgent pending and active interrupts of a vCPU whose list registers are synced.
    pub(crate) fn select(&self, vcpu: &Vcpu) -> Selection {
        let limit = usize::from(self.config.list_registers);
        let mut selection = Selection { pending: Shortlist::new(limit), active: Shortlist::new(limit) };
        self.visit(vcpu, |key, state| match state {
            Visited::Deliverable => selection.pending.insert(key),
            Visited::MadeActive | Visited::Acknowledged => selection.active.insert(key),
        });
        selection
    }

    /// The most urgent pending interrupt whose group the guest has enabled, outside the list registers.
    pub(crate) fn most_urgent_pending(&self, vcpu: &Vcpu) -> Option<Key> {
        let mut best: Option<Key> = None;
        self.visit(vcpu, |key, state| {
            if state == Visited::Deliverable && key.is_enabled() {
                best = Some(best.map_or(key, |best| best.min(key)));
            }
        });
        best
    }

    /// The most urgent interrupt of a vCPU that it acknowledged, that is in no list register, and whose priority
    /// is no more among the active priorities: which the guest has ended.
    pub(crate) fn most_urgent_ended(&self, vcpu: &Vcpu) -> Option<Key> {
        let mut best: Option<Key> = None;
        self.visit(vcpu, |key, state| {
            let preemption_bits = self.config.preemption_bits;
            let is_running = || vcpu.interface.runs(key.priority(), key.is_group1(), preemption_bits);
            if state == Visited::Acknowledged && !is_running() {
                best = Some(best.map_or(key, |best| best.min(key)));
            }
        });
        best
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn a_shortlist_keeps_the_most_urgent_in_order() {
        let mut list = Shortlist::new(3);
        for key in [50, 20, 40, 10, 30] {
            list.insert(Key(key));
        }
        assert_eq!(list.total, 5);
        assert_eq!(list.get(16).iter().map(|key| key.0).collect::<Vec<_>>(), [10, 20, 30]);
        assert_eq!(list.get(1).len(), 1);
    }
}

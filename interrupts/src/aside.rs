// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU leaves the machine and comes back to it.
//!
//! Taking all of its interrupts back and lending them anew is what a switch of vCPUs would spend most on, and nearly
//! always for nothing: who goes to sleep has no interrupt left, and finds its list registers as it left them. So they are
//! only set aside, as they are, and loaded again. All that happens meanwhile happens to the model, and shows: as *stale*
//! or *arrived*. Then the usual way is gone after all, out of what was set aside; it needs no machine, so anybody may go it
//! who has to know what the vCPU holds.
//!
//! What others might have to know, or what the machine would have told at the interrupt's end, is not set aside: SPIs
//! that are not over, interrupts linked to physical ones, and those whose end asks for maintenance.

use crate::direct::Added;
use crate::list_register::{CpuInterface, ListRegister, State};
use crate::selection::Key;
use crate::vcpu_set::{VcpuSet, bits};
use crate::vgic::{Activity, SPI_BASE, Vcpu, Vgic};

/// How a vCPU has passed from the machine to the model.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Its list registers were set aside. No physical interrupt is active for it or to be deactivated, and nobody else is
    /// concerned.
    Aside,
    /// The same, and it has handled all there was.
    Quiet,
    /// It is folded. What is in the set has moved to these vCPUs; [`Vgic::take_released`] and [`Vgic::linked_active`]
    /// are to be asked.
    Folded(VcpuSet),
}

/// Whether a list register may be set aside.
const fn may_go_aside(register: ListRegister) -> bool {
    match register.state() {
        State::Inactive => !register.wants_eoi_maintenance(),
        State::Pending | State::Active | State::ActivePending => {
            register.physical().is_none() && !register.wants_eoi_maintenance() && register.intid() < SPI_BASE
        }
    }
}

impl Vcpu {
    /// Whether nothing is pending for a vCPU that has left.
    pub(crate) fn is_quiet_aside(&self) -> bool {
        self.is_aside && self.arrived == 0 && !self.listed().any(|register| register.state().is_pending())
    }

    /// The list registers that were in use when it left.
    fn listed(&self) -> impl Iterator<Item = ListRegister> {
        let used = self.interface.lr.get(..usize::from(self.interface.used)).unwrap_or_default();
        used.iter().map(|&register| ListRegister(register))
    }

    /// Whether it may go aside, and how it then goes.
    #[inline(always)]
    fn passage(&self) -> Option<Passage> {
        if !self.lists_hold_all() || self.private.has_links_outside() {
            return None;
        }
        let mut passage = Passage::Quiet;
        for register in self.listed() {
            if register.0 == 0 {
                continue;
            }
            if !may_go_aside(register) {
                return None;
            }
            passage = Passage::Aside;
        }
        Some(passage)
    }

    /// The most urgent of the SGIs that have arrived, if its list registers hold all else. It has left.
    pub(crate) fn most_urgent_arrived(&self, groups: u32) -> Option<Key> {
        let arrived = bits((self.arrived & self.private.ready(groups)).into());
        let keys = arrived.filter(|&n| !self.is_active(n)).map(|n| {
            Key::new(n, self.private.priority(n), self.private.group1() >> n & 1 != 0, &self.interface)
        });
        keys.filter(|key| key.is_enabled()).min()
    }

    /// Whether a list register was empty when the vCPU left.
    fn is_inactive_aside(&self, index: usize) -> bool {
        self.interface
            .lr
            .get(index)
            .is_some_and(|&register| ListRegister(register).state() == State::Inactive)
    }

    fn is_active(&self, n: u32) -> bool {
        if self.private.is_resident(n) {
            self.listed().any(|register| register.intid() == n && register.state().is_active())
        } else {
            self.private.active() >> n & 1 != 0
        }
    }
}

impl Vgic {
    /// A vCPU leaves the machine, whose registers `read` fetches; see [`Vgic::fold_from`]. It is told of nothing until it comes
    /// back, unless [`Vgic::set_activity`] says that it waits.
    ///
    /// If the vCPU was not filled, there is nothing to fetch, and `read` is not called.
    pub fn leave(&mut self, vcpu: usize, read: impl FnOnce(&mut CpuInterface)) -> Passage {
        let Some(state) = self.vcpus.get_mut(vcpu) else { return Passage::Folded(VcpuSet::new()) };
        state.activity = Activity::Ready;
        if !state.filled {
            return Passage::Folded(VcpuSet::new());
        }
        let groups = state.interface.groups();
        read(&mut state.interface);
        if state.interface.groups() == groups
            && let Some(passage) = state.passage()
        {
            state.is_aside = true;
            return passage;
        }
        Passage::Folded(self.fold_known(vcpu, groups))
    }

    /// A vCPU comes back to the machine, and is told of all that changes from now on. If its list registers were set aside, and nothing has happened since but that one
    /// SGI has arrived, [`Vgic::interface`] is what to write into the machine, and true is returned. Else it takes
    /// [`Vgic::fold_aside`] and [`Vgic::fill`].
    #[must_use]
    pub fn take_up(&mut self, vcpu: usize) -> bool {
        let Some(state) = self.vcpus.get_mut(vcpu) else { return false };
        state.activity = Activity::Busy;
        if !state.is_aside || state.stale {
            return false;
        }
        // Nobody looks at it while an SGI is added.
        state.is_aside = false;
        if state.arrived == 0 || self.add_arrived(vcpu) {
            return true;
        }
        if let Some(state) = self.vcpus.get_mut(vcpu) {
            state.is_aside = true;
        }
        false
    }

    /// Adds the SGI that has arrived to the list registers that were set aside; false if that takes more.
    fn add_arrived(&mut self, vcpu: usize) -> bool {
        let Some(state) = self.vcpus.get_mut(vcpu) else { return false };
        if let Some(Added { index, value }) = state.take_arrived_again(Vcpu::is_inactive_aside) {
            if let Some(register) = state.interface.lr.get_mut(index) {
                *register = value.0;
            }
            return true;
        }
        // ICH_ELRSR_EL2, as it would be.
        let mut empty = u64::MAX;
        for (index, register) in (0..).zip(state.listed()) {
            empty &= !(u64::from(register.state() != State::Inactive) << index);
        }
        let Some(added) = self.take_arrived(vcpu, empty) else { return false };
        let register = self.vcpus.get_mut(vcpu).and_then(|state| state.interface.lr.get_mut(added.index));
        if let Some(register) = register {
            *register = added.value.0;
        }
        true
    }

    /// Folds a vCPU that has left, if something has changed for it since: before [`Vgic::has_deliverable`]. Returns the
    /// vCPUs to which interrupts have moved.
    pub fn fold_stale(&mut self, vcpu: usize) -> VcpuSet {
        match self.vcpus.get(vcpu) {
            Some(state) if state.stale => self.fold_aside(vcpu),
            _ => VcpuSet::new(),
        }
    }

    /// Folds a vCPU that has left, if it is not folded. Returns the vCPUs to which interrupts have moved.
    pub fn fold_aside(&mut self, vcpu: usize) -> VcpuSet {
        match self.vcpus.get(vcpu) {
            Some(state) if state.is_aside => self.fold_known(vcpu, state.interface.groups()),
            _ => VcpuSet::new(),
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Put and load: a vCPU leaves its physical CPU, and comes back to one.
//!
//! A sync and a flush would be the largest part of a switch of vCPUs, and nearly always for nothing: a vCPU that goes to
//! sleep has handled its interrupts, and finds its list registers as it left them. So put keeps the list registers as they
//! are, and load writes them again. What changes meanwhile changes in the model, and is noted: as an SGI that is pending, or
//! as the need of a flush. Then the sync is made up for, from the list registers that were kept. It needs no machine, so
//! whoever has to know what the vCPU holds can do it.
//!
//! A vCPU is synced at once if its list registers hold what others might have to know, or what the hardware would have told
//! at the interrupt's end: SPIs that are not over, interrupts linked to physical ones, and those whose end asks for
//! maintenance. An SPI that is over is kept; when it changes, the sync is made up for at once, since it may be another vCPU's
//! by then.

use vambrace_ids::VcpuId;

use crate::direct::LrWrite;
use crate::intid::Intid;
use crate::list_register::{ListRegister, State, VirtualCpuInterface};
use crate::selection::Key;
use crate::vcpu_set::{VcpuSet, bits};
use crate::vgic::{Vcpu, VcpuRunState, Vgic};

/// What became of the list registers of a vCPU that was put.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// They are kept. No physical interrupt is active for the vCPU or to be deactivated, and no other vCPU is concerned.
    Kept,
    /// They are kept, and the guest has handled all that they held.
    Idle,
    /// They are synced. Interrupts have moved to the vCPUs of the set; [`Vgic::take_hw_deactivate`] and [`Vgic::is_hw_active`]
    /// are to be asked.
    Synced(VcpuSet),
}

/// Whether a list register may be kept as it is.
const fn may_stay_in_lr(register: ListRegister) -> bool {
    match register.state() {
        State::Inactive => !register.wants_eoi_maintenance(),
        State::Pending | State::Active | State::ActivePending => {
            register.physical().is_none()
                && !register.wants_eoi_maintenance()
                && register.intid().is_private()
        }
    }
}

impl Vcpu {
    /// Whether nothing is pending for a vCPU that is put.
    pub(crate) fn is_idle_put(&self) -> bool {
        self.lr_state.is_put()
            && self.pending_sgi == 0
            && !self.listed().any(|register| register.state().is_pending())
    }

    /// The list registers that were in use when it was put.
    fn listed(&self) -> impl Iterator<Item = ListRegister> {
        let used = self.interface.lr.get(..usize::from(self.interface.used)).unwrap_or_default();
        used.iter().map(|&register| ListRegister(register))
    }

    /// How it is put, if its list registers may be kept.
    #[inline(always)]
    fn put_outcome(&self) -> Option<Put> {
        if !self.lrs_hold_all_but_sgis() || self.private.has_links_outside() {
            return None;
        }
        let mut put_outcome = Put::Idle;
        for register in self.listed() {
            if register.0 == 0 {
                continue;
            }
            if !may_stay_in_lr(register) {
                return None;
            }
            put_outcome = Put::Kept;
        }
        Some(put_outcome)
    }

    /// The most urgent of the SGIs that became pending after the flush, if the list registers hold all else. It is put.
    pub(crate) fn most_urgent_pending_sgi(&self, groups: u32) -> Option<Key> {
        let pending_sgi = bits((self.pending_sgi & self.private.ready(groups)).into());
        let keys = pending_sgi.filter(|&n| !self.is_active(n)).map(|n| {
            Key::new(
                Intid::new(n),
                self.private.priority(n),
                self.private.group1() >> n & 1 != 0,
                &self.interface,
            )
        });
        keys.filter(|key| key.is_enabled()).min()
    }

    /// Whether a list register was empty when the vCPU was put.
    fn is_put_empty(&self, index: usize) -> bool {
        self.interface
            .lr
            .get(index)
            .is_some_and(|&register| ListRegister(register).state() == State::Inactive)
    }

    fn is_active(&self, n: u32) -> bool {
        if self.private.is_in_lr(n) {
            self.listed().any(|register| register.intid().get() == n && register.state().is_active())
        } else {
            self.private.active() >> n & 1 != 0
        }
    }
}

impl Vgic {
    /// A vCPU is put: `read` fetches the hardware's registers; see [`Vgic::sync_from`]. It is not kicked until it is loaded
    /// again, unless [`Vgic::set_run_state`] says that it blocks.
    ///
    /// If the vCPU was not flushed, there is nothing to fetch, and `read` is not called.
    pub fn put(&mut self, vcpu: VcpuId, read: impl FnOnce(&mut VirtualCpuInterface)) -> Put {
        let Some(state) = self.vcpu_mut(vcpu) else { return Put::Synced(VcpuSet::new()) };
        state.run_state = VcpuRunState::Runnable;
        if !state.lr_state.is_flushed() {
            return Put::Synced(VcpuSet::new());
        }
        let groups = state.interface.groups();
        read(&mut state.interface);
        if state.interface.groups() == groups
            && let Some(put_outcome) = state.put_outcome()
        {
            state.lr_state.put();
            return put_outcome;
        }
        Put::Synced(self.sync_interface(vcpu, groups))
    }

    /// A vCPU is loaded, and is kicked for all that changes from now on. If its list registers were kept, and nothing has
    /// happened since but that one SGI became pending, [`Vgic::interface`] is what to write into the hardware, and true is
    /// returned. Else [`Vgic::sync_put`] and [`Vgic::flush`] have to follow.
    #[must_use]
    pub fn load(&mut self, vcpu: VcpuId) -> bool {
        let Some(state) = self.vcpu_mut(vcpu) else { return false };
        state.run_state = VcpuRunState::Loaded;
        if !state.lr_state.load() {
            return false;
        }
        // Nobody looks at it while an SGI is added.
        if state.pending_sgi == 0 || self.queue_pending_sgi_of_put(vcpu) {
            return true;
        }
        if let Some(state) = self.vcpu_mut(vcpu) {
            state.lr_state.put();
        }
        false
    }

    /// Queues the SGI that is pending in the list registers that were kept; false if that takes a sync.
    fn queue_pending_sgi_of_put(&mut self, vcpu: VcpuId) -> bool {
        let Some(state) = self.vcpu_mut(vcpu) else { return false };
        if let Some(LrWrite { index, value }) = state.requeue_pending_sgi(Vcpu::is_put_empty) {
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
        let Some(write) = self.queue_pending_sgi(vcpu, empty) else { return false };
        let register = self.vcpu_mut(vcpu).and_then(|state| state.interface.lr.get_mut(write.index));
        if let Some(register) = register {
            *register = write.value.0;
        }
        true
    }

    /// Syncs a vCPU that is put, if something has changed for it since: before [`Vgic::has_deliverable`]. Returns the
    /// vCPUs to which interrupts have moved.
    pub fn sync_put_if_changed(&mut self, vcpu: VcpuId) -> VcpuSet {
        match self.vcpu(vcpu) {
            Some(state) if !state.lr_state.is_current() => self.sync_put(vcpu),
            _ => VcpuSet::new(),
        }
    }

    /// Syncs a vCPU that is put, if its list registers were kept. Returns the vCPUs to which interrupts have moved.
    pub fn sync_put(&mut self, vcpu: VcpuId) -> VcpuSet {
        match self.vcpu(vcpu) {
            Some(state) if state.lr_state.is_put() => self.sync_interface(vcpu, state.interface.groups()),
            _ => VcpuSet::new(),
        }
    }

    /// Syncs a vCPU that is put, on behalf of whoever has to know what it holds. `kicks` gets the vCPUs that have to look, this
    /// one among them: it does not look by itself.
    pub(crate) fn sync_put_from_outside(&mut self, vcpu: VcpuId, kicks: &mut VcpuSet) {
        if self.vcpu(vcpu).is_some_and(|state| state.lr_state.is_put()) {
            self.take_back_lrs(vcpu, kicks);
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Delivery: between the model and the hardware's list registers.
//!
//! If all of a vCPU's interrupts fit into the list registers, the hardware does the rest, and the only exits are
//! for level-sensitive interrupts whose line is still high when the guest is done (EOI maintenance: the model
//! then makes them pending again). If not all fit, maintenance interrupts bring the vCPU back:
//!
//! - Pending ones are left over: when no list register is pending any more (NPIE). Those in the list registers
//!   are the more urgent, so the order is that of a GIC with room for all. And when the guest enables or disables
//!   a group (VGrp*IE), since then others may come first.
//! - Active ones are left over: when the guest ends one (LRENPIE). With EOImode 0, interrupts end in the order of
//!   their priorities, so EOIcount and the active priorities say which. With EOImode 1, ICC_DIR_EL1 traps
//!   (TDIR) and says it by INTID. It traps in every VM of several vCPUs, where an SPI may be deactivated by another
//!   vCPU than the one in whose list register it is. Guests in EOImode 0 do not write it.
//! - A linked one waits whose line may fall meanwhile: when the guest reads what is pending; see [`crate::resample`].

use vambrace_ids::VcpuId;

use crate::intid::Intid;
use crate::list_register::{
    HCR_EN, HCR_LRENPIE, HCR_NPIE, HCR_TALL0, HCR_TALL1, HCR_TDIR, HCR_VGRP0DIE, HCR_VGRP0EIE, HCR_VGRP1DIE,
    HCR_VGRP1EIE, ListRegister, State, VirtualCpuInterface,
};
use crate::selection::Selection;
use crate::vcpu_set::VcpuSet;
use crate::vgic::Vgic;

impl Vgic {
    /// Whether the list registers of a vCPU are to be synced and flushed before it is entered.
    #[must_use]
    pub fn needs_flush(&self, vcpu: VcpuId) -> bool {
        self.vcpu(vcpu).is_some_and(|vcpu| !vcpu.lr_state.is_current() || vcpu.pending_sgi != 0)
    }

    /// The vCPU's interface as it was last flushed or synced: what to save, or to load on another CPU.
    #[must_use]
    pub fn interface(&self, vcpu: VcpuId) -> Option<&VirtualCpuInterface> {
        self.vcpu(vcpu).map(|vcpu| &vcpu.interface)
    }

    /// Takes the state of a vCPU's interrupts back into the model. `machine` is what the hardware's registers say:
    /// the list registers that were in use, ICH_HCR_EL2, ICH_VMCR_EL2 and the active priorities.
    ///
    /// Does nothing if the vCPU was not flushed since the last time. Returns the vCPUs to which interrupts have moved.
    pub fn sync(&mut self, vcpu: VcpuId, machine: &VirtualCpuInterface) -> VcpuSet {
        self.sync_from(vcpu, |known| *known = VirtualCpuInterface { used: known.used, ..machine.clone() })
    }

    /// The same, `read` fetching all that from the hardware; of the list registers as many as are in use. One that is
    /// empty, as ICH_ELRSR_EL2 tells it, may be given as zero.
    pub fn sync_from(&mut self, vcpu: VcpuId, read: impl FnOnce(&mut VirtualCpuInterface)) -> VcpuSet {
        let Some(state) = self.vcpu_mut(vcpu).filter(|state| state.lr_state.is_flushed()) else {
            return VcpuSet::new();
        };
        let groups = state.interface.groups();
        read(&mut state.interface);
        self.sync_interface(vcpu, groups)
    }

    /// Takes the interrupts of a vCPU back into the model, whose `interface` is what the hardware's registers say, and
    /// had `groups` enabled when it was flushed. It will look itself: of the vCPUs that are to, it is none.
    pub(crate) fn sync_interface(&mut self, vcpu: VcpuId, groups: u32) -> VcpuSet {
        let mut kicks = VcpuSet::new();
        self.take_back_lrs(vcpu, &mut kicks);
        if self.vcpu(vcpu).is_some_and(|state| state.interface.groups() != groups) {
            kicks.extend(&self.reroute_one_of_n());
        }
        kicks.remove(vcpu);
        kicks
    }

    /// Takes what is in a vCPU's list registers back into the model. `kicks` gets the vCPUs that have to look, this one among
    /// them if something goes to it.
    pub(crate) fn take_back_lrs(&mut self, vcpu: VcpuId, kicks: &mut VcpuSet) {
        let Some(state) = self.vcpu_mut(vcpu) else { return };
        state.lr_state.sync();
        state.pending_sgi = 0;
        let used = core::mem::take(&mut state.interface.used);
        let ended = if state.interface.is_eoi_split() { 0 } else { state.interface.eoi_count() };

        for _ in 0..ended {
            self.end_unqueued(vcpu, kicks);
        }
        for index in 0..usize::from(used) {
            let Some(state) = self.vcpu_mut(vcpu) else { break };
            if let (Some(&queued), Some(now)) = (state.queued.get(index), state.interface.lr.get_mut(index)) {
                let now = ListRegister(core::mem::take(now)).state();
                self.sync_lr(vcpu, ListRegister(queued), now, kicks);
            }
        }
    }

    /// Takes one interrupt back from a list register.
    fn sync_lr(&mut self, vcpu: VcpuId, queued: ListRegister, now: State, kicks: &mut VcpuSet) {
        let intid = queued.intid();
        if let Some((bank, n)) = self.bank_mut(vcpu, intid) {
            bank.sync(n, queued, now);
        }
        if let Some(spi) = intid.spi_index() {
            self.refresh_owner(spi, kicks);
        }
    }

    /// The guest ended an interrupt that is in no list register.
    fn end_unqueued(&mut self, vcpu: VcpuId, kicks: &mut VcpuSet) {
        let state = self.vcpu(vcpu);
        if let Some(key) = state.and_then(|state| self.most_urgent_ended(state)) {
            self.deactivate(vcpu, key.intid(), kicks);
        }
    }

    pub(crate) fn deactivate(&mut self, vcpu: VcpuId, intid: Intid, kicks: &mut VcpuSet) {
        let changed = self.bank_mut(vcpu, intid).map_or(0, |(bank, n)| bank.deactivate(n));
        match intid.spi_index() {
            // It is pending no more than before, so it may stay with a vCPU that was put.
            Some(spi) if changed != 0 => self.refresh_owner(spi, kicks),
            Some(_) => {}
            None => self.note_private(vcpu, changed, kicks),
        }
    }

    /// The guest wrote ICC_DIR_EL1, and that trapped. The vCPU is synced. Deactivates the interrupt, if the vCPU
    /// is in EOImode 1; in EOImode 0 the write is ignored (it is UNPREDICTABLE). An SPI in another vCPU's list
    /// register is deactivated when that vCPU syncs.
    pub fn write_dir(&mut self, vcpu: VcpuId, value: u64) -> VcpuSet {
        let mut kicks = VcpuSet::new();
        if self.vcpu(vcpu).is_some_and(|vcpu| vcpu.interface.is_eoi_split()) {
            self.deactivate(vcpu, Intid::new((value & 0xFF_FFFF) as u32), &mut kicks);
        }
        kicks
    }

    /// Chooses what goes to a vCPU's list registers and queues it there. Returns what to write into the hardware: all list
    /// registers (those not in use are zero) and ICH_HCR_EL2; when the vCPU comes to a CPU, also the rest.
    ///
    /// Changes nothing if the vCPU was not synced since it was flushed.
    pub fn flush(&mut self, vcpu: VcpuId) -> Option<&VirtualCpuInterface> {
        if !self.vcpu(vcpu)?.lr_state.is_flushed() {
            self.queue_selected(vcpu);
        }
        self.interface(vcpu)
    }

    fn queue_selected(&mut self, vcpu: VcpuId) {
        let Some(state) = self.vcpu(vcpu) else { return };
        let Selection { pending, active } = self.select(state);
        let limit = usize::from(self.config.list_registers);
        let active_chosen = active.get(limit.saturating_sub(usize::from(pending.total > 0)));
        let pending_chosen = pending.get(limit.saturating_sub(active_chosen.len()));

        let is_pending_left = pending.total > pending_chosen.len();

        let mut trapped = self.mark_pending_for_resample(vcpu, pending_chosen.first().copied());
        let mut lr = [0; 16];
        let mut used = 0;
        for ((index, register), key) in (0..).zip(&mut lr).zip(pending_chosen.iter().chain(active_chosen)) {
            // An active one that is pending again stays here if it may go on here, before all that is left over.
            let stays = !is_pending_left && self.is_routed_to(vcpu, key.intid());
            let groups = if stays { self.groups } else { 0 };
            if let Some((bank, n)) = self.bank_mut(vcpu, key.intid()) {
                *register = bank.queue(n, key.intid(), groups).0;
            }
            if let Some(state) = self.vcpu_mut(vcpu)
                && let Some(place) = state.last_lr.get_mut(key.intid().get() as usize)
            {
                *place = index;
            }
            used += 1;
        }

        let is_active_left = active.total > active_chosen.len();
        let is_dir_trapped = is_active_left || self.vcpus.len() > 1;
        let Some(state) = self.vcpu_mut(vcpu) else { return };
        let mut hcr = HCR_EN;
        if is_pending_left {
            hcr |= HCR_NPIE | group_changes(state.interface.groups());
        }
        if is_active_left {
            hcr |= HCR_LRENPIE;
        }
        if is_dir_trapped {
            hcr |= HCR_TDIR;
        }
        trapped |= state.resampled;
        hcr |= traps_for(trapped);
        state.interface.lr = lr;
        state.interface.used = used;
        state.interface.hcr = hcr;
        state.queued = lr;
        state.used_lrs = (1 << used) - 1;
        state.lr_state.flush();
        state.pending_sgi = 0;
    }

    /// Whether an interrupt would be signalled to a vCPU now, given its priority mask, group enables and running
    /// priority: whether a vCPU that waits and is not on a CPU has to go on. The vCPU is synced, or flushed but
    /// not entered since, or is put; then [`Vgic::sync_put_if_changed`] comes before.
    #[must_use]
    pub fn has_deliverable(&self, vcpu: VcpuId) -> bool {
        let Some(vcpu) = self.vcpu(vcpu) else { return false };
        if vcpu.is_idle_put() {
            return false;
        }
        let listed = vcpu.interface.lr.iter().take(vcpu.interface.used.into()).map(|&lr| ListRegister(lr));
        let listed = listed
            .filter(|lr| lr.state() == State::Pending)
            .filter(|lr| vcpu.interface.groups() >> u32::from(lr.is_group1()) & 1 != 0)
            .map(|lr| (lr.priority(), lr.is_group1()))
            .min_by_key(|&(priority, _)| priority);
        let unlisted = if vcpu.lrs_hold_all_but_sgis() {
            vcpu.most_urgent_pending_sgi(self.groups)
        } else {
            self.most_urgent_pending(vcpu)
        };
        let unlisted = unlisted.map(|key| (key.priority(), key.is_group1()));
        let most_urgent = listed.into_iter().chain(unlisted).min_by_key(|&(priority, _)| priority);
        most_urgent.is_some_and(|(priority, group1)| {
            vcpu.interface.signals(priority, group1, self.config.preemption_bits)
        })
    }
}

/// The traps of the registers of groups, a bit each.
pub(crate) const fn traps_for(groups: u32) -> u64 {
    let group0 = if groups & 1 != 0 { HCR_TALL0 } else { 0 };
    let group1 = if groups & 2 != 0 { HCR_TALL1 } else { 0 };
    group0 | group1
}

/// The maintenance interrupts that tell when the guest enables or disables a group.
const fn group_changes(groups: u32) -> u64 {
    let group0 = if groups & 1 == 0 { HCR_VGRP0EIE } else { HCR_VGRP0DIE };
    let group1 = if groups & 2 == 0 { HCR_VGRP1EIE } else { HCR_VGRP1DIE };
    group0 | group1
}

#[cfg(test)]
mod tests;

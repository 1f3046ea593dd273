// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which vCPU an interrupt belongs to.
//!
//! Private interrupts belong to their vCPU. An SPI has an *owner* while there is something to do about it: the
//! vCPU in whose list register it is, else the one that acknowledged it, else the one it is routed to if it is
//! pending and enabled. Each vCPU keeps a bitmap of the SPIs it owns, so that filling its list registers looks at
//! these only, however many interrupts and vCPUs there are.

use serde::{Deserialize, Serialize};
use vambrace_ids::VcpuId;

use crate::intid::{Intid, SpiIndex};
use crate::vcpu_set::{VcpuSet, bits};
use crate::vgic::{Vcpu, VcpuRunState, Vgic};

/// Banks of SPIs there can be.
const SPI_BANKS: usize = 31;

/// The SPIs a vCPU owns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpiSet {
    /// Bit `n`: word `n` is not zero.
    pub(crate) used: u32,
    pub(crate) words: [u32; SPI_BANKS],
}

impl SpiSet {
    pub(crate) fn insert(&mut self, spi: SpiIndex) {
        if let Some(word) = self.words.get_mut(spi.bank()) {
            *word |= spi.bit();
            self.used |= 1 << spi.bank();
        }
    }

    pub(crate) fn remove(&mut self, spi: SpiIndex) {
        if let Some(word) = self.words.get_mut(spi.bank()) {
            *word &= !(spi.bit());
            if *word == 0 {
                self.used &= !(1 << spi.bank());
            }
        }
    }
}

/// Where an SPI goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Route {
    /// GICD_IROUTER.
    pub(crate) register: u64,
    /// The vCPU of that affinity.
    pub(crate) target: Option<VcpuId>,
    /// The vCPU that has to do with it now.
    pub(crate) owner: Option<VcpuId>,
}

impl Vgic {
    /// Has a vCPU look again.
    pub(crate) fn kick(&mut self, vcpu: VcpuId, kicks: &mut VcpuSet) {
        if let Some(target) = self.vcpu_mut(vcpu) {
            target.lr_state.note_change();
            if target.should_kick() {
                kicks.insert(vcpu);
            }
        }
    }

    /// Has a vCPU that is loaded bring what its list registers hold.
    pub(crate) fn note_lr_owner(&self, vcpu: VcpuId, kicks: &mut VcpuSet) {
        if self.vcpu(vcpu).is_some_and(|vcpu| vcpu.run_state == VcpuRunState::Loaded) {
            kicks.insert(vcpu);
        }
    }

    /// After a change of private interrupts: kicks the vCPU if it matters.
    pub(crate) fn note_private(&mut self, vcpu: VcpuId, changed: u32, kicks: &mut VcpuSet) {
        if changed == 0 {
            return;
        }
        let groups = self.groups;
        if self.vcpu_mut(vcpu).is_some_and(|vcpu| vcpu.note_private(changed, groups)) {
            kicks.insert(vcpu);
        }
    }

    /// After a change of SPIs of a bank: finds their owners anew and kicks them.
    pub(crate) fn note_spis(&mut self, bank: usize, changed: u32, kicks: &mut VcpuSet) {
        for n in bits(changed.into()) {
            self.refresh(SpiIndex::at(bank, n), kicks);
        }
    }

    /// After a change of an SPI: finds its owner anew, and kicks it.
    ///
    /// A vCPU that was put keeps an SPI in its list registers only if that is over. They are taken back first, since it may not
    /// be loaded again for long, and the SPI may be another's by now.
    pub(crate) fn refresh(&mut self, spi: SpiIndex, kicks: &mut VcpuSet) {
        if let Some(owner) = self.put_lr_owner(spi) {
            self.take_back_lrs(owner, kicks);
        }
        self.refresh_owner(spi, kicks);
    }

    /// The vCPU in whose list registers an SPI is, if that vCPU was put.
    #[inline]
    fn put_lr_owner(&self, spi: SpiIndex) -> Option<VcpuId> {
        let is_in_lr = self.spis.get(spi.bank())?.in_lr & spi.bit() != 0;
        let owner = self.routes.get(spi.index())?.owner.filter(|_| is_in_lr)?;
        self.vcpu(owner)?.lr_state.is_put().then_some(owner)
    }

    /// Finds the owner of an SPI anew, and kicks it. The SPI is in no list register of a vCPU that was put, or is over.
    pub(crate) fn refresh_owner(&mut self, spi: SpiIndex, kicks: &mut VcpuSet) {
        let (Some(bank), Some(route)) = (self.spis.get(spi.bank()), self.routes.get(spi.index())) else {
            return;
        };
        let bit = spi.bit();
        let old = route.owner;
        let needs_hw_deactivate = bank.needs_hw_deactivate() & bit != 0;
        let owner = if bank.in_lr & bit != 0 {
            old
        } else if bank.active() & bit != 0 {
            // One made active by a write belongs to the vCPU that will most likely end it.
            old.or(route.target).or(Some(VcpuId::new(0)))
        } else if bank.deliverable(self.groups) & bit == 0 {
            None
        } else if bank.one_of_n & bit != 0 {
            let group = bank.group1() >> spi.n() & 1;
            self.choose_target(old, group)
        } else {
            route.target
        };
        // Any vCPU can deactivate the physical interrupt of an SPI.
        let to_tell = if needs_hw_deactivate { owner.or(old).or(Some(VcpuId::new(0))) } else { owner };
        if owner != old {
            self.move_spi(spi, old, owner);
        }
        if let Some(vcpu) = to_tell {
            self.kick(vcpu, kicks);
        }
    }

    fn move_spi(&mut self, spi: SpiIndex, old: Option<VcpuId>, new: Option<VcpuId>) {
        if let Some(vcpu) = old.and_then(|old| self.vcpu_mut(old)) {
            vcpu.spis.remove(spi);
        }
        if let Some(vcpu) = new.and_then(|new| self.vcpu_mut(new)) {
            vcpu.spis.insert(spi);
        }
        if let Some(route) = self.routes.get_mut(spi.index()) {
            route.owner = new;
        }
    }

    /// Whether an interrupt, if it is pending, may go to this vCPU.
    pub(crate) fn is_routed_to(&self, vcpu: VcpuId, intid: Intid) -> bool {
        let Some(spi) = intid.spi_index() else { return true };
        let (Some(bank), Some(route)) = (self.spis.get(spi.bank()), self.routes.get(spi.index())) else {
            return false;
        };
        if bank.one_of_n >> spi.n() & 1 == 0 {
            return route.target == Some(vcpu);
        }
        self.vcpu(vcpu).is_some_and(|vcpu| vcpu.takes_part(bank.group1() >> spi.n() & 1))
    }

    /// Chooses the vCPU for an interrupt of `group` that any may take: one that takes part; rather one whose CPU
    /// interface has the group enabled, rather the one that has it already, rather one that waits, else each in
    /// turn (IHI 0069, "1 of N").
    fn choose_target(&mut self, current: Option<VcpuId>, group: u32) -> Option<VcpuId> {
        let count = self.vcpus.len();
        let rank = |index: usize, vcpu: &Vcpu| {
            if !vcpu.takes_part(group) {
                return 0;
            }
            let is_enabled = vcpu.interface.groups() >> group & 1;
            let is_current = u32::from(current.is_some_and(|current| current.index() == index));
            let is_waiting = u32::from(vcpu.run_state == VcpuRunState::Blocked);
            1 + (is_enabled << 2 | is_current << 1 | is_waiting)
        };
        let (mut best, mut target) = (0, None);
        for index in (self.next_target..count).chain(0..self.next_target.min(count)) {
            let rank = self.vcpus.get(index).map_or(0, |vcpu| rank(index, vcpu));
            if rank > best {
                (best, target) = (rank, Some(index));
            }
        }
        let target = target.and_then(VcpuId::from_index);
        if target != current {
            self.next_target = target.map_or(0, |target| (target.index() + 1) % count);
        }
        target
    }

    /// After a change of who takes part in 1-of-N routing: finds targets anew for what is pending.
    pub(crate) fn reroute_one_of_n(&mut self) -> VcpuSet {
        let mut kicks = VcpuSet::new();
        for index in 0..self.spis.len() {
            let pending =
                self.spis.get(index).map_or(0, |bank| bank.one_of_n & bank.deliverable(self.groups));
            self.note_spis(index, pending, &mut kicks);
        }
        kicks
    }

    /// Something that each vCPU looks at when it is loaded, and when it blocks, has changed elsewhere in the VM. Says whom to kick
    /// for that.
    pub fn kick_all(&mut self) -> VcpuSet {
        let mut kicks = VcpuSet::new();
        for vcpu in self.vcpu_ids() {
            self.kick(vcpu, &mut kicks);
        }
        kicks
    }

    /// After a change of GICD_CTLR: finds all owners anew and kicks everyone.
    pub(crate) fn refresh_all(&mut self) -> VcpuSet {
        let mut kicks = VcpuSet::new();
        for spi in 0..self.routes.len() {
            self.refresh(SpiIndex::new(spi), &mut kicks);
        }
        kicks.extend(&self.kick_all());
        kicks
    }
}

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! One private interrupt, queued straight in a list register.
//!
//! A sync and a flush take all of a vCPU's interrupts back, choose anew and write all list registers. Where nothing is left
//! over that could come before, that is more than it takes: the interrupt can be queued alone, in a list register that is
//! empty. An SGI of a vCPU to itself and the timer's interrupt are nearly always queued like this.
//!
//! And nearly always it is the same interrupt as the last time, in the same list register, which the guest has emptied:
//! then even the value is the same, and the model already says what it will say ([`Vgic::requeue`]).
//!
//! Nothing is done by halves: [`None`] says that it takes a sync and a flush, and that nothing has changed.

use vambrace_ids::VcpuId;

use crate::intid::Intid;
use crate::list_register::{HCR_EN, HCR_TDIR, ListRegister, State};
use crate::resample::Trigger;
use crate::vgic::{Vcpu, Vgic};

/// A private interrupt that has become pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivateIrq {
    /// An SGI that the vCPU has sent to itself by ICC_SGI1R_EL1.
    Sgi {
        /// Its INTID.
        intid: Intid,
    },
    /// An interrupt that stands for a level-sensitive physical one, as [`Vgic::inject_hw`] makes it pending. The guest
    /// takes it at once.
    Hw {
        /// Its INTID.
        intid: Intid,
        /// The physical one.
        physical: Intid,
    },
}

impl PrivateIrq {
    #[inline(always)]
    const fn intid(self) -> Intid {
        match self {
            Self::Sgi { intid } | Self::Hw { intid, .. } => intid,
        }
    }

    /// The list register that holds it, but for priority and group.
    #[inline(always)]
    fn register(self) -> ListRegister {
        let register = ListRegister::new(self.intid(), 0, State::Pending);
        match self {
            Self::Sgi { .. } => register,
            Self::Hw { physical, .. } => register.with_physical(physical),
        }
    }
}

/// A list register to be written.
#[must_use = "the hardware's list register is to be written"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LrWrite {
    /// Which one.
    pub index: usize,
    /// Its value.
    pub value: ListRegister,
}

impl Vcpu {
    /// Whether all list registers in use are among these, which are empty.
    #[inline(always)]
    const fn is_idle(&self, empty: u64) -> bool {
        self.used_lrs & !empty == 0
    }

    /// Whether the list registers hold all there is, as the model knows it.
    #[inline(always)]
    const fn lrs_hold_all(&self) -> bool {
        self.lrs_hold_all_but_sgis() && self.pending_sgi == 0
    }

    /// The same, but for SGIs that became pending after the flush.
    #[inline(always)]
    pub(crate) const fn lrs_hold_all_but_sgis(&self) -> bool {
        // With any other bit set, interrupts are left over.
        self.lr_state.is_current() && self.interface.hcr & !(HCR_EN | HCR_TDIR) == 0
    }

    /// The list register that holds an interrupt as it was queued before, if the list registers hold all but SGIs that
    /// became pending since, and `is_empty` says that the guest has handled it.
    #[inline(always)]
    fn queued_before(&self, irq: PrivateIrq, is_empty: impl FnOnce(usize) -> bool) -> Option<LrWrite> {
        let index = usize::from(*self.last_lr.get(irq.intid().get() as usize)?);
        let value = ListRegister(*self.queued.get(index)?);
        let may_be_in_lr = self.lrs_hold_all_but_sgis() && self.private.is_in_lr(irq.intid().get());
        (may_be_in_lr && value.is_alike(irq.register()) && is_empty(index))
            .then_some(LrWrite { index, value })
    }

    /// Queues the one SGI that became pending after the flush, if it goes as before.
    #[inline(always)]
    pub(crate) fn requeue_pending_sgi(
        &mut self,
        is_empty: impl FnOnce(&Self, usize) -> bool,
    ) -> Option<LrWrite> {
        if !self.pending_sgi.is_power_of_two() {
            return None;
        }
        let n = self.pending_sgi.trailing_zeros();
        let write =
            self.queued_before(PrivateIrq::Sgi { intid: Intid::new(n) }, |index| is_empty(self, index))?;
        self.pending_sgi = 0;
        self.private.take_latch(n);
        Some(write)
    }
}

impl Vgic {
    /// Queues an interrupt as it was queued before, if nothing has changed but that the guest has handled it. The vCPU runs
    /// here; bit `n` of `empty` says that its list register `n` is (ICH_ELRSR_EL2).
    ///
    /// The model stays as it is. It says that the interrupt is in that list register, its latch with it, and does not know
    /// what became of it there; all of which is true again.
    #[inline(always)]
    #[must_use]
    pub fn requeue(&self, vcpu: VcpuId, irq: PrivateIrq, empty: u64) -> Option<LrWrite> {
        let state = self.vcpu(vcpu)?;
        match irq {
            PrivateIrq::Sgi { .. } if state.pending_sgi != 0 => None,
            PrivateIrq::Sgi { .. } => state.queued_before(irq, |index| empty >> index & 1 != 0),
            // Beside another one it may have to wait: see `crate::resample`.
            PrivateIrq::Hw { .. } => state.queued_before(irq, |_| state.is_idle(empty)),
        }
    }

    /// The same for an interrupt that may have to wait, beside others.
    #[must_use]
    pub fn requeue_beside(&self, vcpu: VcpuId, irq: PrivateIrq, empty: u64) -> Option<LrWrite> {
        let state = self.vcpu(vcpu)?;
        state.queued_before(irq, |index| empty >> index & 1 != 0)
    }

    /// Whether the guest has handled all that was in its list registers.
    #[must_use]
    pub fn is_idle(&self, vcpu: VcpuId, empty: u64) -> bool {
        self.vcpu(vcpu).is_some_and(|state| state.is_idle(empty))
    }

    /// Queues the one SGI that became pending after the flush, if nothing else has changed. The vCPU runs here;
    /// for `empty` see [`Vgic::requeue`].
    #[inline]
    pub fn queue_pending_sgi(&mut self, vcpu: VcpuId, empty: u64) -> Option<LrWrite> {
        let state = self.vcpu_mut(vcpu)?;
        state
            .requeue_pending_sgi(|_, index| empty >> index & 1 != 0)
            .or_else(|| self.queue_pending_sgi_anew(vcpu, empty))
    }

    /// The same for an SGI that was not the last in its list register.
    #[cold]
    fn queue_pending_sgi_anew(&mut self, vcpu: VcpuId, empty: u64) -> Option<LrWrite> {
        let state = self.vcpu_mut(vcpu)?;
        let pending_sgi = state.pending_sgi;
        if !state.lrs_hold_all_but_sgis() || !pending_sgi.is_power_of_two() {
            return None;
        }
        let n = pending_sgi.trailing_zeros();
        // As if it became pending now.
        state.pending_sgi = 0;
        state.private.take_latch(n);
        let write = self.queue(vcpu, PrivateIrq::Sgi { intid: Intid::new(n) }, empty);
        if write.is_none()
            && let Some(state) = self.vcpu_mut(vcpu)
        {
            let _ = state.private.set_latch(n);
            state.pending_sgi = pending_sgi;
        }
        write
    }

    /// Queues an interrupt in a list register that is empty; see [`Vgic::requeue`], which has been asked before.
    pub fn queue(&mut self, vcpu: VcpuId, irq: PrivateIrq, empty: u64) -> Option<LrWrite> {
        let intid = irq.intid();
        let n = intid.get();
        let state = self.vcpus.get_mut(vcpu.index())?;
        if !state.lrs_hold_all() || !intid.is_private() {
            return None;
        }
        let used = usize::from(state.interface.used);
        let index = if state.private.is_in_lr(n) {
            let place = usize::from(*state.last_lr.get(n as usize)?);
            let is_there = state.queued.get(place).is_some_and(|lr| ListRegister(*lr).intid() == intid);
            Some(place).filter(|place| *place < used && is_there)?
        } else {
            empty.trailing_zeros() as usize
        };
        if index >= usize::from(self.config.list_registers) || empty >> index & 1 == 0 {
            return None;
        }
        let slot = state.queued.get_mut(index)?;
        let before = (index < used).then_some(ListRegister(*slot));
        if before.is_some_and(|before| !before.intid().is_private())
            || !state.private.can_be_queued(n, self.groups)
        {
            return None;
        }
        if let Some(before) = before {
            state.private.sync(before.intid().get(), before, State::Inactive);
        }
        match irq {
            PrivateIrq::Hw { physical, .. } => state.private.link(n, physical, Trigger::Level),
            PrivateIrq::Sgi { .. } => {
                let _ = state.private.set_latch(n);
            }
        }
        let value = state.private.queue(n, intid, self.groups);
        *slot = value.0;
        state.interface.used = state.interface.used.max(index as u8 + 1);
        state.used_lrs |= 1 << index;
        *state.last_lr.get_mut(n as usize)? = index as u8;
        Some(LrWrite { index, value })
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! One private interrupt, straight into a list register.
//!
//! The usual way takes all of a vCPU's interrupts back, chooses anew and fills all list registers. Where nothing is left
//! over that could come before, that is more than it needs: the interrupt can simply be added where the machine has
//! an empty list register. This is what an SGI of a vCPU to itself and the timer's interrupt are nearly always.
//!
//! And nearly always it is the same interrupt as the last time, in the same list register, which the guest has emptied:
//! then even the value is the same, and the model already says what it will say ([`Vgic::lend_again`]).
//!
//! Nothing is done by halves: [`None`] says that the usual way has to be gone, and that nothing has changed.

use crate::list_register::{HCR_EN, HCR_TDIR, ListRegister, State};
use crate::resample::Trigger;
use crate::vgic::{SPI_BASE, Vcpu, Vgic};

/// A private interrupt that has become pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// An SGI that the vCPU has sent to itself by ICC_SGI1R_EL1.
    Sgi {
        /// Its INTID.
        intid: u32,
    },
    /// An interrupt that stands for a level-sensitive physical one, as [`Vgic::inject_linked`] makes it pending. The guest
    /// takes it at once.
    Linked {
        /// Its INTID.
        intid: u32,
        /// The physical one.
        physical: u16,
    },
}

impl Arrival {
    #[inline(always)]
    const fn intid(self) -> u32 {
        match self {
            Self::Sgi { intid } | Self::Linked { intid, .. } => intid,
        }
    }

    /// The list register that holds it, but for priority and group.
    #[inline(always)]
    fn register(self) -> ListRegister {
        let register = ListRegister::new(self.intid(), 0, State::Pending);
        match self {
            Self::Sgi { .. } => register,
            Self::Linked { physical, .. } => register.with_physical(physical),
        }
    }
}

/// A list register to be written.
#[must_use = "the machine's list register is to be written"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// Which one.
    pub index: usize,
    /// Its value.
    pub value: ListRegister,
}

impl Vcpu {
    /// Whether all list registers in use are among these, which are empty.
    #[inline(always)]
    const fn is_idle(&self, empty: u64) -> bool {
        self.lists & !empty == 0
    }

    /// Whether the list registers hold all there is, as the model knows it.
    #[inline(always)]
    const fn holds_all(&self) -> bool {
        self.lists_hold_all() && self.arrived == 0
    }

    /// The same, but for what has arrived since.
    #[inline(always)]
    pub(crate) const fn lists_hold_all(&self) -> bool {
        // With any other bit set, interrupts are left over.
        self.filled && !self.stale && self.interface.hcr & !(HCR_EN | HCR_TDIR) == 0
    }

    /// The list register that holds an interrupt as it was lent before, if the list registers hold all but what has arrived,
    /// and `is_empty` says that the guest has handled it.
    #[inline(always)]
    fn lent_before(&self, arrival: Arrival, is_empty: impl FnOnce(usize) -> bool) -> Option<Added> {
        let index = usize::from(*self.places.get(arrival.intid() as usize)?);
        let value = ListRegister(*self.lent.get(index)?);
        let is_lent = self.lists_hold_all() && self.private.is_resident(arrival.intid());
        (is_lent && value.is_alike(arrival.register()) && is_empty(index)).then_some(Added { index, value })
    }

    /// Takes the one SGI that has arrived, if it can be lent as before.
    #[inline(always)]
    pub(crate) fn take_arrived_again(
        &mut self,
        is_empty: impl FnOnce(&Self, usize) -> bool,
    ) -> Option<Added> {
        if !self.arrived.is_power_of_two() {
            return None;
        }
        let intid = self.arrived.trailing_zeros();
        let added = self.lent_before(Arrival::Sgi { intid }, |index| is_empty(self, index))?;
        self.arrived = 0;
        self.private.take_latch(intid);
        Some(added)
    }
}

impl Vgic {
    /// Lends an interrupt as it was lent before, if nothing has changed but that the guest has handled it. The vCPU runs
    /// here; bit `n` of `empty` says that its list register `n` is (ICH_ELRSR_EL2).
    ///
    /// The model stays as it is. It says that the interrupt is in that list register, its latch with it, and does not know
    /// what became of it there; all of which is true again.
    #[inline(always)]
    #[must_use]
    pub fn lend_again(&self, vcpu: usize, arrival: Arrival, empty: u64) -> Option<Added> {
        let state = self.vcpus.get(vcpu)?;
        match arrival {
            Arrival::Sgi { .. } if state.arrived != 0 => None,
            Arrival::Sgi { .. } => state.lent_before(arrival, |index| empty >> index & 1 != 0),
            // Beside another one it may have to wait: see `crate::resample`.
            Arrival::Linked { .. } => state.lent_before(arrival, |_| state.is_idle(empty)),
        }
    }

    /// The same for an interrupt that may have to wait, beside others.
    #[must_use]
    pub fn lend_beside(&self, vcpu: usize, arrival: Arrival, empty: u64) -> Option<Added> {
        let state = self.vcpus.get(vcpu)?;
        state.lent_before(arrival, |index| empty >> index & 1 != 0)
    }

    /// Whether the guest has handled all that was in its list registers.
    #[must_use]
    pub fn is_idle(&self, vcpu: usize, empty: u64) -> bool {
        self.vcpus.get(vcpu).is_some_and(|state| state.is_idle(empty))
    }

    /// Lends the one SGI that has arrived since the list registers were filled, if nothing else has changed. The vCPU runs
    /// here; for `empty` see [`Vgic::lend_again`].
    #[inline]
    pub fn take_arrived(&mut self, vcpu: usize, empty: u64) -> Option<Added> {
        let state = self.vcpus.get_mut(vcpu)?;
        state
            .take_arrived_again(|_, index| empty >> index & 1 != 0)
            .or_else(|| self.take_arrived_anew(vcpu, empty))
    }

    /// The same for an SGI that was not the last in its list register.
    #[cold]
    fn take_arrived_anew(&mut self, vcpu: usize, empty: u64) -> Option<Added> {
        let state = self.vcpus.get_mut(vcpu)?;
        let arrived = state.arrived;
        if !state.lists_hold_all() || !arrived.is_power_of_two() {
            return None;
        }
        let intid = arrived.trailing_zeros();
        // As if it arrived now.
        state.arrived = 0;
        state.private.take_latch(intid);
        let added = self.add(vcpu, Arrival::Sgi { intid }, empty);
        if added.is_none()
            && let Some(state) = self.vcpus.get_mut(vcpu)
        {
            let _ = state.private.set_latch(intid);
            state.arrived = arrived;
        }
        added
    }

    /// Adds an interrupt to the list registers; see [`Vgic::lend_again`], which has been asked before.
    pub fn add(&mut self, vcpu: usize, arrival: Arrival, empty: u64) -> Option<Added> {
        let intid = arrival.intid();
        let state = self.vcpus.get_mut(vcpu)?;
        if !state.holds_all() || intid >= SPI_BASE {
            return None;
        }
        let used = usize::from(state.interface.used);
        let index = if state.private.is_resident(intid) {
            let place = usize::from(*state.places.get(intid as usize)?);
            let is_there = state.lent.get(place).is_some_and(|lr| ListRegister(*lr).intid() == intid);
            Some(place).filter(|place| *place < used && is_there)?
        } else {
            empty.trailing_zeros() as usize
        };
        if index >= usize::from(self.config.list_registers) || empty >> index & 1 == 0 {
            return None;
        }
        let slot = state.lent.get_mut(index)?;
        let before = (index < used).then_some(ListRegister(*slot));
        if before.is_some_and(|before| before.intid() >= SPI_BASE)
            || !state.private.takes_directly(intid, self.groups)
        {
            return None;
        }
        if let Some(before) = before {
            state.private.retire(before.intid(), before, State::Inactive);
        }
        match arrival {
            Arrival::Linked { physical, .. } => state.private.link(intid, physical, Trigger::Level),
            Arrival::Sgi { .. } => {
                let _ = state.private.set_latch(intid);
            }
        }
        let value = state.private.lend(intid, intid, self.groups);
        *slot = value.0;
        state.interface.used = state.interface.used.max(index as u8 + 1);
        state.lists |= 1 << index;
        *state.places.get_mut(intid as usize)? = index as u8;
        Some(Added { index, value })
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linked interrupts whose line may have fallen before the guest takes them.
//!
//! A level-sensitive interrupt is pending as long as its line is high. For one that is linked to a physical interrupt
//! the line is the hardware's: once the physical interrupt is acknowledged, the list register says pending, whatever
//! the line does. If the guest takes it at once, nothing can happen in between. If it cannot, since it masks
//! interrupts or handles another, it may serve the device meanwhile, and would be interrupted for nothing.
//!
//! Such an interrupt is to be *resampled*: its line is checked again before the guest acknowledges it. (What KVM calls so is at the
//! EOI, for a device that user space emulates.) While one is pending in a list register, the guest's accesses to the registers of
//! its group trap (ICH_HCR_EL2.TALL0 and TALL1). The first read of ICC_IARn_EL1 takes all of these back and
//! deactivates the physical interrupts, and the instruction runs again: a line that is high still fires before it
//! does. The second one is answered with what is pending then, 1023 included. Where the line can be looked at, as the
//! virtual timer's ([`Vgic::confirm_line`]), there is no second one. A guest that takes its interrupts at once never comes
//! here.

use vambrace_ids::VcpuId;

use crate::delivery::traps_for;
use crate::intid::{Intid, SpiIndex};
use crate::list_register::{HCR_EN, HCR_TDIR};
use crate::selection::Key;
use crate::vcpu_set::{VcpuSet, bits};
use crate::vgic::{Vcpu, Vgic};

/// How a physical interrupt is signalled that a virtual one is linked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// As long as its line is high: it comes again by itself after its deactivation.
    Level,
    /// Once for each rise of its line.
    Edge,
}

/// The groups of interrupts (IHI 0069, "Interrupt grouping").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Signalled as FIQ.
    Zero,
    /// Signalled as IRQ.
    One,
}

impl Group {
    const fn of(is_group1: bool) -> Self {
        if is_group1 { Self::One } else { Self::Zero }
    }

    /// As a number: the group's bit in a set of groups.
    pub(crate) const fn index(self) -> u32 {
        match self {
            Self::Zero => 0,
            Self::One => 1,
        }
    }
}

/// What a read of ICC_IARn_EL1 or ICC_HPPIRn_EL1 that trapped comes to.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingRead {
    /// The INTID; 1023 if there is none.
    Intid(Intid),
    /// What was to be resampled is taken back: the instruction is to run again, behind what fires now.
    Retry,
}

/// The registers that say which interrupt is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingRegister {
    /// ICC_IARn_EL1: a read acknowledges the interrupt, which becomes active.
    Iar,
    /// ICC_HPPIRn_EL1: the interrupt stays as it is.
    Hppir,
}

impl Vgic {
    /// Says which groups' interrupts the vCPU masks by PSTATE: bit 0 Group 0 (PSTATE.F), bit 1 Group 1 (PSTATE.I). To be
    /// said before each [`Vgic::flush`].
    pub fn set_masked_groups(&mut self, vcpu: VcpuId, groups: u32) {
        if let Some(vcpu) = self.vcpu_mut(vcpu) {
            vcpu.masked_groups = groups;
        }
    }

    /// Whether the vCPU, were it entered now, would take this pending interrupt, the most urgent one, before it does anything
    /// else.
    fn is_taken_at_once(&self, vcpu: &Vcpu, key: Key) -> bool {
        let group = Group::of(key.is_group1()).index();
        let interface = &vcpu.interface;
        vcpu.masked_groups >> group & 1 == 0
            && interface.signals(key.priority(), key.is_group1(), self.config.preemption_bits)
    }

    /// Notes which of a vCPU's pending interrupts are to be resampled: the linked ones, but for the most urgent one of
    /// all if that is taken at once. Nothing of the vCPU is in list registers. Says whose registers trap for it: a set of groups.
    pub(crate) fn mark_pending_for_resample(&mut self, vcpu: VcpuId, most_urgent: Option<Key>) -> u32 {
        let Some(state) = self.vcpu(vcpu) else { return 0 };
        let exempt = most_urgent.filter(|key| self.is_taken_at_once(state, *key)).map(Key::intid);
        let groups = self.groups;
        let private = exempt.filter(|intid| intid.is_private()).map_or(0, |intid| 1 << intid.get());
        let spi = exempt.and_then(Intid::spi_index);
        let (used, words) = (state.spis.used, state.spis.words);
        let Some(state) = self.vcpu_mut(vcpu) else { return 0 };
        let mut trapped = state.private.mark_pending_for_resample(!private, groups);
        if !self.links_spis {
            return trapped;
        }
        for word in bits(used.into()) {
            let members = words.get(word as usize).copied().unwrap_or(0);
            let exempt = spi.filter(|spi| spi.bank() == word as usize).map_or(0, SpiIndex::bit);
            let which = members & !exempt;
            trapped |= self
                .spis
                .get_mut(word as usize)
                .map_or(0, |bank| bank.mark_pending_for_resample(which, groups));
        }
        trapped
    }

    /// Notes that a private interrupt that has just been queued is to be resampled. Returns ICH_HCR_EL2, which
    /// is to be written.
    pub fn mark_queued_for_resample(&mut self, vcpu: VcpuId, intid: Intid) -> u64 {
        let Some(state) = self.vcpu_mut(vcpu) else { return 0 };
        if state.private.mark_for_resample(intid.get()) {
            let group = state.private.group1() >> intid.get() & 1;
            state.interface.hcr |= traps_for(1 << group);
        }
        state.interface.hcr
    }

    /// The line of a private interrupt that is to be resampled is known to be high. If it is the only one in the
    /// list registers, and nothing else waits, the guest may take it: ICH_HCR_EL2 is returned, which is to be written. Bit `n` of `empty` says
    /// that list register `n` is.
    #[must_use]
    pub fn confirm_queued_line(&mut self, vcpu: VcpuId, intid: Intid, empty: u64) -> Option<u64> {
        let state = self.vcpu_mut(vcpu)?;
        let traps = traps_for(0b11);
        let has_all = state.lr_state.is_current() && state.pending_sgi == 0 && state.resampled == 0;
        let index = *state.last_lr.get(intid.get() as usize)?;
        let own = 1_u64.checked_shl(index.into())?;
        let others = ((1 << state.interface.used) - 1) & !own;
        let is_alone = empty & others == others && empty & own == 0;
        if !has_all || state.interface.hcr & !(HCR_EN | HCR_TDIR | traps) != 0 || !is_alone {
            return None;
        }
        if !state.private.is_in_lr(intid.get()) || !state.private.needs_resample(intid.get()) {
            return None;
        }
        state.private.confirm_line(intid.get());
        state.interface.hcr &= !traps;
        Some(state.interface.hcr)
    }

    /// The line of a linked private interrupt of the vCPU is known to be high: it need not be resampled. The vCPU is synced.
    pub fn confirm_line(&mut self, vcpu: VcpuId, intid: Intid) {
        if let Some((bank, n)) = self.bank_mut(vcpu, intid) {
            bank.confirm_line(n);
        }
    }

    /// A read of ICC_IARn_EL1 or ICC_HPPIRn_EL1 has trapped. The vCPU is synced, and is to be flushed; `kicks` gets the
    /// vCPUs that have to look again, this one among them if physical interrupts are to be deactivated.
    pub fn read_pending(
        &mut self,
        vcpu: VcpuId,
        group: Group,
        register: PendingRegister,
        kicks: &mut VcpuSet,
    ) -> PendingRead {
        let Some(state) = self.vcpu_mut(vcpu) else { return PendingRead::Intid(Intid::SPURIOUS) };
        let bit = 1 << group.index();
        let is_second = state.resampled & bit != 0;
        state.resampled &= !bit;
        if !is_second && self.withdraw_unconfirmed(vcpu, kicks) {
            if let Some(state) = self.vcpu_mut(vcpu) {
                state.resampled |= bit;
            }
            return PendingRead::Retry;
        }
        let Some(state) = self.vcpu(vcpu) else { return PendingRead::Intid(Intid::SPURIOUS) };
        let (bits, most_urgent) = (self.config.preemption_bits, self.most_urgent_pending(state));
        let Some(key) = most_urgent.filter(|key| Group::of(key.is_group1()) == group) else {
            return PendingRead::Intid(Intid::SPURIOUS);
        };
        if register == PendingRegister::Iar {
            if !state.interface.signals(key.priority(), key.is_group1(), bits) {
                return PendingRead::Intid(Intid::SPURIOUS);
            }
            self.acknowledge(vcpu, key, kicks);
        }
        PendingRead::Intid(key.intid())
    }

    /// Takes the links of a vCPU's interrupts that are to be resampled back. Says whether there were any.
    fn withdraw_unconfirmed(&mut self, vcpu: VcpuId, kicks: &mut VcpuSet) -> bool {
        let Some(state) = self.vcpu_mut(vcpu) else { return false };
        let private = state.private.withdraw_unconfirmed(u32::MAX);
        let (used, words) = (state.spis.used, state.spis.words);
        self.note_private(vcpu, private, kicks);
        let mut any = private != 0;
        for word in bits(used.into()) {
            let (index, members) = (word as usize, words.get(word as usize).copied().unwrap_or(0));
            let taken = self.spis.get_mut(index).map_or(0, |bank| bank.withdraw_unconfirmed(members));
            self.note_spis(index, taken, kicks);
            any |= taken != 0;
        }
        any
    }

    /// The guest acknowledges an interrupt that is in no list register.
    fn acknowledge(&mut self, vcpu: VcpuId, key: Key, kicks: &mut VcpuSet) {
        let preemption_bits = self.config.preemption_bits;
        if let Some(state) = self.vcpu_mut(vcpu) {
            state.interface.activate(key.priority(), key.is_group1(), preemption_bits);
        }
        if let Some((bank, n)) = self.bank_mut(vcpu, key.intid()) {
            bank.acknowledge(n);
        }
        if let Some(spi) = key.intid().spi_index() {
            self.refresh(spi, kicks);
        }
    }

    /// A write of ICC_EOIRn_EL1 has trapped: drops the running priority, and with EOImode 0 deactivates the interrupt. The
    /// vCPU is synced, and is to be flushed.
    pub fn write_eoi(&mut self, vcpu: VcpuId, value: u64, kicks: &mut VcpuSet) {
        let intid = Intid::new((value & 0xFF_FFFF) as u32);
        let Some(state) = self.vcpu_mut(vcpu).filter(|_| intid.is_interrupt()) else { return };
        // What is not in service cannot be ended.
        if state.interface.drop_priority() && !state.interface.is_eoi_split() {
            self.deactivate(vcpu, intid, kicks);
        }
    }
}

/// The other registers that trap with them.
impl Vgic {
    /// Reads ICC_IGRPENn_EL1, ICC_BPRn_EL1 or ICC_APnRm_EL1 of a vCPU that is synced; `None` if there is none.
    #[must_use]
    pub fn read_group_register(&self, vcpu: VcpuId, register: GroupRegister) -> Option<u64> {
        let interface = &self.vcpu(vcpu)?.interface;
        let value = match register {
            GroupRegister::Enable(group) => interface.groups() >> group.index() & 1,
            GroupRegister::BinaryPoint(group) => interface.binary_point(group),
            GroupRegister::ActivePriorities(group, index) => {
                let exists = usize::from(index) < self.active_priority_registers();
                *interface.active_priorities(group).get(usize::from(index)).filter(|_| exists)?
            }
        };
        Some(value.into())
    }

    /// Writes one; false if there is none.
    #[must_use]
    pub fn write_group_register(
        &mut self,
        vcpu: VcpuId,
        register: GroupRegister,
        value: u64,
        kicks: &mut VcpuSet,
    ) -> bool {
        let (preemption_bits, count) = (self.config.preemption_bits, self.active_priority_registers());
        let Some(state) = self.vcpu_mut(vcpu) else { return false };
        match register {
            GroupRegister::Enable(group) => {
                state.interface.enable(group, value & 1 != 0);
                kicks.extend(&self.reroute_one_of_n());
            }
            GroupRegister::BinaryPoint(group) => {
                state.interface.set_binary_point(group, value as u32 & 7, preemption_bits);
            }
            GroupRegister::ActivePriorities(group, index) => {
                let words = state.interface.active_priorities_mut(group);
                let Some(word) = words.get_mut(usize::from(index)).filter(|_| usize::from(index) < count)
                else {
                    return false;
                };
                *word = value as u32;
            }
        }
        true
    }

    /// How many ICC_APnRm_EL1 of each group there are.
    fn active_priority_registers(&self) -> usize {
        1 << self.config.preemption_bits.saturating_sub(5).min(2)
    }
}

/// A register of one group that neither takes nor ends an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupRegister {
    /// ICC_IGRPENn_EL1.
    Enable(Group),
    /// ICC_BPRn_EL1.
    BinaryPoint(Group),
    /// ICC_APnRm_EL1, with its m.
    ActivePriorities(Group, u8),
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state of 32 interrupts, as bitmaps: a vCPU's SGIs and PPIs, or 32 SPIs.
//!
//! An interrupt is pending when its latch is set (an edge, an SGI, a write of ISPENDR, a linked physical
//! interrupt), or when it is level-sensitive and its line is high. Acknowledging it clears the latch and makes it
//! active. While it is in a list register the hardware does that, unseen: the latch is queued with it and comes
//! back if the interrupt was not acknowledged, and whether it is active is only known when the list register is
//! synced. What is written in the meantime is kept beside: a cleared latch is one that is no longer queued, and
//! `active_written` says that the model, not the list register, has the last word.

use serde::{Deserialize, Serialize};

use crate::intid::Intid;
use crate::list_register::{ListRegister, State};
use crate::resample::Trigger;
use crate::vcpu_set::bits;

mod resample;

/// The registers with one bit for each interrupt, in the order of their offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BitRegister {
    /// IGROUPR.
    Group,
    /// ISENABLER.
    SetEnable,
    /// ICENABLER.
    ClearEnable,
    /// ISPENDR.
    SetPending,
    /// ICPENDR.
    ClearPending,
    /// ISACTIVER.
    SetActive,
    /// ICACTIVER.
    ClearActive,
}

impl BitRegister {
    /// The register at an offset of 0x080 up to 0x400, with the number of its bank.
    pub(crate) fn at(offset: u64) -> Option<(Self, usize)> {
        let register = match offset >> 7 {
            1 => Self::Group,
            2 => Self::SetEnable,
            3 => Self::ClearEnable,
            4 => Self::SetPending,
            5 => Self::ClearPending,
            6 => Self::SetActive,
            7 => Self::ClearActive,
            _ => return None,
        };
        Some((register, (offset & 0x7F) as usize / 4))
    }

    /// Whether what it reads may be in a list register.
    pub(crate) const fn may_be_in_lr(self) -> bool {
        matches!(self, Self::SetPending | Self::ClearPending | Self::SetActive | Self::ClearActive)
    }
}

/// 32 interrupts. Bit `n` of each map is interrupt `n` of the bank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bank {
    /// Those that exist.
    implemented: u32,
    /// Those that are always edge-triggered: the SGIs.
    always_edge: u32,
    group: u32,
    enabled: u32,
    edge: u32,
    latch: u32,
    line: u32,
    active: u32,
    /// Active because the guest acknowledged it, not by a write of ISACTIVER.
    acknowledged: u32,
    /// In a list register.
    pub(crate) in_lr: u32,
    /// The latch went with it into the list register.
    latch_queued: u32,
    /// `active` was written while in a list register.
    active_written: u32,
    /// Stands for a physical interrupt that is active.
    linked: u32,
    /// Linked anew while in a list register.
    relinked: u32,
    /// The physical interrupt is to be deactivated.
    needs_hw_deactivate: u32,
    /// Linked to a physical interrupt that follows a line.
    follows_line: u32,
    /// Of those, pending, and the line may have fallen since: it is to be looked at again.
    needs_resample: u32,
    /// GICD_IROUTER.Interrupt_Routing_Mode: any vCPU may take it.
    pub(crate) one_of_n: u32,
    priority: [u8; 32],
    /// The priority it had when it was acknowledged, at which its handler runs.
    running_priority: [u8; 32],
    physical: [u16; 32],
}

impl Bank {
    /// The bank of a vCPU's SGIs and PPIs, as after reset.
    pub(crate) const fn private() -> Self {
        Self::empty(u32::MAX, 0xFFFF)
    }

    /// A bank of SPIs as after reset, of which the first `count` exist.
    pub(crate) const fn spis(count: u32) -> Self {
        Self::empty(if count >= 32 { u32::MAX } else { (1 << count) - 1 }, 0)
    }

    /// Whether all there is to know of it is here: no interrupt of it is in a list register, or active and perhaps ended
    /// there.
    pub(crate) const fn is_synced(&self) -> bool {
        self.in_lr == 0 && self.active == 0
    }

    const fn empty(implemented: u32, always_edge: u32) -> Self {
        Self {
            implemented,
            always_edge,
            group: 0,
            enabled: 0,
            edge: always_edge,
            latch: 0,
            line: 0,
            active: 0,
            acknowledged: 0,
            in_lr: 0,
            latch_queued: 0,
            active_written: 0,
            linked: 0,
            relinked: 0,
            needs_hw_deactivate: 0,
            follows_line: 0,
            needs_resample: 0,
            one_of_n: 0,
            priority: [0; 32],
            running_priority: [0; 32],
            physical: [0; 32],
        }
    }

    /// Whether the same interrupts exist as in `other`, and only these have any state.
    pub(crate) const fn has_shape_of(&self, other: &Self) -> bool {
        let used =
            self.group | self.enabled | self.latch | self.line | self.active | self.in_lr | self.linked;
        self.implemented == other.implemented
            && self.always_edge == other.always_edge
            && used & !self.implemented == 0
            && self.always_edge & !self.edge == 0
    }

    /// Goes back to the state after reset. Linked physical interrupts are to be deactivated, lines stay as they are.
    pub(crate) fn reset(&mut self) {
        let needs_hw_deactivate = self.needs_hw_deactivate | self.linked;
        let mut physical = [0; 32];
        for (n, (number, old)) in physical.iter_mut().zip(self.physical).enumerate() {
            if needs_hw_deactivate >> n & 1 != 0 {
                *number = old;
            }
        }
        let fresh = Self::empty(self.implemented, self.always_edge);
        *self = Self { line: self.line, needs_hw_deactivate, physical, ..fresh };
    }

    /// Those that are pending.
    const fn pending(&self) -> u32 {
        self.latch | (self.line & !self.edge)
    }

    /// Those that are enabled and in a group of `groups` (bit 0 Group 0, bit 1 Group 1).
    const fn forwarded(&self, groups: u32) -> u32 {
        let group0 = if groups & 1 != 0 { !self.group } else { 0 };
        let group1 = if groups & 2 != 0 { self.group } else { 0 };
        self.enabled & (group0 | group1)
    }

    /// Those that are pending, enabled and of an enabled group, be they active or not.
    pub(crate) const fn ready(&self, groups: u32) -> u32 {
        self.pending() & self.forwarded(groups)
    }

    /// Those a vCPU could acknowledge: pending, enabled, of an enabled group, and not active.
    pub(crate) const fn deliverable(&self, groups: u32) -> u32 {
        self.ready(groups) & !self.active
    }

    /// Those that are active.
    pub(crate) const fn active(&self) -> u32 {
        self.active
    }

    /// Of `changed`, those for whose change a vCPU has to be kicked: they may be, or may come to be, in a list register,
    /// or their physical interrupt is to be deactivated.
    pub(crate) const fn noteworthy(&self, changed: u32, groups: u32) -> u32 {
        changed & (self.in_lr | self.active | self.needs_hw_deactivate | self.ready(groups))
    }

    /// Those whose physical interrupt is to be deactivated.
    pub(crate) const fn needs_hw_deactivate(&self) -> u32 {
        self.needs_hw_deactivate
    }

    /// Those that are linked to a physical interrupt, or were and it is to be deactivated.
    pub(crate) const fn with_physical(&self) -> u32 {
        self.linked | self.relinked | self.needs_hw_deactivate
    }

    /// The physical interrupt of each, where there is one.
    pub(crate) const fn physical(&self) -> &[u16; 32] {
        &self.physical
    }

    /// Those that are active because the guest acknowledged them.
    pub(crate) const fn acknowledged(&self) -> u32 {
        self.acknowledged
    }

    /// Those in Group 1.
    pub(crate) const fn group1(&self) -> u32 {
        self.group
    }

    /// The priority of interrupt `n` of the bank.
    pub(crate) fn priority(&self, n: u32) -> u8 {
        self.priority.get(n as usize).copied().unwrap_or(0xFF)
    }

    /// The priority at which interrupt `n` of the bank is handled, if it was acknowledged.
    pub(crate) fn running_priority(&self, n: u32) -> u8 {
        self.running_priority.get(n as usize).copied().unwrap_or(0xFF)
    }

    /// Whether interrupt `n` of the bank exists.
    pub(crate) const fn exists(&self, n: u32) -> bool {
        n < 32 && self.implemented >> n & 1 != 0
    }
}

/// Register accesses.
impl Bank {
    /// Reads a register of one bit for each interrupt.
    pub(crate) const fn read_bits(&self, register: BitRegister) -> u32 {
        match register {
            BitRegister::Group => self.group,
            BitRegister::SetEnable | BitRegister::ClearEnable => self.enabled,
            BitRegister::SetPending | BitRegister::ClearPending => self.pending() | self.latch_queued,
            BitRegister::SetActive | BitRegister::ClearActive => self.active,
        }
    }

    /// Writes a register of one bit for each interrupt. Returns the interrupts that may have changed.
    pub(crate) fn write_bits(&mut self, register: BitRegister, value: u32) -> u32 {
        let value = value & self.implemented;
        match register {
            BitRegister::Group => return core::mem::replace(&mut self.group, value) ^ value,
            BitRegister::SetEnable => {
                let changed = value & !self.enabled;
                self.enabled |= value;
                return changed;
            }
            BitRegister::ClearEnable => {
                let changed = value & self.enabled;
                self.enabled &= !value;
                return changed;
            }
            BitRegister::SetPending => self.latch |= value,
            BitRegister::ClearPending => {
                self.latch &= !value;
                self.latch_queued &= !value;
            }
            BitRegister::SetActive => self.write_active(value, value),
            BitRegister::ClearActive => self.write_active(value, 0),
        }
        self.drop_ended_links();
        value
    }

    fn write_active(&mut self, which: u32, active: u32) {
        self.active = self.active & !which | active;
        self.acknowledged &= self.active;
        self.active_written |= which & self.in_lr;
    }

    /// Reads the priority of interrupt `n` of the bank; zero if it does not exist.
    pub(crate) fn read_priority(&self, n: u32) -> u8 {
        if self.exists(n) { self.priority(n) } else { 0 }
    }

    /// Writes the priority of interrupt `n` of the bank. Returns it as a bitmap if it changed.
    pub(crate) fn write_priority(&mut self, n: u32, value: u8) -> u32 {
        match self.priority.get_mut(n as usize) {
            Some(priority) if self.implemented >> n & 1 != 0 && *priority != value => {
                *priority = value;
                1 << n
            }
            _ => 0,
        }
    }

    /// Reads ICFGR for the 16 interrupts from `first` on.
    pub(crate) fn read_config(&self, first: u32) -> u32 {
        bits((self.edge >> first & 0xFFFF).into()).fold(0, |value, n| value | 2 << (2 * n))
    }

    /// Writes ICFGR for the 16 interrupts from `first` on. Returns the interrupts that changed.
    pub(crate) fn write_config(&mut self, first: u32, value: u32) -> u32 {
        let edge = (0..16).fold(0, |edge, n| edge | (value >> (2 * n + 1) & 1) << n);
        let fixed = self.always_edge | !self.implemented | !(0xFFFF << first);
        let changed = (self.edge ^ edge << first) & !fixed;
        self.edge ^= changed;
        changed
    }
}

/// Lines, and links to physical interrupts.
impl Bank {
    /// Raises the line of interrupt `n`. Returns it as a bitmap if that changed something.
    pub(crate) fn raise(&mut self, n: u32) -> u32 {
        let bit = 1 << n & self.implemented & !self.line;
        self.line |= bit;
        self.latch |= bit & self.edge;
        bit
    }

    /// Lowers the line of interrupt `n`. Returns it as a bitmap if that changed something.
    pub(crate) fn lower(&mut self, n: u32) -> u32 {
        let bit = 1 << n & self.line;
        self.line &= !bit;
        bit & !self.edge
    }

    /// Makes interrupt `n` pending by its latch. Returns it as a bitmap if that changed something.
    pub(crate) fn set_latch(&mut self, n: u32) -> u32 {
        let bit = 1 << n & self.implemented & !self.latch;
        self.latch |= bit;
        bit
    }

    /// Makes interrupt `n` not pending by its latch.
    pub(crate) const fn take_latch(&mut self, n: u32) {
        self.latch &= !(1 << n);
    }

    /// Makes interrupt `n` pending, linked to a physical interrupt that is active.
    pub(crate) fn link(&mut self, n: u32, physical: Intid, trigger: Trigger) {
        let bit = 1 << n & self.implemented;
        self.follows_line = self.follows_line & !bit | if trigger == Trigger::Level { bit } else { 0 };
        self.needs_resample &= !bit;
        if let Some(number) = self.physical.get_mut(n as usize) {
            *number = physical.get() as u16;
        }
        self.latch |= bit;
        self.linked |= bit;
        self.relinked |= bit & self.in_lr;
        self.needs_hw_deactivate &= !bit;
    }

    /// Whether one of them stands for this physical interrupt, which is active for it. Those that are `over` do so only if
    /// they were linked anew since.
    pub(crate) fn is_linked_to(&self, physical: Intid, over: u32) -> bool {
        let linked = self.linked & (!over | self.relinked);
        let mut linked = bits((linked | self.needs_hw_deactivate).into());
        linked.any(|n| self.physical.get(n as usize).is_some_and(|&p| u32::from(p) == physical.get()))
    }

    /// Whether a physical interrupt is active for one that is in no list register, or is to be deactivated.
    pub(crate) const fn has_links_outside(&self) -> bool {
        self.linked & !self.in_lr | self.relinked | self.needs_hw_deactivate != 0
    }

    /// A physical interrupt whose link was dropped and that is to be deactivated; each comes out once.
    pub(crate) fn take_hw_deactivate(&mut self) -> Option<Intid> {
        if self.needs_hw_deactivate == 0 {
            return None;
        }
        let n = self.needs_hw_deactivate.trailing_zeros();
        self.needs_hw_deactivate &= self.needs_hw_deactivate - 1;
        self.physical.get_mut(n as usize).map(|number| Intid::new(core::mem::take(number).into()))
    }

    /// Drops the links of interrupts that are over without the hardware having seen their end.
    fn drop_ended_links(&mut self) {
        let over = self.linked & !(self.latch | self.active | self.in_lr);
        self.linked &= !over;
        self.needs_hw_deactivate |= over;
    }
}

/// Moves between the model and list registers.
impl Bank {
    /// Whether interrupt `n` is in a list register.
    pub(crate) const fn is_in_lr(&self, n: u32) -> bool {
        self.in_lr >> n & 1 != 0
    }

    /// Whether interrupt `n`, once pending, can be queued at once: it would be forwarded, nothing else is known of it, and
    /// no physical interrupt waits to be deactivated.
    pub(crate) const fn can_be_queued(&self, n: u32, groups: u32) -> bool {
        let bit = 1 << n;
        self.forwarded(groups) & bit != 0
            && (self.latch | self.line | self.active | self.active_written) & bit == 0
            && self.needs_hw_deactivate | self.relinked == 0
    }

    /// Queues interrupt `n`, with INTID `intid`, in a list register. If it is active, it may be pending there too if
    /// it is in one of `groups`.
    pub(crate) fn queue(&mut self, n: u32, intid: Intid, groups: u32) -> ListRegister {
        let bit = 1 << n;
        let is_active = self.active & bit != 0;
        let is_linked = self.linked & bit != 0;
        let state = match is_active {
            false => State::Pending,
            true if !is_linked && self.latch & self.forwarded(groups) & bit != 0 => State::ActivePending,
            true => State::Active,
        };
        // The machine cannot hold a linked interrupt that is active and pending: its end must come to us.
        let is_linked_there = is_linked && !(is_active && self.latch & bit != 0);
        if state.is_pending() {
            self.latch_queued |= self.latch & bit;
            self.latch &= !bit;
        }
        self.in_lr |= bit;

        let register = ListRegister::new(intid, self.priority(n), state);
        let register = if self.group & bit != 0 { register.with_group1() } else { register };
        // What is pending again when the guest is done, here or elsewhere, is so in the model only.
        let ends_here = self.pending() & bit != 0 || is_linked;
        match self.physical.get(n as usize) {
            Some(&physical) if is_linked_there => register.with_physical(Intid::new(physical.into())),
            _ if ends_here => register.with_eoi_maintenance(),
            _ => register,
        }
    }

    /// Takes interrupt `n` back from a list register: `queued` is what was queued, `now` how the hardware left it.
    pub(crate) fn sync(&mut self, n: u32, queued: ListRegister, now: State) {
        let bit = 1 << n & self.in_lr;
        if now.is_pending() {
            self.latch |= self.latch_queued & bit;
        } else {
            self.needs_resample &= !bit;
        }
        let known = bit & !self.active_written;
        self.active = self.active & !known | if now.is_active() { known } else { 0 };
        match now {
            State::Active if queued.state().is_pending() => {
                self.acknowledged |= bit;
                if let Some(priority) = self.running_priority.get_mut(n as usize) {
                    *priority = queued.priority();
                }
            }
            State::Active | State::ActivePending => {}
            State::Inactive | State::Pending => self.acknowledged &= !bit,
        }
        self.acknowledged &= self.active;
        if queued.physical().is_some() && now == State::Inactive {
            // The machine deactivated the physical interrupt too.
            self.linked &= !bit | self.relinked;
        }
        self.in_lr &= !bit;
        self.latch_queued &= !bit;
        self.active_written &= !bit;
        self.relinked &= !bit;
        self.drop_ended_links();
    }

    /// Deactivates interrupt `n`. Returns it as a bitmap if that may have changed something.
    pub(crate) fn deactivate(&mut self, n: u32) -> u32 {
        let bit = 1 << n & (self.active | self.in_lr);
        self.write_active(bit, 0);
        self.drop_ended_links();
        bit
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine's virtual CPU interface, as data: the list registers and the ICH_*_EL2 registers around them.
//!
//! Formats: Arm GIC architecture specification (IHI 0069), ICH_LRn_EL2, ICH_HCR_EL2, ICH_VMCR_EL2,
//! ICH_AP0Rn_EL2 and ICH_AP1Rn_EL2.

use serde::{Deserialize, Serialize};

use crate::intid::Intid;
use crate::resample::Group;

/// ICH_HCR_EL2.En: the virtual CPU interface works.
pub(crate) const HCR_EN: u64 = 1 << 0;
/// ICH_HCR_EL2.LRENPIE: maintenance interrupt when an interrupt that is in no list register was ended.
pub(crate) const HCR_LRENPIE: u64 = 1 << 2;
/// ICH_HCR_EL2.NPIE: maintenance interrupt when no list register is pending.
pub(crate) const HCR_NPIE: u64 = 1 << 3;
/// ICH_HCR_EL2.VGrp0EIE: maintenance interrupt while the guest has Group 0 enabled.
pub(crate) const HCR_VGRP0EIE: u64 = 1 << 4;
/// ICH_HCR_EL2.VGrp0DIE: maintenance interrupt while the guest has Group 0 disabled.
pub(crate) const HCR_VGRP0DIE: u64 = 1 << 5;
/// ICH_HCR_EL2.VGrp1EIE: maintenance interrupt while the guest has Group 1 enabled.
pub(crate) const HCR_VGRP1EIE: u64 = 1 << 6;
/// ICH_HCR_EL2.VGrp1DIE: maintenance interrupt while the guest has Group 1 disabled.
pub(crate) const HCR_VGRP1DIE: u64 = 1 << 7;
/// ICH_HCR_EL2.TALL0: the guest's accesses to the registers of Group 0 trap.
pub(crate) const HCR_TALL0: u64 = 1 << 11;
/// ICH_HCR_EL2.TALL1: the guest's accesses to the registers of Group 1 trap.
pub(crate) const HCR_TALL1: u64 = 1 << 12;
/// ICH_HCR_EL2.TDIR: the guest's writes of ICC_DIR_EL1 trap.
pub(crate) const HCR_TDIR: u64 = 1 << 14;
/// ICH_HCR_EL2.EOIcount: ends of interrupts that were in no list register.
const HCR_EOI_COUNT_SHIFT: u32 = 27;

/// ICH_VMCR_EL2.VENG0: the guest has Group 0 enabled.
const VMCR_VENG0: u64 = 1 << 0;
/// ICH_VMCR_EL2.VENG1: the guest has Group 1 enabled.
const VMCR_VENG1: u64 = 1 << 1;
/// ICH_VMCR_EL2.VCBPR: Group 1 preempts by Group 0's binary point.
const VMCR_VCBPR: u64 = 1 << 4;
/// ICH_VMCR_EL2.VBPR1.
const VMCR_VBPR1_SHIFT: u32 = 18;
/// ICH_VMCR_EL2.VBPR0.
const VMCR_VBPR0_SHIFT: u32 = 21;
/// ICH_VMCR_EL2.VEOIM: EOImode 1, the end of an interrupt only drops its priority.
const VMCR_VEOIM: u64 = 1 << 9;

/// Whether an interrupt is pending, active or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Neither.
    Inactive,
    /// Waits to be acknowledged.
    Pending,
    /// Acknowledged, not yet deactivated.
    Active,
    /// Acknowledged, and pending again.
    ActivePending,
}

impl State {
    /// Whether it is pending.
    #[must_use]
    pub const fn is_pending(self) -> bool {
        matches!(self, Self::Pending | Self::ActivePending)
    }

    /// Whether it is active.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Active | Self::ActivePending)
    }
}

/// The value of a list register, ICH_LRn_EL2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRegister(pub u64);

impl ListRegister {
    const EOI: u64 = 1 << 41;
    const GROUP1: u64 = 1 << 60;
    const HW: u64 = 1 << 61;

    /// An interrupt of Group 0 that lives in this list register alone.
    #[inline]
    pub(crate) const fn new(intid: Intid, priority: u8, state: State) -> Self {
        let state = match state {
            State::Inactive => 0,
            State::Pending => 1,
            State::Active => 2,
            State::ActivePending => 3,
        };
        Self(intid.get() as u64 | (priority as u64) << 48 | state << 62)
    }

    /// The same in Group 1.
    pub(crate) const fn with_group1(self) -> Self {
        Self(self.0 | Self::GROUP1)
    }

    /// The same, with a maintenance interrupt when it is deactivated.
    pub(crate) const fn with_eoi_maintenance(self) -> Self {
        Self(self.0 | Self::EOI)
    }

    /// The same, linked to a physical interrupt that is deactivated with it.
    #[inline]
    pub(crate) const fn with_physical(self, pintid: Intid) -> Self {
        Self(self.0 | Self::HW | (pintid.get() as u64 & 0x1FFF) << 32)
    }

    /// Whether both hold the same interrupt in the same state, linked alike; priority and group apart.
    #[inline(always)]
    pub(crate) const fn is_alike(self, other: Self) -> bool {
        const PRIORITY_AND_GROUP: u64 = 0xFF << 48 | ListRegister::GROUP1;
        (self.0 ^ other.0) & !PRIORITY_AND_GROUP == 0
    }

    /// The interrupt's INTID, as the guest sees it.
    #[must_use]
    pub const fn intid(self) -> Intid {
        Intid::from_register(self.0)
    }

    /// The priority; lower is more urgent.
    #[must_use]
    pub const fn priority(self) -> u8 {
        (self.0 >> 48) as u8
    }

    /// Whether the interrupt is in Group 1.
    #[must_use]
    pub const fn is_group1(self) -> bool {
        self.0 & Self::GROUP1 != 0
    }

    /// Whether a maintenance interrupt is wanted when it is deactivated.
    #[must_use]
    pub const fn wants_eoi_maintenance(self) -> bool {
        self.0 & (Self::HW | Self::EOI) == Self::EOI
    }

    /// The physical interrupt it is linked to.
    #[must_use]
    pub const fn physical(self) -> Option<Intid> {
        if self.0 & Self::HW != 0 { Some(Intid::from_register(self.0 >> 32 & 0x1FFF)) } else { None }
    }

    /// Whether it is pending, active or both.
    #[must_use]
    pub const fn state(self) -> State {
        match self.0 >> 62 {
            0 => State::Inactive,
            1 => State::Pending,
            2 => State::Active,
            _ => State::ActivePending,
        }
    }
}

/// The registers of a vCPU's interface to the GIC, as the hardware holds them while the vCPU runs.
///
/// On the way in, [`crate::Vgic::flush`] says what to write. On the way out the EL2 program reads `used` list
/// registers and the rest into such a value for [`crate::Vgic::sync`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualCpuInterface {
    /// ICH_LR0_EL2 to ICH_LR15_EL2.
    pub lr: [u64; 16],
    /// How many list registers are in use, from ICH_LR0_EL2 on. The others must be zero in the hardware.
    pub used: u8,
    /// ICH_HCR_EL2.
    pub hcr: u64,
    /// ICH_VMCR_EL2: priority mask, binary points, group enables, EOImode.
    pub vmcr: u64,
    /// ICH_AP0R0_EL2 to ICH_AP0R3_EL2: active priorities of Group 0. Only as many exist as the preemption bits need.
    pub ap0r: [u32; 4],
    /// ICH_AP1R0_EL2 to ICH_AP1R3_EL2: active priorities of Group 1.
    pub ap1r: [u32; 4],
}

impl VirtualCpuInterface {
    /// How often the guest ended an interrupt that was in no list register.
    pub(crate) const fn eoi_count(&self) -> u32 {
        (self.hcr >> HCR_EOI_COUNT_SHIFT) as u32 & 0x1F
    }

    /// Whether ending an interrupt only drops its priority (EOImode 1).
    pub(crate) const fn is_eoi_split(&self) -> bool {
        self.vmcr & VMCR_VEOIM != 0
    }

    /// The group enables: bit 0 Group 0, bit 1 Group 1, as in GICD_CTLR.
    pub(crate) const fn groups(&self) -> u32 {
        (self.vmcr & (VMCR_VENG0 | VMCR_VENG1)) as u32
    }

    /// Enables a group, or disables it: ICC_IGRPENn_EL1.
    pub(crate) const fn enable(&mut self, group: Group, is_enabled: bool) {
        let bit = 1 << group.index();
        self.vmcr = if is_enabled { self.vmcr | bit } else { self.vmcr & !bit };
    }

    /// ICC_BPRn_EL1.
    pub(crate) const fn binary_point(&self, group: Group) -> u32 {
        let point0 = (self.vmcr >> VMCR_VBPR0_SHIFT & 7) as u32;
        match group {
            Group::Zero => point0,
            Group::One if self.vmcr & VMCR_VCBPR != 0 => {
                if point0 < 7 {
                    point0 + 1
                } else {
                    7
                }
            }
            Group::One => (self.vmcr >> VMCR_VBPR1_SHIFT & 7) as u32,
        }
    }

    /// Writes ICC_BPRn_EL1: no less than the preemption bits allow, and not Group 1's if it follows Group 0's.
    pub(crate) fn set_binary_point(&mut self, group: Group, value: u32, preemption_bits: u8) {
        let least = 7 - u32::from(preemption_bits.min(7));
        let (shift, value) = match group {
            Group::Zero => (VMCR_VBPR0_SHIFT, value.max(least)),
            Group::One if self.vmcr & VMCR_VCBPR != 0 => return,
            Group::One => (VMCR_VBPR1_SHIFT, value.max(least + 1)),
        };
        self.vmcr = self.vmcr & !(7 << shift) | u64::from(value & 7) << shift;
    }

    /// The active priorities of a group.
    pub(crate) const fn active_priorities(&self, group: Group) -> &[u32; 4] {
        match group {
            Group::Zero => &self.ap0r,
            Group::One => &self.ap1r,
        }
    }

    /// The same, to be changed.
    pub(crate) const fn active_priorities_mut(&mut self, group: Group) -> &mut [u32; 4] {
        match group {
            Group::Zero => &mut self.ap0r,
            Group::One => &mut self.ap1r,
        }
    }

    /// The vCPU acknowledges an interrupt of this group and priority.
    pub(crate) fn activate(&mut self, priority: u8, group1: bool, preemption_bits: u8) {
        let level = priority & self.preemption_mask(group1, preemption_bits);
        let level = u32::from(level) >> (8 - preemption_bits.min(8));
        let words = if group1 { &mut self.ap1r } else { &mut self.ap0r };
        if let Some(word) = words.get_mut(level as usize / 32) {
            *word |= 1 << (level % 32);
        }
    }

    /// Drops the running priority; false if the vCPU handles no interrupt.
    pub(crate) fn drop_priority(&mut self) -> bool {
        for (a, b) in self.ap0r.iter_mut().zip(&mut self.ap1r) {
            let both = *a | *b;
            if both != 0 {
                let rest = !(both & both.wrapping_neg());
                (*a, *b) = (*a & rest, *b & rest);
                return true;
            }
        }
        false
    }

    /// The priority mask: only what is more urgent is signalled.
    const fn priority_mask(&self) -> u8 {
        (self.vmcr >> 24) as u8
    }

    /// The bits of a priority that decide over preemption, by the group's binary point (IHI 0069, "Preemption").
    const fn preemption_mask(&self, group1: bool, preemption_bits: u8) -> u8 {
        let point0 = (self.vmcr >> 21 & 7) as u32;
        let point1 = (self.vmcr >> 18 & 7) as u32;
        // Group 1's binary point counts from one bit higher.
        let low = if !group1 || self.vmcr & VMCR_VCBPR != 0 {
            point0 + 1
        } else if point1 == 0 {
            1
        } else {
            point1
        };
        let least = 8 - preemption_bits as u32;
        let low = if low > least { low } else { least };
        (0xFF_u32 << low) as u8
    }

    /// The priority the vCPU runs at, [`None`] when it handles no interrupt.
    fn running_priority(&self, preemption_bits: u8) -> Option<u8> {
        let levels = self.ap0r.iter().zip(&self.ap1r).map(|(a, b)| a | b);
        let level = levels.zip((0_u32..).step_by(32)).find(|&(word, _)| word != 0);
        let level = level.map(|(word, base)| base + word.trailing_zeros())?;
        Some((level << (8 - u32::from(preemption_bits))) as u8)
    }

    /// Whether the vCPU handles, or has interrupted, an interrupt of this group and priority.
    pub(crate) fn runs(&self, priority: u8, group1: bool, preemption_bits: u8) -> bool {
        let level = priority & self.preemption_mask(group1, preemption_bits);
        let level = u32::from(level) >> (8 - preemption_bits.min(8));
        let words = if group1 { &self.ap1r } else { &self.ap0r };
        words.get(level as usize / 32).is_some_and(|word| word >> (level % 32) & 1 != 0)
    }

    /// Whether the hardware would signal this interrupt to the guest, were it the most urgent pending one.
    pub(crate) fn signals(&self, priority: u8, group1: bool, preemption_bits: u8) -> bool {
        if self.groups() >> u32::from(group1) & 1 == 0 || priority >= self.priority_mask() {
            return false;
        }
        let mask = self.preemption_mask(group1, preemption_bits);
        self.running_priority(preemption_bits).is_none_or(|running| priority & mask < running & mask)
    }
}

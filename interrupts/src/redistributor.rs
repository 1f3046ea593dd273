// SPDX-License-Identifier: MIT OR Apache-2.0
//! A redistributor's registers (IHI 0069, "The GIC Redistributor register map"): the frame RD_base, and the
//! frame SGI_base 64 KiB above it, with a vCPU's SGIs and PPIs.
//!
//! GICR_WAKER.ProcessorSleep keeps a vCPU out of 1-of-N routing. It does not hold back interrupts that are for
//! this vCPU alone: to them the redistributor of a sleeping CPU would answer with a wake request, and the vCPU,
//! which is never powered off behind the guest's back, is awake.

use vambrace_ids::VcpuId;

use crate::affinity::Affinity;
use crate::bank::BitRegister;
use crate::distributor::{IMPLEMENTATION, Part, identification, read_priorities, write_priorities};
use crate::vcpu_set::VcpuSet;
use crate::vgic::{Vcpu, Vgic, Width};

const CTLR: u64 = 0x0000;
const IIDR: u64 = 0x0004;
const TYPER: u64 = 0x0008;
const TYPER_HIGH: u64 = 0x000C;
const WAKER: u64 = 0x0014;
/// Where the second frame starts.
const SGI_BASE: u64 = 0x1_0000;

/// GICR_CTLR.DPG0 and DPG1NS: the vCPU takes no 1-of-N interrupts of the group.
const CTLR_DPG_SHIFT: u32 = 24;
/// GICR_TYPER.Last: no redistributor follows this one in its region.
const TYPER_LAST: u64 = 1 << 4;
/// GICR_TYPER.DPGS: GICR_CTLR has the DPG bits.
const TYPER_DPGS: u64 = 1 << 5;
/// GICR_WAKER.ProcessorSleep.
const WAKER_PROCESSOR_SLEEP: u64 = 1 << 1;
/// GICR_WAKER.ChildrenAsleep.
const WAKER_CHILDREN_ASLEEP: u64 = 1 << 2;

impl Vgic {
    /// Reads from a vCPU's redistributor: `offset` counts from RD_base, both frames. The vCPU is synced, unless this
    /// [reads what is synced](Self::reads_synced_redistributor).
    pub fn read_redistributor(&mut self, vcpu: VcpuId, offset: u64, width: Width) -> u64 {
        let Some(state) = self.vcpu(vcpu) else { return 0 };
        if !offset.is_multiple_of(width.bytes()) {
            return 0;
        }
        match offset.checked_sub(SGI_BASE) {
            Some(offset) => read_private(state, offset, width),
            None => self.read_control(vcpu, state, offset, width),
        }
    }

    /// Writes to a vCPU's redistributor. The vCPU is synced, unless what is written is
    /// [synced](Self::is_redistributor_synced). Returns the vCPUs that have to look again.
    pub fn write_redistributor(&mut self, vcpu: VcpuId, offset: u64, width: Width, value: u64) -> VcpuSet {
        let bits = self.config.priority_bits;
        let Some(state) = self.vcpu_mut(vcpu) else { return VcpuSet::new() };
        if !offset.is_multiple_of(width.bytes()) {
            return VcpuSet::new();
        }
        match offset.checked_sub(SGI_BASE) {
            Some(offset) => {
                let mut kicks = VcpuSet::new();
                let changed = write_private(state, offset, width, value, bits);
                self.note_private(vcpu, changed, &mut kicks);
                kicks
            }
            None if width == Width::Word => self.write_control(vcpu, offset, value),
            None => VcpuSet::new(),
        }
    }

    /// The vCPU itself, if its list registers hold interrupts whose pending and active state is read or written at
    /// this offset of its redistributor; see [`Self::distributor_lr_owners`].
    pub fn redistributor_lr_owners(&mut self, vcpu: VcpuId, offset: u64) -> VcpuSet {
        let may_be_in_lr = offset
            .checked_sub(SGI_BASE)
            .and_then(BitRegister::at)
            .is_some_and(|(register, index)| register.may_be_in_lr() && index == 0);
        let in_lr = self.vcpu(vcpu).map_or(0, |vcpu| vcpu.private.in_lr);
        if !may_be_in_lr || in_lr == 0 {
            return VcpuSet::new();
        }
        let mut lr_owners = VcpuSet::new();
        self.sync_put_from_outside(vcpu, &mut lr_owners);
        self.note_lr_owner(vcpu, &mut lr_owners);
        lr_owners
    }

    /// The same as [`Self::is_synced`] for the interrupts of a redistributor.
    #[must_use]
    pub fn is_redistributor_synced(&self, vcpu: VcpuId, offset: u64) -> bool {
        offset >= SGI_BASE && self.vcpu(vcpu).is_some_and(|vcpu| vcpu.private.is_synced())
    }

    /// The same as [`Self::reads_synced`] for a redistributor.
    #[must_use]
    pub fn reads_synced_redistributor(&self, vcpu: VcpuId, offset: u64) -> bool {
        offset < SGI_BASE || self.is_redistributor_synced(vcpu, offset)
    }

    fn read_control(&self, vcpu: VcpuId, state: &Vcpu, offset: u64, width: Width) -> u64 {
        match (offset, width) {
            (TYPER, Width::Double) => self.redistributor_typer(vcpu),
            (_, Width::Byte | Width::Half | Width::Double) => 0,
            (CTLR, _) => u64::from(state.declined_groups) << CTLR_DPG_SHIFT,
            (IIDR, _) => IMPLEMENTATION,
            (TYPER, _) => self.redistributor_typer(vcpu) & 0xFFFF_FFFF,
            (TYPER_HIGH, _) => self.redistributor_typer(vcpu) >> 32,
            (WAKER, _) if state.asleep => WAKER_PROCESSOR_SLEEP | WAKER_CHILDREN_ASLEEP,
            _ => identification(offset, Part::Redistributor).unwrap_or(0),
        }
    }

    fn write_control(&mut self, vcpu: VcpuId, offset: u64, value: u64) -> VcpuSet {
        let Some(state) = self.vcpu_mut(vcpu) else { return VcpuSet::new() };
        match offset {
            CTLR => state.declined_groups = (value >> CTLR_DPG_SHIFT & 0b11) as u32,
            WAKER => state.asleep = value & WAKER_PROCESSOR_SLEEP != 0,
            _ => return VcpuSet::new(),
        }
        self.reroute_one_of_n()
    }

    fn redistributor_typer(&self, vcpu: VcpuId) -> u64 {
        let affinity =
            self.config.affinities.get(vcpu.index()).map_or(0, |&mpidr| Affinity::from_mpidr(mpidr).0);
        let last = if self.config.region_ends.contains(&vcpu) { TYPER_LAST } else { 0 };
        u64::from(affinity) << 32 | u64::from(vcpu.number()) << 8 | TYPER_DPGS | last
    }
}

fn read_private(state: &Vcpu, offset: u64, width: Width) -> u64 {
    let bank = &state.private;
    match offset {
        0x0400..0x0420 => read_priorities(bank, offset, width),
        _ if width != Width::Word => 0,
        0x0C00 => bank.read_config(0).into(),
        0x0C04 => bank.read_config(16).into(),
        _ => match BitRegister::at(offset) {
            Some((register, 0)) => bank.read_bits(register).into(),
            _ => 0,
        },
    }
}

/// Returns the interrupts that may have changed.
fn write_private(state: &mut Vcpu, offset: u64, width: Width, value: u64, priority_bits: u8) -> u32 {
    let bank = &mut state.private;
    match offset {
        0x0400..0x0420 => write_priorities(bank, offset, width, value, priority_bits),
        _ if width != Width::Word => 0,
        0x0C00 => bank.write_config(0, value as u32),
        0x0C04 => bank.write_config(16, value as u32),
        _ => match BitRegister::at(offset) {
            Some((register, 0)) => bank.write_bits(register, value as u32),
            _ => 0,
        },
    }
}

#[cfg(test)]
mod tests;

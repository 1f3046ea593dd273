// SPDX-License-Identifier: MIT OR Apache-2.0
//! The distributor's registers (IHI 0069, "The GIC Distributor register map").
//!
//! One security state (GICD_CTLR.DS is one) and affinity routing always (ARE is one): the registers of SGIs and
//! PPIs are in the redistributors, and here they are reserved. Reserved registers, and accesses of a width that a
//! register does not have, read zero and ignore writes. There are no LPIs, message-based SPIs, extended ranges or
//! NMIs.

use crate::affinity::Affinity;
use crate::bank::{Bank, BitRegister};
use crate::intid::{Intid, SpiIndex};
use crate::vcpu_set::{VcpuSet, bits};
use crate::vgic::{Vgic, Width};

const CTLR: u64 = 0x0000;
const TYPER: u64 = 0x0004;
const IIDR: u64 = 0x0008;
const IROUTER: u64 = 0x6000;

/// GICD_CTLR: EnableGrp0 and EnableGrp1.
const CTLR_GROUPS: u64 = 0b11;
/// GICD_CTLR: ARE and DS, which are fixed.
const CTLR_FIXED: u64 = 1 << 4 | 1 << 6;
/// GICD_TYPER.IDbits: INTIDs have 10 bits.
const TYPER_IDBITS: u64 = 9 << 19;
/// GICD_TYPER.A3V: affinity level 3 may be other than zero.
const TYPER_A3V: u64 = 1 << 24;
/// GICD_TYPER.RSS: SGIs reach affinity 0 of 16 and more.
const TYPER_RSS: u64 = 1 << 26;
/// GICD_IROUTER: the bits that exist: Aff3, Interrupt_Routing_Mode, Aff2 to Aff0.
const IROUTER_MASK: u64 = 0xFF << 32 | IROUTER_IRM | 0xFF_FFFF;
/// GICD_IROUTER.Interrupt_Routing_Mode: any vCPU may take the interrupt.
const IROUTER_IRM: u64 = 1 << 31;

/// GICD_IIDR and GICR_IIDR: implementer Arm, as identification registers of a GIC that follows Arm's scheme say, and
/// product 0, as on QEMU's `virt`.
pub(crate) const IMPLEMENTATION: u64 = 0x43B;

/// Where the identification registers start.
const IDENTIFICATION: u64 = 0xFFD0;

/// The frames that have identification registers, by the part number of PIDR0.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Distributor = 0x92,
    Redistributor = 0x93,
}

/// PIDR4 to PIDR7, PIDR0 to PIDR3, CIDR0 to CIDR3, for a 32-bit read at `offset`: an Arm GIC, architecture GICv3.
pub(crate) fn identification(offset: u64, part: Part) -> Option<u64> {
    let registers = [0x44, 0, 0, 0, part as u64, 0xB4, 0x3B, 0, 0x0D, 0xF0, 0x05, 0xB1];
    let index = offset.checked_sub(IDENTIFICATION)? / 4;
    registers.get(usize::try_from(index).ok()?).copied()
}

/// A GICD_IROUTER access: which SPI, and which half.
struct RouterAccess {
    spi: SpiIndex,
    shift: u32,
    mask: u64,
}

impl RouterAccess {
    fn at(offset: u64, width: Width) -> Option<Self> {
        let intid = u32::try_from(offset.checked_sub(IROUTER)? / 8).ok()?;
        let spi = Intid::new(intid).spi_index()?;
        match width {
            Width::Double => Some(Self { spi, shift: 0, mask: u64::MAX }),
            Width::Word => Some(Self { spi, shift: (offset % 8 * 8) as u32, mask: 0xFFFF_FFFF }),
            Width::Byte | Width::Half => None,
        }
    }
}

impl Vgic {
    /// Reads from the distributor's frame of 64 KiB. The reading vCPU is synced, unless this
    /// [reads what is synced](Self::reads_synced).
    pub fn read_distributor(&mut self, offset: u64, width: Width) -> u64 {
        if !offset.is_multiple_of(width.bytes()) {
            return 0;
        }
        match offset {
            0x0400..0x0800 => self.read_priorities(offset, width),
            0x6000..0x8000 => self.read_router(offset, width),
            _ if width != Width::Word => 0,
            CTLR => CTLR_FIXED | u64::from(self.groups),
            TYPER => self.typer(),
            IIDR => IMPLEMENTATION,
            0x0080..0x0400 => self.read_spi_bits(offset).into(),
            0x0C00..0x0D00 => self.read_spi_config(offset).into(),
            IDENTIFICATION.. => identification(offset, Part::Distributor).unwrap_or(0),
            _ => 0,
        }
    }

    /// Writes to the distributor's frame. The writing vCPU is synced, unless all that is written is
    /// [synced](Self::is_synced). Returns the vCPUs that have to look again, the writing one among them.
    pub fn write_distributor(&mut self, offset: u64, width: Width, value: u64) -> VcpuSet {
        let mut kicks = VcpuSet::new();
        if !offset.is_multiple_of(width.bytes()) {
            return kicks;
        }
        match offset {
            0x0400..0x0800 => self.write_priorities(offset, width, value, &mut kicks),
            0x6000..0x8000 => self.write_router(offset, width, value, &mut kicks),
            _ if width != Width::Word => {}
            CTLR => {
                let groups = (value & CTLR_GROUPS) as u32;
                if core::mem::replace(&mut self.groups, groups) != groups {
                    return self.refresh_all();
                }
            }
            0x0080..0x0400 => {
                if let Some((register, index, bank)) = self.spi_bits_mut(offset) {
                    let changed = bank.write_bits(register, value as u32);
                    self.note_spis(index, changed, &mut kicks);
                }
            }
            0x0C00..0x0D00 => {
                let (index, first) = config_at(offset);
                if let Some(bank) = index.checked_sub(1).and_then(|index| self.spis.get_mut(index)) {
                    let changed = bank.write_config(first, value as u32);
                    self.note_spis(index - 1, changed, &mut kicks);
                }
            }
            _ => {}
        }
        kicks
    }

    /// The vCPUs in whose list registers interrupts are whose pending and active state is read or written at this
    /// offset. Once these have synced, the access is exact; without, it may see what was true when they were flushed.
    /// Those that are put are synced here, and whom that concerns is in the set too.
    pub fn distributor_lr_owners(&mut self, offset: u64) -> VcpuSet {
        let mut lr_owners = VcpuSet::new();
        let Some((register, Some(index))) =
            BitRegister::at(offset).map(|(register, index)| (register, index.checked_sub(1)))
        else {
            return lr_owners;
        };
        if register.may_be_in_lr() {
            let in_lr = self.spis.get(index).map_or(0, |bank| bank.in_lr);
            for n in bits(in_lr.into()) {
                let owner = self.routes.get(SpiIndex::at(index, n).index()).and_then(|route| route.owner);
                let Some(owner) = owner else { continue };
                self.sync_put_from_outside(owner, &mut lr_owners);
                self.note_lr_owner(owner, &mut lr_owners);
            }
        }
        lr_owners
    }

    /// Whether what is read or written at this offset concerns only SPIs of which the model knows all, so that nobody
    /// need be synced for it. A kernel that sets up its interrupts makes hundreds of such accesses.
    #[must_use]
    pub fn is_synced(&self, offset: u64) -> bool {
        let bank = match offset {
            0x0080..0x0400 => (offset as usize & 0x7F) / 4,
            0x0400..0x0800 => (offset as usize & 0x3FF) / 32,
            0x0C00..0x0D00 => config_at(offset).0,
            0x6000..0x8000 => (offset - IROUTER) as usize / 8 / 32,
            _ => return false,
        };
        let bank = bank.checked_sub(1).and_then(|index| self.spis.get(index));
        bank.is_some_and(Bank::is_synced)
    }

    /// Whether what is read at this offset is [synced](Self::is_synced), or says nothing of interrupts.
    #[must_use]
    pub fn reads_synced(&self, offset: u64) -> bool {
        !(0x0080..0x6000).contains(&offset) || self.is_synced(offset)
    }

    fn typer(&self) -> u64 {
        let lines = u64::from(self.config.spi_count).div_ceil(32);
        let is_wide = self.config.affinities.iter().any(|&mpidr| Affinity::from_mpidr(mpidr).aff0() >= 16);
        lines | TYPER_IDBITS | TYPER_A3V | if is_wide { TYPER_RSS } else { 0 }
    }

    fn spi_bits_mut(&mut self, offset: u64) -> Option<(BitRegister, usize, &mut Bank)> {
        let (register, index) = BitRegister::at(offset)?;
        let index = index.checked_sub(1)?;
        Some((register, index, self.spis.get_mut(index)?))
    }

    fn read_spi_bits(&self, offset: u64) -> u32 {
        let Some((register, index)) = BitRegister::at(offset) else { return 0 };
        let bank = index.checked_sub(1).and_then(|index| self.spis.get(index));
        bank.map_or(0, |bank| bank.read_bits(register))
    }

    fn read_spi_config(&self, offset: u64) -> u32 {
        let (index, first) = config_at(offset);
        let bank = index.checked_sub(1).and_then(|index| self.spis.get(index));
        bank.map_or(0, |bank| bank.read_config(first))
    }

    fn read_priorities(&self, offset: u64, width: Width) -> u64 {
        let bank = (offset as usize & 0x3FF) / 32;
        let bank = bank.checked_sub(1).and_then(|index| self.spis.get(index));
        bank.map_or(0, |bank| read_priorities(bank, offset, width))
    }

    fn write_priorities(&mut self, offset: u64, width: Width, value: u64, kicks: &mut VcpuSet) {
        let bits = self.config.priority_bits;
        let Some(index) = ((offset as usize & 0x3FF) / 32).checked_sub(1) else { return };
        if let Some(bank) = self.spis.get_mut(index) {
            let changed = write_priorities(bank, offset, width, value, bits);
            self.note_spis(index, changed, kicks);
        }
    }

    fn read_router(&self, offset: u64, width: Width) -> u64 {
        let Some(access) = RouterAccess::at(offset, width) else { return 0 };
        self.routes.get(access.spi.index()).map_or(0, |route| route.register >> access.shift & access.mask)
    }

    fn write_router(&mut self, offset: u64, width: Width, value: u64, kicks: &mut VcpuSet) {
        let Some(access) = RouterAccess::at(offset, width) else { return };
        let Some(route) = self.routes.get_mut(access.spi.index()) else { return };
        let kept = route.register & !(access.mask << access.shift);
        let register = (kept | (value & access.mask) << access.shift) & IROUTER_MASK;
        if core::mem::replace(&mut route.register, register) == register {
            return;
        }
        let is_one_of_n = register & IROUTER_IRM != 0;
        route.target = if is_one_of_n { None } else { self.affinities.find(Affinity::from_mpidr(register)) };
        if let Some(bank) = self.spis.get_mut(access.spi.bank()) {
            let bit = access.spi.bit();
            bank.one_of_n = bank.one_of_n & !bit | if is_one_of_n { bit } else { 0 };
        }
        self.refresh(access.spi, kicks);
    }
}

/// The bank of an ICFGR, counted from the SGIs on, and its first interrupt's place there.
const fn config_at(offset: u64) -> (usize, u32) {
    let index = (offset & 0xFF) / 4;
    (index as usize / 2, (index % 2 * 16) as u32)
}

/// Reads IPRIORITYR: one byte for each interrupt, by byte or by word.
pub(crate) fn read_priorities(bank: &Bank, offset: u64, width: Width) -> u64 {
    let first = (offset & 0x1F) as u32;
    match width {
        Width::Byte => bank.read_priority(first).into(),
        Width::Word => (0..4).fold(0, |value, n| value | u64::from(bank.read_priority(first + n)) << (8 * n)),
        Width::Half | Width::Double => 0,
    }
}

/// Writes IPRIORITYR, of which `priority_bits` exist. Returns the interrupts that changed.
pub(crate) fn write_priorities(
    bank: &mut Bank,
    offset: u64,
    width: Width,
    value: u64,
    priority_bits: u8,
) -> u32 {
    let first = (offset & 0x1F) as u32;
    let count = match width {
        Width::Byte => 1,
        Width::Word => 4,
        Width::Half | Width::Double => 0,
    };
    let mask = (0xFF00_u32 >> priority_bits) as u8;
    (0..count).fold(0, |changed, n| changed | bank.write_priority(first + n, (value >> (8 * n)) as u8 & mask))
}

#[cfg(test)]
mod tests;

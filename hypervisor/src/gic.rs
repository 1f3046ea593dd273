// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host's GICv3: just what EL2 needs of it.
//!
//! EL2 takes every physical interrupt. With EOImode = 1 an interrupt that is handed on to a guest is only
//! priority-dropped here; the guest's own deactivation of the linked virtual interrupt deactivates the physical
//! one. All interrupts are Group 1, one priority: EL2 runs with interrupts masked, so none preempts another.

pub(crate) mod vgic;

use vambrace_hypervisor::arch::sre::{self, Guard, Register, SreStep};
use vambrace_hypervisor::boot::board::Gic as Description;
use vambrace_interrupts::Intid;
use vambrace_memory::PaRange;
use vambrace_wire::bundle::assigned::Trigger;

use crate::arch::barrier::{dsb_sy, isb};
use crate::arch::mmu::MmuOn;
use crate::arch::sysreg::{
    IccBpr1El1, IccCtlrEl1, IccDirEl1, IccEoir1El1, IccIar1El1, IccIgrpen0El1, IccIgrpen1El1, IccPmrEl1,
    IccSgi1rEl1, IccSreEl1, IccSreEl2, Read, SafeWrite,
};

const GICD_CTLR: u64 = 0x0000;
const GICD_TYPER: u64 = 0x0004;
const GICD_IGROUPR: u64 = 0x0080;
const GICD_ISENABLER: u64 = 0x0100;
const GICD_ICENABLER: u64 = 0x0180;
const GICD_ISPENDR: u64 = 0x0200;
const GICD_ICPENDR: u64 = 0x0280;
const GICD_ICACTIVER: u64 = 0x0380;
const GICD_IPRIORITYR: u64 = 0x0400;
const GICD_ICFGR: u64 = 0x0C00;
const GICD_IROUTER: u64 = 0x6000;
/// EnableGrp1 (EnableGrp1NS where there are two security states), ARE.
const GICD_CTLR_ON: u32 = 1 << 1 | 1 << 4;
const GICD_CTLR_RWP: u32 = 1 << 31;

const GICR_TYPER: u64 = 0x0008;
const GICR_WAKER: u64 = 0x0014;
const GICR_TYPER_LAST: u64 = 1 << 4;
/// The SGI_base frame follows the RD_base frame.
const SGI_BASE: u64 = 0x1_0000;
const GICR_IGROUPR0: u64 = SGI_BASE + 0x0080;
const GICR_ISENABLER0: u64 = SGI_BASE + 0x0100;
const GICR_ICENABLER0: u64 = SGI_BASE + 0x0180;
const GICR_ISACTIVER0: u64 = SGI_BASE + 0x0300;
const GICR_ICACTIVER0: u64 = SGI_BASE + 0x0380;
const GICR_IPRIORITYR: u64 = SGI_BASE + 0x0400;

/// Every interrupt's priority.
const PRIORITY: u32 = 0xA0A0_A0A0;

/// The SGI with which one CPU asks another to look at its virtual CPUs.
pub(crate) const KICK: Intid = Intid::new(0);

fn read32(address: u64) -> u32 {
    let register: *const u32 = core::ptr::with_exposed_provenance(address as usize);
    // SAFETY: only called with the GIC's registers, mapped as Device memory, by this module's types.
    unsafe { register.read_volatile() }
}

fn write32(address: u64, value: u32) {
    let register: *mut u32 = core::ptr::with_exposed_provenance_mut(address as usize);
    // SAFETY: only called with the GIC's registers, mapped as Device memory, by this module's types.
    unsafe { register.write_volatile(value) }
}

fn write64(address: u64, value: u64) {
    let register: *mut u64 = core::ptr::with_exposed_provenance_mut(address as usize);
    // SAFETY: only called with the GIC's registers, mapped as Device memory, by this module's types.
    unsafe { register.write_volatile(value) }
}

fn read64(address: u64) -> u64 {
    let register: *const u64 = core::ptr::with_exposed_provenance(address as usize);
    // SAFETY: only called with the GIC's registers, mapped as Device memory, by this module's types.
    unsafe { register.read_volatile() }
}

/// The distributor. The CPU that boots makes it; afterwards whoever changes what belongs to one SPI is alone with that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Distributor {
    base: u64,
}

impl Distributor {
    /// Resets the distributor: all SPIs Group 1 and disabled, affinity routing on.
    ///
    /// # Safety
    /// `description` must be the board's GICv3, mapped as Device memory; called once, by one CPU.
    pub(crate) unsafe fn new(_: &MmuOn, description: &Description) -> Self {
        let this = Self { base: description.distributor.start().0 };
        write32(this.base + GICD_CTLR, 0);
        this.wait();
        let words = u64::from(read32(this.base + GICD_TYPER) & 0x1F) + 1;
        for word in 1..words {
            write32(this.base + GICD_ICENABLER + 4 * word, !0);
            write32(this.base + GICD_IGROUPR + 4 * word, !0);
            for quad in 0..8 {
                write32(this.base + GICD_IPRIORITYR + 32 * word + 4 * quad, PRIORITY);
            }
        }
        write32(this.base + GICD_CTLR, GICD_CTLR_ON);
        this.wait();
        this
    }

    /// Routes an SPI to the CPU with this affinity.
    pub(crate) fn route_spi(&self, intid: Intid, affinity: u64) {
        write64(router(self.base, intid), affinity & 0xFF_00FF_FFFF);
    }

    /// Routes an SPI to the CPU with this affinity and enables it.
    pub(crate) fn enable_spi(&self, intid: Intid, affinity: u64) {
        self.route_spi(intid, affinity);
        let (word, bit) = word_and_bit(intid);
        write32(self.base + GICD_ISENABLER + word, bit);
    }

    /// Makes an SPI pending, as an edge of its line does: it comes again when it has been ended.
    pub(crate) fn set_pending(&self, intid: Intid) {
        let (word, bit) = word_and_bit(intid);
        write32(self.base + GICD_ISPENDR + word, bit);
    }

    /// Puts an SPI back as after reset: disabled, neither pending nor active.
    pub(crate) fn reset_spi(&self, intid: Intid) {
        let (word, bit) = word_and_bit(intid);
        write32(self.base + GICD_ICENABLER + word, bit);
        self.wait();
        write32(self.base + GICD_ICPENDR + word, bit);
        write32(self.base + GICD_ICACTIVER + word, bit);
    }

    /// Says whether an SPI, which is disabled, follows its line's level or edges.
    pub(crate) fn set_trigger(&self, intid: Intid, trigger: Trigger) {
        let register = self.base + GICD_ICFGR + 4 * u64::from(intid.get() / 16);
        let edge = 0b10 << (intid.get() % 16 * 2);
        let others = read32(register) & !edge;
        write32(register, if trigger == Trigger::Edge { others | edge } else { others });
    }

    fn wait(&self) {
        while read32(self.base + GICD_CTLR) & GICD_CTLR_RWP != 0 {
            core::hint::spin_loop();
        }
    }
}

/// Where an interrupt is in the registers with a bit for each: the offset of the word, and the bit.
fn word_and_bit(intid: Intid) -> (u64, u32) {
    (4 * u64::from(intid.get() / 32), 1 << (intid.get() % 32))
}

const fn router(base: u64, intid: Intid) -> u64 {
    base + GICD_IROUTER + 8 * intid.get() as u64
}

/// One CPU's redistributor and CPU interface. Each CPU makes its own.
#[derive(Debug)]
pub(crate) struct CpuInterface {
    redistributor: u64,
    guard: Guard,
}

/// Why a CPU has no interface to the GIC.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum NoInterface {
    #[error("no redistributor has its affinity")]
    NoRedistributor,
    #[error("the firmware keeps the GIC's system registers from EL2 (ICC_SRE_EL3.SRE and Enable must be 1)")]
    NoSystemRegisters,
}

impl CpuInterface {
    /// Finds this CPU's redistributor, wakes it, and enables the private interrupts in `enable` (a bit an INTID).
    ///
    /// # Safety
    /// `regions` must be the board's redistributors, mapped as Device memory; called once by each CPU.
    pub(crate) unsafe fn new(regions: &[PaRange], affinity: u64, enable: u32) -> Result<Self, NoInterface> {
        let redistributor = regions.iter().find_map(|region| find(*region, affinity));
        let redistributor = redistributor.ok_or(NoInterface::NoRedistributor)?;
        write32(redistributor + GICR_WAKER, read32(redistributor + GICR_WAKER) & !0b10);
        while read32(redistributor + GICR_WAKER) & 0b100 != 0 {
            core::hint::spin_loop();
        }
        write32(redistributor + GICR_ICENABLER0, !0);
        write32(redistributor + GICR_ICACTIVER0, !0);
        write32(redistributor + GICR_IGROUPR0, !0);
        for quad in 0..8 {
            write32(redistributor + GICR_IPRIORITYR + 4 * quad, PRIORITY);
        }
        write32(redistributor + GICR_ISENABLER0, enable);
        dsb_sy();
        let guard = turn_system_registers_on();
        if guard == Guard::NoSystemRegisters {
            return Err(NoInterface::NoSystemRegisters);
        }
        // EOImode = 1: end of interrupt and deactivation apart.
        IccCtlrEl1.write(1 << 1);
        IccPmrEl1.write(0xFF);
        IccBpr1El1.write(0);
        IccIgrpen0El1.write(0);
        IccIgrpen1El1.write(1);
        isb();
        Ok(Self { redistributor, guard })
    }

    /// Sets right what a guest may have changed of the interface that all share.
    #[inline]
    pub(crate) fn enter_guest(&self) {
        if self.guard == Guard::SetForEachGuest {
            IccSreEl1.write(sre::EL1);
        }
    }

    /// Takes the pending interrupt of highest priority, if any: it is active from now on.
    pub(crate) fn acknowledge() -> Option<Intid> {
        // Without LPIs 13 bits hold each INTID, as in a list register that is linked to it.
        let intid = Intid::from_register(IccIar1El1.read() & 0x1FFF);
        dsb_sy();
        intid.is_interrupt().then_some(intid)
    }

    /// Drops the running priority; the interrupt stays active, for a guest to deactivate.
    pub(crate) fn drop_priority(intid: Intid) {
        IccEoir1El1.write(u64::from(intid));
    }

    /// Ends an interrupt altogether.
    pub(crate) fn end(intid: Intid) {
        IccEoir1El1.write(u64::from(intid));
        IccDirEl1.write(u64::from(intid));
    }

    /// Deactivates an interrupt whose priority was dropped before.
    pub(crate) fn deactivate(intid: Intid) {
        IccDirEl1.write(u64::from(intid));
    }

    /// Sets the active state of a private interrupt: the guest that now runs here has it in service.
    pub(crate) fn set_active(&self, intid: Intid) {
        write32(self.redistributor + GICR_ISACTIVER0, 1 << (intid.get() & 31));
    }

    /// Clears the active state of a private interrupt: the guest that has it in service no longer runs here.
    pub(crate) fn clear_active(&self, intid: Intid) {
        write32(self.redistributor + GICR_ICACTIVER0, 1 << (intid.get() & 31));
    }
}

/// An interrupt of one CPU with [`KICK`]: the value of ICC_SGI1R_EL1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kick(u64);

impl Kick {
    /// For the CPU with this affinity.
    pub(crate) const fn new(affinity: u64) -> Self {
        let (aff0, aff1, aff2) = (affinity & 0xFF, affinity >> 8 & 0xFF, affinity >> 16 & 0xFF);
        let aff3 = affinity >> 32 & 0xFF;
        let targets = (aff0 >> 4) << 44 | 1 << (aff0 & 0xF);
        Self(aff3 << 48 | aff2 << 32 | (KICK.get() as u64) << 24 | aff1 << 16 | targets)
    }

    /// Sends it, after all that was written before.
    #[inline]
    pub(crate) fn send(self) {
        dsb_sy();
        IccSgi1rEl1.write(self.0);
        isb();
    }
}

/// Makes the system registers the interface of EL1 and EL2.
fn turn_system_registers_on() -> Guard {
    for step in sre::STEPS {
        match step {
            SreStep::Write(Register::El1, value) => IccSreEl1.write(value),
            SreStep::Write(Register::El2, value) => IccSreEl2.write(value),
            SreStep::Synchronise => isb(),
        }
    }
    Guard::of(IccSreEl2.read())
}

/// The redistributor of the CPU with this affinity within a region.
fn find(region: PaRange, affinity: u64) -> Option<u64> {
    let wanted = (affinity & 0xFF_FFFF) | ((affinity >> 32) & 0xFF) << 24;
    let mut frame = region.start().0;
    while frame < region.end().0 {
        let typer = read64(frame + GICR_TYPER);
        if typer >> 32 == wanted {
            return Some(frame);
        }
        if typer & GICR_TYPER_LAST != 0 {
            return None;
        }
        // VLPIS: a GICv4 redistributor has two frames more.
        frame += if typer & 0b10 != 0 { 0x4_0000 } else { 0x2_0000 };
    }
    None
}

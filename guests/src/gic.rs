// SPDX-License-Identifier: MIT OR Apache-2.0
//! A GICv3 with one Security state (Arm IHI 0069): distributor, this CPU's redistributor, CPU interface.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::machine::Machine;
use crate::{cpu, mmio, timer};

/// Bytes from one redistributor to the next.
pub const GICR_STRIDE: u64 = 0x2_0000;
/// What acknowledging gives when nothing is pending.
pub const SPURIOUS: u32 = 1023;
/// The first SPI.
pub const FIRST_SPI: u32 = 32;

/// Offsets in the distributor; those up to ICFGR are the same in a redistributor's SGI frame.
pub mod offset {
    /// Control.
    pub const CTLR: u64 = 0;
    /// Type.
    pub const TYPER: u64 = 4;
    /// Who made it.
    pub const IIDR: u64 = 8;
    /// Group, a bit each.
    pub const IGROUPR: u64 = 0x80;
    /// Enable, a bit each.
    pub const ISENABLER: u64 = 0x100;
    /// Disable, a bit each.
    pub const ICENABLER: u64 = 0x180;
    /// Make pending, a bit each.
    pub const ISPENDR: u64 = 0x200;
    /// Make not pending, a bit each.
    pub const ICPENDR: u64 = 0x280;
    /// Make active, a bit each.
    pub const ISACTIVER: u64 = 0x300;
    /// Make inactive, a bit each.
    pub const ICACTIVER: u64 = 0x380;
    /// Priority, a byte each.
    pub const IPRIORITYR: u64 = 0x400;
    /// Level or edge, two bits each.
    pub const ICFGR: u64 = 0xC00;
    /// Routing of SPIs, 64 bits each.
    pub const IROUTER: u64 = 0x6000;
    /// A redistributor's type.
    pub const GICR_TYPER: u64 = 8;
    /// A redistributor's power.
    pub const GICR_WAKER: u64 = 0x14;
    /// A redistributor's SGI frame.
    pub const SGI_FRAME: u64 = 0x1_0000;
}

/// GICD_CTLR: both groups on, affinity routing, one Security state.
pub const CTLR_ON: u32 = 1 | 2 | 1 << 4;
/// GICD_CTLR: a register write is still on its way.
const RWP: u32 = 1 << 31;
/// IROUTER: any CPU.
pub const ANY_CPU: u64 = 1 << 31;

/// How an interrupt is signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// As long as the line is high.
    Level,
    /// Once for each rise.
    Edge,
}

/// Which group an interrupt is in: group 0 is signalled as FIQ, group 1 as IRQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// FIQ.
    Zero,
    /// IRQ.
    One,
}

/// A region of redistributors: its first address, and its length in bytes.
struct Region(AtomicU64, AtomicU64);

impl Region {
    /// The addresses of its redistributors.
    fn frames(&self) -> impl Iterator<Item = u64> + use<> {
        let (base, size) = (self.0.load(Ordering::Relaxed), self.1.load(Ordering::Relaxed));
        (0..size / GICR_STRIDE).map(move |index| base + index * GICR_STRIDE)
    }
}

/// Where the device tree says that the distributor lies.
static DISTRIBUTOR: AtomicU64 = AtomicU64::new(0);
/// Where the redistributors lie; QEMU's `virt` has a second region behind the first 123.
static REDISTRIBUTORS: [Region; 2] = [const { Region(AtomicU64::new(0), AtomicU64::new(0)) }; 2];

/// The distributor's address.
#[must_use]
pub fn gicd() -> u64 {
    DISTRIBUTOR.load(Ordering::Relaxed)
}

/// The first redistributor's address.
#[must_use]
pub fn gicr() -> u64 {
    REDISTRIBUTORS[0].0.load(Ordering::Relaxed)
}

/// Looks where the device tree has the interrupt controller (binding `arm,gic-v3`): the distributor, then the regions of
/// redistributors.
pub(crate) fn find(machine: &Machine) {
    let Some(mut ranges) = machine.device("arm,gic-v3") else { return };
    if let Some((address, _)) = ranges.next() {
        DISTRIBUTOR.store(address, Ordering::Relaxed);
    }
    for (region, (address, size)) in REDISTRIBUTORS.iter().zip(ranges) {
        region.0.store(address, Ordering::Relaxed);
        region.1.store(size, Ordering::Relaxed);
    }
}

/// How many INTIDs the distributor has.
#[must_use]
pub fn intids() -> u32 {
    32 * ((mmio::read32(gicd() + offset::TYPER) & 0x1F) + 1)
}

/// Sets the distributor up: SPIs in group 1, level, disabled, idle, priority 0xA0, routed to CPU 0; then on.
pub fn init_distributor() {
    mmio::write32(gicd() + offset::CTLR, 0);
    wait_distributor();
    for intid in FIRST_SPI..intids() {
        reset_interrupt(intid);
        mmio::write64(gicd() + offset::IROUTER + 8 * u64::from(intid), 0);
    }
    enable_distributor();
}

/// Turns the distributor on as it is after reset: no SPI is enabled.
pub fn enable_distributor() {
    mmio::write32(gicd() + offset::CTLR, CTLR_ON);
    wait_distributor();
}

fn wait_distributor() {
    timer::wait_for(timer::PATIENCE, || mmio::read32(gicd() + offset::CTLR) & RWP == 0);
}

/// Finds and wakes this CPU's redistributor, resets its interrupts as for SPIs, and turns the CPU interface on:
/// everything of lower priority than 0xFF passes, EOImode 0, both groups.
pub fn init_cpu() {
    let base = find_redistributor();
    cpu::this().redistributor.store(base, Ordering::Relaxed);
    let waker = mmio::read32(base + offset::GICR_WAKER);
    mmio::write32(base + offset::GICR_WAKER, waker & !2);
    timer::wait_for(timer::PATIENCE, || mmio::read32(base + offset::GICR_WAKER) & 4 == 0);
    (0..FIRST_SPI).for_each(reset_interrupt);
    write_register!("icc_sre_el1", 7);
    write_register!("icc_pmr_el1", 0xFF);
    write_register!("icc_bpr0_el1", 0);
    write_register!("icc_bpr1_el1", 0);
    write_register!("icc_ctlr_el1", 0);
    write_register!("icc_igrpen0_el1", 1);
    write_register!("icc_igrpen1_el1", 1);
}

/// Address of this CPU's redistributor, by the affinity in GICR_TYPER; the first one's if none has it.
fn find_redistributor() -> u64 {
    let mpidr = cpu::affinity();
    let affinity = (mpidr & 0xFF_FFFF) | (mpidr >> 32) << 24;
    let frames = REDISTRIBUTORS.iter().flat_map(Region::frames);
    let mut own = frames.filter(|base| mmio::read64(base + offset::GICR_TYPER) >> 32 == affinity);
    own.next().unwrap_or_else(gicr)
}

/// Address of the frame with this CPU's SGIs and PPIs.
#[must_use]
pub fn sgi_frame() -> u64 {
    cpu::this().redistributor.load(Ordering::Relaxed) + offset::SGI_FRAME
}

fn frame(intid: u32) -> u64 {
    if intid < FIRST_SPI { sgi_frame() } else { gicd() }
}

/// Writes the interrupt's bit to a register of which ones set or clear.
fn write_bit(register: u64, intid: u32) {
    mmio::write32(frame(intid) + register + 4 * u64::from(intid / 32), 1 << (intid % 32));
}

fn read_bit(register: u64, intid: u32) -> bool {
    mmio::read32(frame(intid) + register + 4 * u64::from(intid / 32)) & (1 << (intid % 32)) != 0
}

/// Disables an interrupt, makes it idle, level, group 1 and priority 0xA0.
pub fn reset_interrupt(intid: u32) {
    disable(intid);
    set_pending(intid, false);
    set_active(intid, false);
    set_group(intid, Group::One);
    set_priority(intid, 0xA0);
    if intid >= 16 {
        set_trigger(intid, Trigger::Level);
    }
}

/// Enables an interrupt; SGIs and PPIs on this CPU.
pub fn enable(intid: u32) {
    write_bit(offset::ISENABLER, intid);
}

/// Disables an interrupt.
pub fn disable(intid: u32) {
    write_bit(offset::ICENABLER, intid);
}

/// Whether an interrupt is enabled.
#[must_use]
pub fn is_enabled(intid: u32) -> bool {
    read_bit(offset::ISENABLER, intid)
}

/// Makes an interrupt pending, or no longer.
pub fn set_pending(intid: u32, pending: bool) {
    write_bit(if pending { offset::ISPENDR } else { offset::ICPENDR }, intid);
}

/// Whether an interrupt is pending.
#[must_use]
pub fn is_pending(intid: u32) -> bool {
    read_bit(offset::ISPENDR, intid)
}

/// Makes an interrupt active, or no longer.
pub fn set_active(intid: u32, active: bool) {
    write_bit(if active { offset::ISACTIVER } else { offset::ICACTIVER }, intid);
}

/// Whether an interrupt is active.
#[must_use]
pub fn is_active(intid: u32) -> bool {
    read_bit(offset::ISACTIVER, intid)
}

/// Sets the priority; lower is more urgent.
pub fn set_priority(intid: u32, priority: u8) {
    mmio::write8(frame(intid) + offset::IPRIORITYR + u64::from(intid), priority);
}

/// The priority; lower is more urgent.
#[must_use]
pub fn priority(intid: u32) -> u8 {
    mmio::read8(frame(intid) + offset::IPRIORITYR + u64::from(intid))
}

/// Sets the group.
pub fn set_group(intid: u32, group: Group) {
    let register = frame(intid) + offset::IGROUPR + 4 * u64::from(intid / 32);
    let bit = 1 << (intid % 32);
    let old = mmio::read32(register);
    mmio::write32(register, if group == Group::One { old | bit } else { old & !bit });
}

/// Sets how an interrupt is signalled; for PPIs and SPIs.
pub fn set_trigger(intid: u32, trigger: Trigger) {
    let register = frame(intid) + offset::ICFGR + 4 * u64::from(intid / 16);
    let bit = 2 << (2 * (intid % 16));
    let old = mmio::read32(register);
    mmio::write32(register, if trigger == Trigger::Edge { old | bit } else { old & !bit });
}

/// Routes an SPI to the CPU with an affinity, or to [`ANY_CPU`].
pub fn route(intid: u32, affinity: u64) {
    mmio::write64(gicd() + offset::IROUTER + 8 * u64::from(intid), affinity);
}

/// Enables an SPI that is as after reset, but for its trigger and priority, and goes to this CPU.
pub fn prepare_spi(intid: u32, trigger: Trigger, priority: u8) {
    reset_interrupt(intid);
    set_trigger(intid, trigger);
    set_priority(intid, priority);
    route(intid, cpu::affinity());
    enable(intid);
}

/// Acknowledges the most urgent interrupt of group 1.
#[must_use]
pub fn acknowledge() -> u32 {
    let intid = read_register!("icc_iar1_el1") as u32;
    // SAFETY: a barrier: what the interrupt is about comes after the acknowledgement.
    unsafe { core::arch::asm!("dsb sy", options(nostack)) };
    intid
}

/// Acknowledges the most urgent interrupt of group 0.
#[must_use]
pub fn acknowledge0() -> u32 {
    let intid = read_register!("icc_iar0_el1") as u32;
    // SAFETY: as for `acknowledge`.
    unsafe { core::arch::asm!("dsb sy", options(nostack)) };
    intid
}

/// Ends an interrupt of group 1: its priority, and with EOImode 0 the interrupt itself.
pub fn end(intid: u32) {
    write_register!("icc_eoir1_el1", u64::from(intid));
}

/// Ends an interrupt of group 0.
pub fn end0(intid: u32) {
    write_register!("icc_eoir0_el1", u64::from(intid));
}

/// Deactivates an interrupt, with EOImode 1.
pub fn deactivate(intid: u32) {
    write_register!("icc_dir_el1", u64::from(intid));
}

/// The most urgent pending interrupt of group 1, not acknowledged.
#[must_use]
pub fn highest_pending() -> u32 {
    read_register!("icc_hppir1_el1") as u32
}

/// The priority of what runs: 0xFF when idle.
#[must_use]
pub fn running_priority() -> u32 {
    read_register!("icc_rpr_el1") as u32
}

/// Sends SGI `intid` to the CPUs with one affinity.
pub fn send_sgi(intid: u32, affinity: u64) {
    write_sgi1r(sgi1r(intid, affinity));
}

/// ICC_SGI1R_EL1 for SGI `intid` to the CPU with an affinity.
#[must_use]
pub fn sgi1r(intid: u32, affinity: u64) -> u64 {
    let aff0 = affinity & 0xFF;
    let target = 1 << (aff0 & 0xF);
    let higher = (affinity >> 8 & 0xFF) << 16 | (affinity >> 16 & 0xFF) << 32 | (affinity >> 32 & 0xFF) << 48;
    u64::from(intid) << 24 | higher | (aff0 >> 4) << 44 | target
}

/// Sends SGI `intid` to all CPUs but this one.
pub fn send_sgi_to_others(intid: u32) {
    write_sgi1r(u64::from(intid) << 24 | 1 << 40);
}

/// Writes ICC_SGI1R_EL1, after memory that the SGI is about.
pub fn write_sgi1r(value: u64) {
    // SAFETY: a barrier.
    unsafe { core::arch::asm!("dsb sy", options(nostack)) };
    write_register!("icc_sgi1r_el1", value);
}

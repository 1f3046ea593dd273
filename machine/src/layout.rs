// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where things are in a VM's physical address space.
//!
//! The same places and interrupts as on QEMU's `virt` board, so that kernels and U-Boot built for it boot
//! unchanged. UEFI does not: its variables need flash that can be written, and a VM's can only be read.

use core::ops::Range;

use vambrace_ids::VcpuId;
use vambrace_interrupts::Intid;
use vambrace_memory::{Ipa, IpaRange};
use vambrace_wire::bundle::channel::MAX_CHANNELS;
use vambrace_wire::bundle::io::MAX_VIRTIO;

/// Two banks of flash, for firmware.
pub const FLASH: IpaRange = IpaRange::clamped(Ipa(0), 128 << 20);

/// The GIC's distributor.
pub const GICD: IpaRange = IpaRange::clamped(Ipa(0x0800_0000), 0x1_0000);

/// The first redistributor; the others follow, 128 KiB each.
pub const GICR: Ipa = Ipa(0x080A_0000);
/// Size of one redistributor's two frames, in bytes.
pub const GICR_STRIDE: u64 = 0x2_0000;
/// Redistributors that fit before the UART; more go on at [`GICR_HIGH`].
pub const GICR_COUNT: u64 = 123;
/// The second redistributor region, for VMs of more than [`GICR_COUNT`] vCPUs.
pub const GICR_HIGH: Ipa = Ipa(0x40_0000_0000);

/// Places of one kind side by side, each with an SPI of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    first: Ipa,
    size: u64,
    first_spi: u32,
    count: u64,
}

impl Row {
    /// Place `index`.
    #[must_use]
    pub const fn place(self, index: u64) -> IpaRange {
        IpaRange::clamped(Ipa(self.first.0 + index * self.size), self.size)
    }

    /// The interrupt of place `index`, counted from the first SPI on.
    #[must_use]
    pub const fn spi(self, index: u32) -> u32 {
        self.first_spi + index
    }

    /// The interrupt of place `index`.
    #[must_use]
    pub const fn intid(self, index: u32) -> Intid {
        Intid::spi(self.spi(index))
    }

    /// All its places.
    #[must_use]
    pub const fn range(self) -> IpaRange {
        IpaRange::clamped(self.first, self.size * self.count)
    }

    /// The interrupts of all its places, counted from the first SPI on.
    #[must_use]
    pub const fn spis(self) -> Range<u32> {
        self.first_spi..self.first_spi + self.count as u32
    }
}

/// The virtio-mmio slots.
pub const VIRTIO: Row = Row { first: Ipa(0x0A00_0000), size: 0x200, first_spi: 16, count: MAX_VIRTIO as u64 };

/// The doorbells of channels, a page each.
pub const DOORBELLS: Row =
    Row { first: Ipa(0x0B00_0000), size: 0x1000, first_spi: 48, count: MAX_CHANNELS as u64 };
/// The first channel's memory; the others' follow.
pub const CHANNEL: Ipa = Ipa(0x2000_0000);
/// From one channel's memory to the next one's, in bytes: the largest there is.
pub const CHANNEL_STRIDE: u64 = 16 << 20;

/// RAM starts here.
pub const RAM: Ipa = Ipa(0x4000_0000);

/// Where there is something beside the [list](crate::devices) of platform devices.
pub const OTHER_RANGES: [IpaRange; 8] = [
    FLASH,
    GICD,
    IpaRange::clamped(GICR, GICR_COUNT * GICR_STRIDE),
    VIRTIO.range(),
    DOORBELLS.range(),
    IpaRange::clamped(CHANNEL, MAX_CHANNELS as u64 * CHANNEL_STRIDE),
    IpaRange::clamped(RAM, GICR_HIGH.0 - RAM.0),
    IpaRange::clamped(GICR_HIGH, GICR_COUNT * GICR_STRIDE),
];

/// Whose interrupts, counted from the first SPI on, are not of that list.
pub const OTHER_SPIS: [Range<u32>; 2] = [VIRTIO.spis(), DOORBELLS.spis()];

/// The first SPI's INTID.
pub const SPI_BASE: u32 = 32;
/// How many SPIs a VM has: those of all that `virt` has at a fixed place, the last of them 32 virtio slots from SPI 16 on.
/// A kernel sets up each with a write or two, so the others would only make its start longer.
pub const SPI_COUNT: u32 = 64;

/// PPI (INTID) of the EL1 physical timer.
pub const PHYSICAL_TIMER_INTID: Intid = Intid::new(30);
/// PPI (INTID) of the EL1 virtual timer.
pub const VIRTUAL_TIMER_INTID: Intid = Intid::new(27);
/// PPI (INTID) of the PMU, unused as yet.
pub const PMU_INTID: Intid = Intid::new(23);

/// A vCPU's redistributor.
#[must_use]
pub const fn redistributor(vcpu: VcpuId) -> Ipa {
    let index = vcpu.number() as u64;
    match index.checked_sub(GICR_COUNT) {
        None => Ipa(GICR.0 + index * GICR_STRIDE),
        Some(beyond) => Ipa(GICR_HIGH.0 + beyond * GICR_STRIDE),
    }
}

/// A vCPU's MPIDR affinity fields: 16 CPUs a cluster, so that one SGI1R write reaches a whole
/// cluster, as on QEMU's `virt`.
#[must_use]
pub const fn affinity(vcpu: VcpuId) -> u64 {
    let index = vcpu.number() as u64;
    (index & 0xF) | ((index >> 4) & 0xFF) << 8 | (index >> 12) << 16
}

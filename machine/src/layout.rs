// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where things are in a VM's physical address space.
//!
//! The same places and interrupts as on QEMU's `virt` board, so that kernels and U-Boot built for it boot
//! unchanged. UEFI does not: its variables need flash that can be written, and a VM's can only be read.

use vambrace_ids::VcpuId;
use vambrace_interrupts::Intid;
use vambrace_memory::{Ipa, IpaRange};

/// Two banks of flash, for firmware.
pub const FLASH: Ipa = Ipa(0);
/// Size of the flash, both banks, in bytes.
pub const FLASH_SIZE: u64 = 128 << 20;
/// The flash, both banks.
pub const FLASH_RANGE: IpaRange = IpaRange::clamped(FLASH, FLASH_SIZE);

/// The GIC's distributor.
pub const GICD: Ipa = Ipa(0x0800_0000);
/// Size of the distributor's frame, in bytes.
pub const GICD_SIZE: u64 = 0x1_0000;

/// The first redistributor; the others follow, 128 KiB each.
pub const GICR: Ipa = Ipa(0x080A_0000);
/// Size of one redistributor's two frames, in bytes.
pub const GICR_STRIDE: u64 = 0x2_0000;
/// Redistributors that fit before the UART; more go on at [`GICR_HIGH`].
pub const GICR_COUNT: u64 = 123;
/// The second redistributor region, for VMs of more than [`GICR_COUNT`] vCPUs.
pub const GICR_HIGH: Ipa = Ipa(0x40_0000_0000);

/// The PL011 UART.
pub const UART: Ipa = Ipa(0x0900_0000);
/// Size of the UART's frame, in bytes.
pub const UART_SIZE: u64 = 0x1000;
/// The UART's interrupt, as an SPI number (INTID 33).
pub const UART_SPI: u32 = 1;

/// The PL031 real-time clock.
pub const RTC: Ipa = Ipa(0x0901_0000);
/// Size of the clock's frame, in bytes.
pub const RTC_SIZE: u64 = 0x1000;
/// The clock's interrupt, as an SPI number (INTID 34).
pub const RTC_SPI: u32 = 2;

/// The first virtio-mmio slot.
pub const VIRTIO: Ipa = Ipa(0x0A00_0000);
/// From one slot's registers to the next one's, in bytes.
pub const VIRTIO_STRIDE: u64 = 0x200;
/// The first slot's interrupt, as an SPI number (INTID 48); the others' follow.
pub const VIRTIO_SPI: u32 = 16;

/// The first channel's doorbell, behind the virtio slots; the others' follow, a page each.
pub const DOORBELL: Ipa = Ipa(0x0B00_0000);
/// From one doorbell to the next one, in bytes.
pub const DOORBELL_STRIDE: u64 = 0x1000;
/// The first channel's interrupt, as an SPI number (INTID 80), behind those of virtio; the others' follow.
pub const DOORBELL_SPI: u32 = 48;
/// The first channel's memory; the others' follow.
pub const CHANNEL: Ipa = Ipa(0x2000_0000);
/// From one channel's memory to the next one's, in bytes: the largest there is.
pub const CHANNEL_STRIDE: u64 = 16 << 20;

/// RAM starts here.
pub const RAM: Ipa = Ipa(0x4000_0000);

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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers' offsets and the bits of the device's status.

/// How many bytes the registers take, configuration included: the slots of QEMU's `virt` board are as large.
pub const LEN: u64 = 0x200;

/// Reads as "virt".
pub const MAGIC_VALUE: u64 = 0x000;
/// Reads as 2: not the legacy layout.
pub const VERSION: u64 = 0x004;
/// Which kind of device it is.
pub const DEVICE_ID: u64 = 0x008;
/// Whose device it is.
pub const VENDOR_ID: u64 = 0x00C;
/// 32 of the features that the device offers.
pub const DEVICE_FEATURES: u64 = 0x010;
/// Which 32 of them.
pub const DEVICE_FEATURES_SEL: u64 = 0x014;
/// 32 of the features that the driver takes.
pub const DRIVER_FEATURES: u64 = 0x020;
/// Which 32 of them.
pub const DRIVER_FEATURES_SEL: u64 = 0x024;
/// Which queue the registers of a queue are about.
pub const QUEUE_SEL: u64 = 0x030;
/// The largest size of the queue; 0 where there is none.
pub const QUEUE_NUM_MAX: u64 = 0x034;
/// Its size.
pub const QUEUE_NUM: u64 = 0x038;
/// Whether it is in use.
pub const QUEUE_READY: u64 = 0x044;
/// Says that a queue has something available.
pub const QUEUE_NOTIFY: u64 = 0x050;
/// Why the interrupt line is high.
pub const INTERRUPT_STATUS: u64 = 0x060;
/// Takes back reasons.
pub const INTERRUPT_ACK: u64 = 0x064;
/// The device's status.
pub const STATUS: u64 = 0x070;
/// Address of the descriptor table, lower half; the upper half follows.
pub const QUEUE_DESC_LOW: u64 = 0x080;
/// Its upper half.
pub const QUEUE_DESC_HIGH: u64 = 0x084;
/// Address of the available ring, lower half.
pub const QUEUE_DRIVER_LOW: u64 = 0x090;
/// Its upper half.
pub const QUEUE_DRIVER_HIGH: u64 = 0x094;
/// Address of the used ring, lower half.
pub const QUEUE_DEVICE_LOW: u64 = 0x0A0;
/// Its upper half.
pub const QUEUE_DEVICE_HIGH: u64 = 0x0A4;
/// Length of a shared memory region, lower half: all ones, as there is none.
pub const SHM_LEN_LOW: u64 = 0x0B0;
/// Upper half of its address.
pub const SHM_BASE_HIGH: u64 = 0x0BC;
/// Changes with the configuration.
pub const CONFIG_GENERATION: u64 = 0x0FC;
/// The first byte of the device's own configuration.
pub const CONFIG: u64 = 0x100;

/// Bits of the device's status (2.1).
pub mod status {
    /// The guest has seen the device.
    pub const ACKNOWLEDGE: u32 = 1;
    /// It has a driver for it.
    pub const DRIVER: u32 = 2;
    /// The driver is ready: the device works.
    pub const DRIVER_OK: u32 = 4;
    /// The features are agreed on.
    pub const FEATURES_OK: u32 = 8;
    /// The device has met an error that only a reset ends.
    pub const NEEDS_RESET: u32 = 64;
    /// The driver has given up.
    pub const FAILED: u32 = 128;
}

/// Bits of the interrupt's status (4.2.2).
pub mod interrupt {
    /// The device has returned a buffer.
    pub const USED_BUFFER: u32 = 1;
    /// Its configuration has changed.
    pub const CONFIGURATION: u32 = 2;
}

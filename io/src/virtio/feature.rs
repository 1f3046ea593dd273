// SPDX-License-Identifier: MIT OR Apache-2.0
//! Feature bits that belong to no kind of device (virtio 1.2, 6 "Reserved Feature Bits").

/// A descriptor may refer to a table of descriptors (VIRTIO_F_INDIRECT_DESC).
pub const INDIRECT_DESC: u64 = 1 << 28;
/// Both sides say at which index they want to hear again (VIRTIO_F_EVENT_IDX).
pub const EVENT_IDX: u64 = 1 << 29;
/// The device and its driver follow virtio 1.0 or later (VIRTIO_F_VERSION_1).
pub const VERSION_1: u64 = 1 << 32;

/// What every device offers.
pub(super) const COMMON: u64 = INDIRECT_DESC | EVENT_IDX | VERSION_1;

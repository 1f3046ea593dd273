// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers and layouts of the network device (virtio 1.2, 5.1.3, 5.1.4, 5.1.6).

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Feature bits (5.1.3).
pub mod feature {
    /// The device completes checksums.
    pub const CSUM: u64 = 1 << 0;
    /// The driver takes frames whose checksum is not complete.
    pub const GUEST_CSUM: u64 = 1 << 1;
    /// The configuration has the MTU.
    pub const MTU: u64 = 1 << 3;
    /// The configuration has the address.
    pub const MAC: u64 = 1 << 5;
    /// The driver takes large frames of TCP over IPv4.
    pub const GUEST_TSO4: u64 = 1 << 7;
    /// The driver takes large frames of TCP over IPv6.
    pub const GUEST_TSO6: u64 = 1 << 8;
    /// The device cuts large frames of TCP over IPv4.
    pub const HOST_TSO4: u64 = 1 << 11;
    /// The device cuts large frames of TCP over IPv6.
    pub const HOST_TSO6: u64 = 1 << 12;
    /// A received frame may take several buffers.
    pub const MRG_RXBUF: u64 = 1 << 15;
    /// The configuration says whether the link is up.
    pub const STATUS: u64 = 1 << 16;
}

/// Bits of the header's `flags`.
pub(super) mod flag {
    pub(in super::super) const NEEDS_CSUM: u8 = 1;
}

/// Values of the header's `gso_type`.
pub(super) mod gso {
    pub(in super::super) const NONE: u8 = 0;
    pub(in super::super) const TCPV4: u8 = 1;
    pub(in super::super) const TCPV6: u8 = 4;
}

/// `VIRTIO_NET_S_LINK_UP`.
pub(super) const LINK_UP: u16 = 1;

/// What comes before each frame: `struct virtio_net_hdr` of virtio 1.0 and later.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    pub(super) flags: u8,
    pub(super) gso_type: u8,
    pub(super) hdr_len: U16,
    pub(super) gso_size: U16,
    pub(super) csum_start: U16,
    pub(super) csum_offset: U16,
    pub(super) num_buffers: U16,
}

/// The configuration (5.1.4), as far as features of ours reach.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Configuration {
    pub(super) mac: [u8; 6],
    pub(super) status: U16,
    pub(super) max_virtqueue_pairs: U16,
    pub(super) mtu: U16,
}

const _: () = assert!(size_of::<Header>() == 12 && size_of::<Configuration>() == 12);

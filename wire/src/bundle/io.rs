// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a bundle says of VMs' virtio devices, and of their backends.

use alloc::string::String;

use serde::{Deserialize, Serialize};

/// The most virtio devices of a VM: as many as QEMU's `virt` has slots.
pub const MAX_VIRTIO: usize = 32;

/// The longest name of a disk, in bytes: what virtio has room for (virtio 1.2, 5.2.6.1).
pub const DISK_NAME_LEN: usize = 20;

/// A virtual device behind virtio-mmio; its place in the VM's list is its slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VirtioDevice {
    /// Random bytes.
    Entropy,
    /// A console, besides the UART or in its place.
    Console,
    /// A disk.
    Disk(DiskConfig),
    /// A network card.
    Network(PortConfig),
}

/// A VM's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskConfig {
    /// What the guest is told as its serial number; [`DISK_NAME_LEN`] bytes at most.
    pub name: String,
    /// Its size in sectors of 512 bytes.
    pub sectors: u64,
    /// What the guest may do.
    pub access: DiskAccess,
    /// Where its bytes are.
    pub backing: Backing,
}

/// What a guest may do with a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskAccess {
    /// Read and write.
    #[default]
    ReadWrite,
    /// Read.
    ReadOnly,
}

/// Where a disk's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backing {
    /// In the bundle; zeros behind the blob's end. What is written goes to RAM, and is lost when the VM ends.
    Image {
        /// Index into [`Directory::blobs`](super::Directory::blobs).
        blob: u16,
        /// How many bytes of RAM take what is written, a multiple of 4 KiB.
        room: u64,
    },
    /// On a disk of the board.
    Board {
        /// Index into [`Directory::disks`](super::Directory::disks).
        disk: u16,
        /// The first sector there.
        first: u64,
    },
}

/// A disk of the board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardDisk {
    /// The serial number by which it is found.
    pub name: String,
}

/// A VM's network card, and the port that it is plugged into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortConfig {
    /// Index into [`Directory::networks`](super::Directory::networks).
    pub network: u16,
    /// Its address.
    pub mac: [u8; 6],
    /// The largest packet, in bytes.
    pub mtu: u16,
    /// Under which addresses it may send.
    pub addresses: PortAddresses,
    /// How much it may send, in bytes per second; no limit if there is none.
    pub rate: Option<u64>,
}

/// Under which addresses a port may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortAddresses {
    /// Its own only.
    #[default]
    Own,
    /// Any that is no other port's own: for a bridge in the VM.
    Any,
}

/// A network between VMs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// How it is connected to the outside.
    pub uplink: Uplink,
}

/// How a network is connected to the outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Uplink {
    /// Not at all.
    #[default]
    None,
    /// By the board's network card.
    Board,
}

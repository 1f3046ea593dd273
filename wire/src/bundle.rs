// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bundle: every VM's description and every image, in one file.
//!
//! ```text
//! +--------+----------------------------+--------+--------+---
//! | header | directory (postcard)       | blob 0 | blob 1 | ...      each on a 4 KiB boundary
//! +--------+----------------------------+--------+--------+---
//! ```
//!
//! All thinking is done on the developer's computer: the directory says which blob goes to which IPA and where
//! a VM starts, so EL2 only copies. Blobs are shared: two VMs with one kernel carry it once.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use vambrace_ids::VmId;

pub mod assigned;
pub mod channel;
pub mod io;

use assigned::{Interrupt, RamPlacement, Registers};
use channel::{Channel, MAX_CHANNELS, MAX_MEMBERS, MAX_SIZE, Membership};
use io::{Backing, BoardDisk, MAX_VIRTIO, Network, VirtioDevice};

/// First bytes of a bundle.
pub const MAGIC: [u8; 8] = *b"VAMBUNDL";

/// Version of the bundle's format; EL2 refuses any other.
pub const VERSION: u32 = 6;

/// Alignment of the directory's end and of each blob, in bytes.
pub const BLOB_ALIGN: usize = 4096;

/// Length of the header: magic, version, directory length, CRC-32 of the directory, total length.
pub const HEADER_LEN: usize = 32;

/// The most VMs that one bundle may describe.
pub const MAX_VMS: usize = 1024;

/// RAM is a multiple of this: a block of stage 2.
const RAM_UNIT: u64 = 2 << 20;

/// All that EL2 needs to know about the VMs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// The VMs, in the manifest's order; their index is their identity on the wire.
    pub vms: Vec<VmConfig>,
    /// Where the blobs lie, relative to the bundle's first byte.
    pub blobs: Vec<Blob>,
    /// The networks between VMs.
    pub networks: Vec<Network>,
    /// The board's disks that VMs' disks lie on.
    pub disks: Vec<BoardDisk>,
    /// The memory that VMs share.
    pub channels: Vec<Channel>,
    /// What follows when no VM is left.
    pub when_idle: WhenIdle,
}

/// What the hypervisor does when no VM is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenIdle {
    /// It switches the board off.
    #[default]
    Off,
    /// It stays, since VMs may be made anew.
    Stay,
}

impl Directory {
    /// The VMs with their ids, as long as none of them has given its index to another.
    pub fn first_vms(&self) -> impl Iterator<Item = (VmId, &VmConfig)> {
        (0..).map(VmId::first).zip(&self.vms)
    }
}

/// One image inside the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// Offset from the bundle's first byte; a multiple of [`BLOB_ALIGN`].
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// One VM, ready to be built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmConfig {
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// RAM in bytes, from IPA `0x4000_0000` on; a multiple of 2 MiB.
    pub memory: u64,
    /// Where that is in the board's memory.
    pub placement: RamPlacement,
    /// One entry for each virtual CPU.
    pub vcpus: Vec<VcpuConfig>,
    /// Share of a physical CPU against other VMs' vCPUs there; 100 is usual.
    pub weight: u32,
    /// Images copied into the VM's address space before it starts, and again at each reset.
    pub loads: Vec<Load>,
    /// Flash at IPA 0, for firmware: present when a load lies there.
    pub flash: bool,
    /// IPA at which vCPU 0 starts, at EL1.
    pub entry: u64,
    /// What vCPU 0 finds in x0: the IPA of the device tree, or 0.
    pub boot_argument: u64,
    /// IPAs of the random seeds in the device tree, overwritten with fresh bytes at each start.
    pub seeds: Vec<Seed>,
    /// Its platform devices.
    pub devices: DeviceSet,
    /// Its virtio devices, in the order of their slots.
    pub virtio: Vec<VirtioDevice>,
    /// Registers of the board's devices that belong to it alone.
    pub registers: Vec<Registers>,
    /// Their interrupts.
    pub interrupts: Vec<Interrupt>,
    /// Physical addresses of the board's virtio-mmio slots that belong to it: devices that master DMA, and are reset before its
    /// RAM becomes anything else.
    pub slots: Vec<u64>,
    /// The channels that it is a member of.
    pub channels: Vec<Membership>,
    /// Index of a VM that must have ended before this one is created.
    pub after: Option<u16>,
}

/// One virtual CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuConfig {
    /// The physical CPU that it is pinned to, by index; `None` leaves the choice to the hypervisor.
    pub cpu: Option<u16>,
}

/// One image to be copied to guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Index into [`Directory::blobs`].
    pub blob: u16,
    /// Where it goes.
    pub ipa: u64,
}

/// A place in guest memory that gets random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// The first byte.
    pub ipa: u64,
    /// How many bytes.
    pub len: u16,
}

/// Which platform devices a VM has, by their numbers in the list of `vambrace_machine::devices`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSet(u32);

impl DeviceSet {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// With the device of this number, 31 at most, too.
    #[must_use]
    pub const fn with(self, number: u8) -> Self {
        Self(self.0 | 1 << (number & 31))
    }

    /// Whether it has the device of this number.
    #[must_use]
    pub const fn has(self, number: u8) -> bool {
        self.0 & 1 << (number & 31) != 0
    }

    /// Whether all its devices are in `other` too.
    #[must_use]
    pub const fn is_subset_of(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

/// Why a bundle was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The first bytes are not [`MAGIC`].
    #[error("no bundle here: the first bytes are not VAMBUNDL")]
    Magic,
    /// Another version than [`VERSION`].
    #[error(
        "the bundle has version {0}, this hypervisor reads version {VERSION}; build both with one vambrace"
    )]
    Version(u32),
    /// Shorter than its own header says.
    #[error("the bundle is cut short: {have} of {want} bytes")]
    Truncated {
        /// Bytes present.
        have: u64,
        /// Bytes announced.
        want: u64,
    },
    /// The directory's CRC-32 does not match.
    #[error("the bundle's directory is damaged")]
    Damaged,
    /// The directory does not decode, or refers to what is not there.
    #[error("the bundle's directory makes no sense")]
    Malformed,
}

/// A bundle's bytes, opened and checked.
#[derive(Debug)]
pub struct Bundle<'a> {
    /// The directory; every blob index and range in it has been checked.
    pub directory: Directory,
    bytes: &'a [u8],
}

impl<'a> Bundle<'a> {
    /// The total length that the header at the start of `bytes` announces.
    ///
    /// # Errors
    /// [`BundleError::Magic`], [`BundleError::Version`], or [`BundleError::Truncated`] for a partial header.
    pub fn announced_len(bytes: &[u8]) -> Result<u64, BundleError> {
        Header::read(bytes).map(|header| header.total)
    }

    /// Opens a bundle.
    ///
    /// # Errors
    /// Says what is wrong with it; see [`BundleError`].
    pub fn open(bytes: &'a [u8]) -> Result<Self, BundleError> {
        let header = Header::read(bytes)?;
        let have = bytes.len() as u64;
        if have < header.total {
            return Err(BundleError::Truncated { have, want: header.total });
        }
        let encoded = bytes
            .get(HEADER_LEN..HEADER_LEN.saturating_add(header.directory as usize))
            .ok_or(BundleError::Malformed)?;
        if crc32(encoded) != header.crc {
            return Err(BundleError::Damaged);
        }
        let directory: Directory = postcard::from_bytes(encoded).map_err(|_| BundleError::Malformed)?;
        let bundle = Self { directory, bytes };
        bundle.check()?;
        Ok(bundle)
    }

    /// The bytes of blob `index`; empty for an index that does not exist.
    #[must_use]
    pub fn blob(&self, index: u16) -> &'a [u8] {
        self.directory.blobs.get(usize::from(index)).and_then(|blob| self.range(*blob)).unwrap_or(&[])
    }

    fn range(&self, blob: Blob) -> Option<&'a [u8]> {
        let end = blob.offset.checked_add(blob.len)?;
        self.bytes.get(usize::try_from(blob.offset).ok()?..usize::try_from(end).ok()?)
    }

    fn check(&self) -> Result<(), BundleError> {
        let blobs_fit = self.directory.blobs.iter().all(|blob| self.range(*blob).is_some());
        let count = self.directory.vms.len();
        let vms_fit = count <= MAX_VMS
            && self.directory.vms.iter().enumerate().all(|(index, vm)| {
                vm.loads.iter().all(|load| usize::from(load.blob) < self.directory.blobs.len())
                    && vm.after.is_none_or(|after| usize::from(after) < count && usize::from(after) != index)
                    && !vm.vcpus.is_empty()
                    && vm.memory > 0
                    && vm.memory.is_multiple_of(RAM_UNIT)
                    && vm.placement.is_sound()
                    && vm.virtio.len() <= MAX_VIRTIO
                    && vm.virtio.iter().all(|device| self.has_behind(device))
                    && vm.channels.len() <= MAX_CHANNELS
                    && vm.channels.iter().all(|membership| self.is_member(membership))
            });
        let is_sound = |channel: &Channel| {
            (1..=MAX_SIZE).contains(&channel.size) && channel.size.is_multiple_of(BLOB_ALIGN as u64)
        };
        let channels_fit = self.directory.channels.iter().all(is_sound);
        if blobs_fit && vms_fit && channels_fit { Ok(()) } else { Err(BundleError::Malformed) }
    }
}

impl Bundle<'_> {
    /// Whether a VM's end of a channel has a channel.
    fn is_member(&self, membership: &Membership) -> bool {
        usize::from(membership.channel) < self.directory.channels.len()
            && usize::from(membership.members) <= MAX_MEMBERS
            && membership.number < membership.members
    }

    /// Whether what a device stands on is there.
    fn has_behind(&self, device: &VirtioDevice) -> bool {
        let Directory { blobs, networks, disks, .. } = &self.directory;
        match device {
            VirtioDevice::Entropy | VirtioDevice::Console => true,
            VirtioDevice::Disk(disk) => match disk.backing {
                Backing::Image { blob, .. } => usize::from(blob) < blobs.len(),
                Backing::Board { disk, .. } => usize::from(disk) < disks.len(),
            },
            VirtioDevice::Network(port) => usize::from(port.network) < networks.len(),
        }
    }
}

struct Header {
    directory: u32,
    crc: u32,
    total: u64,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, BundleError> {
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(BundleError::Truncated { have: bytes.len() as u64, want: HEADER_LEN as u64 });
        };
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if header[..8] != MAGIC {
            return Err(BundleError::Magic);
        }
        if word(8) != VERSION {
            return Err(BundleError::Version(word(8)));
        }
        let total = u64::from(word(20)) | u64::from(word(24)) << 32;
        Ok(Self { directory: word(12), crc: word(16), total })
    }
}

/// Builds the bytes of a bundle from a description and images; used by the command.
///
/// `directory` refers to `images` by index, and has no blobs itself. Identical images should be given once.
///
/// # Errors
/// [`BundleError::Malformed`] when the directory cannot be encoded or refers to what is not there.
pub fn build(directory: Directory, images: &[&[u8]]) -> Result<Vec<u8>, BundleError> {
    let blobs = images.iter().map(|_| Blob { offset: 0, len: 0 }).collect();
    let mut directory = Directory { blobs, ..directory };
    // Offsets are variable-length integers, so the directory's own size is only known once they are: place the
    // blobs after a directory with the largest offsets there can be.
    let widest = Directory {
        blobs: images.iter().map(|_| Blob { offset: u64::MAX, len: u64::MAX }).collect(),
        ..directory.clone()
    };
    let reserved = postcard::to_allocvec(&widest).map_err(|_| BundleError::Malformed)?.len();
    let mut end = (HEADER_LEN + reserved).next_multiple_of(BLOB_ALIGN);
    for (blob, image) in directory.blobs.iter_mut().zip(images) {
        *blob = Blob { offset: end as u64, len: image.len() as u64 };
        end = (end + image.len()).next_multiple_of(BLOB_ALIGN);
    }
    let encoded = postcard::to_allocvec(&directory).map_err(|_| BundleError::Malformed)?;

    let mut bytes = Vec::with_capacity(end);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(encoded.len()).map_err(|_| BundleError::Malformed)?.to_le_bytes());
    bytes.extend_from_slice(&crc32(&encoded).to_le_bytes());
    bytes.extend_from_slice(&(end as u64).to_le_bytes());
    bytes.resize(HEADER_LEN, 0);
    bytes.extend_from_slice(&encoded);
    for (blob, image) in directory.blobs.iter().zip(images) {
        bytes.resize(usize::try_from(blob.offset).map_err(|_| BundleError::Malformed)?, 0);
        bytes.extend_from_slice(image);
    }
    bytes.resize(end, 0);
    Bundle::open(&bytes)?;
    Ok(bytes)
}

/// CRC-32 (IEEE 802.3, reflected), bit by bit: it runs once, over a few kilobytes.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests;

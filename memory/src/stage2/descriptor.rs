// SPDX-License-Identifier: MIT OR Apache-2.0
//! One stage-2 descriptor, and the attributes it carries.
//!
//! An invalid descriptor (bit 0 clear) means nothing to the hardware in its other 63 bits. While a change is being
//! committed we use them: a *broken* descriptor is the old one with only bit 0 cleared, so that between break and make
//! the tables themselves remember what to invalidate and which frames to free. Outside a commit no broken one exists.
//!
//! Source: Arm ARM, "VMSAv8-64 descriptor formats", "Stage 2 attribute fields".

use serde::{Deserialize, Serialize};

use super::geometry::TableLevel;
use crate::Pa;
use crate::attributes::{DeviceKind, Stage2Encoding};

const VALID: u64 = 1 << 0;
/// At levels 0 to 2: a table, not a block. At level 3: a page; reserved without it.
const TABLE_OR_PAGE: u64 = 1 << 1;
const MEM_ATTR: u64 = 0b1111 << 2;
pub(super) const READ: u64 = 1 << 6;
pub(super) const WRITE: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 0b11 << 8;
pub(super) const ACCESS_FLAG: u64 = 1 << 10;
/// XN[1:0] = 0b10: no execution at EL1 or EL0, with and without FEAT_XNX.
const EXECUTE_NEVER: u64 = 1 << 54;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// The memory type a region is mapped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Memory {
    /// RAM: Normal Write-Back; forced on the guest where FEAT_S2FWB is there.
    WriteBack,
    /// Normal Non-cacheable, such as a frame buffer.
    NonCacheable,
    /// Device memory, such as a passed-through device's registers.
    Device(DeviceKind),
}

impl Memory {
    /// The `MemAttr` field.
    #[must_use]
    pub const fn mem_attr(self, encoding: Stage2Encoding) -> u64 {
        match (self, encoding) {
            (Self::WriteBack, Stage2Encoding::Combining) => 0b1111,
            (Self::WriteBack, Stage2Encoding::Forcing) => 0b0110,
            (Self::NonCacheable, _) => 0b0101,
            (Self::Device(kind), _) => kind.bits(),
        }
    }

    /// The inverse of [`Memory::mem_attr`]; what this crate never writes is read as the most restrictive type.
    const fn from_mem_attr(bits: u64, encoding: Stage2Encoding) -> Self {
        match (bits, encoding) {
            (0b1111, Stage2Encoding::Combining) | (0b0110, Stage2Encoding::Forcing) => Self::WriteBack,
            (0b0101, _) => Self::NonCacheable,
            (0b0000..=0b0011, _) => Self::Device(DeviceKind::from_bits(bits)),
            _ => Self::Device(DeviceKind::NGnRnE),
        }
    }
}

/// What a guest may do with a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Permissions {
    /// Data reads.
    pub read: bool,
    /// Data writes.
    pub write: bool,
    /// Instruction fetches, at EL1 and EL0.
    pub execute: bool,
}

impl Permissions {
    /// Reads only.
    pub const READ: Self = Self { read: true, write: false, execute: false };
    /// Reads and writes.
    pub const READ_WRITE: Self = Self { read: true, write: true, execute: false };
    /// Reads and instruction fetches.
    pub const READ_EXECUTE: Self = Self { read: true, write: false, execute: true };
    /// Everything.
    pub const ALL: Self = Self { read: true, write: true, execute: true };
}

/// How a region is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attributes {
    /// The memory type.
    pub memory: Memory,
    /// What the guest may do.
    pub permissions: Permissions,
}

impl Attributes {
    /// A VM's RAM.
    pub const RAM: Self = Self { memory: Memory::WriteBack, permissions: Permissions::ALL };

    /// A VM's read-only memory: flash that holds firmware.
    pub const ROM: Self = Self { memory: Memory::WriteBack, permissions: Permissions::READ_EXECUTE };

    /// Memory that VMs share: nobody is to execute what another wrote.
    pub const SHARED: Self = Self { memory: Memory::WriteBack, permissions: Permissions::READ_WRITE };

    /// The same for one that may only read.
    pub const SHARED_READ_ONLY: Self = Self { memory: Memory::WriteBack, permissions: Permissions::READ };

    /// A passed-through device's registers.
    pub const DEVICE: Self =
        Self { memory: Memory::Device(DeviceKind::NGnRE), permissions: Permissions::READ_WRITE };

    /// The attribute bits of a leaf: access flag set (we take no access-flag faults), Inner Shareable.
    const fn bits(self, encoding: Stage2Encoding) -> u64 {
        let mut bits = self.memory.mem_attr(encoding) << 2 | INNER_SHAREABLE | ACCESS_FLAG;
        if self.permissions.read {
            bits |= READ;
        }
        if self.permissions.write {
            bits |= WRITE;
        }
        if !self.permissions.execute {
            bits |= EXECUTE_NEVER;
        }
        bits
    }
}

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DescriptorUse {
    /// Translates nothing.
    Invalid,
    /// Points to a table of the next level.
    Table(Pa),
    /// Maps memory: a block, or a page at level 3.
    Leaf,
}

/// One 64-bit descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor(pub(super) u64);

impl Descriptor {
    pub(super) const INVALID: Self = Self(0);

    pub(super) const fn table(table: Pa) -> Self {
        Self(table.0 & ADDRESS | TABLE_OR_PAGE | VALID)
    }

    /// A block or page of `level` at `pa`, aligned to the level's span.
    pub(super) const fn leaf(
        pa: Pa,
        level: TableLevel,
        attributes: Attributes,
        encoding: Stage2Encoding,
    ) -> Self {
        Self(pa.0 & ADDRESS | attributes.bits(encoding)).as_leaf_of(level)
    }

    pub(super) fn kind(self, level: TableLevel) -> DescriptorUse {
        match (self.0 & VALID != 0, self.0 & TABLE_OR_PAGE != 0) {
            (true, true) if level != TableLevel::L3 => DescriptorUse::Table(self.address()),
            (true, table_or_page) if table_or_page == (level == TableLevel::L3) && level.has_leaves() => {
                DescriptorUse::Leaf
            }
            _ => DescriptorUse::Invalid,
        }
    }

    pub(super) const fn is_valid(self) -> bool {
        self.0 & VALID != 0
    }

    pub(super) const fn address(self) -> Pa {
        Pa(self.0 & ADDRESS)
    }

    pub(super) const fn attributes(self, encoding: Stage2Encoding) -> Attributes {
        Attributes {
            memory: Memory::from_mem_attr((self.0 & MEM_ATTR) >> 2, encoding),
            permissions: Permissions {
                read: self.0 & READ != 0,
                write: self.0 & WRITE != 0,
                execute: self.0 & EXECUTE_NEVER == 0,
            },
        }
    }

    /// This leaf, `offset` bytes in, as a leaf of the smaller `level`.
    pub(super) const fn piece(self, offset: u64, level: TableLevel) -> Self {
        Self(self.0 + offset).as_leaf_of(level)
    }

    /// This leaf with other attributes.
    pub(super) const fn with_attributes(
        self,
        level: TableLevel,
        attributes: Attributes,
        encoding: Stage2Encoding,
    ) -> Self {
        Self::leaf(self.address(), level, attributes, encoding)
    }

    const fn as_leaf_of(self, level: TableLevel) -> Self {
        match level {
            TableLevel::L3 => Self(self.0 | TABLE_OR_PAGE | VALID),
            _ => Self(self.0 & !TABLE_OR_PAGE | VALID),
        }
    }

    /// The broken form of a valid descriptor: invalid for the hardware, remembered by us.
    pub(super) const fn broken(self) -> Self {
        Self(self.0 & !VALID)
    }

    pub(super) const fn is_broken(self) -> bool {
        !self.is_valid() && self.0 != 0
    }

    /// What the descriptor was before it was broken; any other is returned as it is.
    pub(super) const fn restored(self) -> Self {
        if self.is_broken() { Self(self.0 | VALID) } else { self }
    }
}

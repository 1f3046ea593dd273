// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a bundle says of the board's devices that belong to a VM alone.

use serde::{Deserialize, Serialize};

/// Where a VM's RAM lies in the board's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RamPlacement {
    /// Wherever there is room.
    #[default]
    Anywhere,
    /// At the addresses at which the VM has it: what it tells a device that masters DMA is true on the board too.
    OneToOne,
    /// Wherever there is room, in pieces none of which continues the one before: to measure what that costs.
    Pieces {
        /// The size of a piece in bytes: a power of two, a page at least.
        size: u64,
    },
}

/// The most pieces of physical memory that a VM's RAM may be made of.
pub const MAX_RAM_PIECES: usize = 512;

impl RamPlacement {
    /// Whether pieces are of a size that there is.
    pub(super) const fn is_sound(self) -> bool {
        match self {
            Self::Anywhere | Self::OneToOne => true,
            Self::Pieces { size } => size.is_power_of_two() && size >= PAGE,
        }
    }
}

/// The least that RAM is mapped in.
const PAGE: u64 = 4096;

/// A part of a device's registers, in whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    /// Where the VM sees them.
    pub ipa: u64,
    /// Where the board has them.
    pub pa: u64,
    /// How many bytes.
    pub len: u64,
}

/// An interrupt of a device, which is an SPI on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interrupt {
    /// The board's INTID.
    pub physical: u32,
    /// The VM's INTID.
    pub intid: u32,
    /// What makes it pending.
    pub trigger: Trigger,
}

/// What makes an interrupt pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// The line being high.
    Level,
    /// The line becoming high.
    Edge,
}

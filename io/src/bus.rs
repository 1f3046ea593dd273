// SPDX-License-Identifier: MIT OR Apache-2.0
//! The MMIO bus: an access as a value, and which device lies where.
//!
//! An [`MmioAccess`] carries all that the instruction asked for, so whoever serves it needs no syndrome and no frame. It is made
//! of what the syndrome of a data abort describes, or of the instruction ([`decode`](crate::decode)).
//! The [`Bus`] maps addresses to identifiers, not to devices: the machine matches on its own enum, and nothing
//! here is behind a pointer or a lock.

use alloc::vec::Vec;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vambrace_memory::Ipa;
use vambrace_state::restore_fields;

/// How many bytes an access moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Width {
    /// 1 byte.
    Byte,
    /// 2 bytes.
    Halfword,
    /// 4 bytes.
    Word,
    /// 8 bytes.
    Doubleword,
}

impl Width {
    /// The width of 2 to the power of `log2` bytes; only the two lowest bits of `log2` count, as in an
    /// instruction's size field and a syndrome's SAS.
    #[must_use]
    pub const fn from_log2(log2: u32) -> Self {
        match log2 & 3 {
            0 => Self::Byte,
            1 => Self::Halfword,
            2 => Self::Word,
            _ => Self::Doubleword,
        }
    }

    /// In bytes: 1, 2, 4 or 8.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Byte => 1,
            Self::Halfword => 2,
            Self::Word => 4,
            Self::Doubleword => 8,
        }
    }

    /// In bits: 8, 16, 32 or 64.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Byte => 8,
            Self::Halfword => 16,
            Self::Word => 32,
            Self::Doubleword => 64,
        }
    }

    /// Ones in the bits that an access of this width moves.
    #[must_use]
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }
}

/// How a loaded value narrower than its register fills it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extension {
    /// Zeros above (LDRB, LDRH, LDR).
    Zero,
    /// Copies of the sign bit above (LDRSB, LDRSH, LDRSW).
    Sign,
}

/// The register as the instruction names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegisterWidth {
    /// Wn: a result fills 32 bits, the upper 32 become zero.
    W,
    /// Xn: 64 bits.
    X,
}

/// Where a loaded value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The general-purpose register; 31 is XZR, which drops the value.
    pub register: u8,
    /// How the value is extended.
    pub extension: Extension,
    /// To how many bits it is extended.
    pub register_width: RegisterWidth,
}

impl Destination {
    /// What all 64 bits of the register become when `width` bytes with the value `raw` have been read; bits of
    /// `raw` beyond the width do not count.
    #[must_use]
    pub const fn extend(self, width: Width, raw: u64) -> u64 {
        let value = raw & width.mask();
        let extended = match self.extension {
            Extension::Zero => value,
            Extension::Sign => {
                let unused = 64 - width.bits();
                ((value << unused).cast_signed() >> unused).cast_unsigned()
            }
        };
        match self.register_width {
            RegisterWidth::W => extended & Width::Word.mask(),
            RegisterWidth::X => extended,
        }
    }
}

/// A load or a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// A load.
    Read(Destination),
    /// A store.
    Write {
        /// What is stored; zero above the access's width.
        value: u64,
    },
}

/// One access by a guest to an address without RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MmioAccess {
    /// The first byte's address.
    pub ipa: Ipa,
    /// How many bytes.
    pub width: Width,
    /// Load or store.
    pub direction: Direction,
}

/// What a finished access leaves to be done with the guest's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Completed {
    /// A store: nothing.
    Stored,
    /// A load: the register gets the value, all 64 bits of it. Register 31 is XZR.
    Loaded {
        /// The general-purpose register.
        register: u8,
        /// Its new value, extended as the instruction says.
        value: u64,
    },
}

impl MmioAccess {
    /// A store of the lowest bytes of `value`.
    #[must_use]
    pub const fn store(ipa: Ipa, width: Width, value: u64) -> Self {
        Self { ipa, width, direction: Direction::Write { value: value & width.mask() } }
    }

    /// A load.
    #[must_use]
    pub const fn load(ipa: Ipa, width: Width, destination: Destination) -> Self {
        Self { ipa, width, direction: Direction::Read(destination) }
    }

    /// Carries the access out on `device`, at `offset` from its first byte, and ends it.
    pub fn perform<D: MmioDevice + ?Sized>(&self, device: &mut D, offset: u64) -> Completed {
        self.complete(self.exchange(device, offset))
    }

    /// Carries the access out on `device` without ending it: what a load found there, 0 for a store.
    pub fn exchange<D: MmioDevice + ?Sized>(&self, device: &mut D, offset: u64) -> u64 {
        match self.direction {
            Direction::Read(_) => device.read(offset, self.width),
            Direction::Write { value } => {
                device.write(offset, self.width, value);
                0
            }
        }
    }

    /// Ends an access that has been carried out: `raw` is what a load found there, and does not count for a store.
    pub const fn complete(&self, raw: u64) -> Completed {
        match self.direction {
            Direction::Read(destination) => Completed::Loaded {
                register: destination.register,
                value: destination.extend(self.width, raw),
            },
            Direction::Write { .. } => Completed::Stored,
        }
    }
}

/// A device that a guest reaches by loads and stores.
///
/// Offsets are below the size of the device's range, and so is the last byte of the access. A device answers
/// every access: what it does not implement reads as zero and ignores writes.
pub trait MmioDevice {
    /// Answers a load; bits beyond the width do not count.
    fn read(&mut self, offset: u64, width: Width) -> u64;

    /// Takes a store; `value` is zero beyond the width.
    fn write(&mut self, offset: u64, width: Width, value: u64);

    /// Its name in reports.
    fn label(&self) -> &'static str;

    /// Returns to the state after power-on.
    fn reset(&mut self);
}

/// Why a range was not added to a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// It shares an address with a range that is already there.
    #[error("{base} and the {len:#x} bytes from there overlap another device")]
    Overlap {
        /// First address of the refused range.
        base: Ipa,
        /// Its length in bytes.
        len: u64,
    },
    /// It is empty, or goes past the end of the address space.
    #[error("{len:#x} bytes from {base} are no range of addresses")]
    NoRange {
        /// First address of the refused range.
        base: Ipa,
        /// Its length in bytes.
        len: u64,
    },
}

/// A device's place on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Range<D> {
    base: u64,
    last: u64,
    device: D,
}

/// Which device lies at which addresses. `D` is the machine's own name for a device, usually an enum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bus<D> {
    /// Sorted by address, free of overlaps.
    ranges: Vec<Range<D>>,
}

restore_fields!(Bus<D: DeserializeOwned + PartialEq> { sames ranges });

impl<D> Default for Bus<D> {
    fn default() -> Self {
        Self { ranges: Vec::new() }
    }
}

impl<D: Copy> Bus<D> {
    /// A bus with nothing on it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `device` at the `len` bytes from `base`.
    ///
    /// # Errors
    /// [`BusError`]; the bus is unchanged then.
    pub fn add(&mut self, base: Ipa, len: u64, device: D) -> Result<(), BusError> {
        let last = len
            .checked_sub(1)
            .and_then(|length| base.0.checked_add(length))
            .ok_or(BusError::NoRange { base, len })?;
        let at = self.ranges.partition_point(|range| range.last < base.0);
        if self.ranges.get(at).is_some_and(|next| next.base <= last) {
            return Err(BusError::Overlap { base, len });
        }
        self.ranges.insert(at, Range { base: base.0, last, device });
        Ok(())
    }

    /// The device at `ipa`, and the offset of `ipa` in its range. `None` when no device has all of the `width`
    /// bytes there: an access that runs over a device's end finds nothing.
    #[must_use]
    pub fn find(&self, ipa: Ipa, width: Width) -> Option<(D, u64)> {
        let end = ipa.0.checked_add(width.bytes() - 1)?;
        // The first is a VM's interrupt controller as a rule, to whose set-up most accesses of a kernel's start go.
        let at = match self.ranges.first() {
            Some(first) if ipa.0 <= first.last => 0,
            _ => self.ranges.partition_point(|range| range.last < ipa.0),
        };
        let range = self.ranges.get(at)?;
        let offset = ipa.0.checked_sub(range.base)?;
        (end <= range.last).then_some((range.device, offset))
    }

    /// Every device with its first address and its length in bytes, by address.
    pub fn devices(&self) -> impl Iterator<Item = (Ipa, u64, D)> {
        self.ranges
            .iter()
            .map(|range| (Ipa(range.base), (range.last - range.base).saturating_add(1), range.device))
    }
}

#[cfg(test)]
mod tests;

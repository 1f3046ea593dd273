// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one door to a guest's memory: by address, by copy, bounds-checked.
//!
//! There is never a `&[u8]` into guest memory, since the guest may change it under us at any time.

use crate::Ipa;

/// The range asked for is not wholly inside the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{ipa} is outside the VM's memory")]
pub struct OutsideMemory {
    /// The first address asked for.
    pub ipa: Ipa,
}

/// Reads and writes of one VM's RAM, addressed as the guest addresses it.
///
/// Each call either copies everything or fails and copies nothing. Of 2, 4 or 8 bytes at an aligned address the guest
/// never sees, nor do we, one half old and one half new.
pub trait GuestMemory {
    /// Copies guest memory at `ipa` into `to`.
    ///
    /// # Errors
    /// [`OutsideMemory`] when any byte lies outside the VM's RAM.
    fn read(&self, ipa: Ipa, to: &mut [u8]) -> Result<(), OutsideMemory>;

    /// Copies `from` into guest memory at `ipa`. Takes `&self`: the guest's other CPUs write there too.
    ///
    /// # Errors
    /// [`OutsideMemory`] when any byte lies outside the VM's RAM.
    fn write(&self, ipa: Ipa, from: &[u8]) -> Result<(), OutsideMemory>;

    /// Reads a little-endian 16-bit word, single-copy atomic when aligned.
    ///
    /// # Errors
    /// [`OutsideMemory`] when any byte lies outside the VM's RAM.
    fn read_u16(&self, ipa: Ipa) -> Result<u16, OutsideMemory> {
        let mut bytes = [0; 2];
        self.read(ipa, &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }

    /// Reads a little-endian 32-bit word, single-copy atomic when aligned.
    ///
    /// # Errors
    /// [`OutsideMemory`] when any byte lies outside the VM's RAM.
    fn read_u32(&self, ipa: Ipa) -> Result<u32, OutsideMemory> {
        let mut bytes = [0; 4];
        self.read(ipa, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Reads a little-endian 64-bit word, single-copy atomic when aligned.
    ///
    /// # Errors
    /// [`OutsideMemory`] when any byte lies outside the VM's RAM.
    fn read_u64(&self, ipa: Ipa) -> Result<u64, OutsideMemory> {
        let mut bytes = [0; 8];
        self.read(ipa, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Whether there is memory at `ipa` now.
    fn is_there(&self, ipa: Ipa) -> bool {
        self.read(ipa, &mut [0]).is_ok()
    }

    /// Writes a little-endian 16-bit word, single-copy atomic when aligned.
    ///
    /// # Errors
    /// [`OutsideMemory`] when any byte lies outside the VM's RAM.
    fn write_u16(&self, ipa: Ipa, value: u16) -> Result<(), OutsideMemory> {
        self.write(ipa, &value.to_le_bytes())
    }
}

impl<M: GuestMemory + ?Sized> GuestMemory for &M {
    fn read(&self, ipa: Ipa, to: &mut [u8]) -> Result<(), OutsideMemory> {
        M::read(self, ipa, to)
    }

    fn write(&self, ipa: Ipa, from: &[u8]) -> Result<(), OutsideMemory> {
        M::write(self, ipa, from)
    }
}

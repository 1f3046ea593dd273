// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stage 1: the guest's own tables (EL1&0), read as the hardware reads them.
//!
//! EL2 needs this walker where the hardware does not tell: to fetch the instruction behind a fault without a valid
//! syndrome, to find the second page of an access that crosses pages, to explain an address to people. Each table is
//! read through [`GuestMemory`], so a guest that points its tables anywhere but at its own RAM gets the external abort
//! it would get from the bus.
//!
//! Covered: the granules of 4, 16 and 64 KiB; both halves of the address space; tagged addresses; hierarchical and leaf
//! permissions, WXN, PAN; table walks in either endianness; translation off. What a VM's ID registers do not show
//! (52-bit addresses, permission indirection and the like) is read as RES0. A guest that turns it on all the same is
//! walked otherwise than by the hardware, which harms nobody but itself.
//!
//! A walk reads at most four descriptors and changes nothing: where hardware would set an access flag or dirty state
//! (`TCR_EL1.HA`, `HD`), the access is taken as if it had.
//!
//! Source: Arm ARM, "The AArch64 Virtual Memory System Architecture"; the pseudocode `AArch64.S1Translate`.

mod descriptor;
mod regime;
#[cfg(test)]
mod tests;

use descriptor::{Descriptor, Kind, TablePermissions};
use regime::Walk;
pub use regime::{Granule, Regime};

use crate::attributes::{Cacheability, DeviceKind, MemoryType, Shareability};
use crate::{GuestMemory, Ipa, Va};

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads data.
    Read,
    /// Writes data.
    Write,
    /// Fetches an instruction.
    Execute,
}

/// The exception level an access is made for. (`LDTR` and its kind at EL1 are made for EL0.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum El {
    /// Unprivileged.
    El0,
    /// Privileged.
    El1,
}

/// A successful translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The address that stage 2 goes on with.
    pub ipa: Ipa,
    /// The memory type stage 1 asks for.
    pub memory: MemoryType,
    /// The shareability stage 1 asks for.
    pub shareability: Shareability,
    /// The bytes of the block or page around the address: within it, all is translated alike.
    pub size: u64,
    /// Whether TLB entries of it hold for every ASID (nG = 0).
    pub global: bool,
}

/// Why stage 1 refuses an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// An address wider than the output size.
    #[error("address size fault")]
    AddressSize,
    /// No valid descriptor.
    #[error("translation fault")]
    Translation,
    /// The access flag is clear and hardware does not set it.
    #[error("access flag fault")]
    AccessFlag,
    /// The access is not allowed.
    #[error("permission fault")]
    Permission,
    /// A table lies outside the VM's memory.
    #[error("synchronous external abort on a table walk")]
    ExternalAbortOnWalk,
}

/// A stage-1 fault, as the guest should be told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at level {level} of stage 1, for {va}")]
pub struct Stage1Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// The level of the walk, 0 to 3.
    pub level: u8,
    /// The address of the access.
    pub va: Va,
}

impl Stage1Fault {
    /// The fault status code: `DFSC` or `IFSC` of `ESR_EL1`.
    #[must_use]
    pub const fn status_code(self) -> u8 {
        let kind = match self.kind {
            FaultKind::AddressSize => 0b00_0000,
            FaultKind::Translation => 0b00_0100,
            FaultKind::AccessFlag => 0b00_1000,
            FaultKind::Permission => 0b00_1100,
            FaultKind::ExternalAbortOnWalk => 0b01_0100,
        };
        kind | (self.level & 0b11)
    }
}

/// Translates `va` for one access, as stage 1 of `regime` does.
///
/// Translation is for one address; an access that crosses a page is two translations.
///
/// # Errors
/// The fault that the guest's access takes.
pub fn translate(
    memory: &impl GuestMemory,
    regime: &Regime,
    va: Va,
    access: Access,
    el: El,
) -> Result<Translation, Stage1Fault> {
    if !regime.enabled() {
        return translate_flat(regime, va, access);
    }
    let start = regime.walk(va, access, el).ok_or(fault(FaultKind::Translation, 0, va))?;
    let leaf = walk(memory, regime, &start, va)?;
    if !leaf.descriptor.accessed() && !regime.hardware_access_flag() {
        return Err(fault(FaultKind::AccessFlag, leaf.level, va));
    }
    let permissions = leaf.descriptor.permissions(leaf.inherited, regime);
    if !permissions.allow(access, el, regime) {
        return Err(fault(FaultKind::Permission, leaf.level, va));
    }
    let size = 1_u64 << start.granule.shift(leaf.level);
    Ok(Translation {
        ipa: Ipa(leaf.descriptor.output(size) | va.0 & (size - 1)),
        memory: MemoryType::from_mair_index(regime.mair, leaf.descriptor.attribute_index()),
        shareability: leaf.descriptor.shareability(),
        size,
        global: leaf.descriptor.global(),
    })
}

/// Stage 1 off (`SCTLR_EL1.M` = 0): the address is the IPA; data is Device-nGnRnE, instructions are Normal.
fn translate_flat(regime: &Regime, va: Va, access: Access) -> Result<Translation, Stage1Fault> {
    let address = regime.without_tag(va, access);
    if address.0 >> regime::MAX_OUTPUT_BITS != 0 {
        return Err(fault(FaultKind::AddressSize, 0, va));
    }
    let memory = match access {
        Access::Read | Access::Write => MemoryType::Device(DeviceKind::NGnRnE),
        Access::Execute if regime.instruction_cache() => {
            MemoryType::Normal { inner: Cacheability::WriteThrough, outer: Cacheability::WriteThrough }
        }
        Access::Execute => MemoryType::NON_CACHEABLE,
    };
    Ok(Translation {
        ipa: Ipa(address.0),
        memory,
        shareability: Shareability::OuterShareable,
        size: crate::addr::PAGE_SIZE,
        global: true,
    })
}

/// Where a walk ended well.
struct Leaf {
    descriptor: Descriptor,
    level: u8,
    inherited: TablePermissions,
}

/// Walks from the root to a block or page: at most four reads, since each turn goes down one level.
fn walk(memory: &impl GuestMemory, regime: &Regime, start: &Walk, va: Va) -> Result<Leaf, Stage1Fault> {
    let granule = start.granule;
    if start.table >> start.output_bits != 0 {
        return Err(fault(FaultKind::AddressSize, 0, va));
    }
    let mut table = start.table;
    let mut inherited = TablePermissions::default();
    for level in start.level..=3 {
        let index_bits = if level == start.level { start.root_index_bits } else { granule.index_bits() };
        let index = (va.0 >> granule.shift(level)) & ((1 << index_bits) - 1);
        let raw = memory
            .read_u64(Ipa(table + index * 8))
            .map_err(|_| fault(FaultKind::ExternalAbortOnWalk, level, va))?;
        let descriptor = Descriptor(if regime.big_endian_walks() { raw.swap_bytes() } else { raw });
        let output = match descriptor.kind(granule, level) {
            Kind::Invalid => return Err(fault(FaultKind::Translation, level, va)),
            Kind::Table => descriptor.output(1 << granule.page_shift()),
            Kind::Leaf => descriptor.output(1 << granule.shift(level)),
        };
        if output >> start.output_bits != 0 {
            return Err(fault(FaultKind::AddressSize, level, va));
        }
        if descriptor.kind(granule, level) == Kind::Leaf {
            return Ok(Leaf { descriptor, level, inherited });
        }
        if start.half.hierarchical_permissions(regime) {
            inherited = inherited.and(descriptor.table_permissions());
        }
        table = output;
    }
    // Level 3 holds no tables, so the loop has returned by now.
    Err(fault(FaultKind::Translation, 3, va))
}

const fn fault(kind: FaultKind, level: u8, va: Va) -> Stage1Fault {
    Stage1Fault { kind, level, va }
}

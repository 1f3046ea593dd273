// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stage 1: the guest's own tables (EL1&0), read as the hardware reads them.
//!
//! EL2 needs this walker where the hardware does not tell: to fetch the instruction behind a fault without a valid
//! syndrome, to find the second page of an access that crosses pages. There each table is read through
//! [`GuestMemory`] ([`translate`]), so a guest that points its tables anywhere but at its own RAM gets the external
//! abort it would get from the bus. Where both stages are wanted, [`translation`](crate::translation) puts stage 2
//! under the same walk.
//!
//! Covered: the granules of 4, 16 and 64 KiB, with 52-bit addresses (FEAT_LPA, FEAT_LVA, FEAT_LPA2); both halves of the
//! address space; tagged addresses; hierarchical and leaf permissions, WXN, PAN, EPAN, E0PD; hardware updates of the
//! access flag and of dirty state; table walks in either endianness; translation off, `HCR_EL2.DC`. Not covered:
//! 128-bit descriptors, permission indirection and overlays, which no VM is shown.
//!
//! A walk reads at most five descriptors and changes nothing: where hardware would set an access flag or dirty state,
//! the access is taken as if it had.
//!
//! Source: Arm ARM, "The AArch64 Virtual Memory System Architecture"; the pseudocode `AArch64.S1Translate`.

mod descriptor;
mod no_walk;
mod regime;
#[cfg(test)]
mod tests;

use descriptor::{Descriptor, TablePermissions};
pub use no_walk::NoWalk;
pub use regime::{Half, Regime};

use crate::access::{Access, El, Permissions};
use crate::attributes::{Cacheability, DeviceKind, MemoryType, Shareability};
use crate::fault::{Fault, FaultKind, Origin};
use crate::features::HardwareUpdates;
use crate::granule::{AddressFormat, Stage};
use crate::walk::{DescriptorKind, Stop, Tables, WalkEntry, WalkStep, Witness, descend};
use crate::{GuestMemory, Ipa, Va};

/// A successful translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The address that stage 2 goes on with.
    pub ipa: Ipa,
    /// The memory type stage 1 asks for.
    pub memory: MemoryType,
    /// The shareability stage 1 asks for.
    pub shareability: Shareability,
    /// What stage 1 allows.
    pub permissions: Permissions,
    /// The bytes of the block or page around the address: within it, all is translated alike.
    pub size: u64,
    /// The bytes that a TLB may keep in one entry: more than `size` with the Contiguous bit.
    pub contiguous_size: u64,
    /// Whether TLB entries of it hold for every ASID (nG = 0).
    pub global: bool,
}

/// Why a descriptor could not be read or updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no memory.
    Outside,
    /// Stage 2 refuses.
    Stage2 { kind: FaultKind, level: i8 },
}

/// What hardware writes into a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Update {
    /// That it was used; it may be marked dirty at once.
    AccessFlag,
    /// Only that it was written through.
    DirtyState,
}

/// Where the descriptors of stage 1 lie.
pub(crate) trait Source {
    /// Reads the eight bytes at `ipa`, little-endian.
    fn read(&mut self, ipa: Ipa, level: i8, witness: &mut impl Witness) -> Result<u64, Refusal>;

    /// Hardware is about to write the descriptor at `ipa` back.
    fn update(&mut self, ipa: Ipa, level: i8, update: Update) -> Result<(), Refusal>;
}

/// A guest's memory, where stage 2 has been seen to already.
struct Direct<'a, M>(&'a M);

impl<M: GuestMemory> Source for Direct<'_, M> {
    fn read(&mut self, ipa: Ipa, _: i8, _: &mut impl Witness) -> Result<u64, Refusal> {
        self.0.read_u64(ipa).map_err(|_| Refusal::Outside)
    }

    fn update(&mut self, _: Ipa, _: i8, _: Update) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Translates `va` for one access, as stage 1 of `regime` does, with tables in `memory`.
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
) -> Result<Translation, Fault> {
    translate_from(&mut Direct(memory), regime, va, access, el, &mut ())
}

/// Translates `va` with tables in `source`.
pub(crate) fn translate_from(
    source: &mut impl Source,
    regime: &Regime,
    va: Va,
    access: Access,
    el: El,
    witness: &mut impl Witness,
) -> Result<Translation, Fault> {
    let untagged = regime.without_tag(va, access);
    if !regime.enabled() {
        witness.see(WalkStep::Stage1Start { va: untagged, start: None });
        return translate_flat(regime, va, access);
    }
    let walk = regime.walk(va, access, el).map_err(|_| fault(FaultKind::Translation, 0, va))?;
    witness.see(WalkStep::Stage1Start { va: untagged, start: Some(walk.start) });
    let mut tables = Walker { source, witness, regime, inherited: TablePermissions::default() };
    let leaf = descend(&walk.start, untagged.0, &mut tables).map_err(|stop| refuse(stop, va))?;
    let descriptor = Descriptor(leaf.raw);
    if !descriptor.accessed() && regime.hardware_updates() == HardwareUpdates::None {
        return Err(fault(FaultKind::AccessFlag, leaf.level, va));
    }
    let inherited = if regime.hierarchical_permissions(walk.half) {
        tables.inherited
    } else {
        TablePermissions::default()
    };
    let permissions = descriptor.permissions(inherited, regime);
    witness.see(WalkStep::Leaf { stage: Stage::One, permissions });
    if !permissions.allow(access, el) {
        return Err(fault(FaultKind::Permission, leaf.level, va));
    }
    if let Some(update) = descriptor.updated_by(access, regime) {
        let at = Ipa(leaf.address());
        source.update(at, leaf.level, update).map_err(|by| refused(by, at, leaf.level, va))?;
    }
    let granule = walk.start.granule;
    let size = 1_u64 << granule.shift(leaf.level);
    let contiguous = if descriptor.contiguous() { granule.contiguous_shift(leaf.level) } else { 0 };
    let shareability = match walk.start.format {
        AddressFormat::Lpa2 => regime.half_shareability(walk.half),
        AddressFormat::Plain | AddressFormat::Lpa => descriptor.shareability(),
    };
    let memory = MemoryType::from_mair_index(regime.mair, descriptor.attribute_index());
    Ok(Translation {
        ipa: Ipa(leaf.output | untagged.0 & (size - 1)),
        memory: if regime.caches(access) { memory } else { memory.uncached() },
        shareability,
        permissions,
        size,
        contiguous_size: size << contiguous,
        global: descriptor.global(),
    })
}

/// Stage 1 off (`SCTLR_EL1.M` = 0, or `HCR_EL2.DC`): the address is the IPA.
///
/// Without DC, data is Device-nGnRnE and instructions are Normal; with it, all is Normal Write-Back.
fn translate_flat(regime: &Regime, va: Va, access: Access) -> Result<Translation, Fault> {
    let address = regime.without_tag(va, access);
    if address.0 >> regime.features.pa_bits() != 0 {
        return Err(fault(FaultKind::AddressSize, 0, va));
    }
    let (memory, shareability) = if regime.default_cacheable() {
        (MemoryType::WRITE_BACK, Shareability::NonShareable)
    } else {
        let memory = match access {
            Access::Read | Access::Write => MemoryType::Device(DeviceKind::NGnRnE),
            Access::Execute if regime.caches(access) => {
                MemoryType::Normal { inner: Cacheability::WriteThrough, outer: Cacheability::WriteThrough }
            }
            Access::Execute => MemoryType::NON_CACHEABLE,
        };
        (memory, Shareability::OuterShareable)
    };
    let size = crate::addr::PAGE_SIZE;
    Ok(Translation {
        ipa: Ipa(address.0),
        memory,
        shareability,
        permissions: Permissions::ALL,
        size,
        contiguous_size: size,
        global: true,
    })
}

/// The walk as [`descend`] sees it.
struct Walker<'a, S, W> {
    source: &'a mut S,
    witness: &'a mut W,
    regime: &'a Regime,
    inherited: TablePermissions,
}

impl<S: Source, W: Witness> Tables for Walker<'_, S, W> {
    type Refusal = (Refusal, Ipa);

    fn read(&mut self, address: u64, level: i8) -> Result<u64, (Refusal, Ipa)> {
        let raw =
            self.source.read(Ipa(address), level, self.witness).map_err(|refusal| (refusal, Ipa(address)))?;
        Ok(if self.regime.big_endian_walks() { raw.swap_bytes() } else { raw })
    }

    fn see(&mut self, entry: &WalkEntry) {
        self.witness.see(WalkStep::Stage1(*entry));
        if entry.kind == DescriptorKind::Table {
            self.inherited = self.inherited.and(Descriptor(entry.raw).table_permissions());
        }
    }
}

fn refuse(stop: Stop<(Refusal, Ipa)>, va: Va) -> Fault {
    match stop {
        Stop::AddressSize { level } => fault(FaultKind::AddressSize, level, va),
        Stop::Translation { level } => fault(FaultKind::Translation, level, va),
        Stop::Refused { level, by: (refusal, ipa) } => refused(refusal, ipa, level, va),
    }
}

/// `level` is stage 1's; a refusal by stage 2 brings its own.
const fn refused(by: Refusal, ipa: Ipa, level: i8, va: Va) -> Fault {
    match by {
        Refusal::Outside => fault(FaultKind::ExternalAbortOnWalk, level, va),
        Refusal::Stage2 { kind, level } => Fault { kind, level, origin: Origin::Stage1Walk { ipa }, va },
    }
}

const fn fault(kind: FaultKind, level: i8, va: Va) -> Fault {
    Fault { kind, level, origin: Origin::Stage1, va }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stage 2 as the hardware does it: from an IPA, by whatever tables and registers there are, to an address or a fault.
//!
//! Source: Arm ARM, "Stage 2 translation", the pseudocode `AArch64.S2Translate`.

use super::descriptor::{ACCESS_FLAG, READ, WRITE};
use super::regime::Regime;
use super::tables::TableMemory;
use crate::access::{Access, El, Permissions, Rights};
use crate::attributes::{Shareability, Stage2Encoding, Stage2Type};
use crate::fault::FaultKind;
use crate::features::HardwareUpdates;
use crate::granule::{AddressFormat, Stage};
use crate::walk::{Purpose, Start, Stop, Tables, WalkEntry, WalkStep, Witness, descend};
use crate::{Ipa, Pa};

const DIRTY_BIT_MODIFIER: u64 = 1 << 51;
const CONTIGUOUS: u64 = 1 << 52;

/// The machine's memory, as table walkers read it.
pub trait PhysicalMemory {
    /// Reads the eight bytes at `pa`, little-endian; `None` where there is no memory.
    fn read(&self, pa: Pa) -> Option<u64>;
}

impl<M: PhysicalMemory> PhysicalMemory for &M {
    fn read(&self, pa: Pa) -> Option<u64> {
        M::read(self, pa)
    }
}

/// Where stage 2 leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// The physical address.
    pub pa: Pa,
    /// The memory type stage 2 asks for.
    pub memory: Stage2Type,
    /// The shareability stage 2 asks for.
    pub shareability: Shareability,
    /// What stage 2 allows.
    pub permissions: Permissions,
    /// The level of the block or page.
    pub level: i8,
    /// The bytes of the block or page.
    pub size: u64,
    /// The bytes that a TLB may keep in one entry: more than `size` with the Contiguous bit.
    pub contiguous_size: u64,
}

/// A stage-2 fault: its kind and level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) kind: FaultKind,
    pub(crate) level: i8,
}

/// Translates `ipa` for `purpose`; what is written to descriptors on the way is not.
pub(crate) fn translate(
    memory: &impl PhysicalMemory,
    regime: &Regime,
    ipa: Ipa,
    purpose: Purpose,
    witness: &mut impl Witness,
) -> Result<Output, Refused> {
    let start = regime.start().ok();
    witness.see(WalkStep::Stage2Start { purpose, ipa, start });
    let start = start.ok_or(Refused { kind: FaultKind::Translation, level: 0 })?;
    if ipa.0 >> regime.ipa_bits() != 0 {
        return Err(Refused { kind: FaultKind::Translation, level: 0 });
    }
    let leaf = descend(&start, ipa.0, &mut Walker { memory, witness })?;
    if leaf.raw & ACCESS_FLAG == 0 && regime.hardware_updates() == HardwareUpdates::None {
        return Err(Refused { kind: FaultKind::AccessFlag, level: leaf.level });
    }
    let memory = memory_type(leaf.raw >> 2, regime.encoding());
    let permissions = permissions(leaf.raw, regime);
    witness.see(WalkStep::Leaf { stage: Stage::Two, permissions });
    let allowed = match purpose {
        Purpose::Stage1Table { .. } => {
            permissions.el1.read && !(regime.protects_walks() && memory.is_device())
        }
        Purpose::Output { access, el } => permissions.allow(access, el),
    };
    if !allowed {
        return Err(Refused { kind: FaultKind::Permission, level: leaf.level });
    }
    let size = 1_u64 << start.granule.shift(leaf.level);
    let contiguous = if leaf.raw & CONTIGUOUS != 0 { start.granule.contiguous_shift(leaf.level) } else { 0 };
    let pa = Pa(leaf.output | ipa.0 & (size - 1));
    witness.see(WalkStep::Stage2End { purpose, ipa, pa });
    let shareability = match start.format {
        AddressFormat::Lpa2 => regime.shareability(),
        AddressFormat::Plain | AddressFormat::Lpa => Shareability::from_bits(leaf.raw >> 8),
    };
    Ok(Output {
        pa,
        memory,
        shareability,
        permissions,
        level: leaf.level,
        size,
        contiguous_size: size << contiguous,
    })
}

/// `MemAttr`. A reserved value is Normal memory still, of a cacheability that the architecture leaves open: it is read as
/// Non-cacheable where it is so. With FWB the bit above the field is not looked at.
///
/// Source: the pseudocode `S2DecodeMemAttrs`, `AArch64.S2ApplyFWBMemAttrs`.
#[must_use]
pub fn memory_type(field: u64, encoding: Stage2Encoding) -> Stage2Type {
    let reserved = || match encoding {
        // Only the inner half can be reserved in Normal memory; 0b01 there is Non-cacheable.
        Stage2Encoding::Combining => Stage2Type::from_mem_attr(field | 0b01, encoding),
        Stage2Encoding::Forcing => Stage2Type::from_mem_attr(field & 0b0111, encoding),
    };
    Stage2Type::from_mem_attr(field, encoding).or_else(reserved).unwrap_or(Stage2Type::NonCacheable)
}

/// S2AP and XN. A clean page that hardware makes writable counts as writable.
fn permissions(raw: u64, regime: &Regime) -> Permissions {
    let dirty_by_hardware =
        raw & DIRTY_BIT_MODIFIER != 0 && regime.hardware_updates() == HardwareUpdates::DirtyState;
    let read = raw & READ != 0;
    let write = raw & WRITE != 0 || dirty_by_hardware;
    // XN[1:0] is bits 54:53. Without FEAT_XNX bit 53 is ignored.
    let (at_el1, at_el0) = match (raw >> 53 & 0b11, regime.features.has_xnx()) {
        (0b00, _) | (0b01, false) => (true, true),
        (0b01, true) => (false, true),
        (0b11, true) => (true, false),
        _ => (false, false),
    };
    let rights = |execute| Rights { read, write, execute };
    Permissions { el1: rights(at_el1), el0: rights(at_el0) }
}

struct Walker<'a, M, W> {
    memory: &'a M,
    witness: &'a mut W,
}

impl<M: PhysicalMemory, W: Witness> Tables for Walker<'_, M, W> {
    type Refusal = ();

    fn read(&mut self, address: u64, _: i8) -> Result<u64, ()> {
        self.memory.read(Pa(address)).ok_or(())
    }

    fn see(&mut self, entry: &WalkEntry) {
        self.witness.see(WalkStep::Stage2(*entry));
    }
}

impl From<Stop<()>> for Refused {
    fn from(stop: Stop<()>) -> Self {
        match stop {
            Stop::AddressSize { level } => Self { kind: FaultKind::AddressSize, level },
            Stop::Translation { level } => Self { kind: FaultKind::Translation, level },
            Stop::Refused { level, by: () } => Self { kind: FaultKind::ExternalAbortOnWalk, level },
        }
    }
}

/// The block or page that tables of ours map `ipa` with.
pub(super) fn descend_in(memory: &impl TableMemory, start: &Start, ipa: Ipa) -> Option<WalkEntry> {
    struct Ours<'a, M>(&'a M);
    impl<M: TableMemory> Tables for Ours<'_, M> {
        type Refusal = ();
        fn read(&mut self, address: u64, _: i8) -> Result<u64, ()> {
            Ok(self.0.read(Pa(address)))
        }
        fn see(&mut self, _: &WalkEntry) {}
    }
    descend(start, ipa.0, &mut Ours(memory)).ok()
}

/// Whether EL1's walker may write the stage-1 descriptor that `output` leads to.
pub(crate) const fn allows_update(output: &Output) -> bool {
    output.permissions.allow(Access::Write, El::El1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::{Cacheability, DeviceKind};

    #[test]
    fn a_reserved_memory_type_is_not_device() {
        let outer = [Cacheability::NonCacheable, Cacheability::WriteThrough, Cacheability::WriteBack];
        for (field, outer) in [0b0100, 0b1000, 0b1100].into_iter().zip(outer) {
            let normal = Stage2Type::Normal { inner: Cacheability::NonCacheable, outer };
            assert_eq!(memory_type(field, Stage2Encoding::Combining), normal);
        }
        assert_eq!(memory_type(0b0100, Stage2Encoding::Forcing), Stage2Type::NonCacheable);
        assert_eq!(memory_type(0b1110, Stage2Encoding::Forcing), Stage2Type::ForcedWriteBack);
        assert_eq!(memory_type(0b1011, Stage2Encoding::Forcing), Stage2Type::Device(DeviceKind::GRE));
    }
}

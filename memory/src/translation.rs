// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both stages, as an access from EL1 or EL0 meets them: VA -> IPA -> PA.
//!
//! Stage 1 runs over a memory whose every address is itself an IPA: each of its descriptors is found through stage 2,
//! which may refuse it. What comes out is the address with the attributes and permissions of both stages, or the
//! fault as the registers would report it. A [`Witness`] is told each step, so an explanation is the walk itself and
//! not a second one.
//!
//! With four levels of stage 1 and three of stage 2 a walk reads up to 4 x 3 + 4 + 3 descriptors; at most 5 x 5 + 5 + 5.
//!
//! Source: Arm ARM, "The VMSAv8-64 translation stages", the pseudocode `AArch64.FullTranslate`.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::access::{Access, El, Permissions};
use crate::attributes::{Combined, MemoryType, combine};
use crate::fault::{Fault, FaultKind, Origin};
use crate::features::Features;
use crate::par::Report;
use crate::stage1::{self, Refusal, Update};
use crate::stage2::{self, PhysicalMemory};
use crate::walk::{Purpose, Witness};
use crate::{Ipa, Pa, Va};

/// The registers of both stages, and what the CPU makes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registers {
    /// `SCTLR_EL1`.
    pub sctlr: u64,
    /// `TCR_EL1`.
    pub tcr: u64,
    /// `TTBR0_EL1`.
    pub ttbr0: u64,
    /// `TTBR1_EL1`.
    pub ttbr1: u64,
    /// `MAIR_EL1`.
    pub mair: u64,
    /// `PSTATE.PAN`.
    pub pan: bool,
    /// `HCR_EL2`.
    pub hcr: u64,
    /// `VTCR_EL2`.
    pub vtcr: u64,
    /// `VTTBR_EL2`.
    pub vttbr: u64,
    /// What the CPU implements.
    pub features: Features,
}

impl Registers {
    /// Those of stage 1.
    #[must_use]
    pub const fn stage1(&self) -> stage1::Regime {
        let Self { sctlr, tcr, ttbr0, ttbr1, mair, pan, hcr, features, .. } = *self;
        stage1::Regime { sctlr, tcr, ttbr0, ttbr1, mair, pan, hcr, features }
    }

    /// Those of stage 2.
    #[must_use]
    pub const fn stage2(&self) -> stage2::Regime {
        let Self { vtcr, vttbr, hcr, features, .. } = *self;
        stage2::Regime { vtcr, vttbr, hcr, features }
    }
}

/// Where an access leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TranslationOutcome {
    /// The physical address.
    pub pa: Pa,
    /// The memory type and shareability of both stages together, and the rules that decided.
    pub attributes: Combined,
    /// What both stages allow.
    pub permissions: Permissions,
    /// What stage 1 made of it.
    pub stage1: stage1::Translation,
    /// What stage 2 made of it; `None` if it is off.
    pub stage2: Option<stage2::Output>,
}

impl TranslationOutcome {
    /// The bytes around the address that are translated alike.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.stage2.map_or(self.stage1.size, |stage2| stage2.size.min(self.stage1.size))
    }
}

/// Translates `va` through both stages for one access.
///
/// Translation is for one address; an access that crosses a page is two translations.
///
/// # Errors
/// The fault that the access takes.
pub fn translate(
    memory: &impl PhysicalMemory,
    registers: &Registers,
    va: Va,
    access: Access,
    el: El,
    witness: &mut impl Witness,
) -> Result<TranslationOutcome, Fault> {
    let stage1 = first(memory, registers, va, access, el, Maker::Access, witness)?;
    second(memory, registers, stage1, va, access, el, witness)
}

/// Goes on with stage 2 where stage 1 has led.
fn second(
    memory: &impl PhysicalMemory,
    registers: &Registers,
    stage1: stage1::Translation,
    va: Va,
    access: Access,
    el: El,
    witness: &mut impl Witness,
) -> Result<TranslationOutcome, Fault> {
    let regime = registers.stage2();
    if !regime.enabled() {
        let attributes = Combined::of_stage1(stage1.memory, stage1.shareability);
        return Ok(TranslationOutcome {
            pa: Pa(stage1.ipa.0),
            attributes,
            permissions: stage1.permissions,
            stage1,
            stage2: None,
        });
    }
    let purpose = Purpose::Output { access, el };
    let ipa = stage1.ipa;
    let stage2 = stage2::translate(memory, &regime, ipa, purpose, witness).map_err(|by| Fault {
        kind: by.kind,
        level: by.level,
        origin: Origin::Stage2 { ipa },
        va,
    })?;
    let attributes = combine(
        (stage1.memory, stage1.shareability),
        (stage2.memory, stage2.shareability),
        regime.cache_control(access),
    );
    let permissions = stage1.permissions.and(stage2.permissions);
    Ok(TranslationOutcome { pa: stage2.pa, attributes, permissions, stage1, stage2: Some(stage2) })
}

/// Translates `va` through stage 1 alone, its tables being behind stage 2: what `AT S1E1R` asks.
///
/// # Errors
/// The fault that the access takes.
pub fn translate_stage1(
    memory: &impl PhysicalMemory,
    registers: &Registers,
    va: Va,
    access: Access,
    el: El,
    witness: &mut impl Witness,
) -> Result<stage1::Translation, Fault> {
    first(memory, registers, va, access, el, Maker::Access, witness)
}

fn first(
    memory: &impl PhysicalMemory,
    registers: &Registers,
    va: Va,
    access: Access,
    el: El,
    maker: Maker,
    witness: &mut impl Witness,
) -> Result<stage1::Translation, Fault> {
    let mut source = ThroughStage2 { memory, regime: registers.stage2(), maker };
    stage1::translate_from(&mut source, &registers.stage1(), va, access, el, witness)
}

/// The stages that an address translation instruction goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stages {
    /// `AT S1E..`.
    First,
    /// `AT S12E..`.
    Both,
}

/// What an address translation instruction reports in `PAR_EL1`. `PSTATE.PAN` does not count (that is `AT S1E1RP`).
///
/// Executed at EL2: from EL1 a stage-2 fault of `AT S1E..` would be taken instead of reported.
#[must_use]
pub fn at(
    memory: &impl PhysicalMemory,
    registers: &Registers,
    va: Va,
    access: Access,
    el: El,
    stages: Stages,
) -> Report {
    let registers = &Registers { pan: false, ..*registers };
    let success =
        |address, memory: MemoryType, shareability| Report::of_success(address, memory, shareability);
    let stage1 = first(memory, registers, va, access, el, Maker::Instruction, &mut ());
    match stages {
        Stages::First => stage1.map(|stage1| success(stage1.ipa.0, stage1.memory, stage1.shareability)),
        Stages::Both => stage1
            .and_then(|stage1| second(memory, registers, stage1, va, access, el, &mut ()))
            .map(|both| success(both.pa.0, both.attributes.memory, both.attributes.shareability)),
    }
    .unwrap_or_else(Report::from)
}

/// What asks for a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// An access.
    Access,
    /// `AT`, which accesses nothing: it may set access flags, but marks nothing dirty.
    Instruction,
}

/// Memory that stage 1 reaches through stage 2.
struct ThroughStage2<'a, M> {
    memory: &'a M,
    regime: stage2::Regime,
    maker: Maker,
}

impl<M: PhysicalMemory> stage1::Source for ThroughStage2<'_, M> {
    fn read(&mut self, ipa: Ipa, level: i8, witness: &mut impl Witness) -> Result<u64, Refusal> {
        let pa = if self.regime.enabled() { self.translate(ipa, level, witness)?.pa } else { Pa(ipa.0) };
        self.memory.read(pa).ok_or(Refusal::Outside)
    }

    fn update(&mut self, ipa: Ipa, level: i8, update: Update) -> Result<(), Refusal> {
        if !self.regime.enabled() || (self.maker, update) == (Maker::Instruction, Update::DirtyState) {
            return Ok(());
        }
        let output = self.translate(ipa, level, &mut ())?;
        if stage2::allows_update(&output) {
            Ok(())
        } else {
            Err(Refusal::Stage2 { kind: FaultKind::Permission, level: output.level })
        }
    }
}

impl<M: PhysicalMemory> ThroughStage2<'_, M> {
    fn translate(&self, ipa: Ipa, level: i8, witness: &mut impl Witness) -> Result<stage2::Output, Refusal> {
        let purpose = Purpose::Stage1Table { level };
        stage2::translate(self.memory, &self.regime, ipa, purpose, witness)
            .map_err(|by| Refusal::Stage2 { kind: by.kind, level: by.level })
    }
}

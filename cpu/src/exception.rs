// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exceptions that the hypervisor gives to a guest, taken as the architecture takes them to EL1.
//!
//! The guest was at EL0 or EL1, the exception is taken to EL1 in AArch64. What the CPU would do to VBAR, ESR,
//! ELR, SPSR, FAR and PSTATE happens to the saved values. Source: Arm ARM, AArch64.TakeException and
//! AArch64.ReportException.

use vambrace_memory::Va;

use crate::exit::Direction;
use crate::pstate::{self, ExceptionLevel};
use crate::registers::{El1Registers, TrapFrame};
use crate::syndrome::{InstructionLength, Syndrome, class, field};

/// An exception for a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// The instruction is UNDEFINED.
    Undefined,
    /// The memory system has nothing at an address.
    ExternalAbort(ExternalAbort),
    /// The guest gets what came to EL2 in its stead, as if EL2 had not been there: a debug exception, say.
    /// FAR_EL1 is set where the class defines it.
    Reflected {
        /// ESR_EL2 as it was.
        syndrome: Syndrome,
        /// FAR_EL2 as it was.
        far: u64,
    },
    /// An SError interrupt. The caller has seen to it that PSTATE.A does not mask it, unless the guest is at
    /// EL0.
    SError {
        /// ISS, 25 bits.
        iss: u32,
    },
}

/// A synchronous external abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternalAbort {
    /// What the instruction was doing.
    pub access: AbortedAccess,
    /// Where; `None` if unknown.
    pub va: Option<Va>,
    /// For an abort on the guest's own table walk: the level of the table.
    pub walk_level: Option<WalkLevel>,
}

/// What an aborted instruction was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortedAccess {
    /// It was being fetched.
    Fetch,
    /// A load or a store.
    Data(Direction),
    /// Cache maintenance.
    CacheMaintenance,
}

/// A level of the guest's translation tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkLevel {
    /// Level 0.
    L0,
    /// Level 1.
    L1,
    /// Level 2.
    L2,
    /// Level 3.
    L3,
}

/// The bits of PSTATE that depend on the CPU's features, as the VM sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PstateFeatures {
    /// FEAT_PAN.
    pub pan: bool,
    /// FEAT_SSBS.
    pub ssbs: bool,
    /// FEAT_MTE2.
    pub mte: bool,
}

/// SCTLR_EL1.SPAN: PSTATE.PAN stays as it is on an exception.
const SCTLR_SPAN: u64 = 1 << 23;
/// SCTLR_EL1.DSSBS: PSTATE.SSBS after an exception.
const SCTLR_DSSBS: u64 = 1 << 44;

/// ISS of an abort: WnR.
const WRITE: u32 = field::WNR.iss_with(1);
/// ISS of an abort: CM.
const CACHE_MAINTENANCE: u32 = field::CM.iss_with(1);
/// ISS of an abort: FnV.
const FAR_NOT_VALID: u32 = field::FNV.iss_with(1);
/// Fault status: synchronous external abort.
const EXTERNAL: u32 = 0x10;
/// Fault status: synchronous external abort on a table walk, level 0.
const EXTERNAL_ON_WALK: u32 = 0x14;

/// Offset of the SError vectors from the synchronous ones.
const SERROR_VECTOR: u64 = 0x180;

/// Takes `exception` to EL1: afterwards the guest is at the first instruction of its handler.
///
/// The preferred return address is `frame.pc`.
pub fn take_to_el1(
    frame: &mut TrapFrame,
    el1: &mut El1Registers,
    exception: Exception,
    features: PstateFeatures,
) {
    let from = frame.level();
    let report = Report::new(exception, from);
    el1.esr = report.syndrome.0;
    if let Some(far) = report.far {
        el1.far = far;
    }
    el1.elr = frame.pc;
    el1.spsr = frame.pstate;
    let vectors = el1.vbar & !0x7FF;
    frame.pc = vectors.wrapping_add(group_offset(from)).wrapping_add(report.vector);
    frame.pstate = handler_pstate(frame.pstate, el1.sctlr, features);
}

/// What ESR_EL1 and FAR_EL1 will say, and which vector of its group is taken.
struct Report {
    syndrome: Syndrome,
    far: Option<u64>,
    vector: u64,
}

impl Report {
    fn new(exception: Exception, from: ExceptionLevel) -> Self {
        match exception {
            Exception::Undefined => Self {
                syndrome: Syndrome::new(class::UNKNOWN, InstructionLength::Four, 0),
                far: None,
                vector: 0,
            },
            Exception::ExternalAbort(abort) => abort.report(from),
            Exception::Reflected { syndrome, far } => {
                let class = class_at_el1(syndrome.class(), from);
                Self {
                    syndrome: Syndrome::new(class, syndrome.length(), syndrome.iss()),
                    far: if sets_far(class) { Some(far) } else { None },
                    vector: if class == class::SERROR { SERROR_VECTOR } else { 0 },
                }
            }
            Exception::SError { iss } => Self {
                syndrome: Syndrome::new(class::SERROR, InstructionLength::Four, iss),
                far: None,
                vector: SERROR_VECTOR,
            },
        }
    }
}

impl ExternalAbort {
    fn report(&self, from: ExceptionLevel) -> Report {
        let (class, what) = match self.access {
            AbortedAccess::Fetch => (class::INSTRUCTION_ABORT_LOWER, 0),
            AbortedAccess::Data(Direction::Read) => (class::DATA_ABORT_LOWER, 0),
            AbortedAccess::Data(Direction::Write) => (class::DATA_ABORT_LOWER, WRITE),
            AbortedAccess::CacheMaintenance => (class::DATA_ABORT_LOWER, CACHE_MAINTENANCE | WRITE),
        };
        let (status, where_known) = match self.walk_level {
            // FnV says something about aborts other than on walks only; FAR is always set for those.
            Some(level) => (EXTERNAL_ON_WALK + level as u32, 0),
            None => (EXTERNAL, if self.va.is_none() { FAR_NOT_VALID } else { 0 }),
        };
        let iss = what | status | where_known;
        // ISV is 0, and then IL is 1 whatever the instruction's length.
        Report {
            syndrome: Syndrome::new(class_at_el1(class, from), InstructionLength::Four, iss),
            far: self.va.map(|va| va.0),
            vector: 0,
        }
    }
}

/// The class of an exception that says "from a lower exception level", when EL1 takes it.
const fn class_at_el1(class: u8, from: ExceptionLevel) -> u8 {
    let lower = matches!(
        class,
        class::INSTRUCTION_ABORT_LOWER
            | class::DATA_ABORT_LOWER
            | class::BREAKPOINT_LOWER
            | class::STEP_LOWER
            | class::WATCHPOINT_LOWER
    );
    // In each of these pairs the class "from the same exception level" is the next number.
    if lower && !from.is_el0() { class + 1 } else { class }
}

/// Whether an exception of this class writes FAR_EL1.
const fn sets_far(class: u8) -> bool {
    matches!(
        class,
        class::INSTRUCTION_ABORT_LOWER
            | class::INSTRUCTION_ABORT_SAME
            | class::DATA_ABORT_LOWER
            | class::DATA_ABORT_SAME
            | class::WATCHPOINT_LOWER
            | class::WATCHPOINT_SAME
            | class::PC_ALIGNMENT
    )
}

/// Where the group of four vectors for exceptions from `from` begins.
const fn group_offset(from: ExceptionLevel) -> u64 {
    match from {
        ExceptionLevel::El1t => 0x000,
        ExceptionLevel::El1h => 0x200,
        ExceptionLevel::El0 => 0x400,
        ExceptionLevel::El0Aarch32 => 0x600,
    }
}

/// PSTATE at the handler's first instruction. What is not mentioned is 0: BTYPE, IL, SS, UAO.
const fn handler_pstate(old: u64, sctlr: u64, features: PstateFeatures) -> u64 {
    // The flags and DIT stay as they are; DIT is 0 where the CPU has none. They are in the same place in
    // AArch32's format.
    let mut new = pstate::EL1H | pstate::DAIF | old & (pstate::NZCV | pstate::DIT);
    if features.pan {
        new |= if sctlr & SCTLR_SPAN == 0 { pstate::PAN } else { old & pstate::PAN };
    }
    if features.ssbs && sctlr & SCTLR_DSSBS != 0 {
        new |= pstate::SSBS;
    }
    if features.mte {
        new |= pstate::TCO;
    }
    new
}

#[cfg(test)]
mod tests;

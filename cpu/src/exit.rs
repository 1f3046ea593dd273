// SPDX-License-Identifier: MIT OR Apache-2.0
//! An exit: why a vCPU came to EL2, as a value.
//!
//! [`Exit::decode`] is total: each value of ESR_EL2 becomes some [`Exit`], and a class that no one expects
//! becomes [`Exit::Other`], never a panic. Interrupts are not exits of the guest's own making and do not
//! appear here: the hypervisor takes them before it looks at the guest. Source: Arm ARM, ESR_EL2, HPFAR_EL2,
//! FAR_EL2.

use core::fmt;

use serde::{Deserialize, Serialize};
use vambrace_memory::{Ipa, Va};

use crate::coprocessor::CoprocessorAccess;
use crate::syndrome::{FaultStatus, InstructionLength, Syndrome, SyndromePattern, class, field};
use crate::sysreg::SysReg;

/// Why a vCPU came to EL2.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// WFI, WFE or their timed forms. The PC is at the instruction.
    Wait(Wait),
    /// HVC. The PC is already past the instruction.
    Hvc {
        /// Its immediate; SMCCC uses 0.
        immediate: u16,
    },
    /// SMC, trapped. The PC is at the instruction.
    Smc {
        /// Its immediate; SMCCC uses 0.
        immediate: u16,
    },
    /// A trapped MSR, MRS or system instruction. The PC is at the instruction.
    SystemRegister(SystemRegisterAccess),
    /// A trapped AArch32 coprocessor access of EL0.
    Coprocessor(CoprocessorAccess),
    /// A load, store or cache instruction that stage 2 refused.
    DataAbort(DataAbort),
    /// An instruction fetch that stage 2 refused.
    InstructionAbort(InstructionAbort),
    /// SIMD or floating point while its registers are another vCPU's.
    FpAccess,
    /// SVE, which VMs do not have.
    SveAccess,
    /// SME, which VMs do not have.
    SmeAccess,
    /// A pointer authentication instruction, trapped.
    PointerAuth,
    /// A breakpoint, watchpoint, software step, BRK or BKPT that is routed to EL2.
    Debug(DebugEvent),
    /// PSTATE.IL was set: a bad value went into SPSR_EL2.
    IllegalState,
    /// An SError interrupt, with its syndrome.
    SError(Syndrome),
    /// Anything else, undefined classes included.
    Other(Syndrome),
}

impl Exit {
    /// Decodes ESR_EL2, FAR_EL2 and HPFAR_EL2 as a synchronous exception or SError left them.
    pub const fn decode(esr: u64, far: u64, hpfar: u64) -> Self {
        let syndrome = Syndrome(esr);
        match syndrome.class() {
            class::WAIT => Self::Wait(Wait::decode(syndrome)),
            class::HVC64 => Self::Hvc { immediate: syndrome.immediate() },
            class::SMC64 => Self::Smc { immediate: syndrome.immediate() },
            class::SYSTEM => Self::SystemRegister(SystemRegisterAccess::decode(syndrome)),
            class::CP15_32
            | class::CP15_64
            | class::CP14_32
            | class::CP14_MEMORY
            | class::CP14_64
            | class::VMRS => Self::Coprocessor(CoprocessorAccess::decode(syndrome)),
            class::DATA_ABORT_LOWER => Self::DataAbort(DataAbort::decode(syndrome, far, hpfar)),
            class::INSTRUCTION_ABORT_LOWER => {
                Self::InstructionAbort(InstructionAbort::decode(syndrome, far, hpfar))
            }
            class::FP => Self::FpAccess,
            class::SVE => Self::SveAccess,
            class::SME => Self::SmeAccess,
            class::POINTER_AUTH => Self::PointerAuth,
            class::BREAKPOINT_LOWER
            | class::STEP_LOWER
            | class::WATCHPOINT_LOWER
            | class::BRK64
            | class::BKPT32
            | class::VECTOR_CATCH32 => Self::Debug(DebugEvent { syndrome, va: Va(far) }),
            class::ILLEGAL_STATE => Self::IllegalState,
            class::SERROR => Self::SError(syndrome),
            _ => Self::Other(syndrome),
        }
    }
}

/// Which way a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// To the CPU: a load or MRS.
    Read,
    /// From the CPU: a store or MSR.
    Write,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// A trapped wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Which instruction.
    pub instruction: WaitInstruction,
    /// For WFIT and WFET: the register that holds the virtual count to wait for at most.
    pub timeout: Option<u8>,
    /// 2 bytes is possible: a T32 WFI of EL0.
    pub length: InstructionLength,
    /// For [`TrapFrame::condition_holds`](crate::registers::TrapFrame::condition_holds): AArch32's may be
    /// conditional.
    pub syndrome: Syndrome,
}

/// The instructions that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitInstruction {
    /// Wait for an interrupt.
    Wfi,
    /// Wait for an event.
    Wfe,
    /// Wait for an interrupt, with a timeout.
    Wfit,
    /// Wait for an event, with a timeout.
    Wfet,
}

impl Wait {
    /// The syndrome of a WFI of AArch64, which always has the condition AL.
    pub const WFI: Syndrome = Syndrome::new(
        class::WAIT,
        InstructionLength::Four,
        field::CV.iss_with(1) | field::COND.iss_with(0b1110),
    );

    pub(crate) const fn decode(syndrome: Syndrome) -> Self {
        let (instruction, timed) = match field::TI.of(syndrome) {
            0b00 => (WaitInstruction::Wfi, false),
            0b01 => (WaitInstruction::Wfe, false),
            0b10 => (WaitInstruction::Wfit, true),
            _ => (WaitInstruction::Wfet, true),
        };
        // RV says whether RN holds the register; without it the wait is as good as one without a timeout,
        // since WFIT and WFET may complete for any reason.
        let timeout =
            if timed && field::RV.is_set(syndrome) { Some(field::RN.of(syndrome) as u8) } else { None };
        Self { instruction, timeout, length: syndrome.length(), syndrome }
    }
}

impl fmt::Display for WaitInstruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wfi => "WFI",
            Self::Wfe => "WFE",
            Self::Wfit => "WFIT",
            Self::Wfet => "WFET",
        })
    }
}

/// A trapped MSR, MRS or system instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemRegisterAccess {
    /// The register, or the instruction's encoding.
    pub register: SysReg,
    /// Rt: the general-purpose register, 31 for XZR.
    pub rt: u8,
    /// MRS reads.
    pub direction: Direction,
}

impl SystemRegisterAccess {
    pub(crate) const fn decode(syndrome: Syndrome) -> Self {
        Self {
            register: SysReg::from_iss(syndrome.iss()),
            rt: field::RT.of(syndrome) as u8,
            direction: if field::READ.is_set(syndrome) { Direction::Read } else { Direction::Write },
        }
    }

    /// What the syndrome of an access to this register looks like, whatever Rt is.
    #[must_use]
    pub const fn pattern(register: SysReg, direction: Direction) -> SyndromePattern {
        SyndromePattern::of_class(class::SYSTEM)
            .and(field::IL, 1)
            .and(field::ISS.part(24, 22), 0)
            .and(field::OP0, register.op0 as u64)
            .and(field::OP1, register.op1 as u64)
            .and(field::CRN, register.crn as u64)
            .and(field::CRM, register.crm as u64)
            .and(field::OP2, register.op2 as u64)
            .and(field::READ, matches!(direction, Direction::Read) as u64)
    }
}

impl fmt::Display for SystemRegisterAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.direction, self.register)
    }
}

/// A data abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataAbort {
    /// The address in the guest's virtual space, when FAR_EL2 holds it.
    pub va: Option<Va>,
    /// Where in the VM's memory, when HPFAR_EL2 holds it; see [`faulting_ipa`].
    pub ipa: Option<Ipa>,
    /// Why.
    pub status: FaultStatus,
    /// Load or store. Cache maintenance counts as a store, whatever it does.
    pub direction: Direction,
    /// For [`DataAbort::transfer`].
    pub syndrome: Syndrome,
    /// S1PTW: the fault hit the guest's own table walk, not the access.
    pub on_walk: bool,
    /// CM: a cache maintenance or address translation instruction.
    pub cache_maintenance: bool,
    /// EA: the external abort's type, IMPLEMENTATION DEFINED.
    pub external_type: bool,
    /// How far to step over the instruction.
    pub length: InstructionLength,
}

impl DataAbort {
    pub(crate) const fn decode(syndrome: Syndrome, far: u64, hpfar: u64) -> Self {
        Self {
            va: faulting_va(syndrome, far),
            ipa: faulting_ipa(syndrome, far, hpfar),
            status: syndrome.fault_status(),
            direction: if field::WNR.is_set(syndrome) { Direction::Write } else { Direction::Read },
            syndrome,
            on_walk: field::S1PTW.is_set(syndrome),
            cache_maintenance: field::CM.is_set(syndrome),
            external_type: field::EA.is_set(syndrome),
            length: syndrome.length(),
        }
    }

    /// What the instruction moves, if the syndrome says so (ISV). `None`: the instruction itself must be decoded.
    #[inline]
    #[must_use]
    pub const fn transfer(&self) -> Option<DataTransfer> {
        let Self { syndrome, .. } = *self;
        if !field::ISV.is_set(syndrome) {
            return None;
        }
        Some(DataTransfer {
            log2_bytes: field::SAS.of(syndrome) as u8,
            register: field::SRT.of(syndrome) as u8,
            sign_extends: field::SSE.is_set(syndrome),
            is_64_bit: field::SF.is_set(syndrome),
        })
    }
}

/// What a load or a store moves, as the syndrome of a data abort describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataTransfer {
    /// SAS: the logarithm of the bytes that are moved, 0 to 3.
    pub log2_bytes: u8,
    /// SRT: the general-purpose register, 31 for XZR.
    pub register: u8,
    /// SSE: a load extends the sign, else with zeros.
    pub sign_extends: bool,
    /// SF: the register is one of 64 bits (Xt), else of 32 (Wt).
    pub is_64_bit: bool,
}

/// An instruction abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstructionAbort {
    /// The address in the guest's virtual space, when FAR_EL2 holds it.
    pub va: Option<Va>,
    /// Where in the VM's memory, when HPFAR_EL2 holds it; see [`faulting_ipa`].
    pub ipa: Option<Ipa>,
    /// Why.
    pub status: FaultStatus,
    /// S1PTW: the fault hit the guest's own table walk, not the fetch.
    pub on_walk: bool,
}

impl InstructionAbort {
    const fn decode(syndrome: Syndrome, far: u64, hpfar: u64) -> Self {
        Self {
            va: faulting_va(syndrome, far),
            ipa: faulting_ipa(syndrome, far, hpfar),
            status: syndrome.fault_status(),
            on_walk: field::S1PTW.is_set(syndrome),
        }
    }
}

/// FAR_EL2, unless FnV says that an external abort left it invalid.
const fn faulting_va(syndrome: Syndrome, far: u64) -> Option<Va> {
    let external = matches!(syndrome.fault_status(), FaultStatus::External);
    if external && field::FNV.is_set(syndrome) { None } else { Some(Va(far)) }
}

/// HPFAR_EL2.FIPA: the page of the IPA that stage 2 refused.
const fn faulting_page(hpfar: u64) -> Ipa {
    Ipa((hpfar & 0xFFFF_FFFF_FFF0) << 8)
}

/// The faulting IPA, to the byte, of an access that HPFAR_EL2 is valid for; see [`faulting_ipa`].
#[inline]
#[must_use]
pub const fn accessed_ipa(far: u64, hpfar: u64) -> Ipa {
    Ipa(faulting_page(hpfar).0 | far & 0xFFF)
}

/// The faulting IPA, to the byte; for a fault on a table walk, the start of the table's page.
///
/// HPFAR_EL2 is valid for translation, access flag and address size faults of stage 2, and for every stage-2
/// fault on a stage-1 walk. For a permission fault of the access itself the caller must translate the VA.
#[must_use]
pub const fn faulting_ipa(syndrome: Syndrome, far: u64, hpfar: u64) -> Option<Ipa> {
    let on_walk = field::S1PTW.is_set(syndrome);
    match syndrome.fault_status() {
        FaultStatus::Translation(_) | FaultStatus::AccessFlag(_) | FaultStatus::AddressSize(_)
            if !on_walk =>
        {
            Some(accessed_ipa(far, hpfar))
        }
        FaultStatus::Translation(_)
        | FaultStatus::AccessFlag(_)
        | FaultStatus::AddressSize(_)
        | FaultStatus::Permission(_)
            if on_walk =>
        {
            Some(faulting_page(hpfar))
        }
        _ => None,
    }
}

/// A debug exception that is routed to EL2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugEvent {
    /// Its class tells which.
    pub syndrome: Syndrome,
    /// For a watchpoint, the address that it watches; else meaningless.
    pub va: Va,
}

#[cfg(test)]
mod tests;

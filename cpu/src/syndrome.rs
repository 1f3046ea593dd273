// SPDX-License-Identifier: MIT OR Apache-2.0
//! The syndrome: ESR_ELx, as fields and in words.
//!
//! A syndrome never fails to decode: values that the architecture has not given a meaning keep their number,
//! so that a CPU newer than this code is reported and not mistaken. Source: Arm ARM, ESR_EL2.

use core::fmt;

use serde::{Deserialize, Serialize};

pub mod field;
mod words;

pub use field::{SyndromeField, SyndromePattern};
pub use words::{Description, class_name, describe};

/// Exception classes: ESR_ELx.EC.
pub mod class {
    /// Anything that has no class of its own: undefined instructions above all.
    pub const UNKNOWN: u8 = 0x00;
    /// WFI, WFE, WFIT or WFET.
    pub const WAIT: u8 = 0x01;
    /// AArch32 MCR or MRC, coprocessor 15.
    pub const CP15_32: u8 = 0x03;
    /// AArch32 MCRR or MRRC, coprocessor 15.
    pub const CP15_64: u8 = 0x04;
    /// AArch32 MCR or MRC, coprocessor 14.
    pub const CP14_32: u8 = 0x05;
    /// AArch32 LDC or STC, coprocessor 14.
    pub const CP14_MEMORY: u8 = 0x06;
    /// SIMD or floating point, or SVE where CPTR_EL2 gives no finer class.
    pub const FP: u8 = 0x07;
    /// AArch32 VMRS.
    pub const VMRS: u8 = 0x08;
    /// Pointer authentication instruction.
    pub const POINTER_AUTH: u8 = 0x09;
    /// LD64B, ST64B and their like.
    pub const LS64: u8 = 0x0A;
    /// AArch32 MRRC, coprocessor 14.
    pub const CP14_64: u8 = 0x0C;
    /// Branch target identification.
    pub const BRANCH_TARGET: u8 = 0x0D;
    /// Illegal execution state: PSTATE.IL.
    pub const ILLEGAL_STATE: u8 = 0x0E;
    /// AArch32 SVC.
    pub const SVC32: u8 = 0x11;
    /// AArch32 HVC.
    pub const HVC32: u8 = 0x12;
    /// AArch32 SMC.
    pub const SMC32: u8 = 0x13;
    /// MSRR, MRRS or a 128-bit system instruction.
    pub const SYSTEM_128: u8 = 0x14;
    /// SVC.
    pub const SVC64: u8 = 0x15;
    /// HVC.
    pub const HVC64: u8 = 0x16;
    /// SMC, trapped by HCR_EL2.TSC.
    pub const SMC64: u8 = 0x17;
    /// MSR, MRS or a system instruction.
    pub const SYSTEM: u8 = 0x18;
    /// SVE, trapped by CPTR_EL2.
    pub const SVE: u8 = 0x19;
    /// ERET, trapped for nested virtualisation.
    pub const ERET: u8 = 0x1A;
    /// TSTART.
    pub const TSTART: u8 = 0x1B;
    /// Pointer authentication failed.
    pub const POINTER_AUTH_FAIL: u8 = 0x1C;
    /// SME, trapped by CPTR_EL2 or SMPRI.
    pub const SME: u8 = 0x1D;
    /// Granule protection check.
    pub const GRANULE_PROTECTION: u8 = 0x1E;
    /// Instruction abort from a lower exception level.
    pub const INSTRUCTION_ABORT_LOWER: u8 = 0x20;
    /// Instruction abort from the same exception level.
    pub const INSTRUCTION_ABORT_SAME: u8 = 0x21;
    /// Misaligned PC.
    pub const PC_ALIGNMENT: u8 = 0x22;
    /// Data abort from a lower exception level.
    pub const DATA_ABORT_LOWER: u8 = 0x24;
    /// Data abort from the same exception level.
    pub const DATA_ABORT_SAME: u8 = 0x25;
    /// Misaligned SP.
    pub const SP_ALIGNMENT: u8 = 0x26;
    /// Memory copy and set instructions.
    pub const MOPS: u8 = 0x27;
    /// Trapped AArch32 floating-point exception.
    pub const FP_EXCEPTION_32: u8 = 0x28;
    /// Trapped floating-point exception.
    pub const FP_EXCEPTION_64: u8 = 0x2C;
    /// Guarded control stack.
    pub const GCS: u8 = 0x2D;
    /// SError interrupt.
    pub const SERROR: u8 = 0x2F;
    /// Breakpoint from a lower exception level.
    pub const BREAKPOINT_LOWER: u8 = 0x30;
    /// Breakpoint from the same exception level.
    pub const BREAKPOINT_SAME: u8 = 0x31;
    /// Software step from a lower exception level.
    pub const STEP_LOWER: u8 = 0x32;
    /// Software step from the same exception level.
    pub const STEP_SAME: u8 = 0x33;
    /// Watchpoint from a lower exception level.
    pub const WATCHPOINT_LOWER: u8 = 0x34;
    /// Watchpoint from the same exception level.
    pub const WATCHPOINT_SAME: u8 = 0x35;
    /// AArch32 BKPT.
    pub const BKPT32: u8 = 0x38;
    /// AArch32 vector catch.
    pub const VECTOR_CATCH32: u8 = 0x3A;
    /// BRK.
    pub const BRK64: u8 = 0x3C;
}

/// A value of ESR_ELx.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[repr(transparent)]
pub struct Syndrome(pub u64);

impl Syndrome {
    /// Builds the syndrome of class `class` (6 bits) with `iss` (25 bits).
    #[must_use]
    pub const fn new(class: u8, length: InstructionLength, iss: u32) -> Self {
        let il = match length {
            InstructionLength::Two => 0,
            InstructionLength::Four => 1,
        };
        Self(field::EC.with(class as u64) | field::IL.with(il) | field::ISS.with(iss as u64))
    }

    /// EC: the exception class, one of [`class`]'s when known.
    #[inline]
    #[must_use]
    pub const fn class(self) -> u8 {
        field::EC.of(self) as u8
    }

    /// IL: how long the trapped instruction is.
    #[inline]
    #[must_use]
    pub const fn length(self) -> InstructionLength {
        if field::IL.is_set(self) { InstructionLength::Four } else { InstructionLength::Two }
    }

    /// ISS: what the class has to say, 25 bits.
    #[inline]
    #[must_use]
    pub const fn iss(self) -> u32 {
        field::ISS.of(self) as u32
    }

    /// The low 16 bits of ISS: the immediate of HVC, SMC, SVC and BRK.
    #[inline]
    #[must_use]
    pub const fn immediate(self) -> u16 {
        field::IMMEDIATE.of(self) as u16
    }

    /// The low 6 bits of ISS: the fault status of an abort.
    #[must_use]
    pub const fn fault_status(self) -> FaultStatus {
        FaultStatus::decode(field::FAULT_STATUS.of(self) as u8)
    }

    /// Of HVC and SMC of AArch64, which of the two.
    #[inline]
    #[must_use]
    pub const fn conduit(self) -> Option<Conduit> {
        if field::CALL.of(self) != (class::HVC64 >> 1) as u64 {
            return None;
        }
        Some(if field::CALL_BY_SMC.is_set(self) { Conduit::Smc } else { Conduit::Hvc })
    }
}

impl fmt::Debug for Syndrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Syndrome({:#x})", self.0)
    }
}

/// Which instruction made a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// HVC, which has moved the PC on.
    Hvc,
    /// SMC, trapped: the PC is at the instruction.
    Smc,
}

/// The size of an instruction. A64 has only 4 bytes; T32, which EL0 may use, has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InstructionLength {
    /// A 16-bit T32 instruction.
    Two,
    /// Everything else.
    Four,
}

impl InstructionLength {
    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }
}

/// Why an abort happened: DFSC or IFSC. Levels are those of the translation table, -2 to 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FaultStatus {
    /// An address too large for the translation or its output.
    AddressSize(i8),
    /// No valid descriptor.
    Translation(i8),
    /// The access flag is clear.
    AccessFlag(i8),
    /// The descriptor forbids the access.
    Permission(i8),
    /// The memory system answered with an error.
    External,
    /// The memory system answered a translation table walk with an error.
    ExternalOnWalk(i8),
    /// MTE: the tag does not match.
    TagCheck,
    /// Parity or ECC error.
    Parity,
    /// Parity or ECC error in a translation table walk.
    ParityOnWalk(i8),
    /// A misaligned address.
    Alignment,
    /// A debug exception.
    Debug,
    /// Granule protection fault.
    GranuleProtection,
    /// Granule protection fault in a translation table walk.
    GranuleProtectionOnWalk(i8),
    /// Two TLB entries match.
    TlbConflict,
    /// The memory cannot do an atomic hardware update of a descriptor.
    UnsupportedAtomicUpdate,
    /// IMPLEMENTATION DEFINED: lockdown.
    Lockdown,
    /// IMPLEMENTATION DEFINED: the memory cannot do exclusive or atomic accesses.
    UnsupportedExclusive,
    /// Unallocated when this was written.
    Other(u8),
}

impl FaultStatus {
    /// Decodes the 6-bit code.
    #[must_use]
    pub const fn decode(code: u8) -> Self {
        let level = (code & 0b11) as i8;
        match code {
            0x00..=0x03 => Self::AddressSize(level),
            0x04..=0x07 => Self::Translation(level),
            0x08..=0x0B => Self::AccessFlag(level),
            0x0C..=0x0F => Self::Permission(level),
            0x10 => Self::External,
            0x11 => Self::TagCheck,
            0x12 => Self::ExternalOnWalk(-2),
            0x13 => Self::ExternalOnWalk(-1),
            0x14..=0x17 => Self::ExternalOnWalk(level),
            0x18 => Self::Parity,
            0x1B => Self::ParityOnWalk(-1),
            0x1C..=0x1F => Self::ParityOnWalk(level),
            0x21 => Self::Alignment,
            0x22 => Self::Debug,
            0x23 => Self::GranuleProtectionOnWalk(-1),
            0x24..=0x27 => Self::GranuleProtectionOnWalk(level),
            0x28 => Self::GranuleProtection,
            0x29 => Self::AddressSize(-1),
            0x2A => Self::Translation(-2),
            0x2B => Self::Translation(-1),
            0x2C => Self::AddressSize(-2),
            0x30 => Self::TlbConflict,
            0x31 => Self::UnsupportedAtomicUpdate,
            0x34 => Self::Lockdown,
            0x35 => Self::UnsupportedExclusive,
            other => Self::Other(other),
        }
    }
}

#[cfg(test)]
mod tests;

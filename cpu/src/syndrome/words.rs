// SPDX-License-Identifier: MIT OR Apache-2.0
//! A syndrome in words, for crash reports.

use core::fmt;

use super::{FaultStatus, Syndrome, class, field};
use crate::exit::{DataAbort, SystemRegisterAccess, Wait};

/// Puts a value of ESR_ELx in words: "data abort from a lower exception level: translation fault, level 2,
/// read of 4 bytes".
#[must_use]
pub const fn describe(esr: u64) -> Description {
    Description(Syndrome(esr))
}

/// What [`describe`] returns: one line, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description(Syndrome);

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let syndrome = self.0;
        match syndrome.class() {
            class::WAIT => write!(f, "{} trapped", Wait::decode(syndrome).instruction),
            class::SYSTEM => write!(f, "trapped {}", SystemRegisterAccess::decode(syndrome)),
            class::SVC64 | class::SVC32 => write!(f, "SVC #{:#x}", syndrome.immediate()),
            class::HVC64 | class::HVC32 => write!(f, "HVC #{:#x}", syndrome.immediate()),
            class::SMC64 => write!(f, "SMC #{:#x}", syndrome.immediate()),
            class::BRK64 | class::BKPT32 => {
                write!(f, "{} #{:#x}", class_name(syndrome.class()), syndrome.immediate())
            }
            class::INSTRUCTION_ABORT_LOWER | class::INSTRUCTION_ABORT_SAME => {
                write!(f, "{}: {}", class_name(syndrome.class()), syndrome.fault_status())?;
                walk(f, syndrome)
            }
            class::DATA_ABORT_LOWER | class::DATA_ABORT_SAME => data_abort(f, syndrome),
            known if !class_name(known).is_empty() => f.write_str(class_name(known)),
            unknown => write!(f, "exception of unknown class {unknown:#04x}, ISS {:#x}", syndrome.iss()),
        }
    }
}

fn data_abort(f: &mut fmt::Formatter<'_>, syndrome: Syndrome) -> fmt::Result {
    write!(f, "{}: {}, ", class_name(syndrome.class()), syndrome.fault_status())?;
    let abort = DataAbort::decode(syndrome, 0, 0);
    if abort.cache_maintenance {
        f.write_str("cache maintenance")?;
    } else {
        write!(f, "{}", abort.direction)?;
        if let Some(transfer) = abort.transfer() {
            let bytes = 1 << transfer.log2_bytes;
            write!(f, " of {bytes} byte{}", if bytes == 1 { "" } else { "s" })?;
        }
    }
    walk(f, syndrome)
}

fn walk(f: &mut fmt::Formatter<'_>, syndrome: Syndrome) -> fmt::Result {
    if field::S1PTW.is_set(syndrome) { f.write_str(", in a stage 1 table walk") } else { Ok(()) }
}

/// The exception class (ESR_ELx.EC) in words; empty when unallocated.
#[must_use]
pub const fn class_name(class: u8) -> &'static str {
    match class {
        class::UNKNOWN => "undefined instruction, or a reason without a class",
        class::CP15_32 => "trapped AArch32 MCR or MRC (coprocessor 15)",
        class::CP15_64 => "trapped AArch32 MCRR or MRRC (coprocessor 15)",
        class::CP14_32 => "trapped AArch32 MCR or MRC (coprocessor 14)",
        class::CP14_MEMORY => "trapped AArch32 LDC or STC (coprocessor 14)",
        class::FP => "trapped SIMD or floating-point access",
        class::VMRS => "trapped AArch32 VMRS",
        class::POINTER_AUTH => "trapped pointer authentication instruction",
        class::LS64 => "trapped 64-byte load or store",
        class::CP14_64 => "trapped AArch32 MRRC (coprocessor 14)",
        class::BRANCH_TARGET => "branch target exception",
        class::ILLEGAL_STATE => "illegal execution state",
        class::SMC32 => "AArch32 SMC",
        class::SYSTEM_128 => "trapped 128-bit system instruction",
        class::SVE => "trapped SVE access",
        class::ERET => "trapped ERET",
        class::TSTART => "trapped TSTART",
        class::POINTER_AUTH_FAIL => "pointer authentication failure",
        class::SME => "trapped SME access",
        class::GRANULE_PROTECTION => "granule protection check",
        class::INSTRUCTION_ABORT_LOWER => "instruction abort from a lower exception level",
        class::INSTRUCTION_ABORT_SAME => "instruction abort from the same exception level",
        class::PC_ALIGNMENT => "misaligned PC",
        class::DATA_ABORT_LOWER => "data abort from a lower exception level",
        class::DATA_ABORT_SAME => "data abort from the same exception level",
        class::SP_ALIGNMENT => "misaligned SP",
        class::MOPS => "memory copy or set exception",
        class::FP_EXCEPTION_32 => "AArch32 floating-point exception",
        class::FP_EXCEPTION_64 => "floating-point exception",
        class::GCS => "guarded control stack exception",
        class::SERROR => "SError interrupt",
        class::BREAKPOINT_LOWER => "breakpoint from a lower exception level",
        class::BREAKPOINT_SAME => "breakpoint from the same exception level",
        class::STEP_LOWER => "software step from a lower exception level",
        class::STEP_SAME => "software step from the same exception level",
        class::WATCHPOINT_LOWER => "watchpoint from a lower exception level",
        class::WATCHPOINT_SAME => "watchpoint from the same exception level",
        class::BKPT32 => "BKPT",
        class::VECTOR_CATCH32 => "AArch32 vector catch",
        class::BRK64 => "BRK",
        _ => "",
    }
}

impl fmt::Display for FaultStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressSize(level) => write!(f, "address size fault, level {level}"),
            Self::Translation(level) => write!(f, "translation fault, level {level}"),
            Self::AccessFlag(level) => write!(f, "access flag fault, level {level}"),
            Self::Permission(level) => write!(f, "permission fault, level {level}"),
            Self::External => f.write_str("synchronous external abort"),
            Self::ExternalOnWalk(level) => {
                write!(f, "synchronous external abort on a table walk, level {level}")
            }
            Self::TagCheck => f.write_str("tag check fault"),
            Self::Parity => f.write_str("parity or ECC error"),
            Self::ParityOnWalk(level) => write!(f, "parity or ECC error on a table walk, level {level}"),
            Self::Alignment => f.write_str("alignment fault"),
            Self::Debug => f.write_str("debug exception"),
            Self::GranuleProtection => f.write_str("granule protection fault"),
            Self::GranuleProtectionOnWalk(level) => {
                write!(f, "granule protection fault on a table walk, level {level}")
            }
            Self::TlbConflict => f.write_str("TLB conflict"),
            Self::UnsupportedAtomicUpdate => f.write_str("unsupported atomic hardware update"),
            Self::Lockdown => f.write_str("lockdown fault"),
            Self::UnsupportedExclusive => f.write_str("unsupported exclusive or atomic access"),
            Self::Other(code) => write!(f, "fault of unknown status {code:#04x}"),
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers of a vCPU as it starts.
//!
//! For the first CPU of a VM, after CPU_ON, and after a CPU_SUSPEND that powered down. Source: Arm ARM, reset
//! values of EL1's registers; PSCI (DEN0022), initial state of a core.

use serde::{Deserialize, Serialize};

use crate::power::CpuEntry;
use crate::pstate::{self, Endianness};
use crate::registers::{DebugRegisters, El1Registers, FpRegisters, PointerAuthKeys, TrapFrame};
use crate::trap::OsLock;

/// SCTLR_EL1 with MMU and caches off, and set what is RES1 in Armv8.0: LSMAOE, nTLSMD, SPAN, EIS, TSCXT and
/// EOS.
const SCTLR: u64 = 0x30D0_0800;
/// SCTLR_EL1.EE and E0E.
const SCTLR_BIG_ENDIAN: u64 = 1 << 25 | 1 << 24;

/// The frame of a CPU that starts at `entry`: at EL1, everything masked, X0 the context.
#[must_use]
pub fn frame(entry: CpuEntry) -> TrapFrame {
    let mut frame =
        TrapFrame { pc: entry.address.0, pstate: pstate::EL1H | pstate::DAIF, ..TrapFrame::default() };
    frame.set(0, entry.context);
    frame
}

/// The system registers of a CPU that starts. What the architecture leaves UNKNOWN is zero, so that nothing
/// of what ran on the CPU before shows.
#[must_use]
pub fn el1(endianness: Endianness) -> El1Registers {
    let sctlr = match endianness {
        Endianness::Little => SCTLR,
        Endianness::Big => SCTLR | SCTLR_BIG_ENDIAN,
    };
    El1Registers { sctlr, ..El1Registers::default() }
}

/// All the registers that a CPU owns, in the groups in which they are moved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuRegisters {
    /// General-purpose registers, PC and PSTATE.
    pub frame: TrapFrame,
    /// System registers.
    pub el1: El1Registers,
    /// Pointer authentication keys.
    pub keys: PointerAuthKeys,
    /// Breakpoints and watchpoints.
    pub debug: DebugRegisters,
    /// SIMD and floating point.
    pub fp: FpRegisters,
    /// DISR_EL1 as the vCPU sees it: VDISR_EL2 (FEAT_RAS).
    pub deferred_error: u64,
    /// The OS Lock.
    pub os_lock: OsLock,
}

impl CpuRegisters {
    /// Those of a CPU that starts at `entry`.
    #[must_use]
    pub fn starting_at(entry: CpuEntry) -> Self {
        Self { frame: frame(entry), el1: el1(entry.endianness), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use vambrace_memory::Ipa;

    use super::*;
    use crate::pstate::ExceptionLevel;

    #[test]
    fn a_cpu_starts_masked_at_el1_with_its_context() {
        let entry = CpuEntry { address: Ipa(0x4008_0000), context: 7, endianness: Endianness::Little };
        let cpu = CpuRegisters::starting_at(entry);
        assert_eq!((cpu.frame.pc, cpu.frame.get(0), cpu.frame.pstate), (0x4008_0000, 7, 0x3C5));
        assert_eq!(cpu.frame.level(), ExceptionLevel::El1h);
        assert_eq!(cpu.frame.endianness(cpu.el1.sctlr), Endianness::Little);
        // M, A, C and I are off.
        assert_eq!(cpu.el1.sctlr & (1 | 1 << 1 | 1 << 2 | 1 << 12), 0);
        assert_eq!(cpu.os_lock.status(), 0b1010);
    }

    #[test]
    fn a_cpu_inherits_the_endianness_of_its_caller() {
        let registers = el1(Endianness::Big);
        assert_eq!(
            TrapFrame { pstate: pstate::EL1H, ..TrapFrame::default() }.endianness(registers.sctlr),
            Endianness::Big
        );
    }
}

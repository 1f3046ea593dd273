// SPDX-License-Identifier: MIT OR Apache-2.0
//! All system registers that EL1 or EL0 can name, and what keeps one VM's value from the next VM on the CPU.
//!
//! There are four ways: the access traps, the register moves with the vCPU, EL2 sets it between VMs, or no guest can write
//! it. Whatever had none of them would be a channel from VM to VM, and a way to break the neighbour. The test holds the
//! table against Arm's list of registers, and each entry against the values and groups that EL2 really uses. Source: Arm ARM,
//! "AArch64 System register descriptions", where each register's access conditions name its trap controls.

use crate::arch::traps::trap::Trap;

/// What keeps a register's value from the next VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// Accesses come to EL2, by each of these controls.
    Trapped(&'static [Trap]),
    /// It moves with the vCPU.
    Switched(Group),
    /// EL2 sets it where the trap that should guard it cannot be set; see [`crate::arch::sre`].
    Reset(&'static [Trap]),
    /// No guest can write it, or nothing is kept in it.
    Constant,
    /// Another register or PSTATE by another name, which is the vCPU's: this one.
    View(&'static str),
    /// No CPU that EL2 runs on has it at EL1; why.
    Absent(&'static str),
    /// It is of an extension later than those that EL2 knows to turn off. They are off until a register that EL2 does not
    /// write, or the firmware, turns them on.
    Later(&'static str),
}

/// In which group of [`vambrace_cpu::reset::CpuRegisters`] a register moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `el1`.
    El1,
    /// `keys`.
    PointerAuthKeys,
    /// `fp`.
    Fp,
    /// `deferred_error`: DISR_EL1 is VDISR_EL2 for a guest, since HCR_EL2.AMO is set.
    DeferredError,
}

/// Some registers, one behind the other.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Arm's name of the one, or what the family is.
    pub name: &'static str,
    /// op0 and op1.
    pub op: (u8, u8),
    /// CRn, CRm and op2 of the first.
    pub from: (u8, u8, u8),
    /// Those of the last.
    pub to: (u8, u8, u8),
    /// What keeps them.
    pub keeper: Keeper,
}

mod table;

pub use table::TABLE;

#[cfg(test)]
pub(crate) mod tests;

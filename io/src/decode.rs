// SPDX-License-Identifier: MIT OR Apache-2.0
//! A64 loads and stores, decoded from the instruction.
//!
//! When an access traps, the CPU describes the instruction in the syndrome (ISV = 1) only if it moves one
//! general-purpose register and writes nothing back. For pairs and for pre- and post-indexed addresses the
//! instruction itself is fetched from the guest and decoded here (Arm ARM, "A64 instruction set encoding", Loads
//! and Stores). What is decoded: every load and store of general-purpose registers that is not exclusive or
//! atomic, ordered ones included. All else is named and refused ([`Unsupported`]): compilers and kernels do not
//! use it on devices.
//!
//! The fetched instruction may not be the one that trapped, since another CPU of the guest can have replaced it.
//! The caller checks that [`Instruction::address`] is the address that the CPU reported.
//!
//! Where the architecture leaves a choice (CONSTRAINED UNPREDICTABLE), the choice is: a base register that is also
//! transferred is stored with its old value, and ends with the updated address; of a pair loaded into one
//! register the second value stays. Both are what an implementation may do.

use vambrace_memory::{Ipa, Va};

use crate::bus::{Destination, Direction, Extension, MmioAccess, RegisterWidth, Width};

/// Why an instruction is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// No load or store, or not allocated.
    #[error("no load or store that an access to a device can be decoded from")]
    Other,
    /// A SIMD and floating-point register is transferred.
    #[error("a load or store of SIMD registers on a device")]
    Simd,
    /// A load-exclusive or store-exclusive.
    #[error("an exclusive access to a device")]
    Exclusive,
    /// A read-modify-write of FEAT_LSE or later.
    #[error("an atomic operation on a device")]
    Atomic,
    /// A prefetch hint, which cannot fault.
    #[error("a prefetch of a device")]
    Prefetch,
    /// A load through an authenticated pointer.
    #[error("a load from a device through an authenticated pointer")]
    PointerAuthentication,
    /// A store or load of allocation tags, or of a pair with its tag.
    #[error("memory tags on a device")]
    MemoryTag,
    /// A memory copy or set instruction (FEAT_MOPS).
    #[error("a memory copy instruction on a device")]
    MemoryCopy,
    /// DC ZVA and its tag-setting siblings.
    #[error("DC ZVA on a device")]
    ZeroBlock,
    /// Another cache or address translation operation.
    #[error("a cache maintenance operation on a device's address")]
    CacheMaintenance,
}

/// Load or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// From memory to registers.
    Load,
    /// From registers to memory.
    Store,
}

/// What an address is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// X0 to X30.
    Register(u8),
    /// The stack pointer in use.
    StackPointer,
    /// The address of the instruction.
    ProgramCounter,
}

impl Base {
    /// The base that an instruction's Rn field names.
    const fn from_rn(rn: u8) -> Self {
        if rn == 31 { Self::StackPointer } else { Self::Register(rn) }
    }
}

/// How an offset register is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// Wm, zero-extended.
    Uxtw,
    /// Xm.
    Lsl,
    /// Wm, sign-extended.
    Sxtw,
    /// Xm; the same as [`Index::Lsl`].
    Sxtx,
}

/// What is added to the base for the address of the first transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// A number of bytes; 0 for post-indexed addresses.
    Immediate(i64),
    /// A register, extended and then shifted left.
    Register {
        /// X0 to X30; 31 is XZR.
        register: u8,
        /// How it is read.
        index: Index,
        /// By how many bits it is shifted left: 0 to 3.
        shift: u8,
    },
}

/// One register that is loaded or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The register and, for a load, how it is filled; 31 is XZR.
    pub destination: Destination,
    /// How many bytes of memory.
    pub width: Width,
    /// Bytes from the instruction's address: 0, or the width for the second of a pair.
    pub offset: u64,
}

/// A load or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Load or store.
    pub operation: Operation,
    /// What the address is counted from.
    pub base: Base,
    /// What is added to it.
    pub offset: Offset,
    /// What is added to the base register after the transfers, for pre- and post-indexed addresses.
    pub writeback: Option<i64>,
    first: Transfer,
    second: Option<Transfer>,
}

/// The registers that an instruction's address and stored values come from.
#[derive(Clone, Copy, Debug)]
pub struct Registers<'a> {
    /// X0 to X30.
    pub x: &'a [u64; 31],
    /// The stack pointer in use: SP_EL1, or SP_EL0 at EL0 and where PSTATE.SP is 0.
    pub sp: u64,
    /// The address of the instruction.
    pub pc: u64,
}

impl Registers<'_> {
    fn get(&self, register: u8) -> u64 {
        self.x.get(usize::from(register)).copied().unwrap_or(0)
    }

    fn base(&self, base: Base) -> u64 {
        match base {
            Base::Register(register) => self.get(register),
            Base::StackPointer => self.sp,
            Base::ProgramCounter => self.pc,
        }
    }
}

impl Instruction {
    /// Decodes an A64 instruction word.
    ///
    /// # Errors
    /// [`Unsupported`] says what it is instead.
    pub const fn decode(word: u32) -> Result<Self, Unsupported> {
        encoding::decode(word)
    }

    /// The virtual address of the first transfer.
    #[must_use]
    pub fn address(&self, registers: &Registers<'_>) -> Va {
        let offset = match self.offset {
            Offset::Immediate(bytes) => bytes.cast_unsigned(),
            Offset::Register { register, index, shift } => {
                let value = registers.get(register);
                let extended = match index {
                    Index::Uxtw => value & 0xFFFF_FFFF,
                    Index::Sxtw => i64::from((value as u32).cast_signed()).cast_unsigned(),
                    Index::Lsl | Index::Sxtx => value,
                };
                extended << (shift & 3)
            }
        };
        Va(registers.base(self.base).wrapping_add(offset))
    }

    /// The registers to be transferred, one or two, in order.
    pub fn transfers(&self) -> impl Iterator<Item = Transfer> {
        core::iter::once(self.first).chain(self.second)
    }

    /// One of the transfers as an access to the bus, at the address `ipa` that its own virtual address
    /// (the instruction's, and [`Transfer::offset`]) translates to.
    ///
    /// Build the accesses of both transfers before performing either: a load may change what the second uses.
    #[must_use]
    pub fn access(&self, transfer: Transfer, ipa: Ipa, registers: &Registers<'_>) -> MmioAccess {
        let Transfer { destination, width, .. } = transfer;
        let direction = match self.operation {
            Operation::Load => Direction::Read(destination),
            Operation::Store => {
                Direction::Write { value: registers.get(destination.register) & width.mask() }
            }
        };
        MmioAccess { ipa, width, direction }
    }

    /// The base register's new value, to be set after all transfers have completed. `registers` are those from
    /// before them.
    #[must_use]
    pub fn written_back(&self, registers: &Registers<'_>) -> Option<(Base, u64)> {
        let delta = self.writeback?;
        Some((self.base, registers.base(self.base).wrapping_add_signed(delta)))
    }
}

/// A transfer without its register.
#[derive(Clone, Copy)]
struct TransferKind {
    operation: Operation,
    width: Width,
    extension: Extension,
    register_width: RegisterWidth,
}

impl TransferKind {
    const fn transfer(self, register: u8, offset: u64) -> Transfer {
        let destination =
            Destination { register, extension: self.extension, register_width: self.register_width };
        Transfer { destination, width: self.width, offset }
    }
}

mod encoding;

#[cfg(test)]
mod tests;

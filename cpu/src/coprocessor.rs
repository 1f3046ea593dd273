// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trapped AArch32 coprocessor accesses of EL0.
//!
//! EL1 of a VM is AArch64, so only what AArch32 offers to user mode can come here. A register that AArch64
//! has too is named as AArch64 does, and [`crate::trap`] decides about both alike, but that the level is no
//! question any more: user mode may read more here than EL0 in AArch64. Everything else is UNDEFINED. A trapped instruction may
//! fail its condition: ask [`TrapFrame::condition_holds`] first. Source: Arm ARM, ISS encodings for exceptions from MCR, MRC,
//! MCRR and MRRC accesses.

use crate::exit::Direction;
use crate::pstate;
use crate::registers::TrapFrame;
use crate::syndrome::{Syndrome, class, field};
use crate::sysreg::SysReg;

/// A trapped MCR, MRC, MCRR, MRRC, LDC, STC or VMRS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoprocessorAccess {
    /// The register; `None` when no VM has it.
    pub register: Option<CoprocessorRegister>,
    /// MRC and MRRC read.
    pub direction: Direction,
    /// For the condition and the length.
    pub syndrome: Syndrome,
    operands: Operands,
}

/// A register that AArch32 reaches as a coprocessor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoprocessorRegister {
    /// It is this one of AArch64's.
    SameAs(SysReg),
    /// DBGDIDR, read only: [`IdRegisters::debug_id`](crate::id_registers::IdRegisters::debug_id).
    DebugId,
}

/// Where the value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operands {
    /// In one register, 32 bits.
    One(u8),
    /// In two, the low half first.
    Two(u8, u8),
}

/// Rt of an MRC that sets the flags instead of a register.
const FLAGS: u8 = 15;

impl CoprocessorAccess {
    pub(crate) const fn decode(syndrome: Syndrome) -> Self {
        let rt = field::RT.of(syndrome) as u8;
        let wide = matches!(syndrome.class(), class::CP15_64 | class::CP14_64);
        Self {
            register: register(syndrome),
            direction: if field::READ.is_set(syndrome) { Direction::Read } else { Direction::Write },
            syndrome,
            operands: if wide { Operands::Two(rt, field::RT2.of(syndrome) as u8) } else { Operands::One(rt) },
        }
    }

    /// What the instruction writes to the coprocessor.
    #[must_use]
    pub fn value(&self, frame: &TrapFrame) -> u64 {
        let half = |register| frame.get(register) & 0xFFFF_FFFF;
        match self.operands {
            Operands::One(register) => half(register),
            Operands::Two(low, high) => half(low) | half(high) << 32,
        }
    }

    /// Puts what the instruction reads where it wants it.
    pub fn deliver(&self, frame: &mut TrapFrame, value: u64) {
        match self.operands {
            Operands::One(FLAGS) => frame.pstate = frame.pstate & !pstate::NZCV | value & pstate::NZCV,
            Operands::One(register) => frame.set(register, value & 0xFFFF_FFFF),
            Operands::Two(low, high) => {
                frame.set(low, value & 0xFFFF_FFFF);
                frame.set(high, value >> 32);
            }
        }
    }
}

const fn register(syndrome: Syndrome) -> Option<CoprocessorRegister> {
    use CoprocessorRegister::{DebugId, SameAs};

    let crm = field::CRM.of(syndrome);
    let narrow = (field::OP1.of(syndrome), field::CRN.of(syndrome), crm, field::OP2.of(syndrome));
    let wide = (field::WIDE_OPC1.of(syndrome), crm);
    match syndrome.class() {
        class::CP15_32 => match narrow {
            (0, 14, 2, 0) => Some(SameAs(SysReg::CNTP_TVAL_EL0)),
            (0, 14, 2, 1) => Some(SameAs(SysReg::CNTP_CTL_EL0)),
            _ => None,
        },
        class::CP15_64 => match wide {
            (0, 14) => Some(SameAs(SysReg::CNTPCT_EL0)),
            (2, 14) => Some(SameAs(SysReg::CNTP_CVAL_EL0)),
            _ => None,
        },
        class::CP14_32 => match narrow {
            (0, 0, 0, 0) => Some(DebugId),
            // DBGDSCRint, and DBGDTRRXint with DBGDTRTXint.
            (0, 0, 1, 0) => Some(SameAs(SysReg::MDCCSR_EL0)),
            (0, 0, 5, 0) => Some(SameAs(SysReg::DBGDTRRX_EL0)),
            DBGDRAR | DBGDSAR => Some(SameAs(SysReg::MDRAR_EL1)),
            _ => None,
        },
        class::CP14_64 => match wide {
            DBGDRAR_WIDE | DBGDSAR_WIDE => Some(SameAs(SysReg::MDRAR_EL1)),
            _ => None,
        },
        _ => None,
    }
}

/// Where the debug registers lie in memory: DBGDRAR. DBGDSAR is the offset from there, and always says that there is none.
const DBGDRAR: (u64, u64, u64, u64) = (0, 1, 0, 0);
const DBGDSAR: (u64, u64, u64, u64) = (0, 2, 0, 0);
const DBGDRAR_WIDE: (u64, u64) = (0, 1);
const DBGDSAR_WIDE: (u64, u64) = (0, 2);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::CoprocessorRegister::{DebugId, SameAs};
    use super::*;
    use crate::exit::Exit;
    use crate::syndrome::InstructionLength;

    fn access(class: u8, iss: u32) -> CoprocessorAccess {
        match Exit::decode(Syndrome::new(class, InstructionLength::Four, iss).0, 0, 0) {
            Exit::Coprocessor(access) => access,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_physical_timer_in_aarch32() {
        // MRC p15, 0, R3, c14, c2, 1, always.
        let read = access(class::CP15_32, 1 << 24 | 0xE << 20 | 1 << 17 | 14 << 10 | 3 << 5 | 2 << 1 | 1);
        assert_eq!((read.register, read.direction), (Some(SameAs(SysReg::CNTP_CTL_EL0)), Direction::Read));
        let mut frame = TrapFrame::default();
        read.deliver(&mut frame, 0xFFFF_FFFF_0000_0005);
        assert_eq!(frame.get(3), 5);
        // MCRR p15, 2, R4, R5, c14.
        let write = access(class::CP15_64, 1 << 24 | 0xE << 20 | 2 << 16 | 5 << 10 | 4 << 5 | 14 << 1);
        assert_eq!(
            (write.register, write.direction),
            (Some(SameAs(SysReg::CNTP_CVAL_EL0)), Direction::Write)
        );
        frame.set(4, 0xDEAD_0000_1111_2222);
        frame.set(5, 0xBEEF_0000_3333_4444);
        assert_eq!(write.value(&frame), 0x3333_4444_1111_2222);
        // MRRC p15, 0, R6, R7, c14.
        let count = access(class::CP15_64, 1 << 24 | 0xE << 20 | 7 << 10 | 6 << 5 | 14 << 1 | 1);
        assert_eq!(count.register, Some(SameAs(SysReg::CNTPCT_EL0)));
        count.deliver(&mut frame, 0x8765_4321_1234_5678);
        assert_eq!((frame.get(6), frame.get(7)), (0x1234_5678, 0x8765_4321));
    }

    #[test]
    fn the_program_counter_stands_for_the_flags() {
        let read = access(class::CP14_32, 15 << 5 | 1 << 1 | 1);
        assert_eq!(read.register, Some(SameAs(SysReg::MDCCSR_EL0)));
        let mut frame = TrapFrame { pstate: pstate::AARCH32 | pstate::NZCV, ..TrapFrame::default() };
        read.deliver(&mut frame, 0x6000_00FF);
        assert_eq!(frame.pstate, pstate::AARCH32 | 0x6000_0000);
    }

    #[test]
    fn what_user_mode_may_read_of_debug() {
        // MRC p14, 0, R0, c0, c0, 0; c1, c0; c2, c0. MRRC p14, 0, R0, R1, c1; c2.
        let always = 1 << 24 | 0xE << 20 | 1;
        for (class, iss, register) in [
            (class::CP14_32, 0, DebugId),
            (class::CP14_32, 1 << 10, SameAs(SysReg::MDRAR_EL1)),
            (class::CP14_32, 2 << 10, SameAs(SysReg::MDRAR_EL1)),
            (class::CP14_64, 1 << 10 | 1 << 1, SameAs(SysReg::MDRAR_EL1)),
            (class::CP14_64, 1 << 10 | 2 << 1, SameAs(SysReg::MDRAR_EL1)),
        ] {
            assert_eq!(access(class, always | iss).register, Some(register), "{iss:#x}");
        }
        // Other operands of the same registers: DBGOSLAR is not for user mode, nor is anything of op1 1 (trace).
        for iss in [1 << 10 | 4 << 17, 1 << 10 | 1 << 14, 1 << 10 | 1 << 1] {
            assert_eq!(access(class::CP14_32, always | iss).register, None, "{iss:#x}");
        }
        assert_eq!(access(class::CP14_64, always | 1 << 16 | 1 << 1).register, None);
    }

    proptest! {
        #[test]
        fn any_access_decodes(iss in 0u32..1 << 25, value: u64) {
            for class in [
                class::CP15_32, class::CP15_64, class::CP14_32,
                class::CP14_64, class::CP14_MEMORY, class::VMRS,
            ] {
                let access = access(class, iss);
                let mut frame = TrapFrame::default();
                access.deliver(&mut frame, value);
                let _ = access.value(&frame);
                let is_for_user_mode = match access.register {
                    Some(SameAs(register)) => register.is_for_el0() || register == SysReg::MDRAR_EL1,
                    Some(DebugId) | None => true,
                };
                prop_assert!(is_for_user_mode);
            }
        }
    }
}

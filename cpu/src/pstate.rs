// SPDX-License-Identifier: MIT OR Apache-2.0
//! PSTATE in the format of SPSR_ELx, and what a saved [`TrapFrame`] says about where the guest was.
//!
//! EL1 of a VM is always AArch64; EL0 may be AArch32. Source: Arm ARM, SPSR_EL1 and SPSR_EL2.

use serde::{Deserialize, Serialize};

use crate::registers::TrapFrame;
use crate::syndrome::{InstructionLength, Syndrome, field};

/// M\[3:0\]: EL0.
pub const EL0T: u64 = 0b0000;
/// M\[3:0\]: EL1 with SP_EL0.
pub const EL1T: u64 = 0b0100;
/// M\[3:0\]: EL1 with SP_EL1.
pub const EL1H: u64 = 0b0101;
/// M\[3:0\].
pub const MODE: u64 = 0b1111;
/// M\[4\]: AArch32.
pub const AARCH32: u64 = 1 << 4;
/// F: FIQ is masked.
pub const F: u64 = 1 << 6;
/// I: IRQ is masked.
pub const I: u64 = 1 << 7;
/// A: SError is masked.
pub const A: u64 = 1 << 8;
/// D: debug exceptions are masked.
pub const D: u64 = 1 << 9;
/// D, A, I and F.
pub const DAIF: u64 = D | A | I | F;
/// BTYPE: what kind of branch led here.
pub const BTYPE: u64 = 0b11 << 10;
/// SSBS: speculative store bypassing is allowed.
pub const SSBS: u64 = 1 << 12;
/// IL: the next instruction takes an illegal execution state exception.
pub const IL: u64 = 1 << 20;
/// SS: software step.
pub const SS: u64 = 1 << 21;
/// PAN: privileged access never.
pub const PAN: u64 = 1 << 22;
/// UAO: user access override.
pub const UAO: u64 = 1 << 23;
/// DIT: data independent timing.
pub const DIT: u64 = 1 << 24;
/// TCO: tag check override.
pub const TCO: u64 = 1 << 25;
/// N, Z, C and V.
pub const NZCV: u64 = 0b1111 << 28;
/// AArch32: T32 rather than A32.
pub const T: u64 = 1 << 5;
/// AArch32: data accesses are big-endian.
pub const E: u64 = 1 << 9;

/// SCTLR_EL1.E0E: data accesses of EL0 are big-endian.
const SCTLR_E0E: u64 = 1 << 24;
/// SCTLR_EL1.EE: data accesses of EL1 and table walks are big-endian.
pub const SCTLR_EE: u64 = 1 << 25;

/// Where in a VM an exit came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExceptionLevel {
    /// EL0 in AArch64.
    El0,
    /// EL0 in AArch32.
    El0Aarch32,
    /// EL1 with SP_EL0.
    El1t,
    /// EL1 with SP_EL1.
    El1h,
}

impl ExceptionLevel {
    /// Whether it is EL0, in either execution state.
    #[must_use]
    pub const fn is_el0(self) -> bool {
        matches!(self, Self::El0 | Self::El0Aarch32)
    }
}

/// The order of the bytes of a datum in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endianness {
    /// The low byte first.
    Little,
    /// The high byte first.
    Big,
}

impl Endianness {
    /// Turns a register's value into the little-endian value that a device sees, or back, for an access of
    /// `bytes` (1, 2, 4 or 8) bytes. Bits above them are lost.
    #[must_use]
    pub const fn to_device(self, value: u64, bytes: u8) -> u64 {
        let unused = 64 - 8 * if bytes > 8 || bytes == 0 { 8 } else { bytes as u32 };
        match self {
            Self::Little => value << unused >> unused,
            Self::Big => (value << unused).swap_bytes(),
        }
    }
}

/// [`TrapFrame::masked_groups`], of a PSTATE alone.
#[must_use]
pub const fn masked_groups(pstate: u64) -> u32 {
    const _: () = assert!(I == F << 1);
    ((pstate & (I | F)) / F) as u32
}

impl TrapFrame {
    /// Where the guest was. A mode that a VM cannot be in counts as EL1h, so that what follows is the guest's
    /// own exception.
    #[must_use]
    pub const fn level(&self) -> ExceptionLevel {
        if self.pstate & AARCH32 != 0 {
            return ExceptionLevel::El0Aarch32;
        }
        match self.pstate & MODE {
            EL0T => ExceptionLevel::El0,
            EL1T => ExceptionLevel::El1t,
            _ => ExceptionLevel::El1h,
        }
    }

    /// The groups of interrupts that are masked: bit 0 Group 0, signalled as FIQ, bit 1 Group 1, as IRQ.
    #[must_use]
    pub const fn masked_groups(&self) -> u32 {
        masked_groups(self.pstate)
    }

    /// The order of bytes in the guest's data accesses; `sctlr` is SCTLR_EL1.
    #[must_use]
    pub const fn endianness(&self, sctlr: u64) -> Endianness {
        let big = match self.level() {
            ExceptionLevel::El0Aarch32 => self.pstate & E != 0,
            ExceptionLevel::El0 => sctlr & SCTLR_E0E != 0,
            ExceptionLevel::El1t | ExceptionLevel::El1h => sctlr & SCTLR_EE != 0,
        };
        if big { Endianness::Big } else { Endianness::Little }
    }

    /// Steps over the trapped instruction as if it had run: PC, and what each instruction clears or advances.
    pub const fn skip_instruction(&mut self, length: InstructionLength) {
        if self.pstate & AARCH32 != 0 {
            self.pc = self.pc.wrapping_add(length.bytes()) & 0xFFFF_FFFF;
            self.advance_it();
        } else {
            self.pc = self.pc.wrapping_add(4);
            self.pstate &= !BTYPE;
        }
        // A software step that is active turns pending: the step is done.
        self.pstate &= !SS;
    }

    /// Whether a trapped AArch32 instruction passes its condition: one that fails it is a NOP, and yet may
    /// trap. `syndrome` is that of a trapped coprocessor access or wait.
    #[must_use]
    pub const fn condition_holds(&self, syndrome: Syndrome) -> bool {
        if self.pstate & AARCH32 == 0 {
            return true;
        }
        let condition = if field::CV.is_set(syndrome) {
            field::COND.of(syndrome) as u8
        } else if self.pstate & T != 0 && self.it() & 0xF != 0 {
            self.it() >> 4
        } else {
            // CV is 0 only for T32 instructions, which outside an IT block are unconditional.
            0b1110
        };
        let [n, z, c, v] = self.nzcv();
        let holds = match condition >> 1 {
            0b000 => z,
            0b001 => c,
            0b010 => n,
            0b011 => v,
            0b100 => c && !z,
            0b101 => n == v,
            0b110 => n == v && !z,
            _ => return true,
        };
        holds != (condition & 1 != 0)
    }

    const fn nzcv(&self) -> [bool; 4] {
        let flags = self.pstate >> 28;
        [flags & 8 != 0, flags & 4 != 0, flags & 2 != 0, flags & 1 != 0]
    }

    /// ITSTATE: IT\[7:2\] are PSTATE\[15:10\], IT\[1:0\] are PSTATE\[26:25\].
    const fn it(&self) -> u8 {
        ((self.pstate >> 10 & 0x3F) as u8) << 2 | (self.pstate >> 25 & 0b11) as u8
    }

    /// Moves on in a T32 IT block (Arm ARM, ITAdvance).
    const fn advance_it(&mut self) {
        let it = self.it();
        let next = if it & 0b111 == 0 { 0 } else { it & 0b1110_0000 | (it << 1) & 0b1_1111 };
        self.pstate &= !(0x3F << 10 | 0b11 << 25);
        self.pstate |= ((next >> 2) as u64) << 10 | ((next & 0b11) as u64) << 25;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(pc: u64, pstate: u64) -> TrapFrame {
        TrapFrame { pc, pstate, ..TrapFrame::default() }
    }

    #[test]
    fn the_level_follows_the_mode() {
        assert_eq!(frame(0, EL0T).level(), ExceptionLevel::El0);
        assert_eq!(frame(0, EL1T).level(), ExceptionLevel::El1t);
        assert_eq!(frame(0, EL1H).level(), ExceptionLevel::El1h);
        assert_eq!(frame(0, AARCH32).level(), ExceptionLevel::El0Aarch32);
        assert_eq!(frame(0, 0b1001).level(), ExceptionLevel::El1h, "EL2h cannot be");
    }

    #[test]
    fn the_endianness_is_that_of_the_level() {
        assert_eq!(frame(0, EL1H).endianness(SCTLR_EE), Endianness::Big);
        assert_eq!(frame(0, EL1H).endianness(SCTLR_E0E), Endianness::Little);
        assert_eq!(frame(0, EL0T).endianness(SCTLR_E0E), Endianness::Big);
        assert_eq!(frame(0, EL0T).endianness(SCTLR_EE), Endianness::Little);
        assert_eq!(frame(0, AARCH32 | E).endianness(0), Endianness::Big);
        assert_eq!(Endianness::Big.to_device(0xFFFF_1234, 2), 0x3412);
        assert_eq!(Endianness::Big.to_device(0x0102_0304_0506_0708, 8), 0x0807_0605_0403_0201);
        assert_eq!(Endianness::Little.to_device(0xFFFF_1234, 2), 0x1234);
    }

    #[test]
    fn a_skipped_instruction_clears_btype_and_the_step() {
        let mut after = frame(u64::MAX - 3, EL1H | BTYPE | SS | NZCV | DAIF);
        after.skip_instruction(InstructionLength::Four);
        assert_eq!(after, frame(0, EL1H | NZCV | DAIF));
    }

    #[test]
    fn a_skipped_t32_instruction_moves_on_in_its_it_block() {
        // ITTE EQ: IT = 0000_0110, then 0000_1100, then 0001_1000, then done.
        let it = |value: u64| (value >> 2) << 10 | (value & 0b11) << 25;
        let mut after = frame(0x1000, AARCH32 | T | it(0b0000_0110));
        for (expected, pc) in [(0b0000_1100, 0x1002), (0b0001_1000, 0x1004), (0, 0x1006)] {
            after.skip_instruction(InstructionLength::Two);
            assert_eq!(after, frame(pc, AARCH32 | T | it(expected)));
        }
    }

    #[test]
    fn conditions() {
        let (n, z, c, v) = (1u64 << 31, 1u64 << 30, 1u64 << 29, 1u64 << 28);
        let holds = |condition: u32, flags: u64| {
            let syndrome = Syndrome::new(0x03, InstructionLength::Four, 1 << 24 | condition << 20);
            frame(0, AARCH32 | flags).condition_holds(syndrome)
        };
        let table: [(u32, u64, u64); 7] =
            [(0, z, 0), (2, c, 0), (4, n, 0), (6, v, 0), (8, c, c | z), (10, n | v, n), (12, 0, z)];
        for (condition, passes, fails) in table {
            assert!(holds(condition, passes) && !holds(condition, fails), "condition {condition}");
            assert!(
                !holds(condition + 1, passes) && holds(condition + 1, fails),
                "condition {}",
                condition + 1
            );
        }
        assert!(holds(14, 0) && holds(15, 0));
        // Without CV, the IT block decides: EQ in 0000_1000.
        let in_it = |flags| frame(0, AARCH32 | T | 0b10 << 10 | flags).condition_holds(Syndrome(0));
        assert!(in_it(z) && !in_it(0));
        assert!(frame(0, EL0T).condition_holds(Syndrome(0)), "AArch64 has no conditions");
    }

    proptest! {
        #[test]
        fn to_device_and_back(value: u64, shift in 0u32..4) {
            let bytes = 1u8 << shift;
            let kept = if bytes == 8 { value } else { value & ((1 << (8 * bytes)) - 1) };
            for order in [Endianness::Little, Endianness::Big] {
                prop_assert_eq!(order.to_device(order.to_device(value, bytes), bytes), kept);
            }
        }

        #[test]
        fn any_frame_can_be_stepped(pc: u64, pstate: u64, esr: u64) {
            let mut any = frame(pc, pstate);
            let _ = any.condition_holds(Syndrome(esr));
            any.skip_instruction(Syndrome(esr).length());
            prop_assert_eq!(any.level(), frame(pc, pstate).level());
        }
    }
}

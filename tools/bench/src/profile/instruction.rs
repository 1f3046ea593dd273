// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an A64 instruction does that costs more on silicon than in a count (Arm ARM, "A64 instruction set encoding").

use vambrace_io::decode::{Instruction, Registers, Unsupported};

/// What there is to note of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InstructionKind {
    /// Nothing but that it ran.
    Plain,
    /// It may lead elsewhere, even to itself.
    Branch,
    /// ERET.
    ExceptionReturn,
    /// MRS.
    RegisterRead,
    /// MSR, of a register or of a field of PSTATE.
    RegisterWrite,
    /// DSB, DMB, ISB and their kin.
    Barrier,
    /// TLBI.
    TlbMaintenance,
    /// IC and DC.
    CacheMaintenance,
    /// A load or store.
    Access,
    /// A load-exclusive or store-exclusive, or an atomic read-modify-write.
    Exclusive,
}

/// Memory that an instruction accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Touched {
    /// The first byte.
    pub(super) address: u64,
    /// How many.
    pub(super) bytes: u64,
}

/// Tells what an instruction does.
pub(super) fn classify(word: u32) -> InstructionKind {
    if word == ERET {
        return InstructionKind::ExceptionReturn;
    }
    // Branches, exception generation and system instructions: op0 is 101x.
    if word & 0x1C00_0000 == 0x1400_0000 {
        return if word & 0xFFC0_0000 == 0xD500_0000 { system(word) } else { InstructionKind::Branch };
    }
    match Instruction::decode(word) {
        Ok(_) | Err(Unsupported::Simd) => InstructionKind::Access,
        Err(Unsupported::Exclusive | Unsupported::Atomic) => InstructionKind::Exclusive,
        Err(_) => InstructionKind::Plain,
    }
}

const ERET: u32 = 0xD69F_03E0;

/// System instructions, by op0, CRn and op2; bit 21 tells reads from writes.
fn system(word: u32) -> InstructionKind {
    let (op0, op1, crn, crm, op2) =
        ((word >> 19) & 3, (word >> 16) & 7, (word >> 12) & 15, (word >> 8) & 15, (word >> 5) & 7);
    match (op0, crn) {
        (0, 4) => InstructionKind::RegisterWrite,
        // CLREX is among them.
        (0, 3) if op1 == 3 && op2 != 2 => InstructionKind::Barrier,
        (0, _) => InstructionKind::Plain,
        (1, 8 | 9) => InstructionKind::TlbMaintenance,
        // AT is a walk, which ends in a register.
        (1, 7) if crm != 8 && crm != 9 => InstructionKind::CacheMaintenance,
        (1, _) => InstructionKind::Plain,
        _ if word & (1 << 21) != 0 => InstructionKind::RegisterRead,
        _ => InstructionKind::RegisterWrite,
    }
}

/// The memory that an instruction accesses, with the registers from before it.
pub(super) fn touched(word: u32, registers: &Registers<'_>) -> Option<Touched> {
    match Instruction::decode(word) {
        Ok(instruction) => {
            let bytes = instruction.transfers().map(|transfer| transfer.width.bytes()).sum();
            Some(Touched { address: instruction.address(registers).0, bytes })
        }
        // Their size is at most a pair of registers, aligned: the first byte's line is the only one.
        Err(Unsupported::Exclusive | Unsupported::Atomic) => {
            Some(Touched { address: base(word, registers), bytes: 1 })
        }
        Err(Unsupported::Simd) => Some(simd(word, registers)),
        Err(Unsupported::ZeroBlock) => {
            let register = (word & 31) as usize;
            Some(Touched { address: registers.x.get(register).copied().unwrap_or(0), bytes: 1 })
        }
        Err(_) => None,
    }
}

/// The base register's value.
fn base(word: u32, registers: &Registers<'_>) -> u64 {
    let register = ((word >> 5) & 31) as usize;
    registers.x.get(register).copied().unwrap_or(registers.sp)
}

/// SIMD registers: pairs with an offset or pre-indexed, which is how EL2 moves all of them; of others the base.
fn simd(word: u32, registers: &Registers<'_>) -> Touched {
    let address = base(word, registers);
    let is_pair = word & 0x3800_0000 == 0x2800_0000;
    if !is_pair {
        return Touched { address, bytes: 16 };
    }
    let bytes = 4u64 << (word >> 30);
    let is_post_indexed = (word >> 23) & 3 == 1;
    let immediate = i64::from((word << 10).cast_signed() >> 25) * bytes.cast_signed();
    let offset = if is_post_indexed { 0 } else { immediate };
    Touched { address: address.wrapping_add_signed(offset), bytes: 2 * bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_told_by_their_encodings() {
        for (word, kind) in [
            (0xD503_201F, InstructionKind::Plain),            // nop
            (0xD503_203F, InstructionKind::Plain),            // yield
            (0x8B00_0020, InstructionKind::Plain),            // add x0, x1, x0
            (0xD280_0000, InstructionKind::Plain),            // mov x0, #0
            (0xD508_7800, InstructionKind::Plain),            // at s1e1r, x0
            (0xD503_3F5F, InstructionKind::Plain),            // clrex
            (0x1400_0000, InstructionKind::Branch),           // b .
            (0xB400_0000, InstructionKind::Branch),           // cbz x0, .
            (0x3600_0000, InstructionKind::Branch),           // tbz w0, #0, .
            (0x5400_0000, InstructionKind::Branch),           // b.eq .
            (0xD65F_03C0, InstructionKind::Branch),           // ret
            (0xD69F_03E0, InstructionKind::ExceptionReturn),  // eret
            (0xD53B_E040, InstructionKind::RegisterRead),     // mrs x0, cntvct_el0
            (0xD51C_D040, InstructionKind::RegisterWrite),    // msr tpidr_el2, x0
            (0xD503_42DF, InstructionKind::RegisterWrite),    // msr daifset, #2
            (0xD503_3F9F, InstructionKind::Barrier),          // dsb sy
            (0xD503_3FBF, InstructionKind::Barrier),          // dmb sy
            (0xD503_3FDF, InstructionKind::Barrier),          // isb
            (0xD50C_839F, InstructionKind::TlbMaintenance),   // tlbi alle1is
            (0xD50B_7420, InstructionKind::CacheMaintenance), // dc zva, x0
            (0xD50B_7E20, InstructionKind::CacheMaintenance), // dc civac, x0
            (0xD508_711F, InstructionKind::CacheMaintenance), // ic ialluis
            (0xF940_0020, InstructionKind::Access),           // ldr x0, [x1]
            (0xA9BF_7BFD, InstructionKind::Access),           // stp x29, x30, [sp, #-16]!
            (0x88DF_FC20, InstructionKind::Access),           // ldar w0, [x1]
            (0xAD00_0400, InstructionKind::Access),           // stp q0, q1, [x0]
            (0x885F_FC20, InstructionKind::Exclusive),        // ldaxr w0, [x1]
            (0x8802_FC20, InstructionKind::Exclusive),        // stlxr w2, w0, [x1]
            (0xB820_0020, InstructionKind::Exclusive),        // ldadd w0, w0, [x1]
        ] {
            assert_eq!(classify(word), kind, "{word:#010x}");
        }
    }

    #[test]
    fn addresses_come_from_the_registers() {
        let mut x = [0; 31];
        (x[0], x[1]) = (0x1000, 0x2000);
        let registers = Registers { x: &x, sp: 0x8000, pc: 0x4000 };
        for (word, address, bytes) in [
            (0xF940_0420, 0x2008, 8),  // ldr x0, [x1, #8]
            (0xA9BF_7BFD, 0x7FF0, 16), // stp x29, x30, [sp, #-16]!
            (0x5800_0040, 0x4008, 8),  // ldr x0, .+8
            (0x885F_FC20, 0x2000, 1),  // ldaxr w0, [x1]
            (0xAD01_0C02, 0x1020, 32), // stp q2, q3, [x0, #32]
            (0xD50B_7421, 0x2000, 1),  // dc zva, x1
        ] {
            assert_eq!(touched(word, &registers), Some(Touched { address, bytes }), "{word:#010x}");
        }
        assert_eq!(touched(0xD503_201F, &registers), None);
        assert_eq!(touched(0xD50B_7E20, &registers), None);
    }
}

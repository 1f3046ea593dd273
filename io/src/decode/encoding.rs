// SPDX-License-Identifier: MIT OR Apache-2.0
//! The encodings of the loads and stores, table by table (Arm ARM, "Loads and Stores").

use super::{Base, Index, Instruction, Offset, Operation, Transfer, TransferKind, Unsupported};
use crate::bus::{Extension, RegisterWidth, Width};

/// An instruction word, with the fields that the tables share.
#[derive(Clone, Copy)]
struct Word(u32);

impl Word {
    /// The bits from `high` down to `low`.
    const fn bits(self, high: u32, low: u32) -> u32 {
        (self.0 >> low) & (u32::MAX >> (31 - (high - low)))
    }

    const fn bit(self, at: u32) -> bool {
        self.bits(at, at) == 1
    }

    /// The bits from `high` down to `low`, as a signed number.
    const fn signed(self, high: u32, low: u32) -> i64 {
        ((self.0 << (31 - high)).cast_signed() >> (31 - (high - low))) as i64
    }

    const fn rt(self) -> u8 {
        self.bits(4, 0) as u8
    }

    const fn rn(self) -> u8 {
        self.bits(9, 5) as u8
    }

    const fn rm(self) -> u8 {
        self.bits(20, 16) as u8
    }

    const fn rt2(self) -> u8 {
        self.bits(14, 10) as u8
    }
}

/// The major tables, by op0 and its neighbours.
pub(super) const fn decode(word: u32) -> Result<Instruction, Unsupported> {
    let word = Word(word);
    let simd = word.bit(26);
    match (word.bits(29, 27), word.bits(25, 24)) {
        (0b001, _) if simd => simd_structures(word),
        (0b001, 0b00) => exclusive_and_ordered(word),
        (0b001, 0b01) => Err(Unsupported::Atomic),
        (0b011, 0b00) if simd => reject(word.bits(31, 30) != 3, Unsupported::Simd),
        (0b011, 0b00) => literal(word),
        (0b011, 0b01) if simd => Err(Unsupported::Simd),
        (0b011, 0b01) => ordered_unscaled_and_others(word),
        (0b101, 0b00 | 0b01) if simd => reject(word.bits(31, 30) != 3, Unsupported::Simd),
        (0b101, 0b00 | 0b01) => pair(word),
        (0b111, 0b00 | 0b01) if simd => Err(Unsupported::Simd),
        (0b111, 0b00) => register(word),
        (0b111, 0b01) => unsigned_offset(word),
        _ => system(word),
    }
}

/// Refuses with `name`, if the encoding is `allocated`.
const fn reject(allocated: bool, name: Unsupported) -> Result<Instruction, Unsupported> {
    Err(if allocated { name } else { Unsupported::Other })
}

/// Advanced SIMD load/store multiple structures and single structure: bit 31 is 0, bits 25:24 are 00 or 01.
const fn simd_structures(word: Word) -> Result<Instruction, Unsupported> {
    reject(!word.bit(31) && !word.bit(25), Unsupported::Simd)
}

/// Load/store exclusive, ordered, and compare and swap. Of these, LDAR, LDLAR, STLR and STLLR are plain accesses.
const fn exclusive_and_ordered(word: Word) -> Result<Instruction, Unsupported> {
    match (word.bit(23), word.bit(21)) {
        (false, false) => Err(Unsupported::Exclusive),
        // Pairs: bit 31 tells LDXP and STXP from CASP.
        (false, true) if word.bit(31) => Err(Unsupported::Exclusive),
        (false | true, true) => Err(Unsupported::Atomic),
        (true, false) => {
            let size = word.bits(31, 30);
            let kind = if word.bit(22) { zero_extended(size) } else { store(size) };
            Ok(single(word, kind, Offset::Immediate(0), None))
        }
    }
}

/// Load register (literal).
const fn literal(word: Word) -> Result<Instruction, Unsupported> {
    let kind = match word.bits(31, 30) {
        0 => zero_extended(2),
        1 => zero_extended(3),
        2 => signed(2, RegisterWidth::X),
        _ => return Err(Unsupported::Prefetch),
    };
    let mut instruction = single(word, kind, Offset::Immediate(word.signed(23, 5) * 4), None);
    instruction.base = Base::ProgramCounter;
    Ok(instruction)
}

/// LDAPR and STLR (unscaled immediate), memory tags, memory copy, and what later extensions have put beside.
const fn ordered_unscaled_and_others(word: Word) -> Result<Instruction, Unsupported> {
    match (word.bit(21), word.bits(11, 10)) {
        (false, 0b00) => match sized(word.bits(31, 30), word.bits(23, 22)) {
            Ok(kind) => Ok(single(word, kind, Offset::Immediate(word.signed(20, 12)), None)),
            // There is no prefetch in this table.
            Err(_) => Err(Unsupported::Other),
        },
        (false, 0b01) => Err(Unsupported::MemoryCopy),
        (true, _) if word.bits(31, 30) == 3 => Err(Unsupported::MemoryTag),
        _ => Err(Unsupported::Other),
    }
}

/// Load/store register pair: no-allocate, post-indexed, offset, pre-indexed.
const fn pair(word: Word) -> Result<Instruction, Unsupported> {
    let (mode, load) = (word.bits(24, 23), word.bit(22));
    let kind = match (word.bits(31, 30), load) {
        (0, false) => store(2),
        (0, true) => zero_extended(2),
        (1, true) if mode != 0 => signed(2, RegisterWidth::X),
        (1, false) if mode != 0 => return Err(Unsupported::MemoryTag),
        (2, false) => store(3),
        (2, true) => zero_extended(3),
        _ => return Err(Unsupported::Other),
    };
    let bytes = kind.width.bytes();
    let immediate = word.signed(21, 15) * bytes.cast_signed();
    let (offset, writeback) = match mode {
        0b01 => (0, Some(immediate)),
        0b11 => (immediate, Some(immediate)),
        _ => (immediate, None),
    };
    let mut instruction = single(word, kind, Offset::Immediate(offset), writeback);
    instruction.second = Some(kind.transfer(word.rt2(), bytes));
    Ok(instruction)
}

/// Load/store register: unscaled, post-indexed, unprivileged, pre-indexed; register offset; atomics.
const fn register(word: Word) -> Result<Instruction, Unsupported> {
    let mode = word.bits(11, 10);
    if word.bit(21) {
        return match mode {
            0b00 => atomic_or_ordered(word),
            0b10 => register_offset(word),
            _ => reject(word.bits(31, 30) == 3, Unsupported::PointerAuthentication),
        };
    }
    let kind = match sized(word.bits(31, 30), word.bits(23, 22)) {
        Ok(kind) => kind,
        // Only the unscaled form of the prefetch exists.
        Err(Unsupported::Prefetch) if mode != 0b00 => return Err(Unsupported::Other),
        Err(refused) => return Err(refused),
    };
    let immediate = word.signed(20, 12);
    let (offset, writeback) = match mode {
        0b01 => (0, Some(immediate)),
        0b11 => (immediate, Some(immediate)),
        _ => (immediate, None),
    };
    Ok(single(word, kind, Offset::Immediate(offset), writeback))
}

/// Atomic memory operations, among which LDAPR is a plain load.
const fn atomic_or_ordered(word: Word) -> Result<Instruction, Unsupported> {
    if word.bits(23, 22) == 0b10 && word.bits(15, 12) == 0b1100 {
        return Ok(single(word, zero_extended(word.bits(31, 30)), Offset::Immediate(0), None));
    }
    Err(Unsupported::Atomic)
}

/// Load/store register (register offset).
const fn register_offset(word: Word) -> Result<Instruction, Unsupported> {
    let kind = match sized(word.bits(31, 30), word.bits(23, 22)) {
        Ok(kind) => kind,
        Err(refused) => return Err(refused),
    };
    let index = match word.bits(15, 13) {
        0b010 => Index::Uxtw,
        0b011 => Index::Lsl,
        0b110 => Index::Sxtw,
        0b111 => Index::Sxtx,
        _ => return Err(Unsupported::Other),
    };
    let shift = if word.bit(12) { word.bits(31, 30) as u8 } else { 0 };
    Ok(single(word, kind, Offset::Register { register: word.rm(), index, shift }, None))
}

/// Load/store register (unsigned immediate).
const fn unsigned_offset(word: Word) -> Result<Instruction, Unsupported> {
    match sized(word.bits(31, 30), word.bits(23, 22)) {
        Ok(kind) => {
            let bytes = word.bits(21, 10) as u64 * kind.width.bytes();
            Ok(single(word, kind, Offset::Immediate(bytes.cast_signed()), None))
        }
        Err(refused) => Err(refused),
    }
}

/// The SYS instructions that take an address.
const fn system(word: Word) -> Result<Instruction, Unsupported> {
    // SYS #op1, C7, Cm, #op2, Xt
    if word.0 & 0xFFF8_F000 != 0xD508_7000 {
        return Err(Unsupported::Other);
    }
    match (word.bits(18, 16), word.bits(11, 8), word.bits(7, 5)) {
        (3, 4, 1 | 3 | 4) => Err(Unsupported::ZeroBlock),
        _ => Err(Unsupported::CacheMaintenance),
    }
}

/// An instruction with one transfer, of the register in the Rt field, and its base in the Rn field.
const fn single(word: Word, kind: TransferKind, offset: Offset, writeback: Option<i64>) -> Instruction {
    let first: Transfer = kind.transfer(word.rt(), 0);
    Instruction {
        operation: kind.operation,
        base: Base::from_rn(word.rn()),
        offset,
        writeback,
        first,
        second: None,
    }
}

/// What the fields `size` and `opc` stand for, which most tables share.
const fn sized(size: u32, opc: u32) -> Result<TransferKind, Unsupported> {
    match (size, opc) {
        (_, 0b00) => Ok(store(size)),
        (_, 0b01) => Ok(zero_extended(size)),
        (3, 0b10) => Err(Unsupported::Prefetch),
        (_, 0b10) => Ok(signed(size, RegisterWidth::X)),
        (0 | 1, _) => Ok(signed(size, RegisterWidth::W)),
        _ => Err(Unsupported::Other),
    }
}

const fn store(size: u32) -> TransferKind {
    TransferKind { operation: Operation::Store, ..zero_extended(size) }
}

const fn zero_extended(size: u32) -> TransferKind {
    TransferKind {
        operation: Operation::Load,
        width: Width::from_log2(size),
        extension: Extension::Zero,
        register_width: if size == 3 { RegisterWidth::X } else { RegisterWidth::W },
    }
}

const fn signed(size: u32, register_width: RegisterWidth) -> TransferKind {
    TransferKind {
        operation: Operation::Load,
        width: Width::from_log2(size),
        extension: Extension::Sign,
        register_width,
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;
use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Opcode, Operand, ShiftStyle, SizeCode};

use super::*;

/// The load or store that a disassembler reads in a word; `None` for all else.
fn disassembled(word: u32) -> Option<Instruction> {
    let decoder = InstDecoder::default();
    let instruction = decoder.decode(&mut U8Reader::new(&word.to_le_bytes())).ok()?;
    let [first, second, third, _] = instruction.operands;
    let Operand::Register(size, register) = first else { return None };
    let register_width = if size == SizeCode::X { RegisterWidth::X } else { RegisterWidth::W };
    let full = if size == SizeCode::X { Width::Doubleword } else { Width::Word };

    use Opcode as O;
    use Operation::{Load, Store};
    let (operation, width, extension) = match instruction.opcode {
        O::LDRB | O::LDURB | O::LDTRB | O::LDARB | O::LDLARB | O::LDAPRB | O::LDAPURB => {
            (Load, Width::Byte, Extension::Zero)
        }
        O::LDRH | O::LDURH | O::LDTRH | O::LDARH | O::LDLARH | O::LDAPRH | O::LDAPURH => {
            (Load, Width::Halfword, Extension::Zero)
        }
        O::LDR | O::LDUR | O::LDTR | O::LDAR | O::LDLAR | O::LDAPR | O::LDAPUR | O::LDP | O::LDNP => {
            (Load, full, Extension::Zero)
        }
        O::LDRSB | O::LDURSB | O::LDTRSB | O::LDAPURSB => (Load, Width::Byte, Extension::Sign),
        O::LDRSH | O::LDURSH | O::LDTRSH | O::LDAPURSH => (Load, Width::Halfword, Extension::Sign),
        O::LDRSW | O::LDURSW | O::LDTRSW | O::LDAPURSW | O::LDPSW => (Load, Width::Word, Extension::Sign),
        O::STRB | O::STURB | O::STTRB | O::STLRB | O::STLLRB | O::STLURB => {
            (Store, Width::Byte, Extension::Zero)
        }
        O::STRH | O::STURH | O::STTRH | O::STLRH | O::STLLRH | O::STLURH => {
            (Store, Width::Halfword, Extension::Zero)
        }
        O::STR | O::STUR | O::STTR | O::STLR | O::STLLR | O::STLUR | O::STP | O::STNP => {
            (Store, full, Extension::Zero)
        }
        _ => return None,
    };
    let kind = TransferKind { operation, width, extension, register_width };
    let (address, second) = match second {
        Operand::Register(_, register) => (third, Some(kind.transfer(register as u8, width.bytes()))),
        _ => (second, None),
    };
    let (base, offset, writeback) = address_of(address);
    Some(Instruction { operation, base, offset, writeback, first: kind.transfer(register as u8, 0), second })
}

fn address_of(operand: Operand) -> (Base, Offset, Option<i64>) {
    let base = |register| Base::from_rn(register as u8);
    match operand {
        Operand::RegPreIndex(register, offset, writes_back) => {
            let offset = i64::from(offset);
            (base(register), Offset::Immediate(offset), writes_back.then_some(offset))
        }
        Operand::RegPostIndex(register, offset) => {
            (base(register), Offset::Immediate(0), Some(i64::from(offset)))
        }
        Operand::RegRegOffset(register, index, _, style, shift) => {
            let style = match style {
                ShiftStyle::UXTW => Index::Uxtw,
                ShiftStyle::SXTW => Index::Sxtw,
                ShiftStyle::SXTX => Index::Sxtx,
                ShiftStyle::LSL => Index::Lsl,
                other => panic!("an offset register has no {other:?}"),
            };
            let offset = Offset::Register { register: index as u8, index: style, shift };
            (base(register), offset, None)
        }
        Operand::PCOffset(offset) => (Base::ProgramCounter, Offset::Immediate(offset), None),
        other => panic!("no address: {other:?}"),
    }
}

fn agrees(word: u32) {
    let ours = Instruction::decode(word).ok();
    assert_eq!(ours, disassembled(word), "{word:#010x}");
}

/// Every combination of the bits that select an instruction, with some operands.
#[test]
fn every_encoding_agrees_with_a_disassembler() {
    let operands = [0, 0x001F_FFFF, 0x000A_8441, 0x0015_7BBE, 0x001F_03E7, 0x0000_7FFF];
    for high in 0..1u32 << 11 {
        for low in 0..1u32 << 6 {
            for operand in operands {
                agrees(high << 21 | (operand & !0xFC00) | low << 10);
            }
        }
    }
}

fn in_load_store_space() -> impl Strategy<Value = u32> {
    // Bits 27 and 25 say loads and stores.
    any::<u32>().prop_map(|word| word & !(1 << 25) | 1 << 27)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn loads_and_stores_agree_with_a_disassembler(word in in_load_store_space()) {
        agrees(word);
    }

    #[test]
    fn all_other_words_are_refused(word: u32) {
        agrees(word);
    }
}

const X: [u64; 31] = {
    let mut x = [0; 31];
    let mut n = 0;
    while n < 31 {
        x[n] = 0x1000 * n as u64;
        n += 1;
    }
    x
};
const REGISTERS: Registers<'_> = Registers { x: &X, sp: 0x8000_0000, pc: 0x4000_0000 };

/// The accesses and the writeback of an instruction, with the IPA equal to the VA.
fn carried_out(word: u32) -> (Vec<MmioAccess>, Option<(Base, u64)>) {
    let instruction = Instruction::decode(word).unwrap();
    let start = instruction.address(&REGISTERS).0;
    let accesses = instruction
        .transfers()
        .map(|transfer| instruction.access(transfer, Ipa(start + transfer.offset), &REGISTERS))
        .collect();
    (accesses, instruction.written_back(&REGISTERS))
}

fn write(ipa: u64, width: Width, value: u64) -> MmioAccess {
    MmioAccess { ipa: Ipa(ipa), width, direction: Direction::Write { value } }
}

fn read(
    ipa: u64,
    width: Width,
    register: u8,
    extension: Extension,
    register_width: RegisterWidth,
) -> MmioAccess {
    let direction = Direction::Read(Destination { register, extension, register_width });
    MmioAccess { ipa: Ipa(ipa), width, direction }
}

#[test]
fn pairs_and_indexed_addresses() {
    use {Extension::*, RegisterWidth::*};
    // stp w1, wzr, [x2, #-8]!
    let accesses = vec![write(0x1FF8, Width::Word, 0x1000), write(0x1FFC, Width::Word, 0)];
    assert_eq!(carried_out(0x29BF_7C41), (accesses, Some((Base::Register(2), 0x1FF8))));
    // ldp x3, x4, [sp], #16
    let accesses = vec![
        read(0x8000_0000, Width::Doubleword, 3, Zero, X),
        read(0x8000_0008, Width::Doubleword, 4, Zero, X),
    ];
    assert_eq!(carried_out(0xA8C1_13E3), (accesses, Some((Base::StackPointer, 0x8000_0010))));
    // ldpsw x5, x6, [x7, #-256]
    let accesses = vec![read(0x6F00, Width::Word, 5, Sign, X), read(0x6F04, Width::Word, 6, Sign, X)];
    assert_eq!(carried_out(0x6960_18E5), (accesses, None));
    // ldrsb w8, [x9], #-1
    assert_eq!(
        carried_out(0x38DF_F528),
        (vec![read(0x9000, Width::Byte, 8, Sign, W)], Some((Base::Register(9), 0x8FFF)))
    );
    // strh w10, [x11, #255]!
    assert_eq!(
        carried_out(0x780F_FD6A),
        (vec![write(0xB0FF, Width::Halfword, 0xA000)], Some((Base::Register(11), 0xB0FF)))
    );
    // ldr x12, . - 4
    assert_eq!(carried_out(0x58FF_FFEC), (vec![read(0x3FFF_FFFC, Width::Doubleword, 12, Zero, X)], None));
}

#[test]
fn offset_registers_extend_and_shift() {
    let x = {
        let mut x = [0; 31];
        x[1] = 0x1_0000;
        x[2] = 0xFFFF_FFFF_8000_0001;
        x
    };
    let address = |word| Instruction::decode(word).unwrap().address(&Registers { x: &x, sp: 0, pc: 0 }).0;
    // str w0, [x1, w2, uxtw #2], [x1, w2, sxtw], [x1, x2, lsl #2], [x1, x2, sxtx]
    assert_eq!(address(0xB822_5820), 0x1_0000 + (0x8000_0001 << 2));
    assert_eq!(address(0xB822_C820), 0xFFFF_FFFF_8001_0001);
    assert_eq!(address(0xB822_7820), 0xFFFF_FFFE_0001_0004);
    assert_eq!(address(0xB822_E820), 0xFFFF_FFFF_8001_0001);
    // str w0, [x1, xzr]
    assert_eq!(address(0xB83F_6820), 0x1_0000);
}

#[test]
fn a_store_carries_only_its_width() {
    let x = [0x1122_3344_5566_7788; 31];
    for (word, value) in [
        (0xA900_0000 & !(1 << 31), 0x5566_7788), // stp w0, w0, [x0]
        (0x3800_0400, 0x88),                     // strb w0, [x0], #0
        (0x7800_0400, 0x7788),                   // strh w0, [x0], #0
        (0xF800_0400, 0x1122_3344_5566_7788),    // str x0, [x0], #0
    ] {
        let instruction = Instruction::decode(word).unwrap();
        for transfer in instruction.transfers() {
            let access = instruction.access(transfer, Ipa(0), &Registers { x: &x, sp: 0, pc: 0 });
            assert_eq!(access.direction, Direction::Write { value }, "{word:#010x}");
        }
    }
}

#[test]
fn the_base_among_the_transferred_registers() {
    // str x2, [x2], #8: the old value is stored.
    let accesses = vec![write(0x2000, Width::Doubleword, 0x2000)];
    assert_eq!(carried_out(0xF800_8442), (accesses, Some((Base::Register(2), 0x2008))));
}

#[test]
fn refusals_have_names() {
    use Unsupported::*;
    for (word, name) in [
        (0xD65F_03C0, Other),                 // ret
        (0x3DC0_0020, Simd),                  // ldr q0, [x1]
        (0xAD40_0400, Simd),                  // ldp q0, q1, [x0]
        (0x4C40_7000, Simd),                  // ld1 {v0.16b}, [x0]
        (0xC85F_7C20, Exclusive),             // ldxr x0, [x1]
        (0xC820_0C41, Exclusive),             // stxp w0, x1, x3, [x2]
        (0xF820_0041, Atomic),                // ldadd x0, x1, [x2]
        (0xC8A0_7C41, Atomic),                // cas x0, x1, [x2]
        (0x4820_7C82, Atomic),                // casp x0, x1, x2, x3, [x4]
        (0xF980_0020, Prefetch),              // prfm pldl1keep, [x1]
        (0xF820_0420, PointerAuthentication), // ldraa x0, [x1]
        (0xD920_0820, MemoryTag),             // stg x0, [x1]
        (0x6900_0440, MemoryTag),             // stgp x0, x1, [x2]
        (0x1901_0440, MemoryCopy),            // cpyfp [x0]!, [x1]!, x2!
        (0xD50B_7420, ZeroBlock),             // dc zva, x0
        (0xD508_7620, CacheMaintenance),      // dc ivac, x0
        (0xD50B_7E20, CacheMaintenance),      // dc civac, x0
        (0x0000_0000, Other),
    ] {
        assert_eq!(Instruction::decode(word), Err(name), "{word:#010x}");
    }
}

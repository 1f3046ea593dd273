// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instruction profiles from a log that is made up.

use super::super::operation::OPERATIONS;
use super::*;

const OPERATION: u32 = 0xD28F_601F;
const END: u32 = 0xD28F_603F;
const BEGIN: u32 = 0xD28F_621F;
const FINISH: u32 = 0xD28F_641F;

fn image(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// An instruction in QEMU's log: X0 is "x", X1 an address, X2 that of a device.
fn line(pc: u64) -> String {
    format!(
        "Trace 0: 0x7f [00000000/{pc:016x}/00000461/ff022201] \n PC={pc:016x} X00={:016x} X01={:016x}\n\
         X02={:016x} X30={:016x}  SP={:016x}\nPSTATE=400003c9 -Z-- EL2h\n",
        0x78, 0, 0x0900_0000, 0, 0x4400_8000
    )
}

#[test]
fn what_is_watched_is_measured() {
    for name in watched() {
        assert!(OPERATIONS.iter().any(|operation| operation.name == name), "{name}");
    }
}

#[test]
fn a_log_becomes_a_profile() {
    let hypervisor = image(&[
        0xA9BF_7BFD, // stp x29, x30, [sp, #-16]!
        0xF940_0040, // ldr x0, [x2]
        0xD53B_E040, // mrs x0, cntvct_el0
        0xD503_3F9F, // dsb sy
        0x1400_0000, // b .
        0xD69F_03E0, // eret
    ]);
    let guest = image(&[0, OPERATION, BEGIN, FINISH, END]);
    let watch = Watch::new(&hypervisor, hypervisor.len() as u64, &guest);
    assert_eq!(watch.marks.len(), 4);
    let filter = watch.arguments().pop().unwrap();
    assert_eq!(filter, "0x44000000+0x18,0x40200004+4,0x40200008+4,0x4020000c+4,0x40200010+4");
    let mark = |index: u64| line(GUEST_AT + 4 * index);
    let el2 = |indices: &[u64]| -> String {
        indices.iter().map(|index| line(RAM.0 + OFFSET + 4 * index)).collect()
    };
    // The load is logged twice, as when an interrupt came before it; a branch to itself does run twice.
    let round = mark(2) + &el2(&[0, 1, 1, 2, 3, 4, 4, 5]) + &mark(3);
    let whole = el2(&[0]) + &mark(1) + &round.repeat(5) + &mark(4);
    let rounds = watch.read(Log::new(whole.as_bytes())).ok().unwrap();
    let profile = InstructionProfile::of(&rounds.medians()["x"]);
    let expected = InstructionProfile {
        instructions: 7,
        exits: 1,
        register_reads: 1,
        barriers: 1,
        device_accesses: 1,
        data_lines: 1,
        code_lines: 1,
        ..InstructionProfile::default()
    };
    assert_eq!(profile, expected);
}

#[test]
fn a_log_that_ends_early_says_what_qemu_said() {
    let watch = Watch::new(&[], 0, &[]);
    let said = watch.read(Log::new(&b"qemu: no such processor\n"[..])).err().unwrap();
    assert!(said.ends_with("qemu: no such processor\n"), "{said}");
}

#[test]
fn an_access_that_crosses_a_line_touches_two() {
    let at = |address, bytes| Seen {
        pc: 0,
        kind: InstructionKind::Access,
        touched: Some(Touched { address, bytes }),
    };
    let ram = RAM.0;
    let round = [at(ram + 60, 8), at(ram + 64, 8), at(ram + 127, 1), at(ram + 0x1000, 1)];
    assert_eq!(InstructionProfile::of(&round).data_lines, 3);
}

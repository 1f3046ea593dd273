// SPDX-License-Identifier: MIT OR Apache-2.0
//! The architecture's rules, one by one.

use super::*;

const VA: u64 = 0x12_3456_7000;

/// One page at [`VA`] with these descriptor bits and these on the tables above.
fn page(leaf: u64, table_bits: u64) -> (Memory, Regime) {
    let mut memory = Memory::new();
    memory.map(Shape::SMALL, ROOT0, VA, 3, 0x4800_0000 | leaf, table_bits);
    (memory, Shape::SMALL.regime())
}

#[test]
fn a_page_is_found() {
    let (memory, regime) = page(PAGE, 0);
    let found = translate(&memory, &regime, Va(VA + 0x123), Access::Read, El::El1).unwrap();
    let expected = Translation {
        ipa: Ipa(0x4800_0123),
        memory: MemoryType::WRITE_BACK,
        shareability: Shareability::InnerShareable,
        permissions: Permissions {
            el1: Rights { read: true, write: true, execute: true },
            el0: Rights { read: false, write: false, execute: true },
        },
        size: 0x1000,
        contiguous_size: 0x1000,
        global: true,
    };
    assert_eq!(found, expected);
    assert_eq!(*memory.reads.borrow(), 3);
    assert_eq!(read(&memory, &regime, VA + 0x1000), Err((FaultKind::Translation, 3)));
    assert_eq!(read(&memory, &regime, VA + 0x20_0000), Err((FaultKind::Translation, 2)));
    assert_eq!(read(&memory, &regime, VA + 0x4000_0000), Err((FaultKind::Translation, 1)));
}

#[test]
fn attributes_come_from_mair_and_the_leaf() {
    let (memory, regime) = page(PAGE & !(0b11 << 8) | 0b10 << 8 | 1 << 2 | 1 << 11, 0);
    let found = translate(&memory, &regime, Va(VA), Access::Read, El::El1).unwrap();
    assert_eq!(found.memory, MemoryType::Device(DeviceKind::NGnRE));
    assert_eq!(found.shareability, Shareability::OuterShareable);
    assert!(!found.global);
}

#[test]
fn the_upper_half_has_its_own_root() {
    let mut memory = Memory::new();
    let va = 0xffff_8000_1234_5000;
    memory.map(Shape::LINUX, ROOT1, va, 3, 0x4800_0000 | PAGE, 0);
    let regime = Shape::LINUX.regime();
    assert_eq!(read(&memory, &regime, va + 8), Ok(0x4800_0008));
    assert_eq!(read(&memory, &regime, va & 0xffff_ffff_ffff), Err((FaultKind::Translation, 0)));
    assert_eq!(*memory.reads.borrow(), 4 + 1, "four for the walk that succeeds");
}

#[test]
fn blocks_where_the_granule_has_them() {
    let kib16 = Shape { page: 14, stride: 11, start: 1, va_bits: 47 };
    let kib64 = Shape { page: 16, stride: 13, start: 1, va_bits: 48 };
    let legal = [(Shape::LINUX, 1), (Shape::LINUX, 2), (kib16, 2), (kib64, 2)];
    let illegal = [(Shape::LINUX, 0), (kib16, 1), (kib64, 1)];
    for (shape, level) in legal.into_iter().chain(illegal) {
        let mut memory = Memory::new();
        memory.map(shape, ROOT0, 0, level, 0x40_0000_0000 | BLOCK, 0);
        let expected = if legal.iter().any(|(s, l)| (s.page, *l) == (shape.page, level)) {
            Ok(0x40_0000_4321)
        } else {
            Err((FaultKind::Translation, level as i8))
        };
        assert_eq!(read(&memory, &shape.regime(), 0x4321), expected, "{shape:?}, level {level}");
    }
}

#[test]
fn a_block_at_level_3_is_reserved() {
    let (memory, regime) = page(BLOCK, 0);
    assert_eq!(read(&memory, &regime, VA), Err((FaultKind::Translation, 3)));
}

#[test]
fn the_contiguous_hint_changes_nothing() {
    let (memory, regime) = page(PAGE | 1 << 52, 0);
    assert_eq!(read(&memory, &regime, VA), Ok(0x4800_0000));
}

#[test]
fn address_bits_below_a_block_are_ignored() {
    let mut memory = Memory::new();
    memory.map(Shape::SMALL, ROOT0, 0, 2, 0x480f_f000 | BLOCK, 0);
    assert_eq!(read(&memory, &Shape::SMALL.regime(), 0x1_2345), Ok(0x4801_2345));
}

#[test]
fn addresses_out_of_range() {
    let (memory, mut regime) = page(PAGE, 0);
    let fault = Err((FaultKind::Translation, 0));
    assert_eq!(read(&memory, &regime, VA | 1 << 39), fault, "beyond T0SZ");
    assert_eq!(read(&memory, &regime, VA | 0xab << 56), fault, "a tag without TBI");
    for bad in [0, 15, 49, 63] {
        regime.tcr = regime.tcr & !0x3f | bad;
        assert_eq!(read(&memory, &regime, 0), fault, "T0SZ = {bad}");
    }
}

#[test]
fn tags_are_ignored_as_tcr_says() {
    let (memory, mut regime) = page(PAGE, 0);
    regime.tcr |= 1 << 37;
    let tagged = VA | 0xab << 56;
    assert_eq!(read(&memory, &regime, tagged), Ok(0x4800_0000));
    assert_eq!(attempt(&memory, &regime, tagged, Access::Execute, El::El1), Ok(0x4800_0000));
    regime.tcr |= 1 << 51;
    assert_eq!(read(&memory, &regime, tagged), Ok(0x4800_0000));
    let fetch = attempt(&memory, &regime, tagged, Access::Execute, El::El1);
    assert_eq!(fetch, Err((FaultKind::Translation, 0)), "TBID");
    // In the upper half bit 55 selects, and the tag may be anything too.
    let mut memory = Memory::new();
    memory.map(Shape::SMALL, ROOT1, 0xffff_ff80_0000_0000, 3, 0x4800_0000 | PAGE, 0);
    regime.tcr |= 1 << 38;
    assert_eq!(read(&memory, &regime, 0x12ff_ff80_0000_0000), Ok(0x4800_0000));
}

#[test]
fn disabled_halves() {
    let (memory, regime) = page(PAGE | EL0_BIT, 0);
    let epd0 = Regime { tcr: regime.tcr | 1 << 7, ..regime };
    assert_eq!(read(&memory, &epd0, VA), Err((FaultKind::Translation, 0)));
    let epd1 = Regime { tcr: regime.tcr | 1 << 23, ..regime };
    assert_eq!(read(&memory, &epd1, VA), Ok(0x4800_0000));
    let e0pd0 = Regime { tcr: regime.tcr | 1 << 55, ..regime };
    assert_eq!(read(&memory, &e0pd0, VA), Ok(0x4800_0000));
    let from_el0 = attempt(&memory, &e0pd0, VA, Access::Read, El::El0);
    assert_eq!(from_el0, Err((FaultKind::Translation, 0)));
}

#[test]
fn small_address_spaces_start_at_level_3() {
    let shape = Shape { page: 12, stride: 9, start: 3, va_bits: 16 };
    let mut memory = Memory::new();
    memory.map(shape, ROOT0 + 0x80, 0xf000, 3, 0x4800_0000 | PAGE, 0);
    let regime = Regime { ttbr0: ROOT0 + 0x80 + 1, ..shape.regime() };
    assert_eq!(read(&memory, &regime, 0xf010), Ok(0x4800_0010), "a root of 16 entries, and CnP");
}

#[test]
fn a_table_outside_memory_is_an_external_abort() {
    let (mut memory, mut regime) = page(PAGE, 0);
    memory.map(Shape::SMALL, ROOT0, 0, 1, 0x3000_0000 | 3, 0);
    assert_eq!(read(&memory, &regime, 0), Err((FaultKind::ExternalAbortOnWalk, 2)));
    regime.ttbr0 = 0;
    assert_eq!(read(&memory, &regime, VA), Err((FaultKind::ExternalAbortOnWalk, 1)));
}

#[test]
fn a_table_that_points_to_itself_ends() {
    let mut memory = Memory::new();
    memory.map(Shape::LINUX, ROOT0, 0, 0, ROOT0 | PAGE, 0);
    assert_eq!(read(&memory, &Shape::LINUX.regime(), 0x10), Ok(ROOT0 + 0x10));
    assert_eq!(*memory.reads.borrow(), 4);
}

#[test]
fn output_addresses_wider_than_ips_fault() {
    let (mut memory, mut regime) = page(PAGE, 0);
    memory.map(Shape::SMALL, ROOT0, VA, 3, 0x10_0000_0000 | PAGE, 0);
    regime.tcr &= !(0b111 << 32);
    assert_eq!(read(&memory, &regime, VA), Err((FaultKind::AddressSize, 3)), "36 bits in 32");
    regime.tcr |= 0b010 << 32;
    assert_eq!(read(&memory, &regime, VA), Ok(0x10_0000_0000));
    regime.ttbr0 |= 1 << 44;
    assert_eq!(read(&memory, &regime, VA), Err((FaultKind::AddressSize, 0)), "the root itself");
}

#[test]
fn the_access_flag() {
    let (memory, mut regime) = page(PAGE & !(1 << 10), 0);
    assert_eq!(read(&memory, &regime, VA), Err((FaultKind::AccessFlag, 3)));
    regime.tcr |= 1 << 39;
    assert_eq!(read(&memory, &regime, VA), Ok(0x4800_0000), "hardware sets it");
}

#[test]
fn dirty_state_makes_writable() {
    let (memory, mut regime) = page(PAGE | READ_ONLY | 1 << 51, 0);
    let write = |regime: &Regime| attempt(&memory, regime, VA, Access::Write, El::El1);
    assert_eq!(write(&regime), Err((FaultKind::Permission, 3)));
    regime.tcr |= 1 << 40;
    assert_eq!(write(&regime), Err((FaultKind::Permission, 3)), "HD needs HA");
    regime.tcr |= 1 << 39;
    assert_eq!(write(&regime), Ok(0x4800_0000));
}

/// Which of EL1 read, write, execute and EL0 read, write, execute are allowed.
fn allowed(memory: &Memory, regime: &Regime) -> String {
    let mut letters = String::new();
    for el in [El::El1, El::El0] {
        for (access, letter) in [(Access::Read, 'r'), (Access::Write, 'w'), (Access::Execute, 'x')] {
            letters.push(match attempt(memory, regime, VA, access, el) {
                Ok(_) => letter,
                Err(fault) => {
                    assert_eq!(fault, (FaultKind::Permission, 3));
                    '-'
                }
            });
        }
    }
    letters
}

#[test]
fn leaf_permissions() {
    let cases = [
        (0, "rwx--x"),
        (EL0_BIT, "rw-rwx"),
        (READ_ONLY, "r-x--x"),
        (EL0_BIT | READ_ONLY, "r-xr-x"),
        (PXN, "rw---x"),
        (UXN, "rwx---"),
        (EL0_BIT | READ_ONLY | UXN, "r-xr--"),
        (EL0_BIT | READ_ONLY | PXN, "r--r-x"),
        (EL0_BIT | UXN, "rw-rw-"),
    ];
    for (bits, expected) in cases {
        let (memory, regime) = page(PAGE | bits, 0);
        assert_eq!(allowed(&memory, &regime), expected, "{bits:#x}");
    }
}

#[test]
fn table_permissions_only_take_away() {
    let cases = [
        (1 << 61, "rwx--x", "APTable[0]: not from EL0"),
        (1 << 62, "r-xr-x", "APTable[1]: no writes"),
        (1 << 59, "rw-rwx", "PXNTable"),
        (1 << 60, "rw-rw-", "UXNTable"),
        (0b11 << 61, "r-x--x", "both of APTable"),
    ];
    for (bits, expected, name) in cases {
        let (memory, mut regime) = page(PAGE | EL0_BIT, bits);
        assert_eq!(allowed(&memory, &regime), expected, "{name}");
        regime.tcr |= 1 << 41;
        assert_eq!(allowed(&memory, &regime), "rw-rwx", "{name} with HPD0");
    }
}

#[test]
fn tables_of_different_levels_take_away_together() {
    let mut memory = Memory::new();
    let second = memory.map(Shape::SMALL, ROOT0, VA, 2, 0x4200_0003 | 1 << 59, 1 << 62);
    memory.map(Shape::SMALL, ROOT0, VA, 3, 0x4800_0000 | PAGE | EL0_BIT, 0);
    assert_eq!(memory.words[&second] >> 59, 1, "PXNTable at level 2, APTable[1] at level 1");
    assert_eq!(allowed(&memory, &Shape::SMALL.regime()), "r--r-x");
}

#[test]
fn write_implies_execute_never() {
    for (bits, expected) in [(0, "rw---x"), (EL0_BIT, "rw-rw-"), (EL0_BIT | READ_ONLY, "r-xr-x")] {
        let (memory, mut regime) = page(PAGE | bits, 0);
        regime.sctlr |= 1 << 19;
        assert_eq!(allowed(&memory, &regime), expected, "{bits:#x}");
    }
}

#[test]
fn privileged_access_never() {
    let (memory, mut regime) = page(PAGE | EL0_BIT | READ_ONLY, 0);
    regime.pan = true;
    assert_eq!(allowed(&memory, &regime), "--xr-x");
    let (memory, mut regime) = page(PAGE, 0);
    regime.pan = true;
    assert_eq!(allowed(&memory, &regime), "rwx--x");
    regime.sctlr |= 1 << 57;
    assert_eq!(allowed(&memory, &regime), "--x--x", "EPAN: what EL0 can execute");
}

#[test]
fn big_endian_tables() {
    let (mut memory, mut regime) = page(PAGE, 0);
    regime.sctlr |= 1 << 25;
    for word in memory.words.values_mut() {
        *word = word.swap_bytes();
    }
    assert_eq!(read(&memory, &regime, VA), Ok(0x4800_0000));
}

#[test]
fn translation_off() {
    let memory = Memory::new();
    let mut regime = Regime { sctlr: 0, ..Shape::LINUX.regime() };
    let data = translate(&memory, &regime, Va(0x900_0000), Access::Read, El::El1).unwrap();
    assert_eq!((data.ipa, data.memory), (Ipa(0x900_0000), MemoryType::Device(DeviceKind::NGnRnE)));
    let fetch = translate(&memory, &regime, Va(0x900_0000), Access::Execute, El::El1).unwrap();
    assert_eq!(fetch.memory, MemoryType::NON_CACHEABLE);
    regime.sctlr = 1 << 12;
    let fetch = translate(&memory, &regime, Va(0x900_0000), Access::Execute, El::El1).unwrap();
    assert!(!fetch.memory.is_device() && fetch.memory != MemoryType::NON_CACHEABLE);
    assert_eq!(read(&memory, &regime, 1 << 48), Err((FaultKind::AddressSize, 0)));
    assert_eq!(*memory.reads.borrow(), 0);
}

#[test]
fn fault_status_codes() {
    let code = |kind, level| Fault { kind, level, origin: Origin::Stage1, va: Va(0) }.status_code();
    assert_eq!(code(FaultKind::AddressSize, 0), 0b00_0000);
    assert_eq!(code(FaultKind::Translation, 3), 0b00_0111);
    assert_eq!(code(FaultKind::AccessFlag, 2), 0b00_1010);
    assert_eq!(code(FaultKind::Permission, 1), 0b00_1101);
    assert_eq!(code(FaultKind::ExternalAbortOnWalk, 2), 0b01_0110);
    let fault = Fault { kind: FaultKind::Permission, level: 3, origin: Origin::Stage1, va: Va(0x1000) };
    assert_eq!(fault.to_string(), "permission fault at level 3 of stage 1, for 0x1000");
}

#[test]
fn the_asid_is_where_tcr_says() {
    let regime = Regime { ttbr0: 0x1234 << 48, ttbr1: 0x5678 << 48, ..Regime::default() };
    assert_eq!(regime.asid(), 0x34);
    assert_eq!(Regime { tcr: 1 << 36, ..regime }.asid(), 0x1234);
    assert_eq!(Regime { tcr: 1 << 36 | 1 << 22, ..regime }.asid(), 0x5678);
}

#[test]
fn where_the_registers_allow_no_walk_they_say_which_field_is_to_blame() {
    let regime = Shape::LINUX.regime();
    let (low, high) = (Va(VA), Va(VA | 0xffff << 48));
    let start = |regime: &Regime, va, el| regime.start(va, Access::Read, el).map(|start| start.level);
    assert_eq!((start(&regime, low, El::El0), start(&regime, high, El::El0)), (Ok(0), Ok(0)));
    let with = |tcr: u64| Regime { tcr, ..regime };
    let (lower, upper) = (Half::Lower, Half::Upper);
    let disabled = with(regime.tcr | 1 << 23);
    assert_eq!(start(&disabled, high, El::El1), Err(NoWalk::Disabled { half: upper }));
    assert_eq!(start(&disabled, low, El::El1), Ok(0));
    let closed = with(regime.tcr | 1 << 55);
    assert_eq!(start(&closed, low, El::El0), Err(NoWalk::ClosedToEl0 { half: lower }));
    assert_eq!(start(&closed, low, El::El1), Ok(0));
    let wide = with(regime.tcr & !0x3f | 15);
    let size = NoWalk::Size { half: lower, value: 15, smallest: 16, largest: 48 };
    assert_eq!(start(&wide, low, El::El1), Err(size));
    let short = with(regime.tcr & !0x3f | 32);
    let outside = NoWalk::NotCanonical { half: lower, input_bits: 32 };
    assert_eq!(start(&short, low, El::El1), Err(outside));
    assert_eq!(
        outside.to_string(),
        "the VA is not canonical: T0SZ gives 32 bits, and bit 55 is 0, so bits 32 and up must all be 0"
    );
}

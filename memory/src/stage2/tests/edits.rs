// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;
use crate::attributes::{DeviceKind, Stage2Type};

#[test]
fn descriptors_match_the_architecture_bit_by_bit() {
    let leaf = |attributes, level, encoding| Descriptor::leaf(Pa(GIB1), level, attributes, encoding).0;
    let plain = Stage2Encoding::Combining;
    let forced = Stage2Encoding::Forcing;
    assert_eq!(leaf(Attributes::RAM, TableLevel::L2, plain), 0x4000_07fd);
    assert_eq!(leaf(Attributes::RAM, TableLevel::L3, plain), 0x4000_07ff);
    assert_eq!(leaf(Attributes::RAM, TableLevel::L2, forced), 0x4000_07d9);
    assert_eq!(leaf(Attributes::DEVICE, TableLevel::L3, plain), 1 << 54 | 0x4000_07c7);
    assert_eq!(leaf(Attributes::ROM, TableLevel::L3, plain), 0x4000_077f);
    assert_eq!(Descriptor::table(Pa(0x8000_1000)).0, 0x8000_1003);
}

#[test]
fn the_operand_of_a_tlbi() {
    assert_eq!(tlbi_ipa_operand(Ipa(0x4020_1000), None), 0x4_0201);
    assert_eq!(tlbi_ipa_operand(Ipa(0x4020_0000), Some(TableLevel::L2)), 0b0110 << 44 | 0x4_0200);
}

#[test]
fn each_memory_kind_asks_for_what_it_says() {
    let normal = |cached| Stage2Type::Normal { inner: cached, outer: cached };
    use crate::attributes::Cacheability::{NonCacheable, WriteBack};
    let kinds = [
        (Memory::WriteBack, normal(WriteBack), Stage2Type::ForcedWriteBack),
        (Memory::NonCacheable, normal(NonCacheable), Stage2Type::NonCacheable),
        (
            Memory::Device(DeviceKind::NGnRE),
            Stage2Type::Device(DeviceKind::NGnRE),
            Stage2Type::Device(DeviceKind::NGnRE),
        ),
    ];
    for (memory, plain, forced) in kinds {
        for (encoding, expected) in [(Stage2Encoding::Combining, plain), (Stage2Encoding::Forcing, forced)] {
            let bits = memory.mem_attr(encoding);
            assert_eq!(Stage2Type::from_mem_attr(bits, encoding), Some(expected));
            let attributes = Attributes { memory, permissions: Permissions::READ };
            let leaf = Descriptor::leaf(Pa(0), TableLevel::L3, attributes, encoding);
            assert_eq!(leaf.attributes(encoding), attributes);
        }
    }
}

#[test]
fn blocks_are_as_large_as_fit() {
    let mut bench = Bench::new(40, 32);
    let start = GIB1 - MIB2 - KIB4;
    bench.map(start, 8 * GIB1 + start, KIB4 + MIB2 + GIB1 + MIB2 + KIB4).unwrap();
    assert_eq!(bench.sizes(), [KIB4, MIB2, GIB1, MIB2, KIB4]);
    bench.assert_sound();
}

#[test]
fn a_block_needs_its_output_aligned_too() {
    let mut bench = Bench::new(40, 32);
    bench.map(GIB1, 8 * GIB1 + MIB2, GIB1).unwrap();
    assert_eq!(bench.sizes(), [MIB2; 512]);
    bench.map(0, 3 * MIB2 + KIB4, MIB2).unwrap();
    assert_eq!(bench.sizes()[..512], [KIB4; 512]);
    assert_eq!(bench.translate(5 * KIB4 + 8), Some(3 * MIB2 + 6 * KIB4 + 8));
    bench.assert_sound();
}

#[test]
fn the_seam_between_concatenated_tables_is_no_seam() {
    let mut bench = Bench::new(40, 32);
    let seam = 512 * GIB1;
    bench.map(seam - GIB1, GIB1, 2 * GIB1).unwrap();
    assert_eq!(bench.sizes(), [GIB1, GIB1]);
    assert_eq!(bench.translate(seam), Some(2 * GIB1));
    bench.map(2 * seam - KIB4, 0, KIB4).unwrap();
    assert_eq!(bench.translate(2 * seam - 1), Some(KIB4 - 1));
    bench.assert_sound();
}

#[test]
fn unmapping_a_page_of_a_gigabyte_leaves_the_rest() {
    let mut bench = Bench::new(40, 32);
    bench.map(GIB1, 4 * GIB1, GIB1).unwrap();
    bench.apply(Op::Unmap { ipa: Ipa(GIB1 + MIB2 + KIB4), size: KIB4 }).unwrap();
    assert_eq!(bench.translate(GIB1 + MIB2 + KIB4), None);
    assert_eq!(bench.translate(GIB1 + MIB2 + 2 * KIB4), Some(4 * GIB1 + MIB2 + 2 * KIB4));
    assert_eq!(bench.translate(2 * GIB1 - 1), Some(5 * GIB1 - 1));
    bench.assert_sound();
}

/// The block is all its table holds, and broken while the new table is made: it must not pass for a hole then.
#[test]
fn splitting_a_lone_block_keeps_its_table() {
    let mut bench = Bench::new(40, 32);
    bench.map(GIB1 + MIB2, 4 * GIB1, MIB2).unwrap();
    bench.apply(Op::Unmap { ipa: Ipa(GIB1 + MIB2 + KIB4), size: KIB4 }).unwrap();
    assert_eq!(bench.sizes(), [KIB4; 511]);
    bench.assert_sound();
}

#[test]
fn tables_left_empty_are_freed() {
    let mut bench = Bench::new(40, 32);
    let root = bench.board.frames_out();
    bench.map(GIB1 + KIB4, GIB1, KIB4).unwrap();
    bench.map(GIB1 + MIB2, GIB1, KIB4).unwrap();
    assert_eq!(bench.board.frames_out(), root + 3);
    bench.apply(Op::Unmap { ipa: Ipa(GIB1), size: MIB2 }).unwrap();
    assert_eq!(bench.board.frames_out(), root + 2);
    bench.apply(Op::Unmap { ipa: Ipa(GIB1 + MIB2), size: KIB4 }).unwrap();
    assert_eq!(bench.board.frames_out(), root);
    bench.assert_sound();
}

#[test]
fn a_table_becomes_a_block() {
    let mut bench = Bench::new(40, 32);
    for page in 0..4 {
        bench.map(MIB2 + page * KIB4, page * 2 * KIB4, KIB4).unwrap();
    }
    bench.apply(Op::Replace(mapping(MIB2, 6 * MIB2, MIB2))).unwrap();
    assert_eq!(bench.sizes(), [MIB2]);
    bench.assert_sound();
}

#[test]
fn large_changes_empty_the_vm_instead() {
    let mut bench = Bench::new(40, 32);
    bench.map(MIB2 + KIB4, 0, MIB2).unwrap();
    bench.apply(Op::Unmap { ipa: Ipa(0), size: GIB1 }).unwrap();
    assert_eq!(bench.mappings(), []);
    bench.assert_sound();
}

#[test]
fn what_does_not_change_is_left_alone() {
    /// Fails the test on any invalidation.
    struct NoInvalidation;
    impl Maintenance for NoInvalidation {
        fn publish(&mut self) {}
        fn invalidate_ipa(&mut self, ipa: Ipa, _: Option<TableLevel>, _: Reach) {
            panic!("needless invalidation of {ipa}");
        }
        fn invalidate_stage1(&mut self) {
            panic!("needless invalidation");
        }
        fn invalidate_vm(&mut self) {
            panic!("needless invalidation");
        }
        fn complete(&mut self) {
            panic!("needless barrier");
        }
        fn synchronize(&mut self) {
            panic!("needless barrier");
        }
    }
    let mut bench = Bench::new(40, 32);
    let mut memory = bench.board.clone();
    let ops = [
        Op::Map(mapping(GIB1, GIB1, GIB1)),
        Op::Replace(mapping(GIB1 + KIB4, GIB1 + KIB4, MIB2)),
        Op::Protect { ipa: Ipa(GIB1 + KIB4), size: KIB4, attributes: Attributes::RAM },
        Op::Unmap { ipa: Ipa(0), size: GIB1 },
        Op::Map(mapping(KIB4, KIB4, MIB2)),
    ];
    for op in ops {
        bench.apply_with(op, &mut memory, &mut NoInvalidation).unwrap();
    }
    assert_eq!(bench.sizes().last(), Some(&GIB1), "not split for nothing");
}

#[test]
fn refusals() {
    let mut bench = Bench::new(40, 32);
    bench.map(GIB1, GIB1, 2 * MIB2).unwrap();
    let before = (bench.mappings(), bench.board.frames_out());
    let ram = Attributes::RAM;
    let cases = [
        (Op::Map(mapping(0, 0, 0)), MapError::Empty { ipa: Ipa(0) }),
        (Op::Map(mapping(0x800, 0, KIB4)), MapError::Misaligned { value: 0x800 }),
        (Op::Map(mapping(0, 0x10, KIB4)), MapError::Misaligned { value: 0x10 }),
        (Op::Map(mapping(0, 0, 0x1001)), MapError::Misaligned { value: 0x1001 }),
        (
            Op::Map(mapping((1 << 40) - KIB4, 0, 2 * KIB4)),
            MapError::OutOfRange { ipa: Ipa((1 << 40) - KIB4), size: 2 * KIB4, ipa_bits: 40 },
        ),
        (
            Op::Unmap { ipa: Ipa(u64::MAX - 0xfff), size: KIB4 },
            MapError::OutOfRange { ipa: Ipa(u64::MAX - 0xfff), size: KIB4, ipa_bits: 40 },
        ),
        (
            Op::Replace(mapping(0, (1 << 48) - KIB4, 2 * KIB4)),
            MapError::PhysicalOutOfRange { pa: Pa((1 << 48) - KIB4), size: 2 * KIB4, pa_bits: 48 },
        ),
        (Op::Map(mapping(GIB1 - MIB2, 0, GIB1)), MapError::Overlap { ipa: Ipa(GIB1) }),
        (Op::Map(mapping(GIB1 + KIB4, 0, KIB4)), MapError::Overlap { ipa: Ipa(GIB1 + KIB4) }),
        (
            Op::Protect { ipa: Ipa(GIB1 + MIB2), size: 2 * MIB2, attributes: ram },
            MapError::NotMapped { ipa: Ipa(GIB1 + 2 * MIB2) },
        ),
        (Op::Protect { ipa: Ipa(KIB4), size: KIB4, attributes: ram }, MapError::NotMapped { ipa: Ipa(KIB4) }),
    ];
    for (op, error) in cases {
        assert_eq!(bench.apply(op), Err(error), "{op:?}");
        assert_eq!((bench.mappings(), bench.board.frames_out()), before);
    }
    bench.assert_sound();
}

#[test]
fn out_of_frames_changes_nothing() {
    for frames in 2..12 {
        let mut bench = Bench::new(40, frames);
        let _ = bench.map(GIB1, GIB1, GIB1);
        let before = (bench.mappings(), bench.board.frames_out());
        // Two boundaries, two splits each.
        let result = bench.apply(Op::Unmap { ipa: Ipa(GIB1 + KIB4), size: MIB2 });
        match result {
            Err(error) => {
                assert_eq!(error, MapError::OutOfFrames { needed: 3 });
                assert_eq!((bench.mappings(), bench.board.frames_out()), before);
            }
            Ok(()) => assert!(frames >= 5),
        }
        bench.assert_sound();
    }
}

#[test]
fn a_dropped_plan_changes_nothing() {
    let mut bench = Bench::new(40, 16);
    let out = bench.board.frames_out();
    let (mut memory, mut frames) = (bench.board.clone(), bench.board.clone());
    let plan = bench.stage2.plan_map(&mut memory, &mut frames, mapping(KIB4, 0, 2 * KIB4)).unwrap();
    assert_eq!(plan.frames(), 2);
    assert_eq!(bench.board.frames_out(), out + 2);
    drop(plan);
    assert_eq!(bench.board.frames_out(), out);
    assert_eq!(bench.mappings(), []);
    bench.assert_sound();
}

#[test]
fn destroying_gives_back_every_frame() {
    let mut bench = Bench::new(43, 64);
    bench.map(GIB1 - KIB4, GIB1, MIB2).unwrap();
    bench.map(700 * GIB1 + KIB4, GIB1, MIB2).unwrap();
    for cpu in 0..2 {
        bench.board.with_machine(|machine| machine.unload(cpu));
    }
    let Bench { mut board, stage2 } = bench;
    stage2.destroy(&board.clone(), &mut board);
    assert_eq!(board.frames_out(), 0);
    assert_eq!(board.verify(), []);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both stages on hand-built tables: what comes together, and which stage is to blame.

use std::collections::BTreeMap;

use super::*;
use crate::attributes::{DeviceKind, MemoryRule};
use crate::fault::Taken;
use crate::hcr;
use crate::walk::WalkStep;

/// Stage 1: 4 KiB pages, 39 bits, a table each of levels 1 to 3, at these IPAs.
const S1: [u64; 3] = [0x4000_0000, 0x4000_1000, 0x4000_2000];
/// Stage 2: 4 KiB pages, 39 bits, a table each of levels 1 to 3, at these physical addresses.
const S2: [u64; 3] = [0x8800_0000, 0x8800_1000, 0x8800_2000];
/// Where stage 2 puts IPA 0x4000_0000.
const OFFSET: u64 = 0x4000_0000;
/// The address under test: index 1, 2, 3 in stage 1.
const VA: u64 = 1 << 30 | 2 << 21 | 3 << 12 | 0x128;
/// Where stage 1 leads: a page of the same table of stage 2 as the stage-1 tables.
const IPA: u64 = 0x4000_5000;

const TABLE: u64 = 0b11;
/// Access flag, Inner Shareable, attribute 0, EL1 reads and writes, both may execute.
const S1_PAGE: u64 = 0b11 | 0b11 << 8 | 1 << 10;
/// Access flag, Inner Shareable, Write-Back, reads and writes.
const S2_PAGE: u64 = 0b11 | 0b1111 << 2 | 0b11 << 6 | 0b11 << 8 | 1 << 10;

struct Board {
    words: BTreeMap<u64, u64>,
}

impl PhysicalMemory for Board {
    fn read(&self, pa: Pa) -> Option<u64> {
        (0x8000_0000..0x9000_0000).contains(&pa.0).then(|| self.words.get(&pa.0).copied().unwrap_or(0))
    }
}

impl Board {
    /// Both stages map [`VA`], page by page.
    fn new() -> Self {
        let mut board = Self { words: BTreeMap::new() };
        board.set_stage1(1, 1, S1[1] | TABLE);
        board.set_stage1(2, 2, S1[2] | TABLE);
        board.set_stage1(3, 3, IPA | S1_PAGE);
        board.set(S2[0] + 8, S2[1] | TABLE);
        board.set(S2[1], S2[2] | TABLE);
        for ipa in S1.into_iter().chain([IPA]) {
            board.set_stage2(ipa, (ipa + OFFSET) | S2_PAGE);
        }
        board
    }

    fn set(&mut self, pa: u64, value: u64) {
        self.words.insert(pa, value);
    }

    fn set_stage1(&mut self, level: usize, index: u64, value: u64) {
        self.set(S1[level - 1] + OFFSET + index * 8, value);
    }

    /// The level-3 descriptor of an IPA in the first 2 MiB at 0x4000_0000.
    fn set_stage2(&mut self, ipa: u64, value: u64) {
        self.set(S2[2] + (ipa >> 12 & 511) * 8, value);
    }

    fn translate(&self, registers: &Registers, access: Access) -> Result<TranslationOutcome, Fault> {
        translate(self, registers, Va(VA), access, El::El1, &mut ())
    }

    fn refuses(&self, registers: &Registers, access: Access) -> (Origin, FaultKind, i8) {
        let fault = self.translate(registers, access).unwrap_err();
        (fault.origin, fault.kind, fault.level)
    }
}

fn registers() -> Registers {
    Registers {
        // M, C, I.
        sctlr: 1 | 1 << 2 | 1 << 12,
        // 39 bits in the lower half, 48-bit output; no upper half.
        tcr: 25 | 1 << 23 | 0b101 << 32,
        ttbr0: S1[0],
        ttbr1: 0,
        mair: 0xff | 0x04 << 8 | 0x44 << 16 | 0x0c << 24,
        pan: false,
        hcr: hcr::VM,
        // 39 bits from level 1, 48-bit output.
        vtcr: 25 | 1 << 6 | 0b101 << 16,
        vttbr: S2[0],
        features: Features::FULL,
    }
}

#[test]
fn both_stages_lead_to_the_page() {
    let found = Board::new().translate(&registers(), Access::Read).unwrap();
    assert_eq!(found.pa, Pa(IPA + OFFSET + 0x128));
    assert_eq!(found.stage1.ipa, Ipa(IPA + 0x128));
    assert_eq!(found.attributes.memory, MemoryType::WRITE_BACK);
    assert_eq!(found.size(), 0x1000);
    assert!(found.permissions.el1.write && !found.permissions.el0.read);
}

#[test]
fn the_witness_sees_every_descriptor_in_order() {
    let mut seen = vec![];
    let mut witness = |step: WalkStep| match step {
        WalkStep::Stage1(entry) => seen.push((1, entry.level)),
        WalkStep::Stage2(entry) => seen.push((2, entry.level)),
        _ => {}
    };
    translate(&Board::new(), &registers(), Va(VA), Access::Read, El::El1, &mut witness).unwrap();
    let through_stage2 = [(2, 1), (2, 2), (2, 3)];
    let expected: Vec<(i32, i8)> = (1..=3)
        .flat_map(|level| through_stage2.into_iter().chain([(1, level)]))
        .chain(through_stage2)
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn stage_2_off_leaves_stage_1s_word() {
    let mut board = Board::new();
    let registers = Registers { hcr: 0, ttbr0: S1[0] + OFFSET, ..registers() };
    board.set_stage1(1, 1, (S1[1] + OFFSET) | TABLE);
    board.set_stage1(2, 2, (S1[2] + OFFSET) | TABLE);
    let found = board.translate(&registers, Access::Read).unwrap();
    assert_eq!((found.pa, found.stage2), (Pa(IPA + 0x128), None));
    assert_eq!(found.attributes.memory_rule, MemoryRule::Stage2Off);
}

#[test]
fn dc_turns_stage_1_off_and_stage_2_on() {
    let mut board = Board::new();
    let registers = Registers { hcr: hcr::DC, ..registers() };
    let found = translate(&board, &registers, Va(IPA + 8), Access::Write, El::El0, &mut ()).unwrap();
    assert_eq!((found.pa, found.attributes.memory), (Pa(IPA + OFFSET + 8), MemoryType::WRITE_BACK));
    // Stage 1 is Non-shareable then, so the word is stage 2's.
    board.set_stage2(IPA, (IPA + OFFSET) | S2_PAGE & !(0b11 << 8));
    let found = translate(&board, &registers, Va(IPA), Access::Write, El::El0, &mut ()).unwrap();
    assert_eq!(found.attributes.shareability, crate::attributes::Shareability::NonShareable);
}

#[test]
fn a_stage_2_fault_names_the_ipa_of_the_access() {
    let mut board = Board::new();
    board.set_stage2(IPA, 0);
    let fault = board.translate(&registers(), Access::Write).unwrap_err();
    assert_eq!((fault.kind, fault.level), (FaultKind::Translation, 3));
    assert_eq!(fault.hpfar(), Some((IPA >> 12) << 4));
    // Data abort from a lower level, write, translation fault at level 3.
    assert_eq!(fault.syndrome(Access::Write, Taken::FromLowerEl), 0x24 << 26 | 1 << 25 | 1 << 6 | 0b111);
    assert_eq!(Report::from(fault), Report::Fault { status: 0b111, stage2: true, stage1_walk: false });
    assert_eq!(
        fault.to_string(),
        "translation fault at level 3 of stage 2 for IPA 0x40005128, for 0x40403128"
    );
}

#[test]
fn a_stage_2_fault_on_a_stage_1_table_is_s1ptw() {
    for (level, table) in S1.into_iter().enumerate() {
        let mut board = Board::new();
        board.set_stage2(table, 0);
        let fault = board.translate(&registers(), Access::Read).unwrap_err();
        let descriptor = table + (level as u64 + 1) * 8;
        assert_eq!(fault.origin, Origin::Stage1Walk { ipa: Ipa(descriptor) });
        assert_eq!((fault.kind, fault.level), (FaultKind::Translation, 3), "stage 2's level");
        assert_eq!(fault.hpfar(), Some((table >> 12) << 4));
        assert_eq!(fault.syndrome(Access::Read, Taken::FromLowerEl), 0x24 << 26 | 1 << 25 | 1 << 7 | 0b111);
        assert_eq!(Report::from(fault), Report::Fault { status: 0b111, stage2: true, stage1_walk: true });
    }
}

#[test]
fn stage_2_must_let_the_walker_read() {
    let mut board = Board::new();
    board.set_stage2(S1[1], (S1[1] + OFFSET) | S2_PAGE & !(1 << 6));
    let (origin, kind, _) = board.refuses(&registers(), Access::Read);
    assert_eq!((origin, kind), (Origin::Stage1Walk { ipa: Ipa(S1[1] + 16) }, FaultKind::Permission));
    // Read-only is enough, unless hardware has a flag to set.
    board.set_stage2(S1[1], (S1[1] + OFFSET) | S2_PAGE & !(1 << 7));
    board.set_stage2(S1[2], (S1[2] + OFFSET) | S2_PAGE & !(1 << 7));
    assert!(board.translate(&registers(), Access::Read).is_ok());
    board.set_stage1(3, 3, IPA | S1_PAGE & !(1 << 10));
    let with_ha = Registers { tcr: registers().tcr | 1 << 39, ..registers() };
    let (origin, kind, _) = board.refuses(&with_ha, Access::Read);
    assert_eq!((origin, kind), (Origin::Stage1Walk { ipa: Ipa(S1[2] + 24) }, FaultKind::Permission));
    board.set_stage2(S1[2], (S1[2] + OFFSET) | S2_PAGE);
    assert!(board.translate(&with_ha, Access::Read).is_ok());
}

#[test]
fn ptw_keeps_tables_out_of_device_memory() {
    let mut board = Board::new();
    board.set_stage2(S1[0], (S1[0] + OFFSET) | S2_PAGE & !(0b1111 << 2) | 0b01 << 2);
    assert!(board.translate(&registers(), Access::Read).is_ok());
    let protected = Registers { hcr: hcr::VM | hcr::PTW, ..registers() };
    let (origin, kind, _) = board.refuses(&protected, Access::Read);
    assert_eq!((origin, kind), (Origin::Stage1Walk { ipa: Ipa(S1[0] + 8) }, FaultKind::Permission));
}

#[test]
fn the_more_restrictive_permission_wins() {
    let cases: [(u64, u64, Access, Option<Origin>); 6] = [
        (0, 0, Access::Write, None),
        (1 << 7, 0, Access::Write, Some(Origin::Stage1)),
        (0, 1 << 7, Access::Write, Some(Origin::Stage2 { ipa: Ipa(IPA + 0x128) })),
        (0, 1 << 6, Access::Read, Some(Origin::Stage2 { ipa: Ipa(IPA + 0x128) })),
        (1 << 53, 0, Access::Execute, Some(Origin::Stage1)),
        (0, 1 << 54, Access::Execute, Some(Origin::Stage2 { ipa: Ipa(IPA + 0x128) })),
    ];
    for (stage1, stage2, access, blame) in cases {
        let mut board = Board::new();
        board.set_stage1(3, 3, (IPA | S1_PAGE) ^ stage1);
        board.set_stage2(IPA, ((IPA + OFFSET) | S2_PAGE) ^ stage2);
        let found = board.translate(&registers(), access).err().map(|fault| (fault.origin, fault.kind));
        assert_eq!(found, blame.map(|origin| (origin, FaultKind::Permission)), "{stage1:#x} {stage2:#x}");
    }
}

#[test]
fn xnx_tells_the_levels_apart() {
    let execute = |xn: u64, el, features| {
        let mut board = Board::new();
        board.set_stage2(IPA, (IPA + OFFSET) | S2_PAGE | xn << 53);
        let registers = Registers { features, ..registers() };
        translate(&board, &registers, Va(VA), Access::Execute, el, &mut ()).is_ok()
    };
    let without = Features { mmfr1: Features::FULL.mmfr1 & !(0xf << 28), ..Features::FULL };
    let expected = [(0b00, true, true), (0b01, false, true), (0b10, false, false), (0b11, true, false)];
    for (xn, el1, el0) in expected {
        assert_eq!(execute(xn, El::El1, Features::FULL), el1, "{xn:#b}");
        assert_eq!(execute(xn, El::El0, Features::FULL), el0, "{xn:#b}");
        assert_eq!(execute(xn, El::El1, without), xn & 0b10 == 0, "{xn:#b} without FEAT_XNX");
    }
}

#[test]
fn device_of_either_stage_makes_device() {
    let memory = |attribute: u64, mem_attr: u64, hcr: u64| {
        let mut board = Board::new();
        board.set_stage1(3, 3, IPA | S1_PAGE | attribute << 2);
        board.set_stage2(IPA, (IPA + OFFSET) | S2_PAGE & !(0b1111 << 2) | mem_attr << 2);
        let registers = Registers { hcr: hcr | hcr::VM, ..registers() };
        board.translate(&registers, Access::Read).unwrap().attributes.memory
    };
    let device = MemoryType::Device;
    assert_eq!(memory(1, 0b1111, 0), device(DeviceKind::NGnRE));
    assert_eq!(memory(0, 0b0001, 0), device(DeviceKind::NGnRE));
    assert_eq!(memory(3, 0b0001, 0), device(DeviceKind::NGnRE), "GRE and nGnRE");
    assert_eq!(memory(2, 0b1111, 0), MemoryType::NON_CACHEABLE);
    assert_eq!(memory(1, 0b0110, hcr::FWB), MemoryType::WRITE_BACK, "forced");
    assert_eq!(memory(1, 0b0111, hcr::FWB), device(DeviceKind::NGnRE), "as stage 1");
    assert_eq!(memory(0, 0b1111, hcr::CD), MemoryType::NON_CACHEABLE);
    assert_eq!(memory(0, 0b1111, hcr::ID), MemoryType::WRITE_BACK, "a data access");
}

#[test]
fn an_ipa_beyond_t0sz_is_a_translation_fault_at_level_0() {
    let mut board = Board::new();
    board.set_stage1(3, 3, 1 << 40 | S1_PAGE);
    let (origin, kind, level) = board.refuses(&registers(), Access::Read);
    assert_eq!(
        (origin, kind, level),
        (Origin::Stage2 { ipa: Ipa(1 << 40 | 0x128) }, FaultKind::Translation, 0)
    );
}

#[test]
fn at_reports_one_stage_or_both() {
    let mut board = Board::new();
    let ask = |board: &Board, stages| at(board, &registers(), Va(VA), Access::Read, El::El1, stages);
    let Report::Success { address, .. } = ask(&board, Stages::First) else { panic!("a fault") };
    assert_eq!(address, IPA);
    let Report::Success { address, .. } = ask(&board, Stages::Both) else { panic!("a fault") };
    assert_eq!(address, IPA + OFFSET);
    board.set_stage2(IPA, 0);
    assert!(matches!(ask(&board, Stages::First), Report::Success { .. }));
    assert!(matches!(ask(&board, Stages::Both), Report::Fault { stage2: true, stage1_walk: false, .. }));
    board.set_stage2(S1[0], 0);
    assert!(matches!(ask(&board, Stages::First), Report::Fault { stage2: true, stage1_walk: true, .. }));
}

#[test]
fn tables_outside_memory_are_external_aborts() {
    let mut board = Board::new();
    board.set_stage2(S1[1], 0x1_0000_0000 | S2_PAGE);
    assert_eq!(
        board.refuses(&registers(), Access::Read),
        (Origin::Stage1, FaultKind::ExternalAbortOnWalk, 2)
    );
    let lost = Registers { vttbr: 0x1_0000_0000, ..registers() };
    let (origin, kind, level) = board.refuses(&lost, Access::Read);
    assert_eq!(
        (origin, kind, level),
        (Origin::Stage1Walk { ipa: Ipa(S1[0] + 8) }, FaultKind::ExternalAbortOnWalk, 1)
    );
}

#[test]
fn at_marks_nothing_dirty() {
    const READ_ONLY_BUT_DIRTIABLE: u64 = 1 << 7 | 1 << 51;
    const WRITABLE: u64 = 1 << 7;
    let registers = Registers { features: Features::FULL, tcr: registers().tcr | 0b11 << 39, ..registers() };
    let mut board = Board::new();
    board.set_stage1(3, 3, IPA | S1_PAGE | READ_ONLY_BUT_DIRTIABLE);
    board.set_stage2(S1[2], (S1[2] + OFFSET) | S2_PAGE & !WRITABLE);
    let table = Origin::Stage1Walk { ipa: Ipa(S1[2] + 3 * 8) };
    assert_eq!(board.refuses(&registers, Access::Write), (table, FaultKind::Permission, 3));
    let report = |stages| at(&board, &registers, Va(VA), Access::Write, El::El1, stages);
    assert!(matches!(report(Stages::First), Report::Success { .. }));
    assert!(matches!(report(Stages::Both), Report::Success { .. }));
}

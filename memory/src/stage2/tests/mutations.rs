// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each barrier, each TLBI and each break is there for a reason: leave any single one out, and the model objects.

use super::*;
use crate::tlb::{BoardMaintenance, Violation};

/// Maintenance with something wrong.
pub(super) struct Faulty {
    inner: BoardMaintenance,
    fault: Fault,
    /// The instructions so far.
    pub(super) issued: Vec<Call>,
}

/// A method of [`Maintenance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Publish,
    InvalidateIpa,
    InvalidateStage1,
    InvalidateVm,
    Complete,
    Synchronize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// The n-th instruction is left out.
    Omit(usize),
    /// Invalidations by address reach the last level only.
    LastLevel,
}

impl Faulty {
    pub(super) fn new(inner: BoardMaintenance, fault: Fault) -> Self {
        Self { inner, fault, issued: vec![] }
    }

    fn unless_omitted(&mut self, call: Call, instruction: impl FnOnce(&mut BoardMaintenance)) {
        if self.fault != Fault::Omit(self.issued.len()) {
            instruction(&mut self.inner);
        }
        self.issued.push(call);
    }
}

impl Maintenance for Faulty {
    fn publish(&mut self) {
        self.unless_omitted(Call::Publish, Maintenance::publish);
    }

    fn invalidate_ipa(&mut self, ipa: Ipa, leaf: Option<TableLevel>, reach: Reach) {
        let reach = if self.fault == Fault::LastLevel { Reach::LastLevel } else { reach };
        self.unless_omitted(Call::InvalidateIpa, |inner| inner.invalidate_ipa(ipa, leaf, reach));
    }

    fn invalidate_stage1(&mut self) {
        self.unless_omitted(Call::InvalidateStage1, Maintenance::invalidate_stage1);
    }

    fn invalidate_vm(&mut self) {
        self.unless_omitted(Call::InvalidateVm, Maintenance::invalidate_vm);
    }

    fn complete(&mut self) {
        self.unless_omitted(Call::Complete, Maintenance::complete);
    }

    fn synchronize(&mut self) {
        self.unless_omitted(Call::Synchronize, Maintenance::synchronize);
    }
}

/// What happens first, and the edit to be done faultily after it.
pub(super) fn scenarios() -> Vec<(&'static str, Vec<Op>, Op)> {
    let block = Op::Map(mapping(GIB1, GIB1, GIB1));
    let pages = Op::Map(mapping(GIB1, GIB1, 4 * KIB4));
    let other_page = Op::Map(mapping(GIB1 + 8 * KIB4, GIB1, KIB4));
    let read_only = Attributes { permissions: Permissions::READ, ..Attributes::RAM };
    let many = Op::Map(mapping(GIB1, GIB1 + KIB4, MIB2));
    vec![
        ("map", vec![], pages),
        ("map where tables are", vec![other_page], Op::Map(mapping(GIB1, GIB1, KIB4))),
        ("unmap a block", vec![block], Op::Unmap { ipa: Ipa(GIB1), size: GIB1 }),
        ("unmap a page of several", vec![pages], Op::Unmap { ipa: Ipa(GIB1 + KIB4), size: KIB4 }),
        ("unmap a table", vec![pages], Op::Unmap { ipa: Ipa(GIB1), size: 4 * KIB4 }),
        ("split a block", vec![block], Op::Unmap { ipa: Ipa(GIB1 + KIB4), size: MIB2 }),
        ("protect a page", vec![pages], Op::Protect { ipa: Ipa(GIB1), size: KIB4, attributes: read_only }),
        (
            "protect part of a block",
            vec![block],
            Op::Protect { ipa: Ipa(GIB1 + MIB2), size: MIB2, attributes: read_only },
        ),
        ("remap", vec![pages], Op::Replace(mapping(GIB1, 3 * GIB1, 2 * KIB4))),
        ("table to block", vec![pages], Op::Replace(mapping(GIB1, 3 * GIB1, GIB1))),
        ("unmap a full table", vec![many], Op::Unmap { ipa: Ipa(GIB1), size: MIB2 }),
    ]
}

/// Runs a scenario; returns what the model says, and the instructions.
fn run(before: &[Op], op: Op, fault: Fault) -> (Vec<Violation>, Vec<Call>) {
    let mut bench = Bench::new(40, 32);
    for &op in before {
        bench.apply(op).unwrap();
    }
    bench.assert_sound();
    let mut maintenance = Faulty::new(bench.board.maintenance(0), fault);
    let mut memory = bench.board.clone();
    bench.apply_with(op, &mut memory, &mut maintenance).unwrap();
    (bench.board.verify(), maintenance.issued)
}

#[test]
fn every_instruction_is_needed() {
    for (name, before, op) in scenarios() {
        let (sound, calls) = run(&before, op, Fault::None);
        assert_eq!(sound, [], "{name}: nothing left out");
        assert!(!calls.is_empty());
        for (omitted, call) in calls.iter().enumerate() {
            let (violations, _) = run(&before, op, Fault::Omit(omitted));
            assert_ne!(violations, [], "{name}: {call:?}, instruction {omitted} of {calls:?}, left out");
        }
    }
}

/// So that the test above leaves out each call that committing can make.
#[test]
fn the_scenarios_go_every_way() {
    use Call::{Complete, InvalidateIpa, InvalidateStage1, InvalidateVm, Publish, Synchronize};
    let ways: Vec<Vec<Call>> = scenarios()
        .iter()
        .map(|(_, before, op)| {
            let mut calls = run(before, *op, Fault::None).1;
            calls.dedup_by(|later, earlier| (*later, *earlier) == (InvalidateIpa, InvalidateIpa));
            calls
        })
        .collect();
    let by_address = [Publish, InvalidateIpa, Complete, InvalidateStage1, Complete, Synchronize, Publish];
    let by_vm = [Publish, InvalidateVm, Complete, Synchronize, Publish];
    let split = [Publish, InvalidateIpa, Complete, InvalidateStage1, Complete, Synchronize, Publish, Publish];
    for way in [&[Publish][..], &[Publish, Publish], &by_address, &by_vm, &split] {
        assert!(ways.iter().any(|found| found == way), "no scenario goes {way:?}: {ways:?}");
    }
}

#[test]
fn tables_on_the_way_must_be_invalidated() {
    for (name, before, op) in scenarios() {
        let (violations, _) = run(&before, op, Fault::LastLevel);
        let tables_go = matches!(name, "unmap a table" | "table to block");
        assert_eq!(!violations.is_empty(), tables_go, "{name}: {violations:?}");
    }
}

/// Editing leaves no empty tables behind, so this one is made by hand: its walk cache must go before its frame does.
#[test]
fn a_table_without_leaves_must_be_invalidated() {
    for fault in [Fault::None, Fault::Omit(1)] {
        let mut bench = Bench::new(40, 32);
        let table = bench.board.allocate().unwrap();
        bench.board.maintenance(0).publish();
        let slot = Pa(bench.stage2.root().0 + 8);
        bench.board.write(slot, Descriptor::table(table).0);
        bench.board.maintenance(0).publish();
        bench.assert_sound();
        let mut maintenance = Faulty::new(bench.board.maintenance(0), fault);
        let mut memory = bench.board.clone();
        let unmap = Op::Unmap { ipa: Ipa(GIB1), size: GIB1 };
        bench.apply_with(unmap, &mut memory, &mut maintenance).unwrap();
        assert_eq!(maintenance.issued[1], Call::InvalidateIpa);
        assert_eq!(bench.board.verify().is_empty(), fault == Fault::None);
    }
}

/// Memory in which one break has no effect, or with `None` none has.
pub(super) struct Unbroken {
    pub(super) board: Board,
    pub(super) omitted: Option<usize>,
    /// The breaks so far.
    pub(super) count: usize,
}

impl TableMemory for Unbroken {
    fn read(&self, pa: Pa) -> u64 {
        self.board.read(pa)
    }

    fn write(&mut self, pa: Pa, value: u64) {
        let breaks =
            Descriptor(value).is_broken() && Descriptor(self.board.read(pa)).restored().0 == value | 1;
        let omitted = breaks && self.omitted.is_none_or(|omitted| omitted == self.count);
        self.count += usize::from(breaks);
        if !omitted {
            self.board.write(pa, value);
        }
    }
}

/// Runs a scenario in such memory; returns what the model says, and the number of breaks.
fn run_unbroken(before: &[Op], op: Op, omitted: Option<usize>) -> (Vec<Violation>, usize) {
    let mut bench = Bench::new(40, 32);
    for &op in before {
        bench.apply(op).unwrap();
    }
    let mut memory = Unbroken { board: bench.board.clone(), omitted, count: 0 };
    let mut maintenance = bench.board.maintenance(0);
    bench.apply_with(op, &mut memory, &mut maintenance).unwrap();
    (bench.board.verify(), memory.count)
}

#[test]
fn every_break_is_needed() {
    for (name, before, op) in scenarios() {
        let (_, breaks) = run_unbroken(&before, op, None);
        assert_eq!(breaks == 0, name.starts_with("map"), "{name}: {breaks} breaks");
        for omitted in 0..breaks {
            let (violations, _) = run_unbroken(&before, op, Some(omitted));
            assert_ne!(violations, [], "{name}: break {omitted} of {breaks} left out");
        }
    }
}

/// Where the old descriptor is followed by another valid one, the model names the fault.
#[test]
fn changes_without_breaks_are_called_so() {
    for (name, before, op) in scenarios() {
        if matches!(name, "split a block" | "protect part of a block" | "remap" | "table to block") {
            let (violations, _) = run_unbroken(&before, op, None);
            let named = violations.iter().any(|found| matches!(found, Violation::BreakBeforeMake { .. }));
            assert!(named, "{name}: {violations:?}");
        }
    }
}

#[test]
fn the_vmid_must_be_loaded_on_the_maintaining_cpu() {
    let mut bench = Bench::new(40, 32);
    bench.map(GIB1, GIB1, GIB1).unwrap();
    let vtcr = bench.stage2.geometry().vtcr(VmidWidth::Sixteen);
    let foreign = Context::from_registers(vtcr, 9 << 48 | 0x7000_0000, vec![Window::IDENTITY]);
    bench.board.with_machine(|machine| machine.load(0, foreign));
    bench.apply(Op::Unmap { ipa: Ipa(GIB1), size: GIB1 }).unwrap();
    assert_ne!(bench.board.verify(), []);
}

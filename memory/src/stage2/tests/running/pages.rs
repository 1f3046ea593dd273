// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages of a VM's RAM taken from it and given back, again and again, while it runs: what that costs, and that no CPU
//! can use what was taken.

use proptest::prelude::*;

use super::*;

/// The block that the pages are in, and the memory behind it.
const BLOCK: u64 = GIB1;
const MEMORY: u64 = 8 * GIB1 + MIB2;
/// Frames to give instead.
const OTHERS: u64 = 12 * GIB1;

fn take(page: u64) -> Op {
    Op::Unmap { ipa: Ipa(BLOCK + page * KIB4), size: KIB4 }
}

fn give(page: u64, pa: u64) -> Op {
    Op::Map(mapping(BLOCK + page * KIB4, pa, KIB4))
}

fn with_block() -> Running {
    let mut running = Running::new(40, 8);
    running.expect(Op::Map(mapping(BLOCK, MEMORY, MIB2)));
    running
}

/// How many of the steps are writes, and what the others are.
fn cost(steps: &[Step]) -> (usize, Vec<Step>) {
    let (writes, others): (Vec<Step>, Vec<Step>) =
        steps.iter().partition(|step| matches!(step, Step::Break | Step::Write));
    (writes.len(), others)
}

#[test]
fn what_a_page_costs() {
    use Step::{Complete, InvalidateIpa, InvalidateStage1, Publish, Synchronize};
    let invalidation = [Publish, InvalidateIpa, Complete, InvalidateStage1, Complete, Synchronize];
    let mut running = with_block();
    // The block is split: the frame for the table goes to the reserve and out of it (2), the block is broken (1), its
    // pieces are written (512), the page among them is emptied (1), the table is published and linked (1).
    let first = running.expect(take(5));
    assert_eq!(cost(&first), (517, [&invalidation[..], &[Publish, Publish]].concat()));
    assert_eq!(first.iter().filter(|&&step| step == Step::Break).count(), 1);
    for round in 0..3 {
        let given = running.expect(give(5, OTHERS + round * KIB4));
        assert_eq!(cost(&given), (1, vec![Publish]), "what was not mapped needs no invalidation");
        let taken = running.expect(take(5));
        assert_eq!(cost(&taken), (2, [&invalidation[..], &[Publish]].concat()), "break, and make empty");
    }
    // A page of the same block that was never taken costs no more than that.
    assert_eq!(cost(&running.expect(take(6))).0, 2);
}

/// Taking the last page takes the table, giving one back brings a new one: more writes, but no more invalidations.
#[test]
fn what_the_last_page_costs() {
    use Step::{Complete, InvalidateIpa, InvalidateStage1, Publish, Synchronize};
    let mut running = with_block();
    running.expect(Op::Unmap { ipa: Ipa(BLOCK), size: MIB2 - KIB4 });
    for round in 0..3 {
        let taken = running.expect(take(511));
        let invalidation =
            [Publish, InvalidateIpa, Complete, InvalidateStage1, Complete, Synchronize, Publish];
        assert_eq!(cost(&taken), (2, invalidation.to_vec()));
        let (writes, calls) = cost(&running.expect(give(511, OTHERS + round * KIB4)));
        // Two tables, one under the other: each to the reserve and out of it, each linked; and the page.
        assert_eq!((writes, calls), (7, vec![Publish, Publish]));
    }
}

/// A third CPU holds what it knows of the VM and runs another: what was taken is to be gone from there too.
#[test]
fn a_page_taken_and_given_back_again_and_again() {
    let mut running = Running::on(Board::new(3, 8), 40);
    running.expect(Op::Map(mapping(BLOCK, MEMORY, MIB2)));
    let foreign = Context::from_registers(
        running.bench.stage2.geometry().vtcr(VmidWidth::Sixteen),
        9 << 48 | 0x7000_0000,
        vec![Window::IDENTITY],
    );
    let mut frame = MEMORY + 5 * KIB4;
    for round in 0..200_u64 {
        running.bench.run_on(2);
        running.bench.board.with_machine(|machine| machine.load(2, foreign.clone()));
        let holders = |running: &Running, frame| {
            running.bench.board.with_machine(|machine| machine.holders(Pa(frame))).len()
        };
        assert!(holders(&running, frame) > 0, "else there is nothing to be seen gone");
        running.expect(take(5));
        assert_eq!(holders(&running, frame), 0, "round {round}");
        frame = OTHERS + round % 7 * KIB4;
        running.expect(give(5, frame));
        assert_eq!(running.bench.translate(BLOCK + 5 * KIB4), Some(frame));
        assert_eq!(running.bench.translate(BLOCK + 4 * KIB4), Some(MEMORY + 4 * KIB4));
    }
    running.bench.assert_sound();
    assert_eq!(running.bench.board.frames_out(), 4, "the root's two, and one of each level");
}

/// The first page and how many, and the frame to give: pages where the borders of tables are.
fn turn() -> impl Strategy<Value = (u64, u64, u64)> {
    let page = prop_oneof![Just(0_u64), Just(1), Just(2), Just(255), Just(510), Just(511), Just(512)];
    (page, 1..=2_u64, 0..4_u64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// From one 2 MiB block after another, or out of one of 1 GiB.
    #[test]
    fn pages_come_and_go(turns in prop::collection::vec(turn(), 1..14), size in prop_oneof![Just(2 * MIB2), Just(GIB1)]) {
        let mut running = Running::new(40, 8);
        running.expect(Op::Map(mapping(BLOCK, MEMORY - MIB2, size)));
        for (page, count, frame) in turns {
            let ipa = BLOCK + page * KIB4;
            let pa = OTHERS + frame * 2 * KIB4;
            let op = if running.plain.at(ipa).is_some() {
                Op::Unmap { ipa: Ipa(ipa), size: count * KIB4 }
            } else {
                Op::Replace(mapping(ipa, pa, count * KIB4))
            };
            let report = running.apply(op);
            prop_assert_eq!(report.wrong, vec![], "{:?}", op);
            prop_assert_eq!(running.bench.board.verify(), vec![]);
        }
    }
}

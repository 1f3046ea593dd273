// SPDX-License-Identifier: MIT OR Apache-2.0
//! Edits while the VM runs: between any two steps of a commit, whatever a CPU can make of an address is what it was, what
//! it will be, or a translation fault, and the last only where a leaf goes that the edit meets.
//!
//! Who serves such a fault waits for the lock that the commit holds. So it is enough that after the commit every CPU
//! translates as it is to: the access that is tried again then succeeds, or its address is not mapped.

mod pages;
mod watch;

use proptest::prelude::*;

use super::mutations::{Call, Fault, Faulty, Unbroken, scenarios};
use super::random::{PlainMap, below_8_gib, op};
use super::*;
use watch::{Report, Step, Watched};

/// A bench, and what is to be mapped there by the plain model.
struct Running {
    bench: Bench,
    plain: PlainMap,
}

impl Running {
    /// The physical addresses have so few bits that what the model leaves in freed frames leads beyond them.
    fn new(ipa_bits: u32, frames: usize) -> Self {
        Self::on(Board::new(2, frames), ipa_bits)
    }

    fn on(board: Board, ipa_bits: u32) -> Self {
        Self { bench: Bench::with_shape(44, ipa_bits, board), plain: PlainMap::default() }
    }

    /// Does `op` with the guest looked at after each step. An edit that is refused is to change nothing.
    fn apply(&mut self, op: Op) -> Report {
        let (memory, maintenance) = (self.bench.board.clone(), self.bench.board.maintenance(0));
        self.apply_with(op, memory, maintenance)
    }

    fn apply_with<M: TableMemory, X: Maintenance>(&mut self, op: Op, memory: M, maintenance: X) -> Report {
        let before = self.plain.clone();
        let possible = self.plain.apply(op).is_ok();
        let watch = watch::Watch::new(&self.bench, op, &before, &self.plain);
        let mut memory = Watched::new(memory, &watch);
        let mut maintenance = Watched::new(maintenance, &watch);
        let done = self.bench.apply_with(op, &mut memory, &mut maintenance);
        if done.is_err() {
            self.plain = before;
        }
        assert!(possible || done.is_err(), "{op:?} was to be refused");
        drop((memory, maintenance));
        watch::Watch::finish(watch, &self.bench, &self.plain)
    }

    /// The same, of which nothing may come that is wrong; returns the steps.
    #[track_caller]
    fn expect(&mut self, op: Op) -> Vec<Step> {
        let Report { steps, wrong, .. } = self.apply(op);
        assert_eq!(wrong, [], "{op:?}");
        steps
    }
}

fn check(mut running: Running, ops: &[Op]) -> Result<(), TestCaseError> {
    for &op in ops {
        let report = running.apply(op);
        prop_assert_eq!(report.wrong, vec![], "{:?}", op);
        prop_assert_eq!(running.bench.board.verify(), vec![]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_access_meets_the_old_the_new_or_a_fault(ops in prop::collection::vec(op(), 2..7)) {
        check(Running::new(40, 200), &ops)?;
    }

    #[test]
    fn an_access_meets_the_same_in_a_wide_root(ops in prop::collection::vec(op(), 2..7)) {
        let ops: Vec<Op> = ops.into_iter().map(below_8_gib).collect();
        check(Running::new(34, 60), &ops)?;
    }
}

/// A scenario's start, in which nothing may be wrong.
fn start(before: &[Op]) -> Running {
    let mut running = Running::new(40, 32);
    for &op in before {
        running.expect(op);
    }
    running
}

/// The scenarios of the mutations, unmutated: so that what is found there comes of the mutation.
#[test]
fn no_scenario_shows_the_guest_anything_else() {
    for (name, before, op) in scenarios() {
        let report = start(&before).apply(op);
        assert_eq!(report.wrong, [], "{name}");
        let breaks = report.steps.contains(&Step::Break);
        assert_eq!(report.faulted, breaks, "{name}: where something is broken a guest can fault");
    }
}

/// Each but two: the `ISB` is for the CPU that edits and runs no guest meanwhile; and where nothing new is mapped, the
/// last publication makes one invalid descriptor of another.
#[test]
fn a_guest_misses_every_instruction() {
    for (name, before, op) in scenarios() {
        let calls = {
            let mut running = start(&before);
            let mut maintenance = Faulty::new(running.bench.board.maintenance(0), Fault::None);
            let mut memory = running.bench.board.clone();
            running.bench.apply_with(op, &mut memory, &mut maintenance).unwrap();
            maintenance.issued
        };
        for (omitted, &call) in calls.iter().enumerate() {
            let mut running = start(&before);
            let maintenance = Faulty::new(running.bench.board.maintenance(0), Fault::Omit(omitted));
            let memory = running.bench.board.clone();
            let report = running.apply_with(op, memory, maintenance);
            let maps_nothing = name.starts_with("unmap") && omitted == calls.len() - 1;
            let needless = call == Call::Synchronize || maps_nothing;
            let told = format!("{name}: {call:?}, {omitted} of {calls:?}, left out");
            assert_eq!(report.wrong.is_empty(), needless, "{told}");
        }
    }
}

#[test]
fn a_guest_misses_every_break() {
    for (name, before, op) in scenarios() {
        let steps = start(&before).apply(op).steps;
        let breaks = steps.iter().filter(|&&step| step == Step::Break).count();
        for omitted in 0..breaks {
            let mut running = start(&before);
            let maintenance = running.bench.board.maintenance(0);
            let memory = Unbroken { board: running.bench.board.clone(), omitted: Some(omitted), count: 0 };
            let report = running.apply_with(op, memory, maintenance);
            assert_ne!(report.wrong, [], "{name}: break {omitted} of {breaks} left out");
        }
    }
}

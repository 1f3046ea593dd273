// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest looked at after each step of an edit.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::mem;
use std::rc::Rc;

use super::super::random::PlainMap;
use super::super::*;
use crate::tlb::Outcome;

/// The CPUs that run the VM.
const CPUS: [usize; 2] = [0, 1];
/// What is told of one edit at most: one thing wrong shows everywhere.
const ENOUGH: usize = 8;

/// A step of an edit: one write of a descriptor, one call of [`Maintenance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A write that makes a valid descriptor invalid and keeps the rest.
    Break,
    /// Any other write.
    Write,
    Publish,
    InvalidateIpa,
    InvalidateStage1,
    InvalidateVm,
    Complete,
    Synchronize,
}

/// Something that a CPU may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The step after which, by number; `None` after the commit.
    after: Option<(usize, Step)>,
    ipa: Ipa,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// An access may meet this, and is to meet `expected` only.
    Met { cpu: usize, met: Outcome, expected: Vec<Outcome> },
    /// Accesses at the same time may meet different memory.
    Both(Vec<Outcome>),
    /// Memory that is not mapped any more can still be used.
    Held { cpu: usize, pa: Pa },
    /// Who serves a fault after the commit is told this by the tables.
    Looked(Option<Pa>),
}

/// An address to look at, and what may be seen there.
#[derive(Clone, Debug)]
struct Spot {
    ipa: u64,
    old: Outcome,
    new: Outcome,
    /// Whether the leaf that maps it meets the edit, so that it may be broken for a while.
    disturbed: bool,
}

/// What comes of looking.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) steps: Vec<Step>,
    pub(super) wrong: Vec<Wrong>,
    /// Whether an access to something that was mapped could meet a fault.
    pub(super) faulted: bool,
}

/// Looks at a guest.
#[derive(Debug)]
pub(super) struct Watch {
    board: Board,
    spots: Vec<Spot>,
    report: Report,
}

impl Watch {
    /// Of `op`, which makes `after` of `before` on the bench.
    pub(super) fn new(bench: &Bench, op: Op, before: &PlainMap, after: &PlainMap) -> Rc<RefCell<Self>> {
        let (start, end) = extent(op);
        let leaves = bench.mappings();
        let disturbed = |ipa: u64| {
            let within = |leaf: &&Mapping| leaf.ipa.0 <= ipa && ipa - leaf.ipa.0 < leaf.size;
            let leaf = leaves.iter().find(within);
            leaf.is_none_or(|leaf| leaf.ipa.0 < end && start < leaf.ipa.0 + leaf.size)
        };
        let end_of_space = bench.stage2.geometry().ipa_end();
        let spots = addresses(start, end, before)
            .into_iter()
            .filter(|&ipa| ipa < end_of_space)
            .map(|ipa| Spot {
                ipa,
                old: outcome(before, ipa),
                new: outcome(after, ipa),
                disturbed: disturbed(ipa),
            })
            .collect();
        let report = Report { steps: vec![], wrong: vec![], faulted: false };
        Rc::new(RefCell::new(Self { board: bench.board.clone(), spots, report }))
    }

    fn note(&mut self, step: Step) {
        self.report.steps.push(step);
        let after = Some((self.report.steps.len() - 1, step));
        for spot in mem::take(&mut self.spots) {
            self.look(after, &spot);
            self.spots.push(spot);
        }
    }

    fn wrong(&mut self, after: Option<(usize, Step)>, ipa: u64, what: What) {
        if self.report.wrong.len() < ENOUGH {
            self.report.wrong.push(Wrong { after, ipa: Ipa(ipa), what });
        }
    }

    /// All that accesses to `ipa` could meet, by CPU.
    fn met(&self, ipa: u64) -> BTreeSet<(usize, Outcome)> {
        let mut met = BTreeSet::new();
        for cpu in CPUS {
            for (va, asid) in ways_to(ipa) {
                let outcomes = self.board.with_machine(|machine| machine.possible(cpu, va, asid));
                assert!(!outcomes.is_empty(), "CPU {cpu} does not run the VM");
                met.extend(outcomes.into_iter().map(|outcome| (cpu, outcome)));
            }
        }
        met
    }

    /// Looks while the edit is under way.
    fn look(&mut self, after: Option<(usize, Step)>, spot: &Spot) {
        let mut allowed = vec![spot.old, spot.new];
        if spot.disturbed {
            allowed.push(Outcome::TranslationFault);
        }
        let mut translations = BTreeSet::new();
        for (cpu, met) in self.met(spot.ipa) {
            if !allowed.contains(&met) {
                self.wrong(after, spot.ipa, What::Met { cpu, met, expected: allowed.clone() });
            }
            if met == Outcome::TranslationFault {
                self.report.faulted |= spot.old != Outcome::TranslationFault;
            } else {
                translations.insert(met);
            }
        }
        if translations.len() > 1 {
            self.wrong(after, spot.ipa, What::Both(translations.into_iter().collect()));
        }
    }

    /// Looks when the edit is over, and `plain` is what the bench is to map.
    pub(super) fn finish(watch: Rc<RefCell<Self>>, bench: &Bench, plain: &PlainMap) -> Report {
        let Ok(watch) = Rc::try_unwrap(watch) else { panic!("somebody still looks") };
        let mut watch = watch.into_inner();
        let mapped = plain.ranges();
        for spot in mem::take(&mut watch.spots) {
            let expected = outcome(plain, spot.ipa);
            for (cpu, met) in watch.met(spot.ipa) {
                if met != expected {
                    watch.wrong(None, spot.ipa, What::Met { cpu, met, expected: vec![expected] });
                }
            }
            let told = bench.translate(spot.ipa).map(Pa);
            if told != pa_of(expected) {
                watch.wrong(None, spot.ipa, What::Looked(told));
            }
            for pa in [spot.old, spot.new].into_iter().filter_map(pa_of) {
                let is_mapped = |range: &Mapping| range.pa <= pa && pa.0 - range.pa.0 < range.size;
                if !mapped.iter().any(is_mapped) {
                    watch.look_for_holders(spot.ipa, pa);
                }
            }
        }
        watch.report
    }

    fn look_for_holders(&mut self, ipa: u64, pa: Pa) {
        let frame = pa.align_down(KIB4);
        for (cpu, _) in self.board.with_machine(|machine| machine.holders(frame)) {
            self.wrong(None, ipa, What::Held { cpu, pa });
        }
    }
}

/// Memory or maintenance with a look at the guest after each step.
pub(super) struct Watched<T> {
    inner: T,
    watch: Rc<RefCell<Watch>>,
}

impl<T> Watched<T> {
    pub(super) fn new(inner: T, watch: &Rc<RefCell<Watch>>) -> Self {
        Self { inner, watch: Rc::clone(watch) }
    }

    fn step(&mut self, step: Step, act: impl FnOnce(&mut T)) {
        act(&mut self.inner);
        self.watch.borrow_mut().note(step);
    }
}

impl<M: TableMemory> TableMemory for Watched<M> {
    fn read(&self, pa: Pa) -> u64 {
        self.inner.read(pa)
    }

    fn write(&mut self, pa: Pa, value: u64) {
        let breaks = value & 1 == 0 && value != 0 && self.inner.read(pa) == value | 1;
        let step = if breaks { Step::Break } else { Step::Write };
        self.step(step, |memory| memory.write(pa, value));
    }
}

impl<X: Maintenance> Maintenance for Watched<X> {
    fn publish(&mut self) {
        self.step(Step::Publish, Maintenance::publish);
    }

    fn invalidate_ipa(&mut self, ipa: Ipa, leaf: Option<TableLevel>, reach: Reach) {
        self.step(Step::InvalidateIpa, |inner| inner.invalidate_ipa(ipa, leaf, reach));
    }

    fn invalidate_stage1(&mut self) {
        self.step(Step::InvalidateStage1, Maintenance::invalidate_stage1);
    }

    fn invalidate_vm(&mut self) {
        self.step(Step::InvalidateVm, Maintenance::invalidate_vm);
    }

    fn complete(&mut self) {
        self.step(Step::Complete, Maintenance::complete);
    }

    fn synchronize(&mut self) {
        self.step(Step::Synchronize, Maintenance::synchronize);
    }
}

/// The first IPA that `op` is about, and the first behind it.
const fn extent(op: Op) -> (u64, u64) {
    let (ipa, size) = match op {
        Op::Map(mapping) | Op::Replace(mapping) => (mapping.ipa, mapping.size),
        Op::Unmap { ipa, size } | Op::Protect { ipa, size, .. } => (ipa, size),
    };
    (ipa.0, ipa.0 + size)
}

/// Addresses in the edit and at its edges, in what is mapped around it, in the blocks it may split, and elsewhere.
fn addresses(start: u64, end: u64, before: &PlainMap) -> BTreeSet<u64> {
    let block = |address: u64, size: u64| (address & !(size - 1), address | (size - KIB4));
    let last = end - KIB4;
    let edge = |size| [block(start, size).0, block(last, size).1];
    let mut pages =
        BTreeSet::from([start, start + KIB4, last, (start + (end - start) / 2) & !(KIB4 - 1), end]);
    pages.extend(start.checked_sub(KIB4));
    pages.extend([edge(MIB2), edge(GIB1)].concat());
    let first_pages = |range: &Mapping| (range.ipa.0..range.ipa.0 + range.size).step_by(0x1000).take(4);
    pages.extend(before.ranges().iter().take(2).flat_map(first_pages));
    // Not at the start of a page, so that a block taken for one of another size shows.
    pages.into_iter().map(|page| page + 0x468).collect()
}

/// How the guest of a bench can get at an IPA: VA and ASID.
fn ways_to(ipa: u64) -> Vec<(Va, u16)> {
    let user = ipa.checked_sub(GIB1).filter(|&offset| offset < 3 * KIB4);
    let mut ways = vec![(Va(ipa), 0)];
    ways.extend(user.map(|offset| (Va((1 << 48) + offset), 1)));
    ways
}

/// What an access to `ipa` is to meet by the plain map.
fn outcome(plain: &PlainMap, ipa: u64) -> Outcome {
    match plain.at(ipa) {
        Some((pa, attributes)) => Outcome::Memory { pa, attributes: bits(attributes) },
        None => Outcome::TranslationFault,
    }
}

const fn pa_of(outcome: Outcome) -> Option<Pa> {
    match outcome {
        Outcome::Memory { pa, .. } => Some(pa),
        _ => None,
    }
}

/// The bits of a descriptor for these attributes, by the manual: access flag, Inner Shareable, XN, S2AP, MemAttr.
fn bits(attributes: Attributes) -> u64 {
    let Attributes { memory, permissions } = attributes;
    let mem_attr = match memory {
        Memory::WriteBack => 0b1111,
        Memory::NonCacheable => 0b0101,
        Memory::Device(kind) => {
            assert_eq!(attributes, Attributes::DEVICE, "{kind:?} is not used here");
            0b0001
        }
    };
    let xn = if permissions.execute { 0 } else { 1 << 54 };
    let s2ap = u64::from(permissions.read) << 6 | u64::from(permissions.write) << 7;
    1 << 10 | 0b11 << 8 | xn | s2ap | mem_attr << 2
}

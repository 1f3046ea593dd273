// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random edits: the tables agree with a plain map, no TLB is ever left with a stale entry, no frame is lost.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What is mapped, by first IPA: the plain model.
#[derive(Clone, Debug, Default)]
pub(super) struct PlainMap(BTreeMap<u64, Mapping>);

impl PlainMap {
    /// Cuts the ranges at `at`, so that one starts there if anything is mapped there.
    fn cut(&mut self, at: u64) {
        let found = self.0.range(..at).next_back().map(|(_, range)| *range);
        if let Some(range) = found.filter(|range| range.ipa.0 + range.size > at) {
            let head = at - range.ipa.0;
            self.0.insert(range.ipa.0, Mapping { size: head, ..range });
            let tail = Mapping {
                ipa: Ipa(at),
                pa: Pa(range.pa.0 + head),
                size: range.size - head,
                attributes: range.attributes,
            };
            self.0.insert(at, tail);
        }
    }

    /// Where `ipa` leads, and how.
    pub(super) fn at(&self, ipa: u64) -> Option<(Pa, Attributes)> {
        let (_, range) = self.0.range(..=ipa).next_back()?;
        let offset = ipa - range.ipa.0;
        (offset < range.size).then_some((Pa(range.pa.0 + offset), range.attributes))
    }

    /// The ranges between two addresses, taken out.
    fn take(&mut self, start: u64, end: u64) -> Vec<Mapping> {
        self.cut(start);
        self.cut(end);
        let keys: Vec<u64> = self.0.range(start..end).map(|(&key, _)| key).collect();
        keys.iter().filter_map(|key| self.0.remove(key)).collect()
    }

    /// Applies `op`; leaves everything as it was and returns the first offending IPA if it is refused.
    pub(super) fn apply(&mut self, op: Op) -> Result<(), u64> {
        let mut new = self.clone();
        match op {
            Op::Map(mapping) => {
                let taken = new.take(mapping.ipa.0, mapping.ipa.0 + mapping.size);
                if let Some(first) = taken.first() {
                    return Err(first.ipa.0);
                }
                new.0.insert(mapping.ipa.0, mapping);
            }
            Op::Replace(mapping) => {
                new.take(mapping.ipa.0, mapping.ipa.0 + mapping.size);
                new.0.insert(mapping.ipa.0, mapping);
            }
            Op::Unmap { ipa, size } => {
                new.take(ipa.0, ipa.0 + size);
            }
            Op::Protect { ipa, size, attributes } => {
                let mut reached = ipa.0;
                for range in new.take(ipa.0, ipa.0 + size) {
                    if range.ipa.0 > reached {
                        return Err(reached);
                    }
                    reached = range.ipa.0 + range.size;
                    new.0.insert(range.ipa.0, Mapping { attributes, ..range });
                }
                if reached < ipa.0 + size {
                    return Err(reached);
                }
            }
        }
        *self = new;
        Ok(())
    }

    /// The ranges with those that continue one another made one.
    pub(super) fn ranges(&self) -> Vec<Mapping> {
        let mut ranges: Vec<Mapping> = Vec::new();
        for next in self.0.values() {
            match ranges.last_mut() {
                Some(last)
                    if last.ipa.0 + last.size == next.ipa.0
                        && last.pa.0 + last.size == next.pa.0
                        && last.attributes == next.attributes =>
                {
                    last.size += next.size;
                }
                _ => ranges.push(*next),
            }
        }
        ranges
    }
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let read_only = Attributes { permissions: Permissions::READ, ..Attributes::RAM };
    prop_oneof![
        4 => Just(Attributes::RAM),
        2 => Just(read_only),
        1 => Just(Attributes::DEVICE),
    ]
}

/// Addresses where boundaries of pages, blocks and root tables meet.
fn address() -> impl Strategy<Value = u64> {
    let gib = prop_oneof![Just(0_u64), Just(1), Just(2), Just(511), Just(512)];
    let mib2 = prop_oneof![4 => Just(0_u64), 2 => Just(1), 1 => Just(511)];
    let page = prop_oneof![4 => Just(0_u64), 2 => Just(1), 1 => Just(511)];
    (gib, mib2, page).prop_map(|(gib, mib2, page)| gib * GIB1 + mib2 * MIB2 + page * KIB4)
}

/// An IPA, a physical address and a size, such that not too many pages come of it.
fn range() -> impl Strategy<Value = (Ipa, Pa, u64)> {
    let size = prop_oneof![
        3 => Just(KIB4),
        1 => Just(3 * KIB4),
        3 => Just(MIB2),
        1 => Just(MIB2 + KIB4),
        1 => Just(2 * MIB2),
        2 => Just(GIB1),
        1 => Just(GIB1 + MIB2),
    ];
    // Whether the physical address sits in its block as the IPA does.
    let skew = prop_oneof![6 => Just(0), 1 => Just(KIB4), 1 => Just(MIB2)];
    (address(), size, 0..4_u64, skew).prop_map(|(ipa, size, gib, skew)| {
        let skew = if size > 2 * MIB2 && skew == KIB4 { MIB2 } else { skew };
        (Ipa(ipa), Pa(ipa % GIB1 + (4 + gib) * GIB1 + skew), size)
    })
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let mapping = || {
        (range(), attributes()).prop_map(|((ipa, pa, size), attributes)| Mapping {
            ipa,
            pa,
            size,
            attributes,
        })
    };
    prop_oneof![
        5 => mapping().prop_map(Op::Map),
        3 => mapping().prop_map(Op::Replace),
        3 => range().prop_map(|(ipa, _, size)| Op::Unmap { ipa, size }),
        3 => (range(), attributes())
            .prop_map(|((ipa, _, size), attributes)| Op::Protect { ipa, size, attributes }),
    ]
}

/// `op` moved below 8 GiB.
pub(super) fn below_8_gib(op: Op) -> Op {
    let low = |ipa: Ipa| Ipa(ipa.0 % (8 * GIB1));
    match op {
        Op::Map(mapping) => Op::Map(Mapping { ipa: low(mapping.ipa), ..mapping }),
        Op::Replace(mapping) => Op::Replace(Mapping { ipa: low(mapping.ipa), ..mapping }),
        Op::Unmap { ipa, size } => Op::Unmap { ipa: low(ipa), size },
        Op::Protect { ipa, size, attributes } => Op::Protect { ipa: low(ipa), size, attributes },
    }
}

fn check(ipa_bits: u32, frames: usize, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut bench = Bench::new(ipa_bits, frames);
    let mut plain = PlainMap::default();
    for &op in ops {
        let before = plain.clone();
        match (bench.apply(op), plain.apply(op)) {
            (Ok(()), expected) => prop_assert_eq!(expected, Ok(())),
            (Err(MapError::OutOfFrames { .. }), _) => plain = before,
            (Err(MapError::Overlap { ipa } | MapError::NotMapped { ipa }), expected) => {
                prop_assert_eq!(expected, Err(ipa.0));
            }
            (Err(error), _) => prop_assert!(false, "{}", error),
        }
        prop_assert_eq!(bench.ranges(), plain.ranges());
        prop_assert_eq!(bench.board.verify(), vec![]);
        prop_assert_eq!(bench.board.frames_out() as u64, bench.stage2.frames(&bench.board));
    }
    for cpu in 0..2 {
        bench.board.with_machine(|machine| machine.unload(cpu));
    }
    let Bench { mut board, stage2 } = bench;
    stage2.destroy(&board.clone(), &mut board);
    prop_assert_eq!(board.frames_out(), 0);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn random_edits_are_sound(ops in prop::collection::vec(op(), 1..14)) {
        check(40, 200, &ops)?;
    }

    /// From level 2, with all 16 root tables.
    #[test]
    fn random_edits_are_sound_in_a_wide_root(ops in prop::collection::vec(op(), 1..10)) {
        let ops: Vec<Op> = ops.into_iter().map(below_8_gib).collect();
        check(34, 60, &ops)?;
    }

    #[test]
    fn random_edits_are_sound_when_frames_are_few(ops in prop::collection::vec(op(), 1..14)) {
        check(44, 10, &ops)?;
    }
}

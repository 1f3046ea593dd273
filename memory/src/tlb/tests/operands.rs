// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an operand says: hints, ranges and their edges, in all three granules.

use proptest::prelude::*;

use super::zoo::{HERE, IPA, RangeOperand, el1, global, one, source, taken};
use super::*;

const fn with_ttl(operand: u64, ttl: u64) -> u64 {
    operand | ttl << 44
}

fn decode(operation: Operation, operand: u64) -> Tlbi {
    let (op1, crn, crm, op2) = Instruction { operation, scope: Scope::Local }.encoding();
    Tlbi::decode(op1, crn, crm, op2, operand).unwrap().0
}

fn range_of(operand: RangeOperand) -> Addresses {
    let Tlbi::Va { addresses, .. } = decode(Operation::Rvae1, operand.bits()) else { unreachable!() };
    addresses
}

fn bounds_of(operand: RangeOperand) -> (u64, u64) {
    let Addresses::Range { first, last, .. } = range_of(operand) else { panic!("no range") };
    (first, last)
}

/// Leaves of the level hinted at go, and tables above it; what is of another level or granule stays.
#[test]
fn a_hint_is_for_leaves_of_its_level_and_tables_above() {
    let vae1 = |ttl| taken(decode(Operation::Vae1, with_ttl(one(HERE, 5), ttl)));
    let page = ["leaf 5", "run 5", "table 5", "root table 5", "combined 5", "global leaf", "global combined"];
    assert_eq!(vae1(0b01_11), page);
    assert_eq!(vae1(0b01_10), ["block 5", "root table 5", "piece of block 5"]);
    assert_eq!(vae1(0b01_01), ["root table 5"]);
    assert_eq!(vae1(0b11_11), ["64 KiB leaf 5"]);
    assert_eq!(vae1(0b10_11), [""; 0]);
}

#[test]
fn a_hint_for_the_last_level_alone() {
    let vale1 = |ttl| taken(decode(Operation::Vale1, with_ttl(one(HERE, 5), ttl)));
    assert_eq!(vale1(0b01_10), ["block 5", "piece of block 5"]);
    assert_eq!(vale1(0b01_01), [""; 0]);
}

#[test]
fn hints_for_stage_2_and_el2() {
    let ipas2e1 = |ttl| taken(decode(Operation::Ipas2e1, with_ttl(one(IPA, 0), ttl)));
    assert_eq!(ipas2e1(0b01_11), ["stage-2 leaf", "stage-2 run", "stage-2 table", "root stage-2 table"]);
    assert_eq!(ipas2e1(0b01_10), ["stage-2 block", "root stage-2 table"]);
    let vae2 = |ttl| taken(decode(Operation::Vae2, with_ttl(one(HERE, 0), ttl)));
    assert_eq!(vae2(0b01_11), ["EL2 leaf", "EL2 table"]);
    assert_eq!(vae2(0b01_10), ["EL2 block"]);
}

#[test]
fn reserved_hints_say_nothing() {
    let plain = decode(Operation::Vae1, one(HERE, 5));
    for ttl in [0b00_01, 0b00_10, 0b00_11, 0b01_00, 0b10_00, 0b10_01, 0b11_00] {
        assert_eq!(decode(Operation::Vae1, with_ttl(one(HERE, 5), ttl)), plain, "{ttl:#06b}");
    }
}

#[test]
fn a_range_hint_is_for_leaves_of_its_level_and_tables_above() {
    let base = Extent::of_level(Granule::Kib4, 2, HERE).first;
    // 64 pages from the start of the block, so that the page is in it too.
    let whole = RangeOperand { num: 0, scale: 1, ..RangeOperand::two_pages(base, 5) };
    let rvae1 = |ttl| taken(decode(Operation::Rvae1, RangeOperand { ttl, ..whole }.bits()));
    assert_eq!(rvae1(0b10), ["block 5", "root table 5", "piece of block 5"]);
    let rvale1 = |ttl| taken(decode(Operation::Rvale1, RangeOperand { ttl, ..whole }.bits()));
    assert_eq!(rvale1(0b10), ["block 5", "piece of block 5"]);
    let level_3 = rvale1(0b11);
    assert!(level_3.contains(&"leaf 5") && !level_3.contains(&"block 5"), "{level_3:?}");
}

#[test]
fn a_range_is_num_plus_one_times_a_power_of_32() {
    let pages = |scale, num| {
        let (first, last) = bounds_of(RangeOperand { scale, num, ..RangeOperand::two_pages(HERE, 5) });
        assert_eq!(first, HERE);
        (last + 1 - first) / PAGE
    };
    assert_eq!([pages(0, 0), pages(0, 1), pages(0, 31)], [2, 4, 64]);
    assert_eq!([pages(1, 0), pages(1, 31)], [64, 2048]);
    assert_eq!([pages(2, 0), pages(2, 31)], [2048, 65536]);
    assert_eq!([pages(3, 0), pages(3, 31)], [65536, 2_097_152]);
}

#[test]
fn a_range_is_in_units_of_its_granule() {
    for (tg, granule) in [(1, Granule::Kib4), (2, Granule::Kib16), (3, Granule::Kib64)] {
        let shift = granule.page_shift();
        let operand = RangeOperand { tg, base: 0x1234, ..RangeOperand::two_pages(0, 5) };
        assert_eq!(bounds_of(operand), (0x1234 << shift, (0x1236 << shift) - 1), "{granule:?}");
        let Addresses::Range { granule: found, .. } = range_of(operand) else { unreachable!() };
        assert_eq!(found, granule);
    }
}

/// The first and the last page in, their neighbours out, for each granule.
#[test]
fn a_range_ends_where_it_ends() {
    for (tg, granule) in [(1, Granule::Kib4), (2, Granule::Kib16), (3, Granule::Kib64)] {
        let size = 1 << granule.page_shift();
        let mut entries = Entries::new();
        for page in 9..=75 {
            let leaf = Source::new(granule, 3, page * size);
            entries.insert(TlbEntry::new(TlbEntryKind::Stage1Leaf, el1(1, 5), leaf, 0));
            entries.insert(TlbEntry::new(TlbEntryKind::Stage2Leaf, global(1), leaf, 0));
        }
        // 64 pages from the tenth.
        let operand = RangeOperand { asid: 5, tg, scale: 0, num: 31, ttl: 0, base: 10 };
        entries.forget(decode(Operation::Rvale1, operand.bits()), 1);
        entries.forget(decode(Operation::Ripas2le1, operand.bits()), 1);
        let left = |kind| {
            let of_kind = entries.iter().filter(|entry| entry.kind == kind);
            of_kind.map(|entry| entry.extent.first / size).collect::<Vec<_>>()
        };
        assert_eq!(left(TlbEntryKind::Stage1Leaf), [9, 74, 75], "{granule:?}");
        assert_eq!(left(TlbEntryKind::Stage2Leaf), [9, 74, 75], "{granule:?}");
    }
}

fn some_source() -> impl Strategy<Value = Source> {
    let granule = prop::sample::select(Granule::ALL.to_vec());
    let near = prop::sample::select(vec![0, 1, 2, 5, 63, 64, 65, 127, 130, 511, 512]);
    (granule, 2..=3_i8, any::<bool>(), near).prop_map(|(granule, level, run, page)| {
        let address = page << granule.page_shift();
        if run { Source::contiguous(granule, level, address) } else { Source::new(granule, level, address) }
    })
}

proptest! {
    /// A range is the sum of its pages, as far as entries of its granule go.
    #[test]
    fn a_range_is_the_sum_of_its_pages(
        source in some_source(),
        table in any::<bool>(),
        tg in 1..=3_u64,
        scale in 0..=1_u64,
        num in 0..=3_u64,
        ttl in 0..=3_u64,
        page in 0..=70_u64,
    ) {
        // Aligned where the hint asks for it, and elsewhere not.
        let granule = [Granule::Kib4, Granule::Kib16, Granule::Kib64][tg as usize - 1];
        let base = if ttl == 3 || ttl == 0 { page } else { 0 };
        let operand = RangeOperand { asid: 5, tg, scale, num, ttl, base };
        let pages = base..base + ((num + 1) << (5 * scale + 1));
        let kind = if table { TlbEntryKind::Stage1Table } else { TlbEntryKind::Stage1Leaf };
        let entry = TlbEntry::new(kind, el1(1, 5), source, 0);
        for (range, single) in [(Operation::Rvae1, Operation::Vae1), (Operation::Rvale1, Operation::Vale1)] {
            let ttl = if ttl == 0 { 0 } else { tg << 2 | ttl };
            let by_page = pages.clone().any(|page| {
                let operand = with_ttl(one(page << granule.page_shift(), 5), ttl);
                decode(single, operand).forgets(1, &entry)
            });
            let expected = by_page && granule == source.granule;
            prop_assert_eq!(decode(range, operand.bits()).forgets(1, &entry), expected);
        }
    }
}

/// A block or run that sticks out of the range translates an address in it, so it goes.
#[test]
fn a_range_takes_what_sticks_out_of_it() {
    let block = TlbEntry::new(TlbEntryKind::Stage2Leaf, global(1), source(2, IPA), 0);
    let mut entries = Entries::new();
    entries.insert(block);
    let last_pages = block.extent.last() + 1 - 2 * PAGE;
    let beyond = block.extent.last() + 1;
    entries.forget(decode(Operation::Ripas2le1, RangeOperand::two_pages(beyond, 0).bits()), 1);
    assert_eq!(entries.iter().count(), 1);
    entries.forget(decode(Operation::Ripas2le1, RangeOperand::two_pages(last_pages, 0).bits()), 1);
    assert_eq!(entries.iter().count(), 0);
}

#[test]
fn a_range_of_a_reserved_granule_is_sure_of_nothing() {
    assert_eq!(range_of(RangeOperand { tg: 0, ..RangeOperand::two_pages(HERE, 5) }), Addresses::Nothing);
}

#[test]
fn a_range_not_aligned_to_its_hint_is_sure_of_nothing() {
    let cases = [(1, 1, 30), (1, 2, 21), (2, 2, 25), (3, 1, 42), (3, 2, 29)];
    for (tg, ttl, shift) in cases {
        let page_shift = [0, 12, 14, 16][tg as usize];
        let base = 1_u64 << (shift - page_shift);
        let aligned = RangeOperand { asid: 5, tg, scale: 0, num: 0, ttl, base };
        assert_eq!(bounds_of(aligned).0, 1 << shift);
        assert_eq!(range_of(RangeOperand { base: base / 2, ..aligned }), Addresses::Nothing, "{tg} {ttl}");
        assert_eq!(range_of(RangeOperand { base: base + 1, ..aligned }), Addresses::Nothing, "{tg} {ttl}");
    }
    // 16 KiB has no blocks of level 1 (without FEAT_LPA2): the hint is none, and asks for no alignment.
    let unhinted = RangeOperand { asid: 5, tg: 2, scale: 0, num: 0, ttl: 1, base: 1 };
    assert!(matches!(range_of(unhinted), Addresses::Range { level: None, first: 0x4000, .. }));
}

#[test]
fn addresses_of_the_upper_half() {
    let kernel = 0xffff_8000_1234_5000;
    let mut entries = Entries::new();
    entries.insert(TlbEntry::new(TlbEntryKind::Stage1Leaf, global(1), source(3, kernel), 0));
    let tagged = Va(0x5aff_8000_1234_5678);
    assert_eq!(entries.lookup(el1(1, 5), tagged).len(), 1, "a tag in the top byte does not matter");
    assert_eq!(entries.lookup(el1(1, 5), Va(kernel & 0x0000_ffff_ffff_ffff)), []);
    let gone = |operation, operand| {
        let mut entries = entries.clone();
        entries.forget(decode(operation, operand), 1);
        entries == Entries::new()
    };
    assert!(gone(Operation::Vale1, one(kernel, 5)));
    assert!(gone(Operation::Rvale1, RangeOperand::two_pages(kernel, 5).bits()));
    assert!(gone(Operation::Rvale1, RangeOperand::two_pages(kernel - PAGE, 5).bits()));
    assert!(!gone(Operation::Rvale1, RangeOperand::two_pages(kernel & 0x0000_7fff_ffff_ffff, 5).bits()));
    // The very last pages, where the range's end would not fit in 64 bits.
    let top = RangeOperand { num: 31, ..RangeOperand::two_pages(!0xfff, 5) };
    assert_eq!(bounds_of(top), (!0xfff, u64::MAX));
}

/// IPAs have no sign.
#[test]
fn a_range_of_high_ipas() {
    let ipa = 1 << 48;
    let Tlbi::Ipa { addresses, .. } = decode(Operation::Ripas2e1, RangeOperand::two_pages(ipa, 0).bits())
    else {
        unreachable!()
    };
    assert!(matches!(addresses, Addresses::Range { first, .. } if first == ipa), "{addresses:?}");
}

/// With TCR_EL1.DS (VTCR_EL2.DS for stage 2), BaseADDR is bits 52:16 whatever the granule.
#[test]
fn base_addresses_with_ds() {
    let operand = RangeOperand { base: 3, ..RangeOperand::two_pages(0, 5) }.bits();
    let first = |operation| match Tlbi::new(operation, operand, RangeUnit::Kib64) {
        Tlbi::Va { addresses: Addresses::Range { first, last, .. }, .. }
        | Tlbi::Ipa { addresses: Addresses::Range { first, last, .. }, .. } => (first, last),
        other => panic!("{other:?}"),
    };
    assert_eq!(first(Operation::Rvae1), (0x3_0000, 0x3_1fff));
    assert_eq!(first(Operation::Ripas2e1), (0x3_0000, 0x3_1fff));
}

/// A contiguous run may be one entry: an address anywhere in it means it.
#[test]
fn a_contiguous_run_goes_as_one() {
    for (granule, entries_of_run) in [(Granule::Kib4, 16), (Granule::Kib16, 128), (Granule::Kib64, 32)] {
        let page = 1 << granule.page_shift();
        let run = Source::contiguous(granule, 3, HERE);
        assert_eq!(run.extent.size, entries_of_run * page);
        let forgets = |va| {
            decode(Operation::Vale1, one(va, 5))
                .forgets(1, &TlbEntry::new(TlbEntryKind::Stage1Leaf, el1(1, 5), run, 0))
        };
        assert!(forgets(run.extent.first) && forgets(run.extent.last()), "{granule:?}");
        assert!(!forgets(run.extent.first - 1) && !forgets(run.extent.last() + 1), "{granule:?}");
    }
}

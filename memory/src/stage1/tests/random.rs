// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random mappings are found again; random garbage does no harm.

use proptest::prelude::*;

use super::*;

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![Just((12_u32, 9_u32)), Just((14, 11)), Just((16, 13))].prop_flat_map(|(page, stride)| {
        (page + 8..=48_u32).prop_map(move |va_bits| {
            let levels = (va_bits - page).div_ceil(stride);
            Shape { page, stride, start: 4 - levels, va_bits }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Several pages: each is found, and a neighbour that is not mapped is not.
    #[test]
    fn what_is_mapped_is_found(
        shape in shape(),
        addresses in prop::collection::btree_set(any::<u64>(), 1..8),
        upper: bool,
        offset in 0..0x1000_u64,
    ) {
        let mut memory = Memory::new();
        let mut pages = BTreeMap::new();
        let page = 1_u64 << shape.page;
        let (root, high) = if upper { (ROOT1, u64::MAX << shape.va_bits) } else { (ROOT0, 0) };
        for address in addresses {
            let va = (address & ((1 << shape.va_bits) - 1) & !(page - 1)) | high;
            let output = (address.rotate_left(13) & 0xffff_ffff_ffff) & !(page - 1);
            memory.map(shape, root, va, 3, output | PAGE, 0);
            pages.insert(va, output);
        }
        let regime = shape.regime();
        for (&va, &output) in &pages {
            prop_assert_eq!(read(&memory, &regime, va + offset), Ok(output + offset));
            let neighbour = va ^ page;
            if !pages.contains_key(&neighbour) {
                prop_assert_eq!(read(&memory, &regime, neighbour), Err((FaultKind::Translation, 3)));
            }
        }
    }

    /// Any registers, any tables: an answer, after at most five reads, inside the output size or a fault.
    #[test]
    fn garbage_does_no_harm(
        registers: [u64; 5],
        words in prop::collection::vec((0..0x8000_u64, any::<u64>()), 0..64),
        va: u64,
        pan: bool,
        features in prop_oneof![Just(FEATURES), Just(Features::FULL), Just(Features::CORTEX_A72)],
    ) {
        let [sctlr, tcr, ttbr0, ttbr1, mair] = registers;
        // Roots and tables that stand a chance of being in RAM.
        let near = |address: u64| address & 0xffff_0000_0003_ffff | RAM.start;
        let regime =
            Regime { sctlr: sctlr | 1, tcr, ttbr0: near(ttbr0), ttbr1: near(ttbr1), mair, pan, hcr: 0, features };
        let words = words.into_iter().map(|(word, value)| (RAM.start + word * 8, near(value)));
        let memory = Memory { words: words.collect(), ..Memory::new() };
        for el in [El::El0, El::El1] {
            for access in [Access::Read, Access::Write, Access::Execute] {
                *memory.reads.borrow_mut() = 0;
                match translate(&memory, &regime, Va(va), access, el) {
                    Ok(found) => prop_assert!(found.ipa.0 >> features.pa_bits() == 0 && found.size.is_power_of_two()),
                    Err(fault) => prop_assert!(fault.level <= 3),
                }
                prop_assert!(*memory.reads.borrow() <= 5);
            }
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every granule, start level and way to end: the words and the picture cope with all of them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vambrace_memory::features::Features;

use super::*;

/// Memory whose words follow from their addresses by a seed: often tables, often leaves, sometimes nothing.
struct Random {
    seed: u64,
    words: BTreeMap<u64, u64>,
}

impl PhysicalMemory for Random {
    fn read(&self, pa: Pa) -> Option<u64> {
        if let Some(word) = self.words.get(&pa.0) {
            return Some(*word);
        }
        let mut mixed = (pa.0 ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^= mixed >> 29;
        let mixed = mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let kind = match mixed >> 60 {
            0 => 0b00,
            1 => 0b01,
            _ => 0b11,
        };
        // Mostly accessible, mostly accessed, and mostly an address that fits.
        let wide = if mixed >> 56 & 0xf == 0 { mixed } else { mixed & !(0xff << 40) };
        let accessed = u64::from(mixed >> 52 & 0xf != 0);
        Some(wide & !0b11 & !(1 << 10) | kind | accessed << 10 | 0b11 << 6)
    }
}

/// Values of `VTCR_EL2` that allow walks, of each granule and from each level, and one that allows none.
const VTCR: [u64; 9] = [
    24 | 1 << 6,
    16 | 2 << 6,
    31,
    24 | 1 << 6 | 0b10 << 14,
    17 | 2 << 6 | 0b10 << 14,
    24 | 1 << 6 | 0b01 << 14,
    12 | 1 << 32 | 1 << 33,
    12 | 3 << 6 | 0b10 << 14 | 1 << 32,
    63,
];

fn registers() -> impl Strategy<Value = Registers> {
    let words = (any::<u64>(), any::<u64>(), any::<u64>());
    let shape = (12_u64..40, 0_u64..4, prop::sample::select(VTCR.to_vec()));
    (words, shape, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |((ttbr, vttbr, mair), (t0sz, tg, vtcr), lpa2, pan, stage2)| Registers {
            sctlr: 1 | 1 << 2 | 1 << 12,
            tcr: t0sz | tg << 14 | t0sz << 16 | 2 << 30 | 6 << 32 | u64::from(lpa2) << 59,
            ttbr0: ttbr & !(0xff << 40),
            ttbr1: ttbr,
            mair,
            pan,
            hcr: u64::from(stage2) | u64::from(pan) << 2,
            vtcr: vtcr | 6 << 16,
            vttbr,
            features: if lpa2 { Features::FULL } else { Features::ARMV8_0 },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_walk_can_be_told_and_drawn(
        seed in any::<u64>(), registers in registers(), va in any::<u64>(), half in any::<bool>(),
        access in prop::sample::select(Does::ALL.to_vec()), el0 in any::<bool>(),
    ) {
        let bits = 64 - (registers.tcr & 0x3f);
        let va = if half { va | u64::MAX << bits } else { va & !(u64::MAX << bits) };
        let memory = Random { seed, words: BTreeMap::new() };
        let el = if el0 { El::El0 } else { El::El1 };
        let report = Report::new(&memory, &registers, Question { va: Va(va), access, el }, &[]);
        let text = plain(&text::render(&report));
        let json = crate::json(&report);
        prop_assert!(serde_json::from_str::<Value>(&json).is_ok());
        match &report.outcome {
            report::WalkOutcome::Translated(found) => assert!(text.contains(&format!("\nPA {}", found.pa))),
            report::WalkOutcome::Fault(fault) => assert!(text.contains(&fault.summary)),
        }
        svg::check::sound(&picture::draw(&report)).unwrap();
    }
}

/// A walk with an identity stage 2 that has one table: the widest picture is of five levels, the narrowest of one.
#[test]
fn granules_and_levels_in_words() {
    for (tg, t0sz, page, levels) in
        [(0, 16, 12, 4), (0, 25, 12, 3), (2, 17, 14, 3), (1, 22, 16, 2), (1, 39, 16, 1)]
    {
        let stride = page - 3;
        let va = 0x12_3456;
        let mut memory = Random { seed: 0, words: BTreeMap::new() };
        let root = 0x4000_0000_u64;
        for level in 0..levels {
            let index = va >> (page + stride * (levels - 1 - level)) & ((1 << stride) - 1);
            let next = root + (u64::from(level) + 1) * 0x1_0000;
            let leaf = if level + 1 == levels { 1 << 10 | 1 << 6 } else { 0 };
            memory.words.insert(root + u64::from(level) * 0x1_0000 + index * 8, next | leaf | 0b11);
        }
        let registers = Registers {
            sctlr: 1,
            tcr: t0sz | tg << 14 | 5 << 32,
            ttbr0: root,
            features: Features::ARMV8_0,
            ..Registers::default()
        };
        let question = Question { va: Va(va), access: Does::Read, el: El::El0 };
        let report = Report::new(&memory, &registers, question, &[]);
        assert_eq!(report.levels.len(), levels as usize, "{tg} {t0sz}");
        let report::WalkOutcome::Translated(found) = &report.outcome else { panic!("{:?}", report.outcome) };
        assert_eq!(found.pa.0, root + u64::from(levels) * 0x1_0000 + va % (1 << page));
        let last = report.levels.last().unwrap().descriptor.as_ref().unwrap();
        assert_eq!((last.size, last.input_bits.1), (Some(1 << page), page), "{tg} {t0sz}");
        svg::check::sound(&picture::draw(&report)).unwrap();
    }
}

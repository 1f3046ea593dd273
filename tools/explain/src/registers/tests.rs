// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables themselves: no field overlaps another, no name comes twice.

use super::*;

#[test]
fn fields_do_not_overlap_whatever_the_value() {
    // Every exception class, with and without the bit that most classes hang on; each form of the others.
    let syndromes = (0..64u64).flat_map(|class| [class << 26, class << 26 | 1 << 24]);
    let values: Vec<u64> = syndromes.chain([0, 1, 1 << 4, 1 << 61, u64::MAX]).collect();
    for register in all() {
        for value in &values {
            let mut seen = 0;
            for field in register.fields(*value) {
                assert!(field.low <= field.high && field.high < 64, "{:?} {}", register.names, field.name);
                assert_eq!(seen & field.mask(), 0, "{:?} {value:#x}: {}", register.names, field.name);
                seen |= field.mask();
            }
        }
    }
}

#[test]
fn enumerated_values_fit_and_come_once() {
    for field in all().flat_map(|register| register.fields(0)) {
        let Meaning::Values(list) = field.meaning else { continue };
        for (index, (value, words)) in list.iter().enumerate() {
            assert!(*value <= field.mask() >> field.low, "{} {value}", field.name);
            assert!(!words.is_empty(), "{} {value}", field.name);
            assert!(list[..index].iter().all(|(other, _)| other != value), "{} {value}", field.name);
        }
    }
}

#[test]
fn names_come_once_and_tell_the_level() {
    let names: Vec<_> = all().flat_map(|register| register.names).collect();
    for (index, name) in names.iter().enumerate() {
        assert!(!names[..index].contains(name), "{name}");
        assert!(["_EL0", "_EL1", "_EL2"].iter().any(|level| name.ends_with(level)), "{name}");
    }
}

#[test]
fn no_value_breaks_a_remark() {
    for register in all() {
        for shift in 0..64 {
            for value in [1u64 << shift, !(1u64 << shift), u64::MAX >> shift, u64::MAX << shift] {
                let _ = (register.remarks)(value);
                let _ = register.fields(value);
            }
        }
    }
}

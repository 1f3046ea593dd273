// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables themselves: no field overlaps another, no name comes twice.

use vambrace_cpu::syndrome::{InstructionLength, Syndrome, SyndromeField, class, field};

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

/// Fields of a class that have a name here and are decoded by EL2.
type Decoded = (u8, &'static [(&'static str, SyndromeField)]);

const DECODED: &[Decoded] = &[
    (
        class::DATA_ABORT_LOWER,
        &[
            ("EC", field::EC),
            ("IL", field::IL),
            ("ISV", field::ISV),
            ("SAS", field::SAS),
            ("SSE", field::SSE),
            ("SRT", field::SRT),
            ("SF", field::SF),
            ("VNCR", field::VNCR),
            ("FnV", field::FNV),
            ("EA", field::EA),
            ("CM", field::CM),
            ("S1PTW", field::S1PTW),
            ("WnR", field::WNR),
            ("DFSC", field::FAULT_STATUS),
        ],
    ),
    (class::INSTRUCTION_ABORT_LOWER, &[("FnV", field::FNV), ("IFSC", field::FAULT_STATUS)]),
    (
        class::SYSTEM,
        &[
            ("Op0", field::OP0),
            ("Op2", field::OP2),
            ("Op1", field::OP1),
            ("CRn", field::CRN),
            ("Rt", field::RT),
            ("CRm", field::CRM),
            ("Direction", field::READ),
        ],
    ),
    (class::CP15_32, &[("Opc2", field::OP2), ("Opc1", field::OP1), ("CV", field::CV), ("COND", field::COND)]),
    (class::CP15_64, &[("Opc1", field::WIDE_OPC1), ("Rt2", field::RT2), ("Rt", field::RT)]),
    (class::WAIT, &[("RN", field::RN), ("RV", field::RV), ("TI", field::TI)]),
    (class::HVC64, &[("imm16", field::IMMEDIATE)]),
];

#[test]
fn the_syndromes_fields_are_those_that_el2_decodes() {
    let esr_el2 = all().find(|register| register.names.contains(&"ESR_EL2")).expect("it is there");
    for (class, decoded) in DECODED {
        let esr = Syndrome::new(*class, InstructionLength::Four, field::ISV.iss_with(1));
        let named = esr_el2.fields(esr.0);
        for (name, field) in *decoded {
            let mask = named.iter().find(|named| named.name == *name).map(|named| named.mask());
            assert_eq!(mask, Some(field.mask()), "{name} of class {class:#x}");
        }
    }
}

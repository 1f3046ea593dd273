// SPDX-License-Identifier: MIT OR Apache-2.0
//! What tells of an exception or a translation: ESR, FAR, HPFAR, PAR.

use vambrace_cpu::syndrome::{FaultStatus, describe};

use super::syndrome::{self, fault_status};
use super::{Field, Layout, Register, Remark, bits, either, mair, nothing, number, one, res1, says, values};
use super::{words, wrong};

pub(super) const REGISTERS: &[Register] = &[
    Register {
        names: &["ESR_EL2", "ESR_EL1"],
        title: "Exception Syndrome Register: why an exception was taken",
        layout: Layout::ByValue(syndrome::tables),
        remarks: esr,
    },
    Register {
        names: &["FAR_EL2", "FAR_EL1"],
        title: "Fault Address Register: the virtual address that faulted",
        layout: Layout::Fixed(&[number(63, 0, "VA", "the virtual address, as the program used it")]),
        remarks: nothing,
    },
    Register {
        names: &["HPFAR_EL2"],
        title: "Hypervisor IPA Fault Address Register: the intermediate address that stage 2 refused",
        layout: Layout::Fixed(&[
            either(63, "NS", "the address is in Non-secure space", ""),
            number(47, 4, "FIPA", "bits 55:12 of the IPA"),
        ]),
        remarks: hpfar,
    },
    Register {
        names: &["PAR_EL1"],
        title: "Physical Address Register: what an AT instruction found",
        layout: Layout::ByValue(par_tables),
        remarks: par,
    },
];

fn esr(value: u64) -> Vec<Remark> {
    let mut remarks = vec![says(format!("{}", describe(value)))];
    remarks.extend(syndrome::remarks(value));
    remarks
}

fn hpfar(value: u64) -> Vec<Remark> {
    let page = bits(value, 47, 4) << 12;
    vec![
        says(format!("the fault is in the page at IPA {page:#x}; the low 12 bits are FAR_EL2's")),
        says(
            "valid after translation, access flag and address size faults of stage 2, and after any stage 2 \
             fault on a stage 1 table walk",
        ),
    ]
}

fn par_tables(value: u64) -> Vec<&'static [Field]> {
    vec![if value & 1 == 0 { FOUND } else { FAILED }]
}

const FOUND: &[Field] = &[
    words(63, 56, "ATTR", mair::attribute),
    number(51, 12, "PA", "bits 51:12 of the physical address"),
    one(11, "NSE/RES1", "with FEAT_RME together with NS the address space; else RES1"),
    number(10, 10, "IMP DEF", "IMPLEMENTATION DEFINED"),
    either(9, "NS", "Non-secure", "Secure; meaningless outside Secure state"),
    values(
        8,
        7,
        "SH",
        &[
            (0b00, "Non-shareable"),
            (0b10, "Outer Shareable (as all Device memory)"),
            (0b11, "Inner Shareable"),
        ],
    ),
    either(0, "F", "", "the translation succeeded"),
];

const FAILED: &[Field] = &[
    number(63, 48, "IMP DEF", "IMPLEMENTATION DEFINED"),
    one(15, "DirtyBit", "the fault is because the descriptor is clean"),
    one(14, "Overlay", "the fault is because of a permission overlay"),
    one(13, "TopLevel", "the fault is because of TopLevel"),
    one(12, "AssuredOnly", "the fault is because of AssuredOnly"),
    res1(11, 11),
    either(9, "S", "the fault is stage 2's", "the fault is stage 1's"),
    one(8, "PTW", "stage 2 refused a stage 1 table"),
    words(6, 1, "FST", fault_status),
    either(0, "F", "the translation failed", ""),
];

fn par(value: u64) -> Vec<Remark> {
    if value & 1 == 0 {
        let pa = bits(value, 51, 12) << 12;
        let memory = mair::attribute(bits(value, 63, 56));
        return vec![says(format!("found: the page at PA {pa:#x}, {memory}"))];
    }
    let status = FaultStatus::decode(bits(value, 6, 1) as u8);
    let (stage, on_walk) = (if value >> 9 & 1 == 0 { 1 } else { 2 }, value >> 8 & 1 != 0);
    let mut remarks = vec![says(format!(
        "no translation: {status}, of stage {stage}{}",
        if on_walk { ", on the walk of stage 1's tables" } else { "" }
    ))];
    if on_walk && stage == 1 {
        remarks.push(wrong("PTW is set, but the fault is stage 1's: only stage 2 refuses a stage 1 table"));
    }
    remarks
}

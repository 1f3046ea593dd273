// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a CPU is and was doing: SPSR, MPIDR.

use super::{Field, Layout, Register, Remark, bits, either, number, one, res1, says, values, wrong};

pub(super) const REGISTERS: &[Register] = &[
    Register {
        names: &["SPSR_EL1", "SPSR_EL2"],
        title: "Saved Program Status Register: PSTATE before the exception, and after the return",
        layout: Layout::ByValue(spsr_tables),
        remarks: spsr,
    },
    Register {
        names: &["MPIDR_EL1", "VMPIDR_EL2"],
        title: "Multiprocessor Affinity Register: which CPU this is",
        layout: Layout::Fixed(&[
            number(39, 32, "Aff3", "affinity level 3"),
            res1(31, 31),
            either(30, "U", "the only CPU of the system", "one CPU of several"),
            one(24, "MT", "Aff0 counts threads of a core that depend on each other"),
            number(23, 16, "Aff2", "affinity level 2"),
            number(15, 8, "Aff1", "affinity level 1"),
            number(7, 0, "Aff0", "affinity level 0"),
        ]),
        remarks: mpidr,
    },
];

/// M\[4\]: the execution state.
const AARCH32: u64 = 1 << 4;

fn spsr_tables(value: u64) -> Vec<&'static [Field]> {
    if value & AARCH32 == 0 { vec![FLAGS, SPSR_64] } else { vec![FLAGS, SPSR_32] }
}

const FLAGS: &[Field] = &[
    either(31, "N", "negative", ""),
    either(30, "Z", "zero", ""),
    either(29, "C", "carry", ""),
    either(28, "V", "overflow", ""),
    one(22, "PAN", "privileged code may not touch EL0's memory"),
    one(21, "SS", "the next instruction runs before a software step exception"),
    one(20, "IL", "the next instruction is an illegal execution state exception"),
    either(7, "I", "IRQs are masked", "IRQs are open"),
    either(6, "F", "FIQs are masked", "FIQs are open"),
];

const SPSR_64: &[Field] = &[
    one(36, "UINJ", "an undefined instruction exception is injected"),
    one(35, "PACM", "PAC instructions use the modifier of FEAT_PAuth_LR"),
    one(34, "EXLOCK", "the exception return state is locked"),
    one(33, "PPEND", "a profiling exception is pending"),
    one(32, "PM", "profiling exceptions are masked"),
    one(25, "TCO", "tags are not checked"),
    one(24, "DIT", "timing does not depend on data"),
    one(23, "UAO", "unprivileged loads and stores act as ordinary ones"),
    one(13, "ALLINT", "interrupts are masked, non-maskable ones too"),
    one(12, "SSBS", "speculative store bypass is allowed"),
    number(11, 10, "BTYPE", "what kind of branch came here"),
    either(9, "D", "debug exceptions are masked", "debug exceptions are open"),
    either(8, "A", "SErrors are masked", "SErrors are open"),
    values(
        4,
        0,
        "M",
        &[
            (0b00000, "EL0, AArch64"),
            (0b00100, "EL1, AArch64, with SP_EL0"),
            (0b00101, "EL1, AArch64, with SP_EL1"),
            (0b01000, "EL2, AArch64, with SP_EL0"),
            (0b01001, "EL2, AArch64, with SP_EL2"),
            (0b01100, "EL3, AArch64, with SP_EL0"),
            (0b01101, "EL3, AArch64, with SP_EL3"),
        ],
    ),
];

const SPSR_32: &[Field] = &[
    number(33, 32, "PPEND, PM", "profiling exceptions: pending, masked"),
    one(27, "Q", "saturation has happened"),
    number(26, 25, "IT[1:0]", "If-Then state"),
    one(24, "DIT", "timing does not depend on data"),
    one(23, "SSBS", "speculative store bypass is allowed"),
    number(19, 16, "GE", "greater or equal, of parallel additions"),
    number(15, 10, "IT[7:2]", "If-Then state"),
    either(9, "E", "data are big-endian", "data are little-endian"),
    either(8, "A", "SErrors are masked", "SErrors are open"),
    either(5, "T", "T32", "A32"),
    values(
        4,
        0,
        "M",
        &[
            (0x10, "User"),
            (0x11, "FIQ"),
            (0x12, "IRQ"),
            (0x13, "Supervisor"),
            (0x16, "Monitor"),
            (0x17, "Abort"),
            (0x1A, "Hyp"),
            (0x1B, "Undefined"),
            (0x1F, "System"),
        ],
    ),
];

fn spsr(value: u64) -> Vec<Remark> {
    let mode = bits(value, 4, 0);
    if value & AARCH32 != 0 {
        return vec![says("the state is AArch32")];
    }
    if !matches!(mode, 0b00000 | 0b00100 | 0b00101 | 0b01000 | 0b01001 | 0b01100 | 0b01101) {
        return vec![wrong("M is no mode: an exception return with it is illegal, and sets PSTATE.IL")];
    }
    match bits(value, 9, 6) {
        0b1111 => vec![says("debug exceptions and all interrupts are masked, as on entry to an exception")],
        0 => vec![says("debug exceptions and all interrupts are open")],
        _ => Vec::new(),
    }
}

fn mpidr(value: u64) -> Vec<Remark> {
    let affinity = |low: u32| bits(value, low + 7, low);
    vec![says(format!("the affinity is {}.{}.{}.{}", affinity(32), affinity(16), affinity(8), affinity(0)))]
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! ESR_ELx: a table for each exception class's ISS.
//!
//! Classes, fault codes, register names and what several fields say together come from the crate `cpu`, whose decoder EL2
//! itself uses. The tables name many more fields than EL2 looks at; a test holds those that both have against each other.

use vambrace_cpu::exit::{DataAbort, DataTransfer, Direction, Exit, SystemRegisterAccess};
use vambrace_cpu::syndrome::{FaultStatus, Syndrome, class, class_name, field};

use super::{Field, Remark, either, number, one, says, values, words, wrong};

/// The tables that make up the layout of `esr`.
pub(super) fn tables(esr: u64) -> Vec<&'static [Field]> {
    let mut tables = vec![COMMON];
    tables.extend(iss(esr));
    tables
}

const COMMON: &[Field] = &[
    words(31, 26, "EC", exception_class),
    either(25, "IL", "the instruction has 32 bits, or none is to blame", "a 16-bit instruction"),
];

fn exception_class(class: u64) -> String {
    match class_name(class as u8) {
        "" => "unallocated, or newer than this program".to_owned(),
        known => known.to_owned(),
    }
}

/// DFSC, IFSC or FST in words.
pub(super) fn fault_status(code: u64) -> String {
    FaultStatus::decode(code as u8).to_string()
}

fn iss(esr: u64) -> Vec<&'static [Field]> {
    // Of an SError this is IDS.
    let valid = field::ISV.is_set(Syndrome(esr));
    match Syndrome(esr).class() {
        class::WAIT => vec![CONDITION, WAIT],
        class::CP15_32 | class::CP14_32 | class::VMRS => vec![CONDITION, COPROCESSOR],
        class::CP15_64 | class::CP14_64 => vec![CONDITION, COPROCESSOR_64],
        class::CP14_MEMORY => vec![CONDITION, COPROCESSOR_MEMORY],
        class::FP => vec![CONDITION],
        class::BRANCH_TARGET => vec![BRANCH_TARGET],
        class::SVC32
        | class::HVC32
        | class::SVC64
        | class::HVC64
        | class::SMC64
        | class::BRK64
        | class::BKPT32 => vec![IMMEDIATE],
        class::SMC32 => vec![CONDITION, SMC32],
        class::SYSTEM => vec![SYSTEM],
        class::ERET => vec![ERET],
        class::POINTER_AUTH_FAIL => vec![POINTER_AUTH_FAIL],
        class::SME => vec![SME],
        class::INSTRUCTION_ABORT_LOWER | class::INSTRUCTION_ABORT_SAME => vec![INSTRUCTION_ABORT],
        class::DATA_ABORT_LOWER | class::DATA_ABORT_SAME if valid => {
            vec![DATA_ABORT, DATA_ABORT_REGISTER, DATA_ABORT_MORE]
        }
        class::DATA_ABORT_LOWER | class::DATA_ABORT_SAME => vec![DATA_ABORT, DATA_ABORT_MORE],
        class::MOPS => vec![MOPS],
        class::FP_EXCEPTION_32 | class::FP_EXCEPTION_64 => vec![FP_EXCEPTION],
        class::SERROR if valid => vec![SERROR_OWN],
        class::SERROR => vec![SERROR],
        class::BREAKPOINT_LOWER | class::BREAKPOINT_SAME | class::VECTOR_CATCH32 => vec![DEBUG_STATUS],
        class::STEP_LOWER | class::STEP_SAME => vec![DEBUG_STATUS, STEP],
        class::WATCHPOINT_LOWER | class::WATCHPOINT_SAME => vec![DEBUG_STATUS, WATCHPOINT],
        class::UNKNOWN
        | class::ILLEGAL_STATE
        | class::PC_ALIGNMENT
        | class::SP_ALIGNMENT
        | class::SVE
        | class::POINTER_AUTH => Vec::new(),
        _ => vec![RAW],
    }
}

/// What several fields say together.
pub(super) fn remarks(esr: u64) -> Vec<Remark> {
    match decode(Syndrome(esr)) {
        Exit::SystemRegister(access) => vec![system(access)],
        Exit::DataAbort(abort) => data_abort(&abort),
        _ => Vec::new(),
    }
}

/// As EL2 decodes it. An abort that EL1 takes from itself has another class, and the same ISS.
fn decode(syndrome: Syndrome) -> Exit {
    let class = match syndrome.class() {
        class::DATA_ABORT_SAME => class::DATA_ABORT_LOWER,
        class => class,
    };
    Exit::decode(Syndrome::new(class, syndrome.length(), syndrome.iss()).0, 0, 0)
}

fn system(access: SystemRegisterAccess) -> Remark {
    let SystemRegisterAccess { register, rt, direction } = access;
    let rt = general(rt, Width::Double);
    says(match (register.op0, direction) {
        (1, _) => format!("the instruction is {register}, with {rt}"),
        (_, Direction::Read) => format!("the instruction is MRS {rt}, {register}"),
        (_, Direction::Write) => format!("the instruction is MSR {register}, {rt}"),
    })
}

fn data_abort(abort: &DataAbort) -> Vec<Remark> {
    let mut remarks = Vec::new();
    if let Some(DataTransfer { log2_bytes, register, sign_extends, is_64_bit }) = abort.transfer() {
        let bytes = 1u32 << log2_bytes;
        let register = general(register, if is_64_bit { Width::Double } else { Width::Single });
        let signed = if sign_extends { ", sign-extended" } else { "" };
        let plural = if bytes == 1 { "" } else { "s" };
        remarks.push(says(match abort.direction {
            Direction::Write => format!("the instruction stores {bytes} byte{plural} of {register}"),
            Direction::Read => format!("the instruction loads {bytes} byte{plural} into {register}{signed}"),
        }));
        if abort.on_walk {
            remarks
                .push(wrong("ISV is set with S1PTW: hardware leaves ISV clear for a fault on a table walk"));
        }
    } else {
        remarks.push(says(
            "without ISV the syndrome does not say what the instruction moves: it has to be fetched and decoded",
        ));
    }
    if abort.on_walk {
        remarks.push(says("the access itself may be innocent: stage 2 refused one of stage 1's tables"));
    }
    remarks
}

enum Width {
    Single,
    Double,
}

/// A general-purpose register's name; 31 is the zero register.
fn general(number: u8, width: Width) -> String {
    match (number, width) {
        (31, Width::Double) => "XZR".to_owned(),
        (31, Width::Single) => "WZR".to_owned(),
        (number, Width::Double) => format!("X{number}"),
        (number, Width::Single) => format!("W{number}"),
    }
}

fn register_x(number: u64) -> String {
    general(number as u8, Width::Double)
}

fn status_register(number: u64) -> String {
    if number == 0 { String::new() } else { format!("for ST64BV: the status goes to {}", register_x(number)) }
}

const RAW: &[Field] = &[number(24, 0, "ISS", "this class's fields are not known to this program")];

const IMMEDIATE: &[Field] = &[number(15, 0, "imm16", "the instruction's immediate")];

const CONDITION: &[Field] = &[
    either(24, "CV", "COND is valid", "COND is not valid"),
    number(23, 20, "COND", "the condition of an AArch32 instruction; 14 is always"),
];

const WAIT: &[Field] = &[
    words(9, 5, "RN", register_x),
    either(2, "RV", "RN is valid: it holds the timeout", "RN is not valid"),
    values(1, 0, "TI", &[(0, "WFI"), (1, "WFE"), (2, "WFIT"), (3, "WFET")]),
];

const COPROCESSOR: &[Field] = &[
    number(19, 17, "Opc2", ""),
    number(16, 14, "Opc1", ""),
    number(13, 10, "CRn", ""),
    words(9, 5, "Rt", register_x),
    number(4, 1, "CRm", ""),
    either(0, "Direction", "a read: MRC or VMRS", "a write: MCR"),
];

const COPROCESSOR_64: &[Field] = &[
    number(19, 16, "Opc1", ""),
    words(14, 10, "Rt2", register_x),
    words(9, 5, "Rt", register_x),
    number(4, 1, "CRm", ""),
    either(0, "Direction", "a read: MRRC", "a write: MCRR"),
];

const COPROCESSOR_MEMORY: &[Field] = &[
    number(19, 12, "imm8", "the offset"),
    words(9, 5, "Rn", register_x),
    either(4, "Offset", "added", "subtracted"),
    number(3, 1, "AM", "addressing mode"),
    either(0, "Direction", "a read: STC", "a write: LDC"),
];

const SMC32: &[Field] =
    &[either(19, "CCKNOWNPASS", "the condition may have failed", "the condition has passed, or CV says so")];

const SYSTEM: &[Field] = &[
    number(21, 20, "Op0", "1: an instruction, 2: debug and trace, 3: the rest"),
    number(19, 17, "Op2", ""),
    number(16, 14, "Op1", "roughly the exception level: 0 is EL1, 3 is EL0, 4 is EL2"),
    number(13, 10, "CRn", ""),
    words(9, 5, "Rt", register_x),
    number(4, 1, "CRm", ""),
    either(0, "Direction", "a read: MRS", "a write: MSR, or an instruction"),
];

const BRANCH_TARGET: &[Field] = &[number(1, 0, "BTYPE", "PSTATE.BTYPE when it happened")];

const ERET: &[Field] = &[
    either(1, "ERET", "ERETAA or ERETAB", "ERET"),
    one(0, "ERETA", "ERETAB, if ERET is set; else ERETAA or ERET"),
];

const POINTER_AUTH_FAIL: &[Field] =
    &[either(1, "IorD", "a data key", "an instruction key"), either(0, "AorB", "key B", "key A")];

const SME: &[Field] = &[values(
    2,
    0,
    "SMTC",
    &[
        (0, "CPACR, CPTR or SMPRI traps SME"),
        (1, "an Advanced SIMD, SVE or SVE2 instruction that is illegal in Streaming SVE mode"),
        (2, "an SME instruction without Streaming SVE mode"),
        (3, "an SME instruction without ZA"),
        (4, "ZT0 is not enabled"),
    ],
)];

const ERROR_TYPE: [(u64, &str); 3] =
    [(0, "recoverable, or not an external abort"), (2, "uncontainable"), (3, "restartable, or corrected")];

const INSTRUCTION_ABORT: &[Field] = &[
    values(12, 11, "SET", &ERROR_TYPE),
    one(10, "FnV", "FAR is not valid"),
    one(9, "EA", "external abort: IMPLEMENTATION DEFINED"),
    one(7, "S1PTW", "stage 2 refused a stage 1 table"),
    words(5, 0, "IFSC", fault_status),
];

const DATA_ABORT: &[Field] = &[
    either(24, "ISV", "the fields about the instruction are valid", "nothing about the instruction"),
    one(13, "VNCR", "made by a register access that FEAT_NV2 turned into a memory access"),
    values(12, 11, "SET", &ERROR_TYPE),
    one(10, "FnV", "FAR is not valid"),
    one(9, "EA", "external abort: IMPLEMENTATION DEFINED"),
    one(8, "CM", "cache maintenance or address translation, not a load or store"),
    one(7, "S1PTW", "stage 2 refused a stage 1 table"),
    either(6, "WnR", "a write", "a read"),
    words(5, 0, "DFSC", fault_status),
];

const DATA_ABORT_REGISTER: &[Field] = &[
    values(23, 22, "SAS", &[(0, "1 byte"), (1, "2 bytes"), (2, "4 bytes"), (3, "8 bytes")]),
    either(21, "SSE", "sign-extended", "not sign-extended"),
    words(20, 16, "SRT", register_x),
    either(15, "SF", "a 64-bit register", "a 32-bit register"),
    either(14, "AR", "acquire or release", "no acquire or release"),
];

const DATA_ABORT_MORE: &[Field] = &[
    one(43, "HDBSSF", "fault of the hardware dirty state structure"),
    one(42, "TnD", "tag access, not data"),
    one(41, "TagAccess", "no access to the tags"),
    one(40, "GCS", "made by a guarded control stack access"),
    one(39, "AssuredOnly", "because of AssuredOnly"),
    one(38, "Overlay", "because of a permission overlay"),
    one(37, "DirtyBit", "because the descriptor is clean"),
    words(36, 32, "Xs", status_register),
];

const MOPS: &[Field] = &[
    either(24, "MemInst", "a memory set instruction", "a memory copy instruction"),
    one(23, "isSETG", "with tags"),
    number(22, 19, "Options", "the instruction's options"),
    either(18, "FromEpilogue", "the epilogue instruction", "not the epilogue instruction"),
    one(17, "WrongOption", "the registers are in the other option's format"),
    either(16, "OptionA", "option A", "option B"),
    words(14, 10, "destreg", register_x),
    words(9, 5, "srcreg", register_x),
    words(4, 0, "sizereg", register_x),
];

const FP_EXCEPTION: &[Field] = &[
    either(23, "TFV", "the flags below are valid", "the flags below are not valid"),
    number(10, 8, "VECITR", "AArch32: vector iteration"),
    one(7, "IDF", "input denormal"),
    one(4, "IXF", "inexact"),
    one(3, "UFF", "underflow"),
    one(2, "OFF", "overflow"),
    one(1, "DZF", "division by zero"),
    one(0, "IOF", "invalid operation"),
];

const SERROR: &[Field] = &[
    either(24, "IDS", "", "the architecture's format"),
    one(13, "IESB", "taken at an implicit error synchronisation barrier"),
    values(
        12,
        10,
        "AET",
        &[
            (0, "uncontainable"),
            (1, "unrecoverable"),
            (2, "restartable"),
            (3, "recoverable"),
            (6, "corrected"),
        ],
    ),
    one(9, "EA", "external abort: IMPLEMENTATION DEFINED"),
    one(8, "WnRV", "WnR is valid"),
    one(7, "WnR", "a write"),
    values(5, 0, "DFSC", &[(0, "uncategorised"), (0x11, "asynchronous SError interrupt")]),
];

const SERROR_OWN: &[Field] =
    &[either(24, "IDS", "a format of the CPU's own", ""), number(23, 0, "ISS", "IMPLEMENTATION DEFINED")];

const DEBUG_STATUS: &[Field] = &[words(5, 0, "FSC", fault_status)];

const STEP: &[Field] =
    &[either(24, "ISV", "EX is valid", "EX is not valid"), one(6, "EX", "an exclusive load was stepped")];

const WATCHPOINT: &[Field] = &[
    number(23, 18, "WPT", "which watchpoint, if WPTV"),
    one(17, "WPTV", "WPT is valid"),
    one(16, "WPF", "it may be a false match"),
    one(15, "FnP", "FAR is not precise"),
    one(13, "VNCR", "made by a register access that FEAT_NV2 turned into a memory access"),
    one(10, "FnV", "FAR is not valid"),
    one(8, "CM", "cache maintenance"),
    either(6, "WnR", "a write", "a read"),
];

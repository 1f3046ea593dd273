// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stage 1 is set up with: TCR, TTBR, SCTLR.
//!
//! The layouts of EL2 are those for HCR_EL2.E2H clear; with E2H set they are EL1's.

use super::{
    Field, Layout, Register, Remark, bits, either, nothing, number, one, res1, says, values, wfe_delay,
    words, wrong,
};

pub(super) const REGISTERS: &[Register] = &[
    Register {
        names: &["TCR_EL1"],
        title: "Translation Control Register: the shape of the stage 1 tables of EL1 and EL0",
        layout: Layout::Fixed(TCR_EL1),
        remarks: tcr_el1,
    },
    Register {
        names: &["TCR_EL2"],
        title: "Translation Control Register: the shape of EL2's own tables (E2H clear)",
        layout: Layout::Fixed(TCR_EL2),
        remarks: tcr_el2,
    },
    Register {
        names: &["TTBR0_EL1", "TTBR1_EL1"],
        title: "Translation Table Base Register: the root of the stage 1 tables",
        layout: Layout::Fixed(&[
            number(63, 48, "ASID", "tags entries that are not global; which TTBR's counts, TCR_EL1.A1 says"),
            number(47, 1, "BADDR", "bits 47:1 of the root table's address; an IPA, where there is a stage 2"),
            CNP,
        ]),
        remarks: ttbr,
    },
    Register {
        names: &["TTBR0_EL2"],
        title: "Translation Table Base Register: the root of EL2's own tables (E2H clear)",
        layout: Layout::Fixed(&[number(47, 1, "BADDR", "bits 47:1 of the root table's address"), CNP]),
        remarks: ttbr,
    },
    Register {
        names: &["SCTLR_EL1"],
        title: "System Control Register: MMU, caches, alignment and traps of EL1 and EL0",
        layout: Layout::Fixed(SCTLR_EL1),
        remarks: sctlr,
    },
    Register {
        names: &["SCTLR_EL2"],
        title: "System Control Register: MMU, caches and alignment of EL2 (E2H clear)",
        layout: Layout::Fixed(SCTLR_EL2),
        remarks: sctlr,
    },
];

const CNP: Field = one(0, "CnP", "the tables are the same on all CPUs of the Inner Shareable domain");

/// IRGN and ORGN.
pub(super) const CACHEABLE: [(u64, &str); 4] = [
    (0, "walks Non-cacheable"),
    (1, "walks Write-Back, read- and write-allocate"),
    (2, "walks Write-Through, read-allocate"),
    (3, "walks Write-Back, read-allocate"),
];

/// SH.
pub(super) const SHAREABLE: [(u64, &str); 3] =
    [(0, "walks Non-shareable"), (2, "walks Outer Shareable"), (3, "walks Inner Shareable")];

/// IPS, PS and PARange.
pub(super) const PHYSICAL_SIZE: [(u64, &str); 8] = [
    (0, "32 bits, 4 GiB"),
    (1, "36 bits, 64 GiB"),
    (2, "40 bits, 1 TiB"),
    (3, "42 bits, 4 TiB"),
    (4, "44 bits, 16 TiB"),
    (5, "48 bits, 256 TiB"),
    (6, "52 bits, 4 PiB"),
    (7, "56 bits, 64 PiB"),
];

const TG0: [(u64, &str); 3] = [(0, "4 KiB tables"), (1, "64 KiB tables"), (2, "16 KiB tables")];
const TG1: [(u64, &str); 3] = [(1, "16 KiB tables"), (2, "4 KiB tables"), (3, "64 KiB tables")];

const TCR_EL1: &[Field] = &[
    one(61, "MTX1", "upper half: tags are never part of the address"),
    one(60, "MTX0", "lower half: tags are never part of the address"),
    one(59, "DS", "52-bit addresses with 4 and 16 KiB tables: FEAT_LPA2"),
    one(58, "TCMA1", "upper half: tag 15 is not checked"),
    one(57, "TCMA0", "lower half: tag 0 is not checked"),
    one(56, "E0PD1", "upper half: EL0 always faults"),
    one(55, "E0PD0", "lower half: EL0 always faults"),
    one(54, "NFD1", "upper half: no non-fault walks of EL0"),
    one(53, "NFD0", "lower half: no non-fault walks of EL0"),
    one(52, "TBID1", "upper half: TBI1 is for data only"),
    one(51, "TBID0", "lower half: TBI0 is for data only"),
    one(50, "HWU162", "upper half: hardware may use bit 62 of descriptors"),
    one(49, "HWU161", "upper half: hardware may use bit 61 of descriptors"),
    one(48, "HWU160", "upper half: hardware may use bit 60 of descriptors"),
    one(47, "HWU159", "upper half: hardware may use bit 59 of descriptors"),
    one(46, "HWU062", "lower half: hardware may use bit 62 of descriptors"),
    one(45, "HWU061", "lower half: hardware may use bit 61 of descriptors"),
    one(44, "HWU060", "lower half: hardware may use bit 60 of descriptors"),
    one(43, "HWU059", "lower half: hardware may use bit 59 of descriptors"),
    one(42, "HPD1", "upper half: table descriptors' permissions do not count"),
    one(41, "HPD0", "lower half: table descriptors' permissions do not count"),
    either(40, "HD", "hardware manages dirty state", ""),
    either(39, "HA", "hardware sets the access flag", "software sets the access flag"),
    one(38, "TBI1", "upper half: the top byte is not part of the address"),
    one(37, "TBI0", "lower half: the top byte is not part of the address"),
    either(36, "AS", "ASIDs have 16 bits", "ASIDs have 8 bits"),
    values(34, 32, "IPS", &PHYSICAL_SIZE),
    values(31, 30, "TG1", &TG1),
    values(29, 28, "SH1", &SHAREABLE),
    values(27, 26, "ORGN1", &CACHEABLE),
    values(25, 24, "IRGN1", &CACHEABLE),
    either(23, "EPD1", "upper half: a TLB miss faults, no walk", "walks of the upper half, by TTBR1_EL1"),
    either(22, "A1", "the ASID is TTBR1_EL1's", "the ASID is TTBR0_EL1's"),
    number(21, 16, "T1SZ", "64 less the bits of the upper half"),
    values(15, 14, "TG0", &TG0),
    values(13, 12, "SH0", &SHAREABLE),
    values(11, 10, "ORGN0", &CACHEABLE),
    values(9, 8, "IRGN0", &CACHEABLE),
    either(7, "EPD0", "lower half: a TLB miss faults, no walk", "walks of the lower half, by TTBR0_EL1"),
    number(5, 0, "T0SZ", "64 less the bits of the lower half"),
];

const TCR_EL2: &[Field] = &[
    one(33, "MTX", "tags are never part of the address"),
    one(32, "DS", "52-bit addresses with 4 and 16 KiB tables: FEAT_LPA2"),
    res1(31, 31),
    one(30, "TCMA", "tag 0 is not checked"),
    one(29, "TBID", "TBI is for data only"),
    one(28, "HWU62", "hardware may use bit 62 of descriptors"),
    one(27, "HWU61", "hardware may use bit 61 of descriptors"),
    one(26, "HWU60", "hardware may use bit 60 of descriptors"),
    one(25, "HWU59", "hardware may use bit 59 of descriptors"),
    one(24, "HPD", "table descriptors' permissions do not count"),
    res1(23, 23),
    one(22, "HD", "hardware manages dirty state"),
    either(21, "HA", "hardware sets the access flag", "software sets the access flag"),
    one(20, "TBI", "the top byte is not part of the address"),
    values(18, 16, "PS", &PHYSICAL_SIZE),
    values(15, 14, "TG0", &TG0),
    values(13, 12, "SH0", &SHAREABLE),
    values(11, 10, "ORGN0", &CACHEABLE),
    values(9, 8, "IRGN0", &CACHEABLE),
    number(5, 0, "T0SZ", "64 less the bits of virtual address"),
];

fn tcr_el1(value: u64) -> Vec<Remark> {
    let mut remarks = vec![half("lower", bits(value, 5, 0)), half("upper", bits(value, 21, 16))];
    for (name, reserved) in [("TG0", bits(value, 15, 14) == 3), ("TG1", bits(value, 31, 30) == 0)] {
        if reserved {
            remarks
                .push(wrong(format!("{name} has a reserved value: the CPU takes some granule that it has")));
        }
    }
    if bits(value, 40, 39) == 0b10 {
        remarks.push(wrong("HD has no effect without HA"));
    }
    remarks
}

fn tcr_el2(value: u64) -> Vec<Remark> {
    let mut remarks = vec![half("whole", bits(value, 5, 0))];
    if bits(value, 15, 14) == 3 {
        remarks.push(wrong("TG0 has a reserved value: the CPU takes some granule that it has"));
    }
    remarks
}

/// What TxSZ makes of a half of the virtual address space.
fn half(which: &str, txsz: u64) -> Remark {
    let size = 64 - txsz;
    if !(16..=52).contains(&size) {
        return wrong(format!(
            "the {which} space would have {size} bits; with no feature are there fewer than 16 or more than 52"
        ));
    }
    let extent = 1u64 << size;
    let range = match which {
        "upper" => format!("{:#x} to {:#x}", 0u64.wrapping_sub(extent), u64::MAX),
        _ => format!("0 to {:#x}", extent - 1),
    };
    let needs = match size {
        49.. => ", which needs FEAT_LPA2 or FEAT_LVA",
        ..25 => ", which needs FEAT_TTST",
        _ => "",
    };
    says(format!("the {which} space has {size} bits: {range}{needs}"))
}

fn ttbr(value: u64) -> Vec<Remark> {
    let root = bits(value, 47, 1) << 1;
    let mut remarks = vec![says(format!("the root table is at {root:#x}"))];
    if root & 0x3F != 0 {
        remarks.push(says(
            "the low 6 bits are not 0: bits 51:48 of a 52-bit address are in 5:2, else they have to be 0",
        ));
    }
    remarks
}

const SCTLR_EL1: &[Field] = &[
    one(63, "TIDCP", "IMPLEMENTATION DEFINED registers and instructions of EL0 trap"),
    one(62, "SPINTMASK", "PSTATE.SP masks interrupts with superpriority"),
    one(61, "NMI", "non-maskable interrupts are on"),
    one(60, "EnTP2", "TPIDR2_EL0 is EL0's"),
    one(59, "TCSO", "EL1: tag checks of stores only"),
    one(58, "TCSO0", "EL0: tag checks of stores only"),
    one(57, "EPAN", "PAN holds for memory that EL0 may only execute"),
    one(56, "EnALS", "EL0 may do LD64B and ST64B"),
    one(55, "EnAS0", "EL0 may do ST64BV0"),
    one(54, "EnASR", "EL0 may do ST64BV"),
    one(53, "TME", "EL1 may use transactions"),
    one(52, "TME0", "EL0 may use transactions"),
    one(51, "TMT", "EL1: transactions fail"),
    one(50, "TMT0", "EL0: transactions fail"),
    words(49, 46, "TWEDEL", wfe_delay),
    one(45, "TWEDEn", "WFE of EL0 traps only after the delay of TWEDEL"),
    one(44, "DSSBS", "PSTATE.SSBS on an exception to EL1"),
    one(43, "ATA", "EL1 may use allocation tags"),
    one(42, "ATA0", "EL0 may use allocation tags"),
    values(41, 40, "TCF", &TAG_CHECK),
    values(39, 38, "TCF0", &TAG_CHECK),
    one(37, "ITFSB", "an exception to EL1 waits for EL0's tag check faults"),
    one(36, "BT1", "EL1: PACIASP is no target of BR"),
    one(35, "BT0", "EL0: PACIASP is no target of BR"),
    one(34, "EnFPM", "FPMR is EL0's"),
    one(33, "MSCEn", "EL0 may use the memory copy and set instructions"),
    one(32, "CMOW", "EL0's cache maintenance needs write permission"),
    one(31, "EnIA", "pointer authentication with key IA"),
    one(30, "EnIB", "pointer authentication with key IB"),
    either(29, "LSMAOE", "AArch32 load and store multiple as in Armv8.0 (RES1 without FEAT_LSMAOC)", ""),
    either(28, "nTLSMD", "AArch32 load and store multiple to Device memory do not trap (RES1 as above)", ""),
    one(27, "EnDA", "pointer authentication with key DA"),
    either(26, "UCI", "cache maintenance is EL0's", "cache maintenance of EL0 traps"),
    either(25, "EE", "EL1's data and tables are big-endian", "EL1's data and tables are little-endian"),
    either(24, "E0E", "EL0's data are big-endian", "EL0's data are little-endian"),
    either(23, "SPAN", "an exception to EL1 leaves PAN", "an exception to EL1 sets PAN"),
    one(22, "EIS", "an exception to EL1 synchronises context (RES1 without FEAT_ExS)"),
    one(21, "IESB", "an exception to EL1 and its return synchronise errors"),
    one(20, "TSCXT", "SCXTNUM_EL0 of EL0 traps (RES1 without FEAT_CSV2_2)"),
    one(19, "WXN", "what is writable is not executable"),
    either(18, "nTWE", "WFE of EL0 does not trap", "WFE of EL0 traps"),
    either(16, "nTWI", "WFI of EL0 does not trap", "WFI of EL0 traps"),
    either(15, "UCT", "CTR_EL0 is EL0's", "reads of CTR_EL0 by EL0 trap"),
    either(14, "DZE", "DC ZVA is EL0's", "DC ZVA of EL0 traps"),
    one(13, "EnDB", "pointer authentication with key DB"),
    either(12, "I", "fetches are cacheable", "fetches are Non-cacheable"),
    one(11, "EOS", "an exception return from EL1 synchronises context (RES1 without FEAT_ExS)"),
    one(10, "EnRCTX", "EL0 may use the speculation restriction instructions"),
    one(9, "UMA", "EL0 may mask interrupts: DAIF is its own"),
    one(8, "SED", "AArch32: SETEND is off at EL0"),
    one(7, "ITD", "AArch32: parts of IT are off at EL0"),
    one(6, "nAA", "misaligned accesses within 16 bytes do not fault"),
    one(5, "CP15BEN", "AArch32: barriers by coprocessor 15 are on at EL0"),
    one(4, "SA0", "EL0: a misaligned SP faults"),
    one(3, "SA", "EL1: a misaligned SP faults"),
    either(2, "C", "data are cacheable", "data are Non-cacheable"),
    one(1, "A", "misaligned accesses fault"),
    either(0, "M", "stage 1 is on", "stage 1 is off"),
];

const TAG_CHECK: [(u64, &str); 4] = [
    (0, "tag check faults have no effect"),
    (1, "tag check faults are exceptions"),
    (2, "tag check faults are counted"),
    (3, "tag check faults of loads are exceptions, of stores counted"),
];

const SCTLR_EL2: &[Field] = &[
    one(62, "SPINTMASK", "PSTATE.SP masks interrupts with superpriority"),
    one(61, "NMI", "non-maskable interrupts are on"),
    one(59, "TCSO", "tag checks of stores only"),
    one(53, "TME", "EL2 may use transactions"),
    one(51, "TMT", "transactions fail"),
    one(44, "DSSBS", "PSTATE.SSBS on an exception to EL2"),
    one(43, "ATA", "EL2 may use allocation tags"),
    values(41, 40, "TCF", &TAG_CHECK),
    one(37, "ITFSB", "an exception to EL2 waits for tag check faults"),
    one(36, "BT", "PACIASP is no target of BR"),
    one(31, "EnIA", "pointer authentication with key IA"),
    one(30, "EnIB", "pointer authentication with key IB"),
    res1(29, 28),
    one(27, "EnDA", "pointer authentication with key DA"),
    either(25, "EE", "EL2's data and tables, and stage 2's, are big-endian", "little-endian"),
    res1(23, 23),
    one(22, "EIS", "an exception to EL2 synchronises context (RES1 without FEAT_ExS)"),
    one(21, "IESB", "an exception to EL2 and its return synchronise errors"),
    one(19, "WXN", "what is writable is not executable"),
    res1(18, 18),
    res1(16, 16),
    one(13, "EnDB", "pointer authentication with key DB"),
    either(12, "I", "fetches are cacheable", "fetches are Non-cacheable"),
    one(11, "EOS", "an exception return from EL2 synchronises context (RES1 without FEAT_ExS)"),
    one(6, "nAA", "misaligned accesses within 16 bytes do not fault"),
    res1(5, 4),
    one(3, "SA", "a misaligned SP faults"),
    either(2, "C", "data are cacheable", "data are Non-cacheable"),
    one(1, "A", "misaligned accesses fault"),
    either(0, "M", "the MMU is on", "the MMU is off"),
];

fn sctlr(value: u64) -> Vec<Remark> {
    match (value & 1, value >> 2 & 1) {
        (0, _) => vec![says(
            "with the MMU off addresses go through as they are, and data are Device-nGnRnE (but see HCR_EL2.DC)",
        )],
        (_, 0) => vec![says("the MMU is on with data caches off")],
        _ => nothing(value),
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a CPU can do: the ID registers that matter to translation and virtualisation, and CTR.

use super::translation::PHYSICAL_SIZE;
use super::{Field, Layout, Register, Remark, bits, either, nothing, res1, says, size, values, words};

pub(super) const REGISTERS: &[Register] = &[
    Register {
        names: &["ID_AA64MMFR0_EL1"],
        title: "Memory Model Feature Register 0: addresses, ASIDs, granules",
        layout: Layout::Fixed(MMFR0),
        remarks: granules,
    },
    Register {
        names: &["ID_AA64MMFR1_EL1"],
        title: "Memory Model Feature Register 1: VMIDs, VHE, PAN, hardware access flags",
        layout: Layout::Fixed(MMFR1),
        remarks: nothing,
    },
    Register {
        names: &["ID_AA64MMFR2_EL1"],
        title: "Memory Model Feature Register 2: large addresses, nesting, FWB, break-before-make",
        layout: Layout::Fixed(MMFR2),
        remarks: nothing,
    },
    Register {
        names: &["ID_AA64PFR0_EL1"],
        title: "Processor Feature Register 0: exception levels, FP, GIC, SVE, RAS",
        layout: Layout::Fixed(PFR0),
        remarks: nothing,
    },
    Register {
        names: &["CTR_EL0"],
        title: "Cache Type Register: line sizes, and how instruction and data caches agree",
        layout: Layout::Fixed(CTR),
        remarks: coherence,
    },
];

const fn optional(high: u32, name: &'static str, what: &'static [(u64, &'static str)]) -> Field {
    values(high, high - 3, name, what)
}

const MMFR0: &[Field] = &[
    optional(63, "ECV", &[(0, "no enhanced counter"), (1, "FEAT_ECV"), (2, "FEAT_ECV with CNTPOFF_EL2")]),
    optional(59, "FGT", &[(0, "no fine-grained traps"), (1, "FEAT_FGT"), (2, "FEAT_FGT2")]),
    optional(47, "ExS", &[(0, "exceptions always synchronise context"), (1, "FEAT_ExS")]),
    optional(43, "TGran4_2", &GRANULE_2),
    optional(39, "TGran64_2", &[(0, "stage 2 as stage 1"), (1, "not at stage 2"), (2, "at stage 2")]),
    optional(35, "TGran16_2", &GRANULE_2),
    optional(31, "TGran4", &[(0, "4 KiB tables"), (1, "4 KiB tables, 52 bits"), (15, "no 4 KiB tables")]),
    optional(27, "TGran64", &[(0, "64 KiB tables"), (15, "no 64 KiB tables")]),
    optional(23, "TGran16", &[(0, "no 16 KiB tables"), (1, "16 KiB tables"), (2, "16 KiB tables, 52 bits")]),
    optional(19, "BigEndEL0", &[(0, "EL0's endianness as BigEnd says"), (1, "EL0 can be big-endian")]),
    optional(15, "SNSMem", &[(0, "Secure and Non-secure are not told apart"), (1, "Secure and Non-secure")]),
    optional(11, "BigEnd", &[(0, "one endianness"), (1, "both endiannesses")]),
    optional(7, "ASIDBits", &[(0, "ASIDs of 8 bits"), (2, "ASIDs of 16 bits")]),
    optional(3, "PARange", &PHYSICAL_SIZE),
];

const GRANULE_2: [(u64, &str); 4] =
    [(0, "stage 2 as stage 1"), (1, "not at stage 2"), (2, "at stage 2"), (3, "at stage 2, 52 bits")];

/// Which granules each stage has.
fn granules(value: u64) -> Vec<Remark> {
    let field = |low: u32| bits(value, low + 3, low);
    let stage1 = [("4 KiB", field(28) != 15), ("16 KiB", field(20) != 0), ("64 KiB", field(24) != 15)];
    let second = [field(40), field(32), field(36)];
    let list = |which: &mut dyn Iterator<Item = &'static str>| {
        let names: Vec<_> = which.collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let at_stage2 = stage1.into_iter().zip(second).filter(|((_, first), second)| match second {
        0 => *first,
        1 => false,
        _ => true,
    });
    vec![
        says(format!(
            "granules of stage 1: {}",
            list(&mut stage1.into_iter().filter(|(_, has)| *has).map(|(name, _)| name))
        )),
        says(format!("granules of stage 2: {}", list(&mut at_stage2.map(|((name, _), _)| name)))),
    ]
}

const MMFR1: &[Field] = &[
    optional(63, "ECBHB", &[(0, "not told"), (1, "branch history does not cross contexts")]),
    optional(59, "CMOW", &[(0, "no FEAT_CMOW"), (1, "FEAT_CMOW")]),
    optional(55, "TIDCP1", &[(0, "no FEAT_TIDCP1"), (1, "FEAT_TIDCP1")]),
    optional(51, "nTLBPA", &[(0, "table walks may be cached by physical address"), (1, "FEAT_nTLBPA")]),
    optional(47, "AFP", &[(0, "no FEAT_AFP"), (1, "FEAT_AFP")]),
    optional(43, "HCX", &[(0, "no HCRX_EL2"), (1, "FEAT_HCX: HCRX_EL2")]),
    optional(39, "ETS", &[(0, "no FEAT_ETS2"), (1, "no FEAT_ETS2"), (2, "FEAT_ETS2"), (3, "FEAT_ETS3")]),
    optional(35, "TWED", &[(0, "no delayed WFE traps"), (1, "FEAT_TWED")]),
    optional(31, "XNX", &[(0, "stage 2 has one XN bit"), (1, "FEAT_XNX: XN by exception level")]),
    optional(27, "SpecSEI", &[(0, "no SError from speculation"), (1, "speculation may cause SErrors")]),
    optional(23, "PAN", &[(0, "no PAN"), (1, "FEAT_PAN"), (2, "FEAT_PAN2"), (3, "FEAT_PAN3")]),
    optional(19, "LO", &[(0, "no LORegions"), (1, "FEAT_LOR")]),
    optional(15, "HPDS", &[(0, "no HPD"), (1, "FEAT_HPDS"), (2, "FEAT_HPDS2")]),
    optional(11, "VH", &[(0, "no VHE"), (1, "FEAT_VHE")]),
    optional(7, "VMIDBits", &[(0, "VMIDs of 8 bits"), (2, "VMIDs of 16 bits")]),
    optional(
        3,
        "HAFDBS",
        &[
            (0, "software manages flags"),
            (1, "hardware access flag"),
            (2, "hardware access flag and dirty state"),
            (3, "the same, and FEAT_HAFT"),
            (4, "the same, and FEAT_HDBSS"),
        ],
    ),
];

const MMFR2: &[Field] = &[
    optional(63, "E0PD", &[(0, "no FEAT_E0PD"), (1, "FEAT_E0PD")]),
    optional(59, "EVT", &[(0, "no FEAT_EVT"), (1, "FEAT_EVT without TLB traps"), (2, "FEAT_EVT")]),
    optional(
        55,
        "BBM",
        &[
            (0, "a change of block size needs break-before-make"),
            (1, "block size changes by nT"),
            (2, "block size changes at will, perhaps with TLB conflicts"),
        ],
    ),
    optional(51, "TTL", &[(0, "no FEAT_TTL"), (1, "FEAT_TTL: TLBI with a level")]),
    optional(43, "FWB", &[(0, "no FEAT_S2FWB"), (1, "FEAT_S2FWB: stage 2 forces Write-Back")]),
    optional(39, "IDS", &[(0, "ID traps are UNDEFINED"), (1, "FEAT_IDST"), (2, "FEAT_IDTE3")]),
    optional(35, "AT", &[(0, "no FEAT_LSE2"), (1, "FEAT_LSE2: 16 bytes at once")]),
    optional(31, "ST", &[(0, "T0SZ up to 39"), (1, "FEAT_TTST: T0SZ up to 48")]),
    optional(27, "NV", &[(0, "no nesting"), (1, "FEAT_NV"), (2, "FEAT_NV2")]),
    optional(23, "CCIDX", &[(0, "CCSIDR of 32 bits"), (1, "FEAT_CCIDX: CCSIDR of 64 bits")]),
    optional(19, "VARange", &[(0, "48-bit VAs"), (1, "52-bit VAs with 64 KiB tables"), (2, "56-bit VAs")]),
    optional(15, "IESB", &[(0, "no FEAT_IESB"), (1, "FEAT_IESB")]),
    optional(11, "LSM", &[(0, "no FEAT_LSMAOC"), (1, "FEAT_LSMAOC")]),
    optional(7, "UAO", &[(0, "no FEAT_UAO"), (1, "FEAT_UAO")]),
    optional(3, "CnP", &[(0, "no FEAT_TTCNP"), (1, "FEAT_TTCNP: common tables")]),
];

const LEVEL: [(u64, &str); 3] = [(0, "not implemented"), (1, "AArch64"), (2, "AArch64 and AArch32")];

const PFR0: &[Field] = &[
    optional(63, "CSV3", &[(0, "not told"), (1, "FEAT_CSV3")]),
    optional(59, "CSV2", &[(0, "not told"), (1, "FEAT_CSV2"), (2, "FEAT_CSV2_2"), (3, "FEAT_CSV2_3")]),
    optional(55, "RME", &[(0, "no Realms"), (1, "FEAT_RME"), (2, "FEAT_RME_GPC2"), (3, "FEAT_RME_GPC3")]),
    optional(51, "DIT", &[(0, "no FEAT_DIT"), (1, "FEAT_DIT")]),
    optional(47, "AMU", &[(0, "no activity monitors"), (1, "FEAT_AMUv1"), (2, "FEAT_AMUv1p1")]),
    optional(43, "MPAM", &[(0, "no MPAM, unless MPAM_frac"), (1, "MPAM version 1")]),
    optional(39, "SEL2", &[(0, "no Secure EL2"), (1, "FEAT_SEL2")]),
    optional(35, "SVE", &[(0, "no SVE"), (1, "FEAT_SVE")]),
    optional(31, "RAS", &[(0, "no RAS"), (1, "FEAT_RAS"), (2, "FEAT_RASv1p1"), (3, "FEAT_RASv2")]),
    optional(27, "GIC", &[(0, "no system registers of a GIC"), (1, "GICv3 or GICv4.0"), (3, "GICv4.1")]),
    optional(23, "AdvSIMD", &[(0, "SIMD"), (1, "SIMD with half precision"), (15, "no SIMD")]),
    optional(19, "FP", &[(0, "floating point"), (1, "with half precision"), (15, "no floating point")]),
    optional(15, "EL3", &LEVEL),
    optional(11, "EL2", &LEVEL),
    optional(7, "EL1", &LEVEL),
    optional(3, "EL0", &LEVEL),
];

const CTR: &[Field] = &[
    words(37, 32, "TminLine", line),
    res1(31, 31),
    either(29, "DIC", "new instructions need no invalidation", "new instructions need IC IVAU"),
    either(28, "IDC", "new instructions need no cleaning", "new instructions need DC CVAU"),
    words(27, 24, "CWG", granule),
    words(23, 20, "ERG", granule),
    words(19, 16, "DminLine", line),
    values(
        15,
        14,
        "L1Ip",
        &[(0, "VPIPT"), (2, "virtually indexed, physically tagged"), (3, "physically indexed and tagged")],
    ),
    words(3, 0, "IminLine", line),
];

/// A cache line, from log2 of its words.
fn line(log: u64) -> String {
    if log > 20 { "out of range".to_owned() } else { size(4 << log) }
}

fn granule(log: u64) -> String {
    if log == 0 { "not told: 2KiB at most".to_owned() } else { size(4 << log) }
}

fn coherence(value: u64) -> Vec<Remark> {
    match (bits(value, 29, 29), bits(value, 28, 28)) {
        (1, 1) => vec![says("instruction and data caches agree by themselves; barriers remain")],
        _ => Vec::new(),
    }
}

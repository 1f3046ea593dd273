// SPDX-License-Identifier: MIT OR Apache-2.0
//! VTCR_EL2: the shape of the stage 2 tables, and which shapes the architecture forbids.

use super::translation::{CACHEABLE, PHYSICAL_SIZE, SHAREABLE};
use super::{Field, Layout, Register, Remark, bits, either, number, one, res1, says, size, values, wrong};

pub(super) const REGISTERS: &[Register] = &[Register {
    names: &["VTCR_EL2"],
    title: "Virtualization Translation Control Register: the shape of the stage 2 tables",
    layout: Layout::Fixed(VTCR),
    remarks: vtcr,
}];

const VTCR: &[Field] = &[
    one(45, "HDBSS", "hardware tracks dirty state in a structure"),
    one(44, "HAFT", "hardware sets the access flag of table descriptors"),
    one(41, "TL0", "stage 1 with AssuredOnly permission checks TopLevel0"),
    one(40, "GCSH", "guarded control stacks are checked by AssuredOnly"),
    one(38, "D128", "descriptors have 128 bits"),
    one(37, "S2POE", "permission overlays are on"),
    one(36, "S2PIE", "permissions are indirect"),
    one(35, "TL1", "stage 1 with AssuredOnly permission checks TopLevel1"),
    one(34, "AssuredOnly", "descriptors have the AssuredOnly attribute"),
    either(33, "SL2", "with DS and 4 KiB tables: the walk starts at level -1", ""),
    one(32, "DS", "52-bit addresses with 4 and 16 KiB tables: FEAT_LPA2"),
    res1(31, 31),
    either(30, "NSA", "Secure state: the Non-secure IPA space ends in Non-secure memory", ""),
    either(29, "NSW", "Secure state: the Non-secure IPA space has its tables in Non-secure memory", ""),
    one(28, "HWU62", "hardware may use bit 62 of descriptors"),
    one(27, "HWU61", "hardware may use bit 61 of descriptors"),
    one(26, "HWU60", "hardware may use bit 60 of descriptors"),
    one(25, "HWU59", "hardware may use bit 59 of descriptors"),
    either(22, "HD", "hardware manages dirty state", "software manages dirty state"),
    either(21, "HA", "hardware sets the access flag", "software sets the access flag"),
    either(19, "VS", "VMIDs have 16 bits", "VMIDs have 8 bits"),
    values(18, 16, "PS", &PHYSICAL_SIZE),
    values(15, 14, "TG0", &[(0, "4 KiB tables"), (1, "64 KiB tables"), (2, "16 KiB tables")]),
    values(13, 12, "SH0", &SHAREABLE),
    values(11, 10, "ORGN0", &CACHEABLE),
    values(9, 8, "IRGN0", &CACHEABLE),
    number(7, 6, "SL0", "where the walk starts, counted by a rule of each granule; see below"),
    number(5, 0, "T0SZ", "64 less the bits of IPA"),
];

/// What a granule makes of the fields.
struct Granule {
    /// Bits of the offset in a page.
    page: u32,
    /// The start level for each value of SL0, if it has one.
    starts: [Option<i32>; 4],
}

/// With FEAT_TTST; without it, 39.
const LARGEST_T0SZ: u32 = 48;

fn vtcr(value: u64) -> Vec<Remark> {
    let set = |bit: u32| value >> bit & 1 != 0;
    let granule = match bits(value, 15, 14) {
        0 => Granule { page: 12, starts: [Some(2), Some(1), Some(0), Some(3)] },
        1 => Granule { page: 16, starts: [Some(3), Some(2), Some(1), None] },
        2 => Granule { page: 14, starts: [Some(3), Some(2), Some(1), Some(0)] },
        _ => return vec![wrong("TG0 = 3 is reserved: 0 is 4 KiB, 1 is 64 KiB, 2 is 16 KiB")],
    };
    let large = set(32) || (granule.page == 16 && bits(value, 18, 16) >= 6);
    let mut remarks = sizes(value, large);
    let start = match granule.starts.get(bits(value, 7, 6) as usize).copied().flatten() {
        _ if set(33) && set(32) && granule.page == 12 && bits(value, 7, 6) == 0 => Some(-1),
        // Level 0 of 16 KiB tables is FEAT_LPA2's.
        Some(0) if granule.page == 14 && !set(32) => None,
        start => start,
    };
    match start {
        Some(start) => remarks.extend(shape(ipa_bits(value), start, &granule)),
        None => {
            remarks.push(wrong("SL0 = 3 is reserved with 64 KiB tables, and with 16 KiB tables without DS"));
        }
    }
    if set(33) && !(set(32) && granule.page == 12) {
        remarks.push(wrong("SL2 is RES0 without DS or with tables other than 4 KiB"));
    } else if set(33) && bits(value, 7, 6) != 0 {
        remarks.push(wrong("SL2 is reserved unless SL0 is 0"));
    }
    if set(22) && !set(21) {
        remarks.push(wrong("HD has no effect without HA"));
    }
    remarks
}

fn ipa_bits(value: u64) -> u32 {
    64 - bits(value, 5, 0) as u32
}

/// How large the space is, and whether it may be.
fn sizes(value: u64, large: bool) -> Vec<Remark> {
    let ipa = ipa_bits(value);
    let mut remarks = Vec::new();
    let limit = if large { 52 } else { 48 };
    if ipa > limit {
        remarks.push(wrong(format!(
            "T0SZ = {} asks for {ipa} bits of IPA, more than {limit}: every access is a level 0 translation \
             fault, or the size is taken as {limit}",
            64 - ipa
        )));
    } else {
        remarks.push(says(format!("the IPA space has {ipa} bits: 0 to {:#x}", (1u64 << ipa) - 1)));
    }
    if 64 - ipa > LARGEST_T0SZ {
        remarks.push(wrong(format!("T0SZ above {LARGEST_T0SZ} is too large for any granule")));
    } else if 64 - ipa > 39 {
        remarks.push(says("T0SZ above 39 needs FEAT_TTST"));
    }
    let physical = [32, 36, 40, 42, 44, 48, 52, 56].get(bits(value, 18, 16) as usize).copied();
    if let Some(physical) = physical.filter(|physical| ipa > *physical) {
        remarks.push(wrong(format!(
            "the IPA space of {ipa} bits is larger than the {physical} bits of physical address that PS gives; \
             no CPU has more IPA than physical address bits"
        )));
    }
    remarks
}

/// Start level and root tables, or why they do not go together. A table resolves `page - 3` bits; up to 16 root
/// tables may lie side by side. Source: "Concatenated translation tables".
fn shape(ipa: u32, start: i32, granule: &Granule) -> Vec<Remark> {
    let stride = granule.page - 3;
    let below = granule.page + stride * u32::try_from(3 - start).unwrap_or_default();
    let page = size(1 << granule.page);
    let (lowest, highest) = (below + 1, below + stride + 4);
    if ipa < lowest || ipa > highest {
        let direction = if ipa < lowest { "too few" } else { "too many" };
        return vec![wrong(format!(
            "{ipa} bits of IPA are {direction} for a walk of {page} tables from level {start}: that takes \
             {lowest} to {highest} bits, so every access is a level 0 translation fault"
        ))];
    }
    let mut remarks = vec![says(format!("the walk starts at level {start}, with {page} tables"))];
    let root_bits = ipa - below;
    let tables = 1u64 << root_bits.saturating_sub(stride);
    let root = (8u64 << root_bits).max(64);
    remarks.push(says(if tables > 1 {
        format!(
            "{tables} concatenated root tables, {} in one piece, aligned to that in VTTBR_EL2",
            size(tables << granule.page)
        )
    } else {
        format!("1 root table of {} entries, aligned to {} in VTTBR_EL2", 1u64 << root_bits, size(root))
    }));
    if tables == 1 && start == 0 && root_bits <= 4 && granule.page != 16 {
        remarks.push(says(format!(
            "{} concatenated tables at level 1 would do as well and spare a level",
            1u64 << root_bits
        )));
    }
    remarks
}

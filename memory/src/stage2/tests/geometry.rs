// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;

fn shape(pa_bits: u32, wanted: u32) -> (u32, u8, usize) {
    let geometry = Geometry::for_machine(pa_bits, wanted).unwrap();
    (geometry.ipa_bits(), geometry.start().number(), geometry.root_tables())
}

#[test]
fn the_shallowest_tree_is_chosen() {
    assert_eq!(shape(48, 0), (25, 2, 1), "T0SZ is at most 39");
    assert_eq!(shape(48, 30), (30, 2, 1));
    assert_eq!(shape(48, 31), (31, 2, 2));
    assert_eq!(shape(48, 32), (32, 2, 4));
    assert_eq!(shape(48, 34), (34, 2, 16));
    assert_eq!(shape(48, 35), (35, 1, 1));
    assert_eq!(shape(48, 39), (39, 1, 1));
    assert_eq!(shape(40, 40), (40, 1, 2));
    assert_eq!(shape(48, 43), (43, 1, 16));
    assert_eq!(shape(44, 44), (44, 0, 1));
    assert_eq!(shape(52, 48), (48, 0, 1));
}

#[test]
fn a_tree_may_be_widened_to_map_a_gib_by_an_entry() {
    let widened = |pa_bits, wanted| {
        let geometry = Geometry::for_machine(pa_bits, wanted).unwrap().with_gib_leaves();
        (geometry.ipa_bits(), geometry.start().number(), geometry.root_tables())
    };
    assert_eq!(widened(44, 33), (35, 1, 1));
    assert_eq!(widened(36, 25), (35, 1, 1));
    assert_eq!(widened(44, 40), shape(44, 40));
    assert_eq!(widened(48, 48), shape(48, 48));
    assert_eq!(widened(32, 32), shape(32, 32), "as far as the CPU goes");
}

#[test]
fn every_tree_is_legal() {
    for pa_bits in [32, 36, 40, 42, 44, 48, 52, 56] {
        for wanted in 0..=pa_bits.min(48) {
            let geometry = Geometry::for_machine(pa_bits, wanted).unwrap();
            let (bits, start) = (geometry.ipa_bits(), geometry.start());
            assert!(bits >= wanted && bits <= geometry.pa_bits());
            assert!(geometry.root_tables().is_power_of_two() && geometry.root_tables() <= MAX_ROOT_TABLES);
            assert!(geometry.root_tables() as u64 * 512 * start.span() >= geometry.ipa_end());
            assert!(bits > start.shift(), "at least two entries in the root");
            assert!(start != TableLevel::L0 || pa_bits >= 44, "level 0 needs a PARange of 44 bits");
        }
    }
}

#[test]
fn refusals_are_in_words() {
    let unknown = Geometry::for_machine(41, 40).unwrap_err();
    assert_eq!(unknown.to_string(), "41 bits is not a physical address size of the architecture");
    let large = Geometry::for_machine(40, 41).unwrap_err();
    assert_eq!(large, GeometryError::TooLarge { wanted: 41, limit: 40 });
    assert_eq!(Geometry::for_machine(52, 49), Err(GeometryError::TooLarge { wanted: 49, limit: 48 }));
}

#[test]
fn vtcr_says_what_the_manual_says() {
    let geometry = Geometry::for_machine(40, 40).unwrap();
    // RES1, PS = 40 bits, 4 KiB, Inner Shareable, Write-Back both ways, SL0 = level 1, T0SZ = 24.
    assert_eq!(geometry.vtcr(VmidWidth::Eight), 0x8002_3558);
    assert_eq!(geometry.vtcr(VmidWidth::Sixteen), 0x800a_3558);
    let small = Geometry::for_machine(32, 32).unwrap();
    assert_eq!(small.vtcr(VmidWidth::Eight), 0x8000_3520, "SL0 = level 2, T0SZ = 32");
    let large = Geometry::for_machine(48, 48).unwrap();
    assert_eq!(large.vtcr(VmidWidth::Eight), 0x8005_3590, "SL0 = level 0, T0SZ = 16");
}

#[test]
fn a_root_is_aligned_to_its_size() {
    let geometry = Geometry::for_machine(48, 43).unwrap();
    assert_eq!(geometry.root_size(), 16 * KIB4);
    assert!(geometry.accepts_root(Pa(0x1_0000)));
    assert!(!geometry.accepts_root(Pa(0x1_1000)));
    for ipa_bits in [31, 34, 40, 43] {
        let bench = Bench::new(ipa_bits, 40);
        assert!(bench.stage2.geometry().accepts_root(bench.stage2.root()));
    }
}

#[test]
fn vttbr_carries_root_and_vmid() {
    let bench = Bench::new(40, 8);
    assert_eq!(bench.stage2.vttbr(0xabcd), 0xabcd << 48 | bench.stage2.root().0);
}

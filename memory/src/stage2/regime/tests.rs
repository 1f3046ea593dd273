// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `VTCR_EL2` may say, and what a walk makes of it.

use super::*;
use crate::stage2::Geometry;
use crate::vmid::VmidWidth;

fn regime(vtcr: u64, features: Features) -> Regime {
    Regime { vtcr, vttbr: 0x8000_0000, hcr: hcr::VM, features }
}

const TG0_64KIB: u64 = 0b01 << 14;
const TG0_16KIB: u64 = 0b10 << 14;
const DS: u64 = 1 << 32;
const SL2: u64 = 1 << 33;
/// Output size of 48 bits.
const PS_48: u64 = 0b101 << 16;

/// The start level and the bits of the root.
fn shape(vtcr: u64, features: Features) -> Result<(i8, u32), BadVtcr> {
    regime(vtcr, features).start().map(|start| (start.level, start.root_index_bits))
}

const fn t0sz(ipa_bits: u64) -> u64 {
    64 - ipa_bits
}

const fn sl0(value: u64) -> u64 {
    value << 6
}

#[test]
fn what_we_write_is_read_back() {
    for pa_bits in [32, 36, 40, 42, 44, 48] {
        for ipa_bits in 25..=pa_bits {
            let geometry = Geometry::for_machine(pa_bits, ipa_bits).unwrap();
            let mmfr0 = [32, 36, 40, 42, 44, 48].into_iter().position(|bits| bits == pa_bits).unwrap() as u64;
            let features = Features { mmfr0, ..Features::FULL };
            let start = regime(geometry.vtcr(VmidWidth::Eight), features).start().unwrap();
            assert_eq!(start, geometry.walk_from(crate::Pa(0x8000_0000)), "{pa_bits} {ipa_bits}");
        }
    }
}

#[test]
fn start_levels_of_each_granule() {
    let full = Features::FULL;
    assert_eq!(shape(t0sz(40) | sl0(1), full), Ok((1, 10)), "two tables side by side");
    assert_eq!(shape(t0sz(43) | sl0(1), full), Ok((1, 13)), "sixteen");
    assert_eq!(shape(t0sz(44) | sl0(2), full), Ok((0, 5)));
    assert_eq!(shape(t0sz(20) | sl0(3), full), Ok((3, 8)), "FEAT_TTST");
    assert_eq!(shape(t0sz(52) | sl0(0) | SL2 | DS, full), Ok((-1, 4)), "FEAT_LPA2");
    assert_eq!(shape(t0sz(40) | sl0(1) | TG0_16KIB, full), Ok((2, 15)));
    assert_eq!(shape(t0sz(42) | sl0(2) | TG0_16KIB, full), Ok((1, 6)));
    assert_eq!(shape(t0sz(52) | sl0(3) | TG0_16KIB | DS, full), Ok((0, 5)));
    assert_eq!(shape(t0sz(40) | sl0(1) | TG0_64KIB, full), Ok((2, 11)));
    assert_eq!(shape(t0sz(52) | sl0(2) | TG0_64KIB, full), Ok((1, 10)));
}

#[test]
fn start_levels_that_are_not_there() {
    let a72 = Features::CORTEX_A72;
    let level = |sl0| Err(BadVtcr::Level { sl0 });
    assert_eq!(shape(t0sz(30) | sl0(3), a72), level(3), "without FEAT_TTST");
    assert_eq!(shape(t0sz(40) | sl0(3) | TG0_64KIB, a72), level(3), "reserved");
    let small = Features { mmfr0: 0b0010, ..Features::FULL };
    assert_eq!(shape(t0sz(40) | sl0(2), small), level(2), "40 bits of physical address need no level 0");
    assert_eq!(shape(t0sz(44) | sl0(1) | SL2 | DS, Features::FULL), level(1), "SL2 goes with SL0 = 0");
}

#[test]
fn sizes_that_do_not_fit() {
    let a72 = Features::CORTEX_A72;
    assert_eq!(
        shape(t0sz(48) | sl0(2), a72),
        Err(BadVtcr::Size { t0sz: 16, smallest: 20, largest: 39 }),
        "more than its 44 bits"
    );
    assert_eq!(shape(t0sz(24) | sl0(0), a72), Err(BadVtcr::Size { t0sz: 40, smallest: 20, largest: 39 }));
    let inconsistent = BadVtcr::Inconsistent { level: 1, ipa_bits: 44, smallest: 31, largest: 43 };
    assert_eq!(shape(t0sz(44) | sl0(1), a72), Err(inconsistent));
    assert_eq!(inconsistent.to_string(), "a walk from level 1 covers 31 to 43 bits of IPA, not 44");
    let inconsistent = BadVtcr::Inconsistent { level: 0, ipa_bits: 39, smallest: 40, largest: 52 };
    assert_eq!(shape(t0sz(39) | sl0(2), a72), Err(inconsistent));
}

#[test]
fn what_is_passed_over_is_told() {
    let a72 = Features::CORTEX_A72;
    let doubts = |vtcr, vttbr| Regime { vttbr, ..regime(vtcr, a72) }.doubts().collect::<Vec<_>>();
    let good = t0sz(40) | sl0(1) | 0b100 << 16;
    assert_eq!(doubts(good, 0x8000_0000), []);
    assert_eq!(
        doubts(good | TG0_16KIB, 0x8000_0000),
        [Doubt::Granule { tg0: 0b10, taken: Granule::Kib4 }],
        "no 16 KiB granule on this CPU"
    );
    assert_eq!(doubts(good & !(7 << 16) | PS_48, 0x8000_0000), [Doubt::OutputSize { pa_bits: 44 }]);
    assert_eq!(doubts(good, 0x8000_1000), [Doubt::Alignment { size: 0x2000 }], "two tables of 4 KiB");
}

#[test]
fn vmids_have_8_or_16_bits() {
    let vmid = |vtcr, features| Regime { vttbr: 0x1234 << 48, ..regime(vtcr, features) }.vmid();
    assert_eq!(vmid(0, Features::FULL), 0x34);
    assert_eq!(vmid(VTCR_VS, Features::FULL), 0x1234);
    assert_eq!(vmid(VTCR_VS, Features::CORTEX_A72), 0x34, "without FEAT_VMID16");
}

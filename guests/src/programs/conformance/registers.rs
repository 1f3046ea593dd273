// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random registers: mostly such as software may write, now and then such as it may not.
//!
//! Bits of features that the CPU lacks stay 0, as software has to leave them. Where the code at EL1 lives, the half of
//! the address space is plain, so that accesses can be made at all.

use vambrace_memory::access::{Access, El};
use vambrace_memory::features::{Features, HardwareUpdates};
use vambrace_memory::granule::{Granule, Stage};
use vambrace_memory::stage1::Half;
use vambrace_memory::translation::Registers;
use vambrace_memory::{Va, hcr};

use super::random::Random;

/// SCTLR_EL1 of a program that has not turned anything on.
pub(super) const SCTLR_RES1: u64 = 0x30D0_0800;
/// SCTLR_EL1.M.
pub(super) const SCTLR_M: u64 = 1;
/// SCTLR_EL1.C and I.
pub(super) const SCTLR_CACHES: u64 = 1 << 2 | 1 << 12;
/// SCTLR_EL1.EE.
pub(super) const SCTLR_EE: u64 = 1 << 25;
/// SCTLR_EL1.WXN.
pub(super) const SCTLR_WXN: u64 = 1 << 19;
const SCTLR_EPAN: u64 = 1 << 57;
/// VTCR_EL2's reserved bit.
pub(super) const VTCR_RES1: u64 = 1 << 31;
/// HCR_EL2.RW: EL1 is AArch64.
pub(super) const HCR_RW: u64 = 1 << 31;
/// TxSZ, TGx of the plain half: 25 bits, 4 KiB.
const PLAIN_SIZE: u64 = 39;
/// Attribute 0 is always ordinary memory; the code at EL1 uses it.
const MAIR_PLAIN: u64 = 0xFF;

/// Features outside the memory model registers, which only say what software may set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extras {
    /// FEAT_PAuth: TBID.
    pub(super) pauth: bool,
}

/// The other half.
pub(super) const fn other(half: Half) -> Half {
    match half {
        Half::Lower => Half::Upper,
        Half::Upper => Half::Lower,
    }
}

/// An address in the half that is canonical for any size.
pub(super) const fn canonical(half: Half) -> Va {
    match half {
        Half::Lower => Va(0),
        Half::Upper => Va(u64::MAX),
    }
}

/// Registers without the roots of tables. `plain` is the half for the code at EL1.
pub(super) fn random(random: &mut Random, features: Features, extras: Extras, plain: Half) -> Registers {
    let mut registers = Registers {
        sctlr: sctlr(random, features),
        hcr: hcr(random, features),
        mair: mair(random),
        pan: features.has_pan() && random.chance(30),
        features,
        ..Registers::default()
    };
    let mistaken = random.chance(6);
    for _ in 0..64 {
        registers.tcr = tcr(random, features, extras, plain);
        let start = registers.stage1().start(canonical(other(plain)), Access::Read, El::El1);
        if mistaken || start.is_ok() {
            break;
        }
    }
    let mistaken = random.chance(6);
    for _ in 0..256 {
        registers.vtcr = vtcr(random, features);
        if mistaken || registers.stage2().start().is_ok() {
            break;
        }
    }
    registers
}

fn sctlr(random: &mut Random, features: Features) -> u64 {
    let epan = if features.has_enhanced_pan() { random.mask(SCTLR_EPAN, 30) } else { 0 };
    SCTLR_RES1
        | random.mask(SCTLR_M, 92)
        | random.mask(SCTLR_CACHES, 90)
        | random.mask(SCTLR_WXN, 20)
        | random.mask(SCTLR_EE, 10)
        | epan
}

fn hcr(random: &mut Random, features: Features) -> u64 {
    let fwb = if features.has_fwb() { random.mask(hcr::FWB, 40) } else { 0 };
    HCR_RW
        | random.mask(hcr::VM, 88)
        | random.mask(hcr::DC, 6)
        | random.mask(hcr::PTW, 25)
        | random.mask(hcr::CD, 8)
        | random.mask(hcr::ID, 8)
        | fwb
}

/// Encodings that are defined without FEAT_MTE and FEAT_XS, transient ones included.
fn mair(random: &mut Random) -> u64 {
    let byte = |random: &mut Random| {
        if random.chance(30) {
            random.below(4) << 2
        } else {
            (1 + random.below(15)) << 4 | (1 + random.below(15))
        }
    };
    (1..8).fold(MAIR_PLAIN, |mair, index| mair | byte(random) << (index * 8))
}

fn tcr(random: &mut Random, features: Features, extras: Extras, plain: Half) -> u64 {
    // The plain half's fields, then the other's; each pair of fields is the lower half's and the upper one's.
    let pair = |half: Half, lower: u32, upper: u32| match half {
        Half::Lower => lower,
        Half::Upper => upper,
    };
    let shift = |lower, upper| pair(other(plain), lower, upper);
    let granule_4_kib: u64 = match plain {
        Half::Lower => 0b00,
        Half::Upper => 0b10,
    };
    let mut tcr = PLAIN_SIZE << pair(plain, 0, 16) | granule_4_kib << pair(plain, 14, 30);
    tcr |= size_field(random) << shift(0, 16);
    tcr |= random.below(4) << shift(14, 30);
    tcr |= random.mask(1, 4) << shift(7, 23);
    // IRGN, ORGN, SH of both halves.
    tcr |= random.field(8, 12) | random.field(24, 28);
    tcr |= shareability(random) << 12 | shareability(random) << 28;
    tcr |= physical_size(random) << 32;
    tcr |= random.mask(1 << 22, 50);
    tcr |= random.mask(1 << 37, 40) | random.mask(1 << 38, 40);
    if features.has_asid16() {
        tcr |= random.mask(1 << 36, 50);
    }
    tcr |= updates(random, features, 39);
    if features.has_hpds() {
        tcr |= random.mask(1 << shift(41, 42), 20);
    }
    if extras.pauth {
        tcr |= random.mask(1 << 51, 30) | random.mask(1 << 52, 30);
    }
    if features.has_e0pd() {
        tcr |= random.mask(1 << 55, 10) | random.mask(1 << 56, 10);
    }
    if has_lpa2(features, Stage::One) {
        tcr |= random.mask(1 << 59, 50);
    }
    tcr
}

fn vtcr(random: &mut Random, features: Features) -> u64 {
    let mut vtcr = VTCR_RES1 | size_field(random) | random.below(4) << 6 | random.field(8, 12);
    vtcr |= shareability(random) << 12 | random.below(4) << 14 | physical_size(random) << 16;
    if features.has_vmid16() {
        vtcr |= random.mask(1 << 19, 50);
    }
    vtcr |= updates(random, features, 21);
    if has_lpa2(features, Stage::Two) {
        vtcr |= random.mask(1 << 32, 50) | random.mask(1 << 33, 25);
    }
    vtcr
}

/// HA at `bit`, HD above it.
fn updates(random: &mut Random, features: Features, bit: u32) -> u64 {
    match features.hardware_updates() {
        HardwareUpdates::None => 0,
        HardwareUpdates::AccessFlag => random.mask(1 << bit, 40),
        HardwareUpdates::DirtyState => random.mask(1 << bit, 40) | random.mask(2 << bit, 40),
    }
}

fn has_lpa2(features: Features, stage: Stage) -> bool {
    features.has_lpa2(Granule::Kib4, stage) || features.has_lpa2(Granule::Kib16, stage)
}

/// TxSZ: more often such that the memory is in reach.
fn size_field(random: &mut Random) -> u64 {
    if random.chance(70) { 12 + random.below(20) } else { random.below(64) }
}

/// SH: not the reserved value.
fn shareability(random: &mut Random) -> u64 {
    random.pick(&[0b00, 0b10, 0b11], 0)
}

/// IPS or PS: wide ones more often.
fn physical_size(random: &mut Random) -> u64 {
    if random.chance(60) { 5 + random.below(2) } else { random.below(8) }
}

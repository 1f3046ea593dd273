// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random descriptors: what a leaf or a table says beside where it leads.

use vambrace_memory::features::{Features, HardwareUpdates};
use vambrace_memory::granule::AddressFormat;
use vambrace_memory::hcr;
use vambrace_memory::translation::Registers;
use vambrace_memory::walk::Start;

use super::random::{Random, bits};
use super::tables::spell;

const ACCESS_FLAG: u64 = 1 << 10;

/// What a leaf of stage 2 is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// The code at EL1: nothing stands in its way.
    Kept,
    /// A table of stage 1: most walks get through.
    Table,
    /// The memory accessed.
    Data,
}

/// A leaf of stage 2.
pub(super) fn of_stage2(
    random: &mut Random,
    registers: &Registers,
    start: &Start,
    level: i8,
    output: u64,
    style: Style,
) -> u64 {
    let forcing = registers.hcr & hcr::FWB != 0;
    let leaf = spell(start.format, output) | kind(level);
    if style == Style::Kept {
        let memory = if forcing { 0b0110 } else { 0b1111 };
        return leaf | ACCESS_FLAG | 0b11 << 6 | memory << 2;
    }
    let memory = match (random.chance(if style == Style::Table { 10 } else { 25 }), forcing) {
        (true, _) => random.below(4),
        (false, true) => random.pick(&[0b0101, 0b0110, 0b0111], 0b0110),
        (false, false) => (1 + random.below(3)) << 2 | (1 + random.below(3)),
    };
    let (refuses, never) = if style == Style::Table { (6, 15) } else { (20, 30) };
    let read = 1 << 6 & !random.mask(1 << 6, refuses);
    let write = 1 << 7 & !random.mask(1 << 7, 2 * refuses);
    let execute_never = if random.chance(never) { random.below(4) << 53 } else { 0 };
    leaf | access_flag(random)
        | memory << 2
        | read
        | write
        | execute_never
        | dirty_bit(random, registers.features)
        | shareability(random, start)
        | random.mask(1 << 52, 10)
        | software(random)
}

/// A leaf of stage 1.
pub(super) fn of_stage1(
    random: &mut Random,
    registers: &Registers,
    start: &Start,
    level: i8,
    output: u64,
) -> u64 {
    spell(start.format, output)
        | kind(level)
        | random.below(8) << 2
        | random.mask(1 << 6, 50)
        | random.mask(1 << 7, 35)
        | access_flag(random)
        | random.mask(1 << 11, 50)
        | random.mask(1 << 52, 10)
        | random.mask(1 << 53, 25)
        | random.mask(1 << 54, 25)
        | dirty_bit(random, registers.features)
        | shareability(random, start)
        | software(random)
}

/// The leaf through which EL1 reaches its code: a block of 2 MiB, privileged, read-only, executable.
pub(super) const fn of_stub(start: &Start, ipa: u64) -> u64 {
    const READ_ONLY: u64 = 1 << 7;
    const UXN: u64 = 1 << 54;
    spell(start.format, ipa & !bits(21)) | 0b01 | ACCESS_FLAG | READ_ONLY | UXN
}

/// APTable, PXNTable, UXNTable.
pub(super) fn hierarchical(random: &mut Random) -> u64 {
    (59..63).fold(0, |raw, bit| raw | random.mask(1 << bit, 6))
}

/// What a table's descriptor may hold unread.
pub(super) fn ignored_in_table(random: &mut Random) -> u64 {
    if random.chance(20) { random.field(2, 8) | random.field(52, 59) } else { 0 }
}

/// Bits for software.
fn software(random: &mut Random) -> u64 {
    if random.chance(20) { random.field(55, 59) } else { 0 }
}

const fn kind(level: i8) -> u64 {
    if level == 3 { 0b11 } else { 0b01 }
}

fn access_flag(random: &mut Random) -> u64 {
    random.mask(ACCESS_FLAG, 88)
}

/// SH, not the reserved value; no such field where addresses take it up.
fn shareability(random: &mut Random, start: &Start) -> u64 {
    if start.format == AddressFormat::Lpa2 { 0 } else { random.pick(&[0b00, 0b10, 0b11], 0) << 8 }
}

/// DBM, where the CPU has it.
fn dirty_bit(random: &mut Random, features: Features) -> u64 {
    match features.hardware_updates() {
        HardwareUpdates::DirtyState => random.mask(1 << 51, 40),
        HardwareUpdates::None | HardwareUpdates::AccessFlag => 0,
    }
}

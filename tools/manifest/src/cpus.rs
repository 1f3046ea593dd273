// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a CPU's translation can do, by QEMU's names for CPUs.

use vambrace_memory::features::Features;

/// CPUs by QEMU's names: `ID_AA64MMFR0_EL1` to `ID_AA64MMFR2_EL1`.
pub const CPUS: [(&str, Features); 8] = [
    ("armv8.0", Features::ARMV8_0),
    ("cortex-a53", Features { mmfr0: 0x1122, ..Features::CORTEX_A72 }),
    ("cortex-a55", Features { mmfr0: 0x0010_1122, mmfr1: 0x1021_2122, mmfr2: 0x1011 }),
    ("cortex-a57", Features::CORTEX_A72),
    ("cortex-a72", Features::CORTEX_A72),
    ("cortex-a76", Features { mmfr0: 0x0010_1122, mmfr1: 0x1021_2122, mmfr2: 0x1011 }),
    ("neoverse-n1", Features { mmfr0: 0x0010_1125, mmfr1: 0x1021_2122, mmfr2: 0x1011 }),
    ("max", Features::FULL),
];

/// The features of the CPU of this name, if it is known here.
#[must_use]
pub fn features_of(cpu: &str) -> Option<Features> {
    CPUS.iter().find(|(name, _)| *name == cpu).map(|(_, features)| *features)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What others need, measured once in the same way: QEMU 10.0, cortex-a72, one instruction a tick.
//!
//! docs/performance.md has the whole table and says how. KVM's figures are its own micro-benchmarks', with their loop; those
//! that measure something else are left out.

use super::against::Rival;

/// Another hypervisor.
pub(super) struct Other {
    pub(super) name: &'static str,
    /// It can be measured in the same run.
    pub(super) rival: Option<Rival>,
    /// By operation.
    pub(super) figures: &'static [(&'static str, u64)],
}

impl Other {
    pub(super) fn figure(&self, operation: &str) -> Option<u64> {
        self.figures.iter().find(|(name, _)| *name == operation).map(|(_, figure)| *figure)
    }
}

/// Those that the picture shows.
pub(super) const OTHERS: [Other; 4] = [
    Other {
        name: "Xen 4.17",
        rival: Some(Rival::Xen),
        figures: &[
            ("id-register", 410),
            ("hvc-psci-version", 472),
            ("smc-psci-version", 502),
            ("hvc-unknown", 1641),
            ("gicd-typer-read", 601),
            ("gicr-typer-read", 603),
            ("sgi-to-self", 1100),
            ("timer-busy", 1083),
            ("timer-from-wfi", 4484),
        ],
    },
    Other {
        name: "KVM, Linux 6.12, nVHE",
        rival: Some(Rival::Kvm),
        figures: &[("hvc-psci-version", 1683), ("gicd-typer-read", 2490)],
    },
    Other {
        name: "Bao",
        rival: None,
        figures: &[
            ("hvc-psci-version", 190),
            ("smc-psci-version", 204),
            ("hvc-unknown", 1422),
            ("gicd-typer-read", 227),
            ("gicr-typer-read", 271),
            ("sgi-to-self", 778),
            ("timer-busy", 201),
            ("timer-from-wfi", 202),
        ],
    },
    Other {
        name: "hvisor",
        rival: None,
        figures: &[
            ("hvc-psci-version", 155),
            ("smc-psci-version", 128),
            ("hvc-unknown", 155),
            ("gicd-typer-read", 328),
            ("gicr-typer-read", 326),
            ("sgi-to-self", 342),
            ("timer-busy", 229),
            ("timer-from-wfi", 230),
        ],
    },
];

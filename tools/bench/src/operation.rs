// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations: what the guest's names mean, and what each may cost.
//!
//! The targets are for the cortex-a72 and count instructions from the guest's last to its next one. They were set from
//! what the best of the others need; a target that is missed is shown as missed, not moved.

/// Something that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// As the guest says it.
    pub name: &'static str,
    /// For people.
    pub what: &'static str,
    /// The most instructions that the median may be.
    pub target: Option<u64>,
}

const fn operation(name: &'static str, what: &'static str, target: u64) -> Operation {
    Operation { name, what, target: Some(target) }
}

const fn without_target(name: &'static str, what: &'static str) -> Operation {
    Operation { name, what, target: None }
}

/// All of them, in the order of the table.
pub const OPERATIONS: &[Operation] = &[
    operation("id-register", "read of a trapped ID register", 80),
    operation("hvc-psci-version", "HVC, PSCI_VERSION", 80),
    operation("smc-psci-version", "SMC, PSCI_VERSION", 80),
    operation("hvc-unknown", "HVC, unknown function", 80),
    without_target("affinity-info", "HVC, PSCI AFFINITY_INFO"),
    operation("gicd-typer-read", "GICD_TYPER read", 140),
    operation("gicr-typer-read", "GICR_TYPER read", 140),
    operation("gicr-typer-half-read", "GICR_TYPER read, its lower half", 140),
    operation("gicd-iidr-read", "GICD_IIDR read", 140),
    without_target("gicd-isenabler-read", "GICD_ISENABLER read"),
    without_target("gicd-isenabler-write", "GICD_ISENABLER write"),
    without_target("gicd-ispendr-read", "GICD_ISPENDR read"),
    without_target("gicd-ipriorityr-read", "GICD_IPRIORITYR read"),
    without_target("gicd-ipriorityr-write", "GICD_IPRIORITYR write"),
    without_target("gicr-ispendr-read", "GICR_ISPENDR0 read"),
    without_target("pl011-status-read", "PL011 status read"),
    without_target("pl011-write", "PL011 write of a character"),
    operation("sgi-to-self", "SGI to self, to the handler", 200),
    operation("timer-busy", "virtual timer to the handler, busy", 150),
    operation("timer-from-wfi", "virtual timer to the handler, from WFI", 150),
    // Nothing but the write itself: an exit would take dozens.
    operation("end-of-interrupt", "end of interrupt", 1),
    operation("ipi-round-trip", "IPI to a running vCPU and back", 800),
    without_target("ipi-to-sleeping", "IPI to a sleeping vCPU's handler"),
    operation("switch", "switch of vCPUs when one sleeps", 700),
    without_target("switch-to-woken", "SGI to a sleeping vCPU of the same CPU"),
    without_target("switch-at-end-of-turn", "switch of vCPUs at the end of a turn"),
    without_target("stage2-map", "stage-2 map of a page"),
    without_target("stage2-unmap", "stage-2 unmap of a page"),
    without_target("stage2-split", "stage-2 unmap of a page in a block"),
    operation("start", "reset to the guest's first instruction", 350_000),
    without_target("vm-reset", "a VM's reset, 64 MiB of RAM"),
    without_target("create-64mib", "making a VM of 64 MiB"),
    without_target("create-1gib", "making a VM of 1 GiB"),
    without_target("create-4gib", "making a VM of 4 GiB"),
    without_target("create-copy", "of it: copying its image"),
    without_target("destroy-64mib", "doing away with a VM of 64 MiB"),
    without_target("destroy-clear", "of it: clearing its RAM"),
    without_target("destroy-1gib", "doing away with a VM of 1 GiB"),
];

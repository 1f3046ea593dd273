// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much RAM EL2 takes, by its own account: after boot, and for each VM, vCPU and CPU.
//!
//! The account comes over the wire whenever a VM ends, while all others are there, and for the time before the first VM at
//! the very end. What one more VM takes is the difference between two boards that differ in nothing else.

use serde::Serialize;
use vambrace_wire::message::MemoryUse;

use super::suite::Testbed;
use super::{BenchError, Verdict};

/// The most RAM beyond the image's file with four CPUs and two VMs of 512 MiB, in bytes.
const TARGET: u64 = 1 << 20;

/// The board that the target is for.
const CPUS: u16 = 4;
const TWO_VMS: Crowd = Crowd { cpus: CPUS, vms: 2, vcpus: 2, memory: 512 };

/// Differences are taken between so many VMs and twice as many, so that lists which grow by doubling have their share.
const SOME: u16 = 16;
const MANY: u16 = 2 * SOME;

/// VMs that are all alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Crowd {
    cpus: u16,
    vms: u16,
    /// Of each VM.
    vcpus: u16,
    /// Of each VM, in MiB.
    memory: u64,
}

/// RAM that EL2 takes. All figures are bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Footprint {
    /// After boot on four CPUs, before the first VM.
    pub at_boot: Account,
    /// With two VMs of 512 MiB, each with two vCPUs.
    pub with_two_vms: Account,
    /// In that case: all but the image's file.
    pub beyond_image: u64,
    /// The most that may be.
    pub target: u64,
    /// Whether it is.
    pub verdict: Verdict,
    /// What one more VM of one vCPU and 8 MiB takes, its tables among it.
    pub vm: u64,
    /// What one more vCPU takes.
    pub vcpu: u64,
    /// What one more physical CPU takes.
    pub cpu: u64,
}

/// Where the bytes go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// All.
    pub total: u64,
    /// The image in memory, with its variables and the first CPU's stack.
    pub image: u64,
    /// Of the image: the frames that EL2's own map fills.
    pub map: u64,
    /// The other CPUs' stacks.
    pub stacks: u64,
    /// The heap.
    pub heap: u64,
    /// Of the heap: what values fill.
    pub values: u64,
    /// The VMs' stage-2 tables.
    pub tables: u64,
    /// Not in the total: bundle and device tree, where the loader put them.
    pub loaded: u64,
}

/// One of the figures that stand for all, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Figure {
    /// Short, as a record has it.
    pub(super) name: &'static str,
    /// In words.
    pub(super) what: &'static str,
    pub(super) bytes: u64,
    pub(super) target: Option<u64>,
    pub(super) verdict: Verdict,
}

impl Footprint {
    /// In the table's order.
    pub(super) fn figures(&self) -> [Figure; 5] {
        let figure =
            |name, what, bytes| Figure { name, what, bytes, target: None, verdict: Verdict::NoTarget };
        [
            Figure {
                target: Some(self.target),
                verdict: self.verdict,
                ..figure(
                    "beyond-image",
                    "RAM beyond the image, 4 CPUs, 2 VMs of 512 MiB, bytes",
                    self.beyond_image,
                )
            },
            figure("at-boot", "all RAM that EL2 takes after boot on 4 CPUs, bytes", self.at_boot.total),
            figure("vm", "one more VM of a vCPU, bytes", self.vm),
            figure("vcpu", "one more vCPU, bytes", self.vcpu),
            figure("cpu", "one more CPU, bytes", self.cpu),
        ]
    }
}

impl From<MemoryUse> for Account {
    fn from(memory: MemoryUse) -> Self {
        let MemoryUse { image, map, stacks, heap, values, tables, loaded } = memory;
        Self { total: memory.total(), image, map, stacks, heap, values, tables, loaded }
    }
}

impl Account {
    /// What one thing more takes: the heap grows by pieces, so its values are what counts.
    pub(super) fn used(&self) -> u64 {
        self.image + self.stacks + self.values + self.tables
    }
}

/// Measures it. `file` is the image's size in bytes.
pub(super) fn measure(machine: &Testbed<'_>, file: u64) -> Result<Footprint, BenchError> {
    let (at_boot, with_two_vms) = TWO_VMS.account(machine)?;
    let some = Crowd { vms: SOME, vcpus: 1, memory: 8, ..TWO_VMS };
    let (boot_of_four, few) = some.account(machine)?;
    let (_, many) = Crowd { vms: MANY, ..some }.account(machine)?;
    let (_, wide) = Crowd { vcpus: 2, ..some }.account(machine)?;
    let (boot_of_eight, _) = Crowd { cpus: 2 * CPUS, ..some }.account(machine)?;
    let each = |more: Account, less: Account, count: u16| {
        more.used().saturating_sub(less.used()) / u64::from(count.max(1))
    };
    let beyond_image = with_two_vms.total.saturating_sub(file);
    Ok(Footprint {
        at_boot,
        with_two_vms,
        beyond_image,
        target: TARGET,
        verdict: Verdict::new(beyond_image, Some(TARGET)),
        vm: each(many, few, MANY - SOME),
        vcpu: each(wide, few, SOME),
        cpu: each(boot_of_eight, boot_of_four, CPUS),
    })
}

impl Crowd {
    /// EL2's account before the first VM, and with all of them.
    fn account(self, machine: &Testbed<'_>) -> Result<(Account, Account), BenchError> {
        let outcome = machine.run_vms("memory", self.manifest(&machine.options.cpu))?;
        let with = |vms: u16| {
            let told = outcome.memory.iter().rev().find(|(count, _)| *count == vms);
            told.map(|(_, memory)| Account::from(*memory))
        };
        with(0).zip(with(self.vms)).ok_or_else(|| {
            let suite = format!("memory of {} VMs", self.vms);
            BenchError::Unfinished { suite, how: format!("it said {:?}", outcome.memory) }
        })
    }

    /// The VMs run until all of them are there.
    fn manifest(self, cpu: &str) -> String {
        let Self { cpus, vms, vcpus, memory } = self;
        let board = (u64::from(vms) * memory + 256).next_multiple_of(256);
        let mut text = format!("[board]\ncpu = {cpu:?}\ncpus = {cpus}\nmemory = \"{board}MiB\"\n");
        for vm in 0..vms {
            text.push_str(&format!(
                "\n[[vm]]\nname = \"vm{vm}\"\nkernel = \"guest:heartbeat\"\nmemory = \"{memory}MiB\"\n\
                 vcpus = {vcpus}\ncmdline = \"beats=1 period=500\"\n"
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use vambrace_manifest::diagnostic::Source;
    use vambrace_manifest::{self as manifest, BoardOptions};

    #[test]
    fn the_manifests_have_no_mistakes() {
        for crowd in [TWO_VMS, Crowd { vms: MANY, vcpus: 2, memory: 8, cpus: 8 }] {
            let source = Source { path: PathBuf::from("bench.toml"), text: crowd.manifest("cortex-a72") };
            let (manifest, warnings) = manifest::parse(source, &BoardOptions::default()).unwrap();
            assert!(warnings.is_empty(), "{warnings}");
            assert_eq!(manifest.vms.len(), usize::from(crowd.vms));
        }
    }

    #[test]
    fn the_total_leaves_out_what_is_part_of_something_else() {
        let memory = MemoryUse { image: 1, map: 2, stacks: 4, heap: 8, values: 16, tables: 32, loaded: 64 };
        assert_eq!(Account::from(memory).total, 1 + 4 + 8 + 32);
    }
}

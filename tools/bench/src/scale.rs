// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vambrace bench --scale`: what grows with the number of VMs and CPUs, and what does not.
//!
//! The operations of the bench guest are measured once more while many other VMs exist, all of them asleep, and on boards of
//! many CPUs; so is making one more VM. Sleeping costs nothing, so what a figure gains from one column to the next is what
//! EL2 spends on looking at those who have nothing to do with it.

mod text;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::footprint::Account;
use super::suite::{GUEST, PATIENCE, Readings, Suite, Testbed, read};
use super::{BenchError, Options};
use vambrace_manifest::words::{counted, json};
use vambrace_runner::{RunOutcome, Running};
use vambrace_setup::{Bare, Setup};

/// The version of the JSON form.
const FORMAT: u32 = 1;
/// How many VMs, on boards of these many CPUs.
const VMS: [u16; 5] = [1, 4, 16, 64, 256];
const BOARDS: [u16; 2] = [1, 4];
/// How many CPUs, with a VM for each.
const CPUS: [u16; 7] = [1, 2, 4, 8, 16, 32, 64];
/// How often each operation is done.
const ROUNDS: u32 = 20;
/// RAM of a VM, in MiB.
const MEMORY: u64 = 8;

/// What is told of each crowd, in the table's order: the guest's name for it, and words.
const FIGURES: [(&str, &str, Suite); 8] = [
    ("hvc-psci-version", "HVC, PSCI_VERSION", Suite::One),
    ("pl011-status-read", "PL011 status read", Suite::One),
    ("sgi-to-self", "SGI to self, to the handler", Suite::One),
    ("timer-busy", "virtual timer to the handler, busy", Suite::One),
    ("timer-from-wfi", "virtual timer to the handler, from WFI", Suite::One),
    ("ipi-round-trip", "IPI to a running vCPU and back", Suite::Pair),
    ("ipi-to-sleeping", "IPI to a sleeping vCPU's handler", Suite::Pair),
    ("switch", "switch of vCPUs when one sleeps", Suite::Shared),
];

/// VMs, nearly all of which sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Crowd {
    /// Physical CPUs.
    pub cpus: u16,
    /// VMs, the one that is measured among them.
    pub vms: u16,
}

/// What was measured in a crowd. All figures are instructions, or bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Point {
    /// The crowd.
    #[serde(flatten)]
    pub crowd: Crowd,
    /// Medians, by operation.
    pub operations: BTreeMap<String, u64>,
    /// From the decision to make one more VM to its first instruction.
    pub create: u64,
    /// RAM that EL2 takes with all of them and one more, in bytes: image, stacks, values, tables.
    pub memory: u64,
}

/// All that was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scale {
    /// The version of this form.
    pub format: u32,
    /// QEMU's version.
    pub qemu: String,
    /// The processor, by QEMU's name.
    pub cpu: String,
    /// More and more VMs, on each board.
    pub vms: Vec<Point>,
    /// More and more CPUs, with a VM for each.
    pub cpus: Vec<Point>,
}

/// Measures all crowds. `bare` is what `setup` has built.
///
/// # Errors
/// When QEMU does not start or a guest does not come to its end.
pub fn measure(
    setup: &Setup,
    bare: &Bare,
    qemu: &vambrace_setup::qemu::Qemu,
    options: &Options,
) -> Result<Scale, BenchError> {
    let machine = Testbed { setup, bare, qemu, options };
    let points = |crowds: &[Crowd]| -> Result<Vec<Point>, BenchError> {
        crowds.iter().map(|crowd| crowd.measure(&machine)).collect()
    };
    let (major, minor) = qemu.version;
    Ok(Scale {
        format: FORMAT,
        qemu: format!("{major}.{minor}"),
        cpu: options.cpu.clone(),
        vms: points(&BOARDS.map(|cpus| VMS.map(|vms| Crowd { cpus, vms })).concat())?,
        cpus: points(&CPUS.map(|cpus| Crowd { cpus, vms: cpus }))?,
    })
}

/// Measures one crowd.
///
/// # Errors
/// As [`measure`].
pub fn point(
    setup: &Setup,
    bare: &Bare,
    qemu: &vambrace_setup::qemu::Qemu,
    options: &Options,
    crowd: Crowd,
) -> Result<Point, BenchError> {
    crowd.measure(&Testbed { setup, bare, qemu, options })
}

impl Crowd {
    fn measure(self, machine: &Testbed<'_>) -> Result<Point, BenchError> {
        let Self { cpus, vms } = self;
        let _step = machine.setup.progress.step(&format!(
            "measuring with {} on {}",
            counted(vms.into(), "VM"),
            counted(cpus.into(), "CPU")
        ));
        let mut readings = Readings::new();
        for suite in [Suite::One, Suite::Pair, Suite::Shared] {
            if suite == Suite::Pair && cpus < 2 {
                continue;
            }
            let outcome = self.run(machine, &self.suite_manifest(machine.options, suite), |outcome| {
                outcome.vm(GUEST).is_some_and(|vm| vm.text().contains("bench: done"))
            })?;
            readings.extend(read(&outcome.vm(GUEST).map(|vm| vm.text()).unwrap_or_default()));
        }
        let outcome = self.run(machine, &self.successor_manifest(&machine.options.cpu), |outcome| {
            outcome.vm("second").is_some_and(|vm| vm.gone.is_some()) && !outcome.memory.is_empty()
        })?;
        let (create, memory) = created(&outcome).ok_or_else(|| self.unfinished(&outcome))?;
        let median =
            |(name, _, _): &(&str, &str, Suite)| Some(((*name).to_owned(), readings.get(*name)?.median));
        let operations = FIGURES.iter().filter_map(median).collect();
        Ok(Point { crowd: self, operations, create, memory })
    }

    /// Runs the VMs of a manifest until what is waited for has come.
    fn run(
        self,
        machine: &Testbed<'_>,
        manifest: &str,
        is_done: impl FnMut(&RunOutcome) -> bool,
    ) -> Result<RunOutcome, BenchError> {
        let mut running = Running::start(&machine.prepare(manifest)?)?;
        let came = running.wait_for_outcome("the end", PATIENCE, is_done);
        let outcome = running.stop();
        match came {
            Ok(()) => Ok(outcome),
            Err(_) => Err(self.unfinished(&outcome)),
        }
    }

    fn unfinished(self, outcome: &RunOutcome) -> BenchError {
        let said = outcome.vm(GUEST).map(|vm| vm.text()).unwrap_or_default();
        BenchError::after(format!("{} VMs on {} CPUs", self.vms, self.cpus), outcome, &said)
    }

    /// The board, and all VMs but `others`, asleep on the first CPU or, where there are more, on any.
    fn sleepers(self, cpu: &str, others: u16) -> String {
        let Self { cpus, vms } = self;
        let board = ((u64::from(vms) + 2) * MEMORY + 256).next_multiple_of(256);
        let mut text = format!("[board]\ncpu = {cpu:?}\ncpus = {cpus}\nmemory = \"{board}MiB\"\n");
        for index in others..vms {
            vm(&mut text, &format!("sleeper{index}"), "suite=sleep", "");
        }
        text
    }

    fn suite_manifest(self, options: &Options, suite: Suite) -> String {
        let mut text = self.sleepers(&options.cpu, 1);
        let pinning = format!("cpus = {:?}\n", suite.pinning());
        vm(&mut text, GUEST, &format!("suite={} rounds={ROUNDS}", suite.name()), &pinning);
        text
    }

    /// One VM ends, and one more is made where it was.
    fn successor_manifest(self, cpu: &str) -> String {
        let mut text = self.sleepers(cpu, 0);
        vm(&mut text, "first", "suite=boot", "cpus = [0]\n");
        vm(&mut text, "second", "suite=boot", "cpus = [0]\nafter = \"first\"\n");
        text
    }
}

fn vm(text: &mut String, name: &str, cmdline: &str, more: &str) {
    let _ = write!(
        text,
        "\n[[vm]]\nname = \"{name}\"\nkernel = \"guest:{GUEST}\"\nmemory = \"{MEMORY}MiB\"\ncmdline = \"{cmdline}\"\n{more}"
    );
}

/// What making the second VM took, and the memory that EL2 took while it was there.
fn created(outcome: &RunOutcome) -> Option<(u64, u64)> {
    let second = outcome.vm("second")?;
    let epoch = second.boot_epochs.first()?;
    let since_switched_on: u64 = second.text().lines().find_map(|line| {
        line.trim_end().rsplit_once("bench: first-instruction ").and_then(|(_, count)| count.parse().ok())
    })?;
    let (_, memory) = outcome.memory.last()?;
    Some((epoch.started.checked_sub(epoch.began)? + since_switched_on, Account::from(*memory).used()))
}

impl Scale {
    /// For programs; docs/performance.md describes it.
    #[must_use]
    pub fn json(&self) -> String {
        json(self)
    }
}

#[cfg(test)]
mod tests;

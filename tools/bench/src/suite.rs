// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the bench guest: a board for each suite, under Vambrace and natively.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{BenchError, Figures, Options};
use vambrace_manifest::diagnostic::Source;
use vambrace_manifest::{self as manifest, BoardOptions};
use vambrace_runner::build::{self, Afterwards};
use vambrace_runner::{self as runner, Board, Boot, Clock, Config, Ending, Exit, RunOutcome};
use vambrace_setup::qemu::Qemu;
use vambrace_setup::{Bare, Setup};

/// What each operation took, by name.
pub type Readings = BTreeMap<String, Figures>;

/// The guest, and its VM.
pub(super) const GUEST: &str = "bench";
/// When a board has stopped to get on. Many times what it takes, for instructions are counted, and how soon they come
/// depends on what else the computer does.
pub(super) const PATIENCE: Duration = Duration::from_secs(1800);
/// RAM of the board without a hypervisor, in bytes.
const NATIVE_MEMORY: u64 = 64 << 20;

/// Operations that need the same board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// One CPU by itself.
    One,
    /// Two CPUs, a vCPU on each.
    Pair,
    /// One CPU with two vCPUs.
    Shared,
    /// One CPU, whose VM resets itself.
    Reset,
    /// One CPU without a hypervisor, at EL2.
    Stage2,
}

/// Where the guest runs that has no hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GuestLevel {
    /// At EL1, and there is nothing above.
    El1,
    /// At EL2.
    El2,
}

impl Suite {
    /// All that run in a VM.
    pub const ALL: [Self; 4] = [Self::One, Self::Pair, Self::Shared, Self::Reset];

    /// Its name as the guest's parameter.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Pair => "pair",
            Self::Shared => "shared",
            Self::Reset => "reset",
            Self::Stage2 => "stage2",
        }
    }

    /// The program that does it.
    fn guest(self) -> &'static str {
        if self == Self::Stage2 { "stage2" } else { GUEST }
    }

    /// Whether its operations mean something without a hypervisor.
    #[must_use]
    pub fn exists_natively(self) -> bool {
        matches!(self, Self::One | Self::Pair)
    }

    /// How many CPUs the board has.
    pub(super) fn cpus(self) -> u16 {
        if self == Self::Pair { 2 } else { 1 }
    }

    /// For each vCPU the CPU that it is pinned to.
    pub(super) fn pinning(self) -> &'static [u16] {
        match self {
            Self::One | Self::Reset | Self::Stage2 => &[0],
            Self::Pair => &[0, 1],
            Self::Shared => &[0, 0],
        }
    }

    /// How many vCPUs the VM has.
    pub(super) fn vcpus(self) -> u32 {
        self.pinning().len() as u32
    }

    /// `more` are further parameters, each with a space before it.
    pub(super) fn manifest(self, options: &Options, more: &str) -> String {
        let Options { cpu, rounds, .. } = options;
        format!(
            "[board]\ncpu = {cpu:?}\ncpus = {cpus}\n\n[[vm]]\nname = \"{GUEST}\"\nkernel = \"guest:{GUEST}\"\n\
             {ram}cpus = {pinning:?}\ncmdline = \"suite={name} rounds={rounds}{more}\"\n",
            ram = options.ram(64),
            cpus = self.cpus(),
            pinning = self.pinning(),
            name = self.name(),
        )
    }
}

/// What suites run on.
pub(super) struct Testbed<'a> {
    pub(super) setup: &'a Setup,
    pub(super) bare: &'a Bare,
    pub(super) qemu: &'a Qemu,
    pub(super) options: &'a Options,
}

impl Testbed<'_> {
    /// Runs a suite in a VM.
    pub(super) fn under_vambrace(&self, suite: Suite) -> Result<Readings, BenchError> {
        let outcome = self.run_vms(suite.name(), suite.manifest(self.options, ""))?;
        let said = outcome.vm(GUEST).map(|vm| vm.text()).unwrap_or_default();
        judge(suite.name(), "under Vambrace", outcome.exit() == Exit::Success, &said, &outcome)
    }

    /// Runs the VMs of a manifest to their end.
    pub(super) fn run_vms(&self, what: &str, manifest: String) -> Result<RunOutcome, BenchError> {
        let _step = self.setup.progress.step(&format!("measuring under Vambrace: {what}"));
        Ok(runner::run(&self.prepare(&manifest)?)?)
    }

    /// A board with the VMs of a manifest, ready to run.
    pub(super) fn prepare(&self, manifest: &str) -> Result<Config, BenchError> {
        let source = Source { path: PathBuf::from("bench.toml"), text: manifest.to_owned() };
        let (manifest, _) = manifest::parse(source, &BoardOptions::default())?;
        let bundle = build::bundle(&manifest, self.setup, self.bare, Afterwards::PowerOff)?;
        let board = Board {
            cpu: manifest.board.cpu.clone(),
            cpus: manifest.board.cpus,
            memory: manifest.board.memory.0,
            clock: Clock::Instructions,
            qemu_args: Vec::new(),
        };
        let boot = Boot::Parts { hypervisor: self.bare.hypervisor.clone(), bundle };
        Ok(self.config(board, boot, manifest.vms.iter().map(|vm| vm.name.clone()).collect()))
    }

    /// Runs a suite without a hypervisor.
    pub(super) fn natively(&self, suite: Suite, level: GuestLevel) -> Result<Readings, BenchError> {
        let _step = self.setup.progress.step(&format!("measuring natively: {}", suite.name()));
        let Options { cpu, rounds, .. } = self.options;
        let board = Board {
            cpu: cpu.clone(),
            cpus: suite.cpus(),
            memory: NATIVE_MEMORY,
            clock: Clock::Instructions,
            qemu_args: match level {
                // QEMU joins it with the machine's other properties.
                GuestLevel::El1 => ["-machine", "virtualization=off"].map(str::to_owned).into(),
                GuestLevel::El2 => Vec::new(),
            },
        };
        let boot = Boot::Kernel {
            image: self.bare.guests.get(suite.guest()).cloned().unwrap_or_default(),
            cmdline: format!("native suite={} rounds={rounds}", suite.name()),
        };
        let outcome = runner::run(&self.config(board, boot, Vec::new()))?;
        let said = String::from_utf8_lossy(&outcome.raw).into_owned();
        judge(
            suite.name(),
            "natively",
            outcome.summary.ending == Some(Ending::Broken(Some(0))),
            &said,
            &outcome,
        )
    }

    fn config(&self, board: Board, boot: Boot, vms: Vec<String>) -> Config {
        Config { qemu: self.qemu.clone(), board, boot, vms, timeout: Some(PATIENCE) }
    }
}

/// What the guest said, if it came to its end.
fn judge(
    suite: &str,
    machine: &str,
    ended_well: bool,
    said: &str,
    outcome: &RunOutcome,
) -> Result<Readings, BenchError> {
    if ended_well && said.lines().any(|line| line.trim_end() == "bench: done") {
        return Ok(read(said));
    }
    Err(BenchError::after(format!("{suite} {machine}"), outcome, said))
}

/// The figures in what the guest said.
pub(super) fn read(said: &str) -> Readings {
    let mut readings = Readings::new();
    let mut counts = BTreeMap::new();
    for line in said.lines() {
        // The figures of a boot that ended by reset may not have come to the end of their line.
        let Some((_, words)) = line.rsplit_once("bench: ") else { continue };
        let words: Vec<&str> = words.split_whitespace().collect();
        let numbers: Vec<u64> = words.iter().skip(1).filter_map(|word| word.parse().ok()).collect();
        match (words.first(), numbers.as_slice()) {
            (Some(name), [min, median, max]) => {
                readings.insert((*name).to_owned(), Figures { min: *min, median: *median, max: *max });
            }
            (Some(name), [count]) => {
                counts.insert(*name, *count);
            }
            _ => {}
        }
    }
    if let (Some(from), Some(to)) = (counts.get("reset-at"), counts.get("restarted-at")) {
        let took = to.saturating_sub(*from);
        readings.insert("vm-reset".to_owned(), Figures::once(took));
    }
    readings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_the_rest_is_not() {
        let said = "guest: hello\r\nbench: switch 1 2 3\r\n....\r\nbench: done\r\nbench: odd 1 two 3\r\n\
                    bench: reset-at 100\r\nbench: restarted-at 150\r\n";
        let figures = |min, median, max| Figures { min, median, max };
        let expected = [("switch", figures(1, 2, 3)), ("vm-reset", figures(50, 50, 50))];
        assert_eq!(read(said), expected.map(|(name, figures)| (name.to_owned(), figures)).into());
    }

    #[test]
    fn the_manifests_have_no_mistakes() {
        for suite in Suite::ALL {
            let text = suite.manifest(&Options::default(), "");
            let source = Source { path: PathBuf::from("bench.toml"), text };
            let (manifest, warnings) = manifest::parse(source, &BoardOptions::default()).unwrap();
            assert!(warnings.is_empty(), "{warnings}");
            assert_eq!(manifest.vms[0].vcpus.len(), suite.pinning().len());
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linux with a disk, or two with a network: in VMs, and without a hypervisor.
//!
//! Both times kernel, drivers and init are the same, and so is what QEMU plays the disk with. In a VM that is the board's
//! disk, driven by EL2.

use std::path::PathBuf;

use super::super::suite::{PATIENCE, Testbed};
use super::super::systems::exits::{self, Devices};
use super::super::systems::machine::COMMAND_LINE;
use super::{Account, KERNEL, Route};
use crate::BenchError;
use vambrace_manifest::diagnostic::Source;
use vambrace_manifest::{self as manifest, BoardOptions, Manifest};
use vambrace_runner::build::{self, Afterwards};
use vambrace_runner::{self as runner, Board, Boot, Clock, Config, Ending, Exit, Medium, RunOutcome};
use vambrace_setup::{SetupError, debian, initramfs};

/// The program that moves data through a network.
const IPERF: &str = "iperf3";
/// A VM's RAM in MiB.
const MEMORY: u64 = 512;
/// What init says when all was moved, before the number of bytes.
const MOVED: &str = "traffic: moved ";

/// A Linux that is ready to run.
pub(super) struct Linux<'a> {
    machine: &'a Testbed<'a>,
    kernel: PathBuf,
    folder: tempfile::TempDir,
}

/// What a run's Linux runs on.
#[derive(Clone, Copy, Debug)]
enum Environment {
    Native,
    Vambrace,
}

impl<'a> Linux<'a> {
    /// Fetches the kernel and all that goes with it.
    pub(super) fn prepare(machine: &'a Testbed<'a>) -> Result<Self, BenchError> {
        let setup = machine.setup;
        let folder = runner::folder()?;
        let linux = Self { machine, kernel: setup.kernel(Some(KERNEL))?, folder };
        let mut archive = Vec::new();
        for file in [setup.modules(Some(KERNEL))?, setup.program(IPERF)?] {
            archive.extend(std::fs::read(&file).map_err(|error| SetupError::file("read", &file, &error))?);
        }
        archive.extend(setup.initramfs_of(initramfs::TRAFFIC)?);
        let initrd = linux.initrd();
        std::fs::write(&initrd, archive).map_err(|error| SetupError::file("write", &initrd, &error))?;
        Ok(linux)
    }

    /// The kernel's release.
    pub(super) fn release(&self) -> String {
        debian::version_of(debian::LINUX, &self.kernel)
    }

    fn initrd(&self) -> PathBuf {
        self.folder.path().join("initrd")
    }

    /// Moves data in VMs.
    pub(super) fn under_vambrace(&self, route: Route, amount: u64) -> Result<Account, BenchError> {
        let manifest = self.manifest(route, amount)?;
        let record = self.folder.path().join("exceptions");
        let bundle = build::bundle(&manifest, self.machine.setup, self.machine.bare, Afterwards::PowerOff)?;
        let boot = Boot::Parts { hypervisor: self.machine.bare.hypervisor.clone(), bundle };
        let recording = ["-d".into(), exits::RECORD.into(), "-D".into(), record.display().to_string()];
        let mut config = self.config(&manifest, boot, recording.into());
        config.vms = manifest.vms.iter().map(|vm| vm.name.clone()).collect();
        let (account, outcome) = self.run(route, Environment::Vambrace, config)?;
        let said = outcome.vms.first().map(runner::VmOutcome::text).unwrap_or_default();
        let text = std::fs::read(&record).map_err(|error| SetupError::file("read", &record, &error))?;
        let exits = exits::read(&String::from_utf8_lossy(&text), &Devices::read(&said));
        Ok(Account { exits: exits.into_iter().next().unwrap_or_default(), ..account })
    }

    /// Moves data at EL1 of a board that has no EL2.
    pub(super) fn natively(&self, route: Route, amount: u64) -> Result<Account, BenchError> {
        let manifest = self.manifest(route, amount)?;
        let image =
            std::fs::read(&self.kernel).map_err(|error| SetupError::file("read", &self.kernel, &error))?;
        let boot = Boot::Kernel { image, cmdline: command_line(route.alone(), amount, "") };
        // QEMU joins it with the machine's other properties.
        let arguments = ["-machine", "virtualization=off", "-initrd", &self.initrd().display().to_string()];
        let mut config = self.config(&manifest, boot, arguments.map(str::to_owned).into());
        (config.board.cpus, config.board.memory) = (1, MEMORY << 20);
        self.run(route, Environment::Native, config).map(|(account, _)| account)
    }

    fn manifest(&self, route: Route, amount: u64) -> Result<Manifest, BenchError> {
        let source =
            Source { path: self.folder.path().join("bench.toml"), text: self.manifest_text(route, amount) };
        let (manifest, _) = manifest::parse(source, &BoardOptions::default())?;
        Ok(manifest)
    }

    fn manifest_text(&self, route: Route, amount: u64) -> String {
        let vm = |name: &str, cpu: u16, what: &str, more: &str, device: &str| {
            format!(
                "\n[[vm]]\nname = {name:?}\nkernel = \"debian:{KERNEL}\"\ninitrd = {initrd:?}\n\
                 {ram}cpus = [{cpu}]\ncmdline = {line:?}\n{device}",
                initrd = self.initrd(),
                ram = self.machine.options.ram(MEMORY),
                line = command_line(what, amount, more),
            )
        };
        let cpu = &self.machine.options.cpu;
        let board = |cpus: u16| format!("[board]\ncpu = {cpu:?}\ncpus = {cpus}\nmemory = \"2GiB\"\n");
        let card = "\n[[vm.network]]\nname = \"lan\"\n";
        match route {
            Route::Read | Route::Write => {
                let disk = "\n[[board.disk]]\nname = \"disk\"\nimage = \"disk.img\"\nsize = \"256MiB\"\n";
                let device = "\n[[vm.disk]]\nboard = \"disk\"\n";
                board(1) + disk + &vm("linux", 0, route.alone(), "", device)
            }
            Route::Network => {
                board(2)
                    + "\n[[network]]\nname = \"lan\"\n"
                    + &vm("server", 0, "serve", " ip=10.0.0.1:::255.255.255.0", card)
                    + &vm("client", 1, "send", " ip=10.0.0.2:::255.255.255.0 server=10.0.0.1", card)
            }
        }
    }

    fn config(&self, manifest: &Manifest, boot: Boot, more: Vec<String>) -> Config {
        let mut qemu_args = runner::devices_on(manifest, Medium::Zeros);
        qemu_args.extend(more);
        let board = Board {
            cpu: manifest.board.cpu.clone(),
            cpus: manifest.board.cpus,
            memory: manifest.board.memory.0,
            clock: Clock::Instructions,
            qemu_args,
        };
        Config { qemu: self.machine.qemu.clone(), board, boot, vms: Vec::new(), timeout: Some(PATIENCE) }
    }

    /// Runs it; what that took but for exits.
    fn run(
        &self,
        route: Route,
        environment: Environment,
        config: Config,
    ) -> Result<(Account, RunOutcome), BenchError> {
        let how = match environment {
            Environment::Native => "natively",
            Environment::Vambrace => "under Vambrace",
        };
        let _step = self.machine.setup.progress.step(&format!("measuring {how}: {}", route.what()));
        let (outcome, instructions) = runner::run_counted(config)?;
        let said = match environment {
            Environment::Native => String::from_utf8_lossy(&outcome.raw).into_owned(),
            Environment::Vambrace => outcome.vms.iter().map(runner::VmOutcome::text).collect(),
        };
        let ended_well = match environment {
            Environment::Native => outcome.summary.ending == Some(Ending::Broken(Some(0))),
            Environment::Vambrace => outcome.exit() == Exit::Success,
        };
        let systems = outcome.vms.len().max(1);
        let moved: Vec<u64> = said.lines().filter_map(bytes_moved).collect();
        if let Some(instructions) = instructions.filter(|_| ended_well && moved.len() == systems) {
            let account = Account { bytes: moved.iter().sum(), instructions, ..Account::default() };
            return Ok((account, outcome));
        }
        Err(BenchError::after(format!("{} {environment:?}", route.name()), &outcome, &said))
    }
}

impl Route {
    /// What a system does that has nobody beside it, as init knows it.
    const fn alone(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Network => "loop",
        }
    }
}

/// What init said of it in a line.
fn bytes_moved(line: &str) -> Option<u64> {
    line.split_once(MOVED)?.1.trim_end().parse().ok()
}

fn command_line(what: &str, amount: u64, more: &str) -> String {
    format!("{COMMAND_LINE} traffic={what} amount={amount}{more}")
}

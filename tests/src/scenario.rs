// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMs to run: the text of a manifest, and how the board runs it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::Failed;
use vambrace::failure::Failure;
use vambrace_manifest::diagnostic::{Diagnostics, Source};
use vambrace_manifest::{self as manifest, BoardOptions, Manifest};
use vambrace_runner::build::{self, Afterwards};
use vambrace_runner::{Board, Boot, Clock, Config, Medium, Running, StartError};

use crate::PATIENCE;
use crate::bench::Bench;
use crate::record::{Live, Record};

/// VMs to run.
#[derive(Clone, Debug)]
pub struct Scenario {
    text: String,
    /// Where relative paths start.
    path: PathBuf,
    clock: Clock,
    afterwards: Afterwards,
    patience: Duration,
    qemu_args: Vec<String>,
    /// Disks of the board, and the logs of what is written to them.
    write_logs: Vec<(String, PathBuf)>,
    /// What the board's disks stand on.
    medium: Medium,
}

impl Scenario {
    /// The VMs of a manifest.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            path: PathBuf::from("scenario.toml"),
            clock: Clock::Host,
            afterwards: Afterwards::PowerOff,
            patience: PATIENCE,
            qemu_args: Vec::new(),
            write_logs: Vec::new(),
            medium: Medium::Files,
        }
    }

    /// The VMs of a manifest's file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_file(path: &Path) -> Result<Self, Failed> {
        Ok(Self { path: path.to_owned(), ..Self::new(std::fs::read_to_string(path)?) })
    }

    /// Time moves with the count of instructions.
    #[must_use]
    pub fn counted(self) -> Self {
        Self { clock: Clock::Instructions, ..self }
    }

    /// Linux VMs with the demo's initial RAM disk give a shell instead of powering off.
    #[must_use]
    pub fn with_shells(self) -> Self {
        Self { afterwards: Afterwards::Shell, ..self }
    }

    /// It is so long that it may take so many seconds, if that is more than any run may take.
    #[must_use]
    pub fn within(self, seconds: u64) -> Self {
        Self { patience: PATIENCE.max(Duration::from_secs(seconds)), ..self }
    }

    /// QEMU's board has more than ours.
    #[must_use]
    pub fn with_qemu_args(self, arguments: &[impl AsRef<str>]) -> Self {
        let arguments = arguments.iter().map(|argument| argument.as_ref().to_owned());
        Self { qemu_args: arguments.collect(), ..self }
    }

    /// The board's disks that are empty at first are nothing but zeros, and answer without the computer's disk and clock.
    #[must_use]
    pub fn on_zeros(self) -> Self {
        Self { medium: Medium::Zeros, ..self }
    }

    /// All that is written to this disk of the board is logged, for a [`WriteLog`](crate::WriteLog).
    #[must_use]
    pub fn with_write_log(mut self, disk: &str, log: PathBuf) -> Self {
        self.write_logs.push((disk.to_owned(), log));
        self
    }

    /// QEMU's arguments for the board's devices.
    fn devices(&self, manifest: &Manifest) -> Vec<String> {
        let mut arguments = vambrace_runner::devices_on(manifest, self.medium);
        for (disk, log) in &self.write_logs {
            let plain = format!("if=none,id=disk-{disk},format=raw,discard=unmap,file=");
            let logged = format!(
                "if=none,id=disk-{disk},discard=unmap,driver=blklogwrites,log.driver=file,log.filename={},\
                 file.driver=raw,file.file.driver=file,file.file.filename=",
                log.display()
            );
            for argument in &mut arguments {
                *argument = argument.replace(&plain, &logged);
            }
        }
        arguments
    }

    fn manifest(&self) -> Result<Manifest, Failed> {
        let source = Source { path: self.path.clone(), text: self.text.clone() };
        let (manifest, _warnings) = manifest::parse(source, &BoardOptions::default()).map_err(wrong)?;
        Ok(manifest)
    }
}

fn wrong(diagnostics: Diagnostics) -> Failed {
    diagnostics.to_string().into()
}

impl Bench {
    /// What the runner needs to know of a scenario.
    fn config(&self, scenario: &Scenario) -> Result<Config, Failed> {
        let manifest = scenario.manifest()?;
        if scenario.medium == Medium::Files {
            vambrace_runner::make_disks(&manifest, &self.setup)?;
        }
        let render =
            |error: StartError| Failure::from(error).render(vambrace_manifest::diagnostic::Style::Plain);
        let bundle =
            build::bundle(&manifest, &self.setup, &self.bare, scenario.afterwards).map_err(render)?;
        let hypervisor = build::hypervisor(&manifest, &self.bare).map_err(render)?;
        Ok(Config {
            qemu: self.qemu.clone(),
            board: Board {
                cpu: manifest.board.cpu.clone(),
                cpus: manifest.board.cpus,
                memory: manifest.board.memory.0,
                clock: scenario.clock,
                qemu_args: [scenario.devices(&manifest), scenario.qemu_args.clone()].concat(),
            },
            boot: Boot::Parts { hypervisor, bundle },
            vms: manifest.vms.iter().map(|vm| vm.name.clone()).collect(),
            timeout: Some(scenario.patience),
        })
    }

    /// Starts a scenario.
    ///
    /// # Errors
    /// When its manifest is wrong or QEMU does not start.
    pub fn start(&self, scenario: &Scenario) -> Result<Live, Failed> {
        let config = self.config(scenario)?;
        Ok(Live::new(Running::start(&config)?, scenario.patience))
    }

    /// Runs a scenario to its end.
    ///
    /// # Errors
    /// When its manifest is wrong or QEMU does not start.
    pub fn run(&self, scenario: &Scenario) -> Result<Record, Failed> {
        Ok(self.start(scenario)?.finish())
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same Linux in a VM and without a hypervisor.
//!
//! The VM is planned as any other: kernel, RAM disk and device tree get their places, and the tree says what a VM has. QEMU
//! then puts the very same bytes at the same addresses of its own machine, which has all that the tree names. Random
//! seeds stay zero both times, since they decide how much the kernel waits for entropy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vambrace_wire::bundle::{self, Bundle};

use super::exits::{self, Devices, Exits};
use crate::suite::{PATIENCE, Testbed};
use crate::{BenchError, Options};
use vambrace_manifest::diagnostic::Source;
use vambrace_manifest::plan::PlanError;
use vambrace_manifest::{self as manifest, BoardOptions};
use vambrace_runner::build::{self, Afterwards};
use vambrace_runner::{self as runner, Board, Boot, Clock, Config, Ending, Exit, RunOutcome};
use vambrace_setup::{SetupError, debian, initramfs};

/// The program that is init.
const INIT: &str = "linux-bench";
/// The VM.
const NAME: &str = "linux";
/// Its RAM in MiB.
const MEMORY: u64 = 512;

/// The kernel says nothing, moves neither itself nor programs by chance, does not test its ciphers, which takes as long as all the rest,
/// and shows where it maps devices.
pub(crate) const COMMAND_LINE: &str =
    "console=ttyAMA0 loglevel=4 nokaslr norandmaps cryptomgr.notests=1 no_hash_pointers";

/// Pages that a CPU keeps for itself, so many that they never run out while processes come and go. Of as few as the kernel
/// chooses itself, a process takes and gives back a batch or none each time, as it has happened to begin with: half a
/// percent more or less, from one boot to the next.
const PAGES: &str = "sysctl.vm.percpu_pagelist_high_fraction=8";

/// The device tree's place: QEMU puts one of its own at the start of RAM, of 1 MiB at most, where a VM's usually is.
const TREE: u64 = 0x4010_0000;
/// Where the first CPU starts without a hypervisor, behind the tree and before the kernel.
const STUB: u64 = 0x401F_0000;

/// Ticks of each phase, by name.
pub(super) type Ticks = BTreeMap<String, u64>;

/// A Linux that is ready to run.
pub(super) struct Linux<'a> {
    machine: &'a Testbed<'a>,
    kernel: &'a str,
    path: PathBuf,
    cpus: u16,
    bundle: Vec<u8>,
}

impl<'a> Linux<'a> {
    /// Fetches the kernel and plans the VM.
    pub(super) fn prepare(machine: &'a Testbed<'a>, kernel: &'a str, cpus: u16) -> Result<Self, BenchError> {
        let path = machine.setup.kernel(Some(kernel))?;
        let init = machine.bare.linux.get(INIT).map(Vec::as_slice).unwrap_or_default();
        let folder = runner::folder()?;
        let initrd = folder.path().join("initrd");
        let packed = initramfs::of_init(init).and_then(|archive| std::fs::write(&initrd, archive));
        packed.map_err(|error| SetupError::file("write", &initrd, &error))?;
        let source = Source {
            path: folder.path().join("bench.toml"),
            text: manifest(machine.options, kernel, &initrd, cpus),
        };
        let (manifest, _) = manifest::parse(source, &BoardOptions::default())?;
        let bundle = build::bundle(&manifest, machine.setup, machine.bare, Afterwards::PowerOff)?;
        let bundle = settle(&bundle).map_err(PlanError::from)?;
        Ok(Self { machine, kernel, path, cpus, bundle })
    }

    /// The kernel's release: the cache keeps each in a folder of its own.
    pub(super) fn release(&self) -> String {
        debian::version_of(debian::LINUX, &self.path)
    }

    /// Runs it in a VM. The exits come phase by phase.
    pub(super) fn under_vambrace(&self) -> Result<(Ticks, Vec<Exits>), BenchError> {
        let folder = runner::folder()?;
        let record = folder.path().join("exceptions");
        let mut qemu_args: Vec<String> = ["-d", exits::RECORD, "-D"].map(str::to_owned).into();
        qemu_args.push(record.display().to_string());
        let boot =
            Boot::Parts { hypervisor: self.machine.bare.hypervisor.clone(), bundle: self.bundle.clone() };
        let outcome = self.run("under Vambrace", 2 * MEMORY, qemu_args, boot, vec![NAME.to_owned()])?;
        let said = outcome.vm(NAME).map(|vm| vm.text()).unwrap_or_default();
        let ticks = self.judge("under Vambrace", outcome.exit() == Exit::Success, &said, &outcome)?;
        let text = std::fs::read(&record).map_err(|error| SetupError::file("read", &record, &error))?;
        Ok((ticks, exits::read(&String::from_utf8_lossy(&text), &Devices::read(&said))))
    }

    /// Runs it at EL1 of a board that has no EL2.
    pub(super) fn natively(&self) -> Result<Ticks, BenchError> {
        // QEMU joins it with the machine's other properties.
        let qemu_args = ["-machine", "virtualization=off"].map(str::to_owned).into();
        let outcome = self.run("natively", MEMORY, qemu_args, self.memory()?, Vec::new())?;
        let said = String::from_utf8_lossy(&outcome.raw).into_owned();
        let ended_well = outcome.summary.ending == Some(Ending::Broken(Some(0)));
        self.judge("natively", ended_well, &said, &outcome)
    }

    /// The VM's memory as EL2 would fill it.
    fn memory(&self) -> Result<Boot, BenchError> {
        let bundle = Bundle::open(&self.bundle).map_err(PlanError::from)?;
        let vm = bundle.directory.vms.first();
        let loads = vm.iter().flat_map(|vm| &vm.loads);
        let mut parts: Vec<(u64, Vec<u8>)> =
            loads.map(|load| (load.ipa, bundle.blob(load.blob).to_vec())).collect();
        parts.push((STUB, stub(vm.map_or(0, |vm| vm.entry), TREE)));
        Ok(Boot::Memory { parts, start: STUB })
    }

    fn run(
        &self,
        how: &str,
        memory: u64,
        qemu_args: Vec<String>,
        boot: Boot,
        vms: Vec<String>,
    ) -> Result<RunOutcome, BenchError> {
        let Testbed { setup, qemu, options, .. } = self.machine;
        let _step = setup.progress.step(&format!("measuring {how}: Linux {}", self.kernel));
        let board = Board {
            cpu: options.cpu.clone(),
            cpus: self.cpus,
            memory: memory << 20,
            clock: Clock::Instructions,
            qemu_args,
        };
        let config = Config { qemu: (*qemu).clone(), board, boot, vms, timeout: Some(PATIENCE) };
        Ok(runner::run(&config)?)
    }

    /// The ticks that init told, if it told all.
    fn judge(
        &self,
        how: &str,
        ended_well: bool,
        said: &str,
        outcome: &RunOutcome,
    ) -> Result<Ticks, BenchError> {
        let ticks = read(said);
        let is_whole =
            super::PHASES.iter().all(|phase| ticks.get(phase.name).is_some_and(|ticks| *ticks > 0));
        if ended_well && is_whole {
            return Ok(ticks);
        }
        Err(BenchError::after(format!("Linux {} {how}", self.kernel), outcome, said))
    }
}

pub(super) fn manifest(options: &Options, kernel: &str, initrd: &Path, cpus: u16) -> String {
    let (cpu, ram) = (&options.cpu, options.ram(MEMORY));
    let pinning: Vec<u16> = (0..cpus).collect();
    format!(
        "[board]\ncpu = {cpu:?}\ncpus = {cpus}\nmemory = \"{board}MiB\"\n\n[[vm]]\nname = \"{NAME}\"\n\
         kernel = \"debian:{kernel}\"\ninitrd = {initrd:?}\n{ram}cpus = {pinning:?}\n\
         cmdline = \"{COMMAND_LINE} {PAGES}\"\n",
        board = 2 * MEMORY,
    )
}

/// Takes the chance out of a bundle of one VM, and makes room for what QEMU puts at the start of RAM.
fn settle(bytes: &[u8]) -> Result<Vec<u8>, bundle::BundleError> {
    let bundle = Bundle::open(bytes)?;
    let mut directory = bundle.directory.clone();
    for vm in &mut directory.vms {
        vm.seeds.clear();
        for load in &mut vm.loads {
            if load.ipa == vm.boot_argument {
                load.ipa = TREE;
            }
        }
        vm.boot_argument = TREE;
    }
    let count = u16::try_from(bundle.directory.blobs.len()).unwrap_or(u16::MAX);
    let blobs: Vec<&[u8]> = (0..count).map(|index| bundle.blob(index)).collect();
    bundle::build(directory, &blobs)
}

/// What a boot loader does at last, in three instructions: the tree's address to x0, and to the kernel.
fn stub(kernel: u64, tree: u64) -> Vec<u8> {
    const LDR_X0_16: u32 = 0x5800_0080; // ldr x0, . + 16
    const LDR_X4_20: u32 = 0x5800_00A4; // ldr x4, . + 20
    const BR_X4: u32 = 0xD61F_0080;
    // Without MMU an address must be aligned.
    const NOP: u32 = 0xD503_201F;
    let code = [LDR_X0_16, LDR_X4_20, BR_X4, NOP].map(u32::to_le_bytes).concat();
    [code, tree.to_le_bytes().into(), kernel.to_le_bytes().into()].concat()
}

/// The figures in what init said.
fn read(said: &str) -> Ticks {
    said.lines()
        .filter_map(|line| {
            let (_, words) = line.split_once("systems: ")?;
            let (name, ticks) = words.trim_end().split_once(' ')?;
            Some((name.to_owned(), ticks.parse().ok()?))
        })
        .collect()
}

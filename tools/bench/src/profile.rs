// SPDX-License-Identifier: MIT OR Apache-2.0
//! What operations do at EL2 that a count of instructions makes too little of.
//!
//! On silicon a system register, a barrier, an exclusive or a cache line that is not there takes as long as tens of plain
//! instructions. A short run of each suite in which QEMU logs every instruction of EL2 tells how many of each an operation
//! needs, and where its instructions go. The log has addresses and registers; the words come from the image, and the
//! addresses of loads and stores from both.
//!
//! A VM's addresses look like the board's, so the hypervisor is loaded where no VM of the suites has memory: what is logged is its text,
//! and of the guest nothing but its marks.

mod functions;
mod instruction;
mod log;
mod marks;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read};
use std::thread;

use serde::Serialize;
use vambrace_io::decode::Registers;
use vambrace_machine::layout::RAM;

use self::functions::Functions;
use self::instruction::{InstructionKind, Touched, classify, touched};
use self::log::{Log, LoggedInstruction};
use self::marks::{Mark, Round, Rounds};
use super::suite::{GUEST, Suite, Testbed};
use super::{BenchError, Options};
use vambrace_runner::{self as runner, Boot, Config};

/// Suites, and which of their operations are watched.
const WATCHED: [(Suite, &[&str]); 3] = [
    (
        Suite::One,
        &[
            "id-register",
            "hvc-psci-version",
            "smc-psci-version",
            "hvc-unknown",
            "affinity-info",
            "gicd-typer-read",
            "gicr-typer-read",
            "pl011-status-read",
            "pl011-write",
            "sgi-to-self",
            "timer-busy",
            "timer-from-wfi",
        ],
    ),
    (Suite::Pair, &["ipi-round-trip", "ipi-to-sleeping"]),
    (Suite::Shared, &["switch", "switch-to-woken", "switch-at-end-of-turn"]),
];

/// Rounds in a run that is logged.
const ROUNDS: u32 = 5;
/// Where the hypervisor is loaded, from the start of RAM: beyond the VMs of the suites, whose addresses start there too.
const OFFSET: u64 = 64 << 20;
/// Where an Image header has that.
const OFFSET_AT: usize = 8;
/// Where the guest is, by the rules for kernels.
const GUEST_AT: u64 = RAM.0 + (2 << 20);
/// Bytes of a cache line, as a power of two.
const LINE: u32 = 6;
/// Bytes of an instruction.
const WORD: usize = 4;

/// What EL2 does in the median round of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InstructionProfile {
    /// Instructions.
    pub instructions: u64,
    /// Returns to a guest.
    pub exits: u64,
    /// System registers read.
    pub register_reads: u64,
    /// System registers written.
    pub register_writes: u64,
    /// DSB, DMB and ISB.
    pub barriers: u64,
    /// TLBI.
    pub tlb_maintenance: u64,
    /// IC and DC.
    pub cache_maintenance: u64,
    /// Exclusive loads and stores, atomic operations.
    pub exclusives: u64,
    /// Loads and stores of devices.
    pub device_accesses: u64,
    /// Distinct lines of 64 bytes that are loaded or stored.
    pub data_lines: u64,
    /// Distinct lines of 64 bytes that instructions are fetched from.
    pub code_lines: u64,
}

/// An instruction that EL2 ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// Its address as linked.
    pc: u64,
    kind: InstructionKind,
    touched: Option<Touched>,
}

/// The names of what is watched.
#[must_use]
pub fn watched() -> Vec<&'static str> {
    WATCHED.iter().flat_map(|(_, names)| names.iter().copied()).collect()
}

/// Watches all suites.
pub(super) fn measure(machine: &Testbed<'_>) -> Result<BTreeMap<String, InstructionProfile>, BenchError> {
    let mut all = BTreeMap::new();
    for (suite, names) in WATCHED {
        let rounds = watch(machine, suite)?;
        for name in names {
            let round = rounds.get(*name).ok_or_else(|| missing(suite, name))?;
            all.insert((*name).to_owned(), InstructionProfile::of(round));
        }
    }
    Ok(all)
}

/// A table of the functions that an operation's instructions are from.
pub(super) fn locate(machine: &Testbed<'_>, operation: &str) -> Result<String, BenchError> {
    let of = |(suite, names): &(Suite, &[&str])| names.contains(&operation).then_some(*suite);
    let suite = WATCHED.iter().find_map(of).unwrap_or(Suite::One);
    let rounds = watch(machine, suite)?;
    let round = rounds.get(operation).ok_or_else(|| missing(suite, operation))?;
    let shares = Functions::of(&machine.bare.hypervisor_elf).shares(round);
    Ok(functions::table(operation, &shares))
}

fn missing(suite: Suite, name: &str) -> BenchError {
    unfinished(suite, format!("no round of {name} was seen"))
}

fn unfinished(suite: Suite, how: String) -> BenchError {
    BenchError::Unfinished { suite: format!("{}, watched", suite.name()), how }
}

/// Runs a suite with every instruction of EL2 in the log.
fn watch(machine: &Testbed<'_>, suite: Suite) -> Result<BTreeMap<String, Round>, BenchError> {
    let options = Options { rounds: ROUNDS, ..machine.options.clone() };
    let _step = machine.setup.progress.step(&format!("watching EL2's instructions: {}", suite.name()));
    let mut config = machine.prepare(&suite.manifest(&options, " quiet"))?;
    let guest = machine.bare.guests.get(GUEST).map_or(&[][..], Vec::as_slice);
    let watch = Watch::new(&machine.bare.hypervisor, machine.bare.sections.text, guest);
    config.board.qemu_args.extend(watch.arguments());
    if let Boot::Parts { hypervisor, .. } = &mut config.boot
        && let Some(offset) = hypervisor.get_mut(OFFSET_AT..OFFSET_AT + size_of::<u64>())
    {
        offset.copy_from_slice(&OFFSET.to_le_bytes());
    }
    watch.run(&config, suite)
}

/// What to look for in the log.
struct Watch<'a> {
    /// The hypervisor's text.
    text: &'a [u8],
    /// The guest's marks, by address.
    marks: BTreeMap<u64, Mark>,
}

impl<'a> Watch<'a> {
    fn new(hypervisor: &'a [u8], text: u64, guest: &[u8]) -> Self {
        let text = hypervisor.get(..usize::try_from(text).unwrap_or(0)).unwrap_or(hypervisor);
        let marks = words(guest).filter_map(|(offset, word)| Some((GUEST_AT + offset, Mark::decode(word)?)));
        Self { text, marks: marks.collect() }
    }

    /// QEMU's arguments: one instruction a block, and those that matter into the log.
    fn arguments(&self) -> Vec<String> {
        let mut ranges = format!("{:#x}+{:#x}", RAM.0 + OFFSET, self.text.len());
        for mark in self.marks.keys() {
            ranges.push_str(&format!(",{mark:#x}+{WORD}"));
        }
        let arguments = [
            ["-accel", "tcg,one-insn-per-tb=on"],
            ["-d", "exec,cpu,nochain"],
            // By its name it is buffered.
            ["-D", "/dev/stderr"],
            ["-dfilter", &ranges],
        ];
        arguments.concat().into_iter().map(str::to_owned).collect()
    }

    /// Runs it until the guest is done.
    fn run(&self, config: &Config, suite: Suite) -> Result<BTreeMap<String, Round>, BenchError> {
        let (mut qemu, _files) = runner::spawn(config)?;
        let stdout = qemu.stdout.take();
        // Nobody reads the consoles, but they must not fill up.
        thread::spawn(move || stdout.map(|mut stdout| stdout.read_to_end(&mut Vec::new())));
        let log = qemu.stderr.take().map(|stderr| Log::new(BufReader::with_capacity(1 << 16, stderr)));
        let watched = log.map(|log| self.read(log));
        // An error means that it has ended already.
        let _ = qemu.kill();
        let _ = qemu.wait();
        match watched {
            Some(Ok(rounds)) => Ok(rounds.medians()),
            Some(Err(complaints)) => Err(unfinished(suite, complaints)),
            None => Err(unfinished(suite, "QEMU has no standard error".to_owned())),
        }
    }

    /// Reads the log up to the last mark; else what QEMU complained of.
    fn read<R: std::io::BufRead>(&self, mut log: Log<R>) -> Result<Rounds, String> {
        let mut rounds = Rounds::default();
        let mut last: BTreeMap<usize, LoggedInstruction> = BTreeMap::new();
        while let Some(step) = log.next().map_err(|error| error.to_string())? {
            let mark = self.marks.get(&step.pc);
            // QEMU logs an instruction once more when an interrupt or another CPU delayed it.
            let before = last.insert(step.cpu, step);
            let seen = self.seen(&step);
            let may_repeat = seen.is_some_and(|seen| seen.kind == InstructionKind::Branch);
            if !may_repeat && before.is_some_and(|before| before.pc == step.pc) {
                continue;
            }
            match (mark, seen) {
                (Some(Mark::End), _) => return Ok(rounds),
                (Some(mark), _) => rounds.mark(*mark, &step),
                (None, Some(seen)) => rounds.see(seen),
                (None, None) => {}
            }
        }
        Err(format!("the log ended before the guest was done: {}", log.complaints))
    }

    /// What an instruction of EL2's is.
    fn seen(&self, step: &LoggedInstruction) -> Option<Seen> {
        let pc = step.pc.checked_sub(RAM.0 + OFFSET)?;
        let word = self.text.get(usize::try_from(pc).ok()?..)?.first_chunk()?;
        let word = u32::from_le_bytes(*word);
        let registers = Registers { x: &step.x, sp: step.sp, pc: step.pc };
        Some(Seen { pc, kind: classify(word), touched: touched(word, &registers) })
    }
}

/// The words of an image, with their offsets.
fn words(image: &[u8]) -> impl Iterator<Item = (u64, u32)> {
    let words = image.chunks_exact(WORD).filter_map(|chunk| chunk.try_into().ok().map(u32::from_le_bytes));
    words.enumerate().map(|(index, word)| ((index * WORD) as u64, word))
}

impl InstructionProfile {
    fn of(round: &[Seen]) -> Self {
        let count = |kind| round.iter().filter(|seen| seen.kind == kind).count() as u64;
        let (devices, memory): (Vec<Touched>, Vec<Touched>) =
            round.iter().filter_map(|seen| seen.touched).partition(|touched| touched.address < RAM.0);
        let data = memory.iter().flat_map(|touched| {
            touched.address >> LINE..=(touched.address + touched.bytes.saturating_sub(1)) >> LINE
        });
        Self {
            instructions: round.len() as u64,
            exits: count(InstructionKind::ExceptionReturn),
            register_reads: count(InstructionKind::RegisterRead),
            register_writes: count(InstructionKind::RegisterWrite),
            barriers: count(InstructionKind::Barrier),
            tlb_maintenance: count(InstructionKind::TlbMaintenance),
            cache_maintenance: count(InstructionKind::CacheMaintenance),
            exclusives: count(InstructionKind::Exclusive),
            device_accesses: devices.len() as u64,
            data_lines: data.collect::<BTreeSet<u64>>().len() as u64,
            code_lines: round.iter().map(|seen| seen.pc >> LINE).collect::<BTreeSet<u64>>().len() as u64,
        }
    }

    /// The figures with short names, in the table's order.
    pub(super) fn columns(&self) -> [(&'static str, u64); 11] {
        [
            ("EL2", self.instructions),
            ("exits", self.exits),
            ("MRS", self.register_reads),
            ("MSR", self.register_writes),
            ("barriers", self.barriers),
            ("TLBI", self.tlb_maintenance),
            ("IC, DC", self.cache_maintenance),
            ("exclusive", self.exclusives),
            ("device", self.device_accesses),
            ("data lines", self.data_lines),
            ("code lines", self.code_lines),
        ]
    }
}

#[cfg(test)]
mod tests;

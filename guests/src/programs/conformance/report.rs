// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is printed: the counts at the end, and a case in which model and CPU differ, as a walk.

use vambrace_memory::Va;
use vambrace_memory::access::{Access, El};
use vambrace_memory::par::Report;
use vambrace_memory::translation::{self, Registers};
use vambrace_memory::walk::{WalkEntry, Start, WalkStep};

use super::compare::{Answer, Case, Difference, CaseKind, Verdict};
use super::departures;
use super::pool::Pool;
use super::tables::Set;

/// Statuses that a fault can have.
const STATUSES: usize = 64;

/// What the cases came to.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) sets: u64,
    pub(super) translations: u64,
    pub(super) accesses: u64,
    pub(super) mismatches: u64,
    left_out: u64,
    successes: u64,
    /// Faults by status, in stage 1, stage 2, stage 2 for stage 1.
    faults: [[u64; STATUSES]; 3],
    departures: [u64; departures::ALL.len()],
}

impl Counts {
    pub(super) const fn new() -> Self {
        Self {
            sets: 0,
            translations: 0,
            accesses: 0,
            mismatches: 0,
            left_out: 0,
            successes: 0,
            faults: [[0; STATUSES]; 3],
            departures: [0; departures::ALL.len()],
        }
    }

    /// The cases that were compared: neither left out nor known departures.
    pub(super) const fn cases(&self) -> u64 {
        self.translations + self.accesses
    }

    /// Counts a case.
    pub(super) fn note(&mut self, case: Case, verdict: Verdict) {
        match verdict {
            Verdict::LeftOut => {
                self.left_out += 1;
                return;
            }
            Verdict::Departs(departure) => {
                if let Some(count) = self.departures.get_mut(departure.0) {
                    *count += 1;
                }
                return;
            }
            Verdict::Same(answer) => self.note_answer(answer),
            Verdict::Differs(_) => self.mismatches += 1,
        }
        match case.kind {
            CaseKind::Translate(_) => self.translations += 1,
            CaseKind::Access => self.accesses += 1,
        }
    }

    fn note_answer(&mut self, answer: Answer) {
        let (status, by) = match answer {
            Answer::Reports(Report::Success { .. }) | Answer::Takes(_) | Answer::Wild(_) => {
                self.successes += 1;
                return;
            }
            Answer::Reports(Report::Fault { status, stage2, stage1_walk }) => {
                (status, usize::from(stage2) + usize::from(stage1_walk))
            }
            Answer::Aborts { status, stage1_walk } => (status, 2 * usize::from(stage1_walk)),
            Answer::Faults { taken_by, esr, .. } => {
                ((esr & 0x3f) as u8, usize::from(taken_by == 2) + usize::from(esr & 1 << 7 != 0))
            }
        };
        let count = self.faults.get_mut(by).and_then(|row| row.get_mut(usize::from(status)));
        if let Some(count) = count {
            *count += 1;
        }
    }

    /// Prints them; the last line is the verdict.
    pub(super) fn print(&self, seed: u64) {
        println!(
            "guest: {} by AT, {} loads, stores and fetches, on {} sets of tables; {} left out",
            self.translations, self.accesses, self.sets, self.left_out
        );
        println!("guest: {} succeed alike", self.successes);
        for (row, stage) in self.faults.iter().zip(["stage 1", "stage 2", "stage 2 for a table of stage 1"]) {
            for (status, count) in row.iter().enumerate().filter(|(_, count)| **count != 0) {
                println!("guest: {count} fault alike with {status:#04x} in {stage}");
            }
        }
        for (rule, count) in departures::ALL.iter().zip(self.departures) {
            println!("guest: departure {}: {count} cases", rule.name);
        }
        println!("guest: conformance: {} cases, seed {seed}, mismatches {}", self.cases(), self.mismatches);
    }
}

/// Prints a case in which they differ.
pub(super) fn print(pool: &Pool, set: &Set, case: Case, Difference { model, machine }: Difference) {
    let Case { kind, va, access, el } = case;
    println!("guest: MISMATCH: {kind:?} {access:?} {el:?} of VA {va:#x}");
    print_registers(&set.registers);
    println!("guest:   code at EL1: {:#x}, at PA {:#x}", set.stub.va, set.stub.pa);
    print_walk(pool, &set.registers, va, access, el);
    println!("guest:   model:   {model:x?}");
    println!("guest:   machine: {machine:x?}");
}

fn print_registers(registers: &Registers) {
    let Registers { sctlr, tcr, ttbr0, ttbr1, mair, pan, hcr, vtcr, vttbr, .. } = *registers;
    println!("guest:   SCTLR_EL1 {sctlr:#x} TCR_EL1 {tcr:#x} TTBR0_EL1 {ttbr0:#x} TTBR1_EL1 {ttbr1:#x}");
    println!(
        "guest:   MAIR_EL1 {mair:#x} PAN {pan} HCR_EL2 {hcr:#x} VTCR_EL2 {vtcr:#x} VTTBR_EL2 {vttbr:#x}"
    );
}

/// The model's walk, step by step.
pub(super) fn print_walk(pool: &Pool, registers: &Registers, va: u64, access: Access, el: El) {
    let mut witness = |step: WalkStep| match step {
        WalkStep::Stage1Start { va, start } => {
            println!("guest:   stage 1 for {va}");
            print_start(start);
        }
        WalkStep::Stage2Start { purpose, ipa, start } => {
            println!("guest:     stage 2 for {ipa}: {purpose:?}");
            print_start(start);
        }
        WalkStep::Stage1(entry) => print_entry("  stage 1", &entry),
        WalkStep::Stage2(entry) => print_entry("    stage 2", &entry),
        WalkStep::Stage2End { ipa, pa, .. } => println!("guest:     {ipa} is {pa}"),
        WalkStep::Leaf { .. } => {}
    };
    let outcome = translation::translate(pool, registers, Va(va), access, el, &mut witness);
    println!("guest:   {outcome:x?}");
}

fn print_start(start: Option<Start>) {
    if let Some(Start { granule, format, level, root_index_bits, root, output_bits }) = start {
        println!(
            "guest:       {granule:?} {format:?}, root {root:#x} at level {level} with 2^{root_index_bits} entries, \
             output {output_bits} bits"
        );
    }
}

fn print_entry(stage: &str, entry: &WalkEntry) {
    let WalkEntry { level, raw, kind, output, .. } = entry;
    println!("guest: {stage} level {level} at {:#x}: {raw:#018x} {kind:?} of {output:#x}", entry.address());
}

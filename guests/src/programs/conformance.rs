// SPDX-License-Identifier: MIT OR Apache-2.0
//! Holds the model of translation (the crate `memory`) against the CPU: runs at EL2, with nothing above or below.
//!
//! For each set of random registers and tables it tries addresses: by every `AT S1E..` and `AT S12E..`, and by loads,
//! stores and fetches for EL1 and EL0. Each of these is a case: what `PAR_EL1`, or the abort's ESR, FAR and HPFAR say,
//! or what the access reads, writes or runs into, must be what the model has said before. A case whose outcome is not
//! ours to know (a walk through devices) is left out, and does not count.
//!
//! A set is named by `seed=` and its number; `first=` starts with another number, `sets=` limits how many there are.
//! Parameters: `seed=N cases=N first=N sets=N show=N`.

mod compare;
mod departures;
mod leaf;
mod machine;
mod pool;
mod random;
mod registers;
mod report;
mod shrink;
mod stub;
mod tables;

use vambrace_memory::access::{Access, El};
use vambrace_memory::features::Features;
use vambrace_memory::translation::Stages;

use self::compare::{Case, Difference, CaseKind, Verdict};
use self::pool::{POOL, Pool};
use self::random::Random;
use self::registers::Extras;
use self::report::Counts;
use self::tables::Set;
use crate::cpu;
use crate::machine::Machine;

const TRANSLATIONS: [(Stages, Access, El); 8] = [
    (Stages::First, Access::Read, El::El1),
    (Stages::First, Access::Write, El::El1),
    (Stages::First, Access::Read, El::El0),
    (Stages::First, Access::Write, El::El0),
    (Stages::Both, Access::Read, El::El1),
    (Stages::Both, Access::Write, El::El1),
    (Stages::Both, Access::Read, El::El0),
    (Stages::Both, Access::Write, El::El0),
];
const ACCESSES: [(Access, El); 6] = [
    (Access::Read, El::El1),
    (Access::Read, El::El0),
    (Access::Execute, El::El1),
    (Access::Execute, El::El0),
    (Access::Write, El::El1),
    (Access::Write, El::El0),
];

/// Runs the program.
pub fn run(machine: &Machine) {
    if cpu::exception_level() != 2 {
        println!("guest: conformance needs EL2, and this is EL{}", cpu::exception_level());
        return;
    }
    let seed = machine.number("seed", 1);
    let (cases, first) = (machine.number("cases", 10_000), machine.number("first", 0));
    let last = first.saturating_add(machine.number("sets", u64::MAX));
    let show = machine.number("show", 3);
    let (features, extras) = machine::features();
    println!("guest: seed {seed}, {features:x?}");
    machine::prepare();
    let run = Run { seed, cases, first, last, show };
    let counts = POOL.with(|pool| {
        pool.prepare();
        run.all(pool, features, extras)
    });
    counts.print(seed);
}

/// Which sets to try.
#[derive(Clone, Copy, Debug)]
struct Run {
    seed: u64,
    /// How many cases are enough.
    cases: u64,
    first: u64,
    last: u64,
    /// How many mismatches to print.
    show: u64,
}

impl Run {
    fn all(self, pool: &mut Pool, features: Features, extras: Extras) -> Counts {
        let mut counts = Counts::new();
        for number in self.first..self.last {
            if counts.cases() >= self.cases {
                break;
            }
            let mut random = Random::new(self.seed, number);
            let mut set = tables::make(&mut random, pool, features, extras);
            let before = counts.mismatches;
            let first = try_set(pool, &set, &mut counts);
            if let Some((case, difference)) = first.filter(|_| before < self.show) {
                println!(
                    "guest: set {number} of seed {}, {} mismatches",
                    self.seed,
                    counts.mismatches - before
                );
                let shrunk = shrink::shrink(pool, &mut set, case);
                report::print(pool, &set, case, shrunk.unwrap_or(difference));
            }
            pool.clear();
        }
        counts
    }
}

/// Tries all addresses of a set. Returns the first case in which model and CPU differ.
fn try_set(pool: &Pool, set: &Set, counts: &mut Counts) -> Option<(Case, Difference)> {
    counts.sets += 1;
    machine::program(&set.registers, set.stub.va);
    let mut first = None;
    let mut attempt = |case: Case| {
        let verdict = try_case(pool, set, case);
        counts.note(case, verdict);
        if let Verdict::Differs(difference) = verdict {
            first.get_or_insert((case, difference));
        }
    };
    for va in set.addresses.iter().copied() {
        for (stages, access, el) in TRANSLATIONS {
            attempt(Case { kind: CaseKind::Translate(stages), va, access, el });
        }
    }
    if compare::is_enterable(pool, set) {
        for va in set.addresses.iter().copied() {
            for (access, el) in ACCESSES {
                // A branch takes the tag off; only what is left can be fetched from.
                let va = if access == Access::Execute { without_tag(va) } else { va };
                attempt(Case { kind: CaseKind::Access, va, access, el });
            }
        }
    }
    first
}

/// Bits 63:56 as bit 55.
const fn without_tag(va: u64) -> u64 {
    (va << 8).cast_signed().wrapping_shr(8).cast_unsigned()
}

/// Tries one case. What hardware has changed in descriptors is undone before, so that a case stands for itself.
fn try_case(pool: &Pool, set: &Set, case: Case) -> Verdict {
    pool.restore();
    machine::forget();
    compare::check(pool, set, case)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model of translation, held against the CPU: the guest `conformance` at EL2 of QEMU's own machine, without the
//! hypervisor. It compares inside; here it is only asked what came of it.

use vambrace_tests::{Bench, Case, Failed, Need, PATIENCE, Verdict, ensure};

/// What departs from the architecture is known for this QEMU; older ones depart elsewhere too.
const KNOWN_QEMU: Need = Need::Qemu(10);

/// Cases of the short runs, which are a few seconds each.
const SHORT: u64 = 100_000;
/// Cases of the long ones.
const LONG: u64 = 2_000_000;

/// A processor by QEMU's name, and the run's seed.
const PROCESSORS: [(&str, u64); 2] = [("cortex-a72", 72), ("max", 52)];

pub(crate) fn cases() -> Vec<Case> {
    let name = |cpu: &str| format!("conformance::{}", cpu.replace('-', "_"));
    let short = PROCESSORS.map(|(cpu, seed)| {
        Case::new(name(cpu), move |bench| conforms(bench, cpu, seed, SHORT)).needs(KNOWN_QEMU)
    });
    let long = PROCESSORS.map(|(cpu, seed)| {
        let name = format!("{}_at_length", name(cpu));
        Case::new(name, move |bench| conforms(bench, cpu, seed + 1000, LONG)).needs(KNOWN_QEMU).long()
    });
    short.into_iter().chain(long).collect()
}

/// At least so many cases, in which model and CPU agree.
fn conforms(bench: &Bench, cpu: &str, seed: u64, cases: u64) -> Verdict {
    let said = run(bench, cpu, seed, cases)?;
    let sum = said.lines().filter_map(Sum::parse).next_back();
    let sum = sum.ok_or_else(|| format!("there is no sum in:\n{said}"))?;
    let Sum { cases: done, seed: used, mismatches } = sum;
    println!("{cpu}: {done} cases, seed {used}, {mismatches} mismatches");
    ensure(mismatches == 0 && done >= cases && used == seed, || format!("{sum:?}:\n{said}"))
}

fn run(bench: &Bench, cpu: &str, seed: u64, cases: u64) -> Result<String, Failed> {
    let image = tempfile::NamedTempFile::new()?;
    std::fs::write(image.path(), bench.guest("conformance")?)?;
    let image = image.path().display().to_string();
    let parameters = format!("seed={seed} cases={cases}");
    let arguments = [
        &["-machine", "virt,virtualization=on,gic-version=3", "-cpu", cpu, "-m", "256M"][..],
        &["-kernel", &image, "-append", &parameters],
    ];
    let finished = bench.plain_qemu(arguments.concat())?.finish(PATIENCE)?;
    finished.exits_with(0)?;
    Ok(finished.out)
}

/// The last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sum {
    cases: u64,
    seed: u64,
    mismatches: u64,
}

impl Sum {
    /// `guest: conformance: N cases, seed S, mismatches M`
    fn parse(line: &str) -> Option<Self> {
        let rest = line.trim_end().strip_prefix("guest: conformance: ")?;
        let (cases, rest) = rest.split_once(" cases, seed ")?;
        let (seed, mismatches) = rest.split_once(", mismatches ")?;
        Some(Self {
            cases: cases.parse().ok()?,
            seed: seed.parse().ok()?,
            mismatches: mismatches.parse().ok()?,
        })
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `vambrace bench --storms`: what is left to a VM whose neighbour does something over and over that costs EL2 time.
//!
//! The guest `storm` is both. One VM computes, on a CPU that it shares with a vCPU of the other, and tells how many instructions
//! it got done and how long it did nothing at most. Half of the CPU is its fair share; what the neighbour does not use
//! it may have too. Where the neighbour has a second vCPU, that runs on a CPU of its own. CPUs share time in QEMU when
//! instructions are counted, so that one tells what part of it was its own.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::suite::Testbed;
use super::text::grouped;
use super::{BenchError, Options};
use vambrace_manifest::words::json;
use vambrace_runner::{RunOutcome, Running};
use vambrace_setup::{Bare, Setup};

/// The version of the JSON form.
const FORMAT: u32 = 1;
/// Many times what it takes.
const PATIENCE: Duration = Duration::from_secs(600);
/// For how long the neighbour computes, in milliseconds of counted time: twenty slices.
const MILLISECONDS: u64 = 100;
/// What it is to have of its fair share at least, in permille.
pub const AT_LEAST: u64 = 970;
/// For how long it may do nothing, in counts: two slices of others, as after a wake-up a slice may begin anew.
pub const LONGEST: u64 = 10_500_000;

/// Where the stormy VM's vCPUs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// One, beside the neighbour.
    Beside,
    /// The first on a CPU of its own, the second beside the neighbour.
    Across,
}

impl Shape {
    /// The board's CPUs, those of the stormy VM's vCPUs, and what the VM does when there is no storm.
    const fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Beside => (1, "[0]", "quiet"),
            Self::Across => (2, "[1, 0]", "spin"),
        }
    }
}

/// The storms: parameters of the guest, what they are, and the shape.
const STORMS: [(&str, &str, Shape); 13] = [
    ("mode=naps nap=62", "naps of 62 ns by timer and WFI", Shape::Beside),
    ("mode=naps nap=300", "naps of 300 ns", Shape::Beside),
    ("mode=naps nap=800", "naps of 800 ns", Shape::Beside),
    ("mode=naps nap=1250", "naps of 1,250 ns", Shape::Beside),
    ("mode=naps nap=1875", "naps of 1,875 ns", Shape::Beside),
    ("mode=naps nap=20000", "naps of 20 us", Shape::Beside),
    ("mode=suspend nap=62", "naps of 62 ns by CPU_SUSPEND", Shape::Beside),
    ("mode=suspend nap=200", "naps of 200 ns by CPU_SUSPEND", Shape::Beside),
    ("mode=reset", "resets", Shape::Beside),
    ("mode=sgi", "SGIs to a vCPU that waits for them", Shape::Across),
    ("mode=pending", "stores to a waiting vCPU's GICR_ISPENDR0", Shape::Across),
    ("mode=toggle", "stores to GICR_ISPENDR0 and ICPENDR0, masked by priority", Shape::Across),
    ("mode=cpu-on", "CPU_ON of a vCPU that turns itself off", Shape::Across),
];

/// What a VM got done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Work {
    /// Instructions.
    pub done: u64,
    /// In how many counts of its CPU's own time.
    pub time: u64,
    /// The longest time in which it did nothing, in counts.
    pub gap: u64,
}

/// What is left to a VM beside a storm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Storm {
    /// What the other VM does.
    pub what: String,
    /// What the VM got done.
    pub work: Work,
    /// The part of its fair share that this is, in permille; more than 1000 if the other does not use its own.
    pub share: u64,
}

/// All that was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Storms {
    /// The version of this form.
    pub format: u32,
    /// QEMU's version.
    pub qemu: String,
    /// The processor, by QEMU's name.
    pub cpu: String,
    /// Each storm.
    pub storms: Vec<Storm>,
}

/// Measures what is left beside each storm. `bare` is what `setup` has built.
///
/// # Errors
/// When QEMU does not start or the guest that computes does not come to its end.
pub fn measure(
    setup: &Setup,
    bare: &Bare,
    qemu: &vambrace_setup::qemu::Qemu,
    options: &Options,
) -> Result<Storms, BenchError> {
    let machine = Testbed { setup, bare, qemu, options };
    let calm = |shape: Shape| work(&machine, &format!("mode={}", shape.parts().2), shape);
    let (beside, across) = (calm(Shape::Beside)?, calm(Shape::Across)?);
    let storm = |(parameters, what, shape): (&str, &str, Shape)| -> Result<Storm, BenchError> {
        let work = work(&machine, parameters, shape)?;
        let alone = if shape == Shape::Beside { beside } else { across };
        Ok(Storm { what: what.to_owned(), work, share: work.share_of(alone) })
    };
    let (major, minor) = qemu.version;
    Ok(Storms {
        format: FORMAT,
        qemu: format!("{major}.{minor}"),
        cpu: options.cpu.clone(),
        storms: STORMS.into_iter().map(storm).collect::<Result<_, _>>()?,
    })
}

fn work(machine: &Testbed<'_>, parameters: &str, shape: Shape) -> Result<Work, BenchError> {
    let _step = machine.setup.progress.step(&format!("measuring beside a VM: {parameters}"));
    let mut running =
        Running::start(&machine.prepare(&manifest(&machine.options.cpu, parameters, shape))?)?;
    let came = running.wait_for_outcome("the end", PATIENCE, |outcome| read(outcome, shape).is_some());
    let outcome = running.stop();
    match (came, read(&outcome, shape)) {
        (Ok(()), Some(work)) => Ok(work),
        _ => Err(unfinished(parameters, &outcome)),
    }
}

fn manifest(cpu: &str, parameters: &str, shape: Shape) -> String {
    let (cpus, pins, _) = shape.parts();
    format!(
        r#"
        [board]
        cpu = "{cpu}"
        cpus = {cpus}
        [[vm]]
        name = "storm"
        kernel = "guest:storm"
        memory = "8MiB"
        cmdline = "{parameters} ms={MILLISECONDS}"
        cpus = {pins}
        [[vm]]
        name = "work"
        kernel = "guest:storm"
        memory = "8MiB"
        cmdline = "mode=work ms={MILLISECONDS}"
        cpus = [0]
        "#
    )
}

/// What both VMs have told.
fn read(outcome: &RunOutcome, shape: Shape) -> Option<Work> {
    let line = told(outcome, "work", "storm: worked ")?;
    let (done, rest) = line.split_once(" in ")?;
    let (time, gap) = rest.split_once(", longest gap ")?;
    let (done, time, gap) = (done.parse().ok()?, time.parse().ok()?, gap.parse().ok()?);
    if shape == Shape::Beside {
        return Some(Work { done, time, gap });
    }
    let line = told(outcome, "storm", "storm: took ")?;
    let (taken, of) = line.split_once(" of ")?;
    let other = Part { taken: taken.parse().ok()?, of: of.parse().ok()? };
    Some(Work { done, time: other.rest_of(time)?, gap })
}

/// What a VM's line says behind its beginning.
fn told(outcome: &RunOutcome, vm: &str, beginning: &str) -> Option<String> {
    let text = outcome.vm(vm)?.text();
    text.lines().find_map(|line| line.trim_end().split_once(beginning).map(|(_, rest)| rest.to_owned()))
}

/// The part of the time that the other CPU took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    taken: u64,
    of: u64,
}

impl Part {
    /// What it leaves of a time.
    fn rest_of(self, time: u64) -> Option<u64> {
        let rest = u128::from(time) * u128::from(self.of.checked_sub(self.taken)?);
        u64::try_from(rest.checked_div(self.of.into())?).ok()
    }
}

fn unfinished(parameters: &str, outcome: &RunOutcome) -> BenchError {
    let said = outcome.vm("work").map(|vm| vm.text()).unwrap_or_default();
    BenchError::after(format!("beside {parameters}"), outcome, &said)
}

impl Work {
    /// The part of the half of what was done `alone` in the same time that this is, in permille.
    fn share_of(self, alone: Self) -> u64 {
        let fair = u128::from(alone.done) * u128::from(self.time);
        let had = u128::from(self.done) * u128::from(alone.time);
        (2 * 1000 * had).checked_div(fair).and_then(|share| u64::try_from(share).ok()).unwrap_or(0)
    }
}

impl Storm {
    /// Whether the VM has its share, and does not wait for too long.
    #[must_use]
    pub const fn is_fair(&self) -> bool {
        self.share >= AT_LEAST && self.work.gap <= LONGEST
    }

    fn percent(&self) -> String {
        format!("{}.{} %", self.share / 10, self.share % 10)
    }

    fn gap(&self) -> String {
        // A count is a nanosecond.
        format!("{} us", grouped(self.work.gap / 1000))
    }
}

impl Storms {
    /// Whether every VM has its share.
    #[must_use]
    pub fn are_fair(&self) -> bool {
        self.storms.iter().all(Storm::is_fair)
    }

    /// The table.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "What a VM gets done beside another, {}, QEMU {}\n\n{:58}{:>14}{:>14}\n",
            self.cpu, self.qemu, "the other does", "of its share", "longest gap"
        );
        for storm in &self.storms {
            let missed = if storm.is_fair() { "" } else { "  MISSED" };
            let _ = writeln!(text, "{:58}{:>14}{:>14}{missed}", storm.what, storm.percent(), storm.gap());
        }
        text
    }

    /// The table for a document, in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text =
            "| the other VM does, all the time | of its fair share | longest gap |\n|---|---|---|\n"
                .to_owned();
        for storm in &self.storms {
            let _ = writeln!(text, "| {} | {} | {} |", storm.what, storm.percent(), storm.gap());
        }
        text
    }

    /// For programs; docs/performance.md describes it.
    #[must_use]
    pub fn json(&self) -> String {
        json(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_is_done_alone_is_the_fair_share() {
        let alone = Work { done: 1000, time: 1000, gap: 0 };
        let beside = |done, time| Work { done, time, gap: 0 }.share_of(alone);
        assert_eq!(
            [beside(500, 1000), beside(1000, 1000), beside(485, 1000), beside(0, 1000)],
            [1000, 2000, 970, 0]
        );
        assert_eq!(beside(1, 0), 0, "nothing can be said of no time");
    }

    #[test]
    fn the_other_cpus_part_of_the_time_is_left_out() {
        assert_eq!(Part { taken: 250, of: 1000 }.rest_of(400), Some(300));
        assert_eq!(Part { taken: 1001, of: 1000 }.rest_of(400), None);
        assert_eq!(Part { taken: 0, of: 0 }.rest_of(400), None);
    }

    #[test]
    fn a_storm_is_fair_by_share_and_gap() {
        let storm = |share, gap| Storm { what: String::new(), work: Work { done: 0, time: 0, gap }, share };
        assert!(storm(AT_LEAST, LONGEST).is_fair());
        assert!(!storm(AT_LEAST - 1, 0).is_fair() && !storm(2000, LONGEST + 1).is_fair());
    }
}

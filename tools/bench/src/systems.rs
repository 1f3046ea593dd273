// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole systems: what Linux takes as a guest, held against what it takes without a hypervisor.
//!
//! Both times the same kernel, with the same init and the same device tree at the same addresses of a machine with the
//! same RAM (`machine.rs`). Init measures itself in ticks of the counter, which are instructions, and what the machine
//! slept, which QEMU passes over. What brings a system to EL2 is seen without slowing it down: QEMU records every exception
//! (`exits.rs`), which leaves the figures as they are.

use serde::{Deserialize, Serialize};

use self::exits::Exits;
use super::suite::Testbed;
use super::{Options, PROCESSOR, Verdict};
use crate::BenchError;
use vambrace_setup::qemu::Qemu;
use vambrace_setup::{Bare, Setup};

pub(super) mod exits;
pub(super) mod machine;
mod text;

pub use self::text::markdown;
pub(super) use self::text::table;

/// Debian's kernels.
const KERNELS: [&str; 2] = ["6.1", "6.12"];

/// CPUs of a system, and of its board.
const CPUS: [u16; 1] = [1];

/// What a system does, in order.
const PHASES: [Description; 4] = [
    Description {
        name: "boot",
        what: "boot, the kernel's first instruction to init's",
        target: Some(Ratio(1_001_000)),
        tolerance: Ratio(500),
    },
    Description {
        name: "fork-exec",
        what: "25 times fork, exec and wait; of 40 times the least",
        target: Some(Ratio(1_005_000)),
        tolerance: Ratio(3_000),
    },
    Description {
        name: "files",
        what: "64 MiB written and read, 64 KiB a call",
        target: None,
        tolerance: Ratio(3_000),
    },
    Description {
        name: "sleep",
        what: "20 sleeps of 1 ms, and its lateness",
        target: None,
        tolerance: Ratio(2_000),
    },
];

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Description {
    /// As init says it.
    name: &'static str,
    /// In words.
    what: &'static str,
    /// The most that guest / native may be, on the processor that targets are for.
    target: Option<Ratio>,
    /// How much more than recorded it may be.
    tolerance: Ratio,
}

/// A ratio, in millionths, so that two of them can be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "f64", into = "f64")]
pub struct Ratio(u64);

/// One system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct System {
    /// The kernel's series, such as `6.12`.
    pub kernel: String,
    /// Its release, such as `6.12.94+deb13`.
    pub release: String,
    /// How many CPUs.
    pub cpus: u16,
    /// What it does, in order.
    pub phases: Vec<Phase>,
}

/// Something that it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// A short name that stays.
    pub name: String,
    /// In words.
    pub what: String,
    /// Ticks without a hypervisor.
    pub native: u64,
    /// Ticks under Vambrace.
    pub vambrace: u64,
    /// How many times as many.
    pub ratio: Ratio,
    /// What the ratio may be at most.
    pub target: Option<Ratio>,
    /// Whether it is.
    pub verdict: Verdict,
    /// How much more than recorded the ratio may be: compilers and kernels differ.
    #[serde(skip)]
    pub tolerance: Ratio,
    /// How often EL2 was entered.
    pub exits: u64,
    /// Why, the most frequent first.
    pub causes: Vec<Cause>,
}

/// Why EL2 was entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// In words, such as `write of ICC_SGI1R_EL1`.
    pub cause: String,
    /// How often.
    pub count: u64,
}

impl Ratio {
    pub(super) fn new(figure: u64, base: u64) -> Self {
        let millionths = u128::from(figure) * 1_000_000 / u128::from(base.max(1));
        Self(u64::try_from(millionths).unwrap_or(u64::MAX))
    }

    /// So many thousandths.
    pub(super) const fn thousandths(count: u64) -> Self {
        Self(count * 1_000)
    }

    /// How it stands to a target.
    pub(super) fn verdict(self, target: Option<Self>) -> Verdict {
        Verdict::new(self.0, target.map(|target| target.0))
    }

    /// As much.
    pub const ONE: Self = Self(1_000_000);

    /// So much more.
    #[must_use]
    pub const fn plus(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0))
    }
}

impl From<f64> for Ratio {
    fn from(ratio: f64) -> Self {
        Self((ratio * 1e6).round() as u64)
    }
}

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> Self {
        ratio.0 as Self / 1e6
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Measures all of them and nothing else. `bare` is what `setup` has built.
///
/// # Errors
/// When a kernel cannot be fetched, QEMU does not start or Linux does not come to its end.
pub fn measure(
    setup: &Setup,
    bare: &Bare,
    qemu: &Qemu,
    options: &Options,
) -> Result<Vec<System>, BenchError> {
    measure_on(&Testbed { setup, bare, qemu, options })
}

/// Measures all of them on a machine.
pub(super) fn measure_on(machine: &Testbed<'_>) -> Result<Vec<System>, BenchError> {
    let systems = CPUS.into_iter().flat_map(|cpus| KERNELS.map(|kernel| (kernel, cpus)));
    systems.map(|(kernel, cpus)| System::measure(machine, kernel, cpus)).collect()
}

impl System {
    fn measure(machine: &Testbed<'_>, kernel: &str, cpus: u16) -> Result<Self, BenchError> {
        let linux = machine::Linux::prepare(machine, kernel, cpus)?;
        let native = linux.natively()?;
        let (vambrace, exits) = linux.under_vambrace()?;
        let has_targets = machine.options.cpu == PROCESSOR && cpus == 1;
        let phases = PHASES.iter().enumerate().filter_map(|(index, description)| {
            let figures = (*native.get(description.name)?, *vambrace.get(description.name)?);
            let exits = exits.get(index).cloned().unwrap_or_default();
            Some(description.phase(figures, exits, has_targets))
        });
        Ok(Self { kernel: kernel.to_owned(), release: linux.release(), cpus, phases: phases.collect() })
    }

    /// Each phase by the name that a record has for it.
    pub(super) fn named(&self) -> impl Iterator<Item = (String, &Phase)> {
        self.phases.iter().map(|phase| (format!("linux-{}-{}", self.kernel, phase.name), phase))
    }
}

impl Description {
    fn phase(&self, (native, vambrace): (u64, u64), exits: Exits, has_targets: bool) -> Phase {
        let ratio = Ratio::new(vambrace, native);
        let target = self.target.filter(|_| has_targets);
        Phase {
            name: self.name.to_owned(),
            what: self.what.to_owned(),
            native,
            vambrace,
            ratio,
            target,
            verdict: ratio.verdict(target),
            tolerance: self.tolerance,
            exits: exits.total(),
            causes: exits.causes(),
        }
    }
}

#[cfg(test)]
mod tests;

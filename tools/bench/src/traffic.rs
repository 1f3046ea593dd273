// SPDX-License-Identifier: MIT OR Apache-2.0
//! Data on their way: what a disk and a network take per MiB, held against QEMU's own disk and Linux's own loopback without a
//! hypervisor.
//!
//! Counted is what all CPUs execute, wherever it is executed: in the guests, in EL2 in their time and in EL2 while they
//! sleep. Each run moves data and ends; two that differ in nothing but how much they move differ by what that takes. The
//! tools are those that anybody would take: dd, and Debian's iperf3, which sends for a time and not a number of bytes, since it
//! looks only once a second whether these are through.

use std::collections::BTreeMap;

use serde::Serialize;

use super::suite::Testbed;
use super::systems::exits::Exits;
use super::systems::{Phase, Ratio};
use super::{Options, PROCESSOR, Verdict};
use crate::BenchError;
use vambrace_setup::qemu::Qemu;
use vambrace_setup::{Bare, Setup};

mod machine;
mod text;

pub use self::text::markdown;

/// Debian's kernel.
const KERNEL: &str = "6.12";

/// Bytes in a MiB.
const MIB: u64 = 1 << 20;

/// What guest / native may be at most.
const TARGET: Ratio = Ratio::thousandths(1_500);
/// How much more than recorded it may be: the computer's own disk takes part, so that the ratio of reading has been from 1.12 to 1.22
/// in runs of one build; and how requests and segments are joined is chance.
const TOLERANCE: Ratio = Ratio::thousandths(100);

/// All of them, in order.
const ROUTES: [Route; 3] = [Route::Read, Route::Write, Route::Network];

/// Where data go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// From the board's disk.
    Read,
    /// To the board's disk.
    Write,
    /// From one VM to the other; without a hypervisor from one process to the other.
    Network,
}

impl Route {
    /// A short name that stays.
    const fn name(self) -> &'static str {
        match self {
            Self::Read => "disk-read",
            Self::Write => "disk-write",
            Self::Network => "network",
        }
    }

    /// How much the shorter and the longer run move, in MiB or in seconds: what only the first of it takes is in both. How segments
    /// are joined is another chance in each build, which is why a network is measured for several seconds: by one second the ratio
    /// of equal programs has been from 2.09 to 2.21, by four from 2.14 to 2.17.
    const fn amounts(self) -> [u64; 2] {
        match self {
            Self::Read | Self::Write => [32, 160],
            Self::Network => [1, 5],
        }
    }

    /// In words.
    const fn what(self) -> &'static str {
        match self {
            Self::Read => "disk read by dd, 64 KiB a call",
            Self::Write => "disk written by dd, 64 KiB a call, synchronised",
            Self::Network => "TCP by iperf3 to the other VM; natively to itself",
        }
    }
}

/// What one run took, or one is more than another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Account {
    bytes: u64,
    instructions: u64,
    exits: Exits,
}

/// What data on their way take, in instructions per MiB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// The kernel's release, such as `6.12.94+deb13`.
    pub release: String,
    /// Each route; figures and exits are per MiB.
    pub routes: Vec<Phase>,
}

/// Measures all routes and nothing else. `bare` is what `setup` has built.
///
/// # Errors
/// When kernel or tools cannot be fetched, QEMU does not start or Linux does not come to its end.
pub fn measure(setup: &Setup, bare: &Bare, qemu: &Qemu, options: &Options) -> Result<Traffic, BenchError> {
    measure_on(&Testbed { setup, bare, qemu, options })
}

/// Measures all routes on a machine.
pub(super) fn measure_on(machine: &Testbed<'_>) -> Result<Traffic, BenchError> {
    let linux = machine::Linux::prepare(machine)?;
    let routes = ROUTES.into_iter().map(|route| {
        let native = longer(route, |amount| linux.natively(route, amount))?;
        let vambrace = longer(route, |amount| linux.under_vambrace(route, amount))?;
        Ok(route.judge(&native, &vambrace, machine.options.cpu == PROCESSOR))
    });
    Ok(Traffic { release: linux.release(), routes: routes.collect::<Result<_, BenchError>>()? })
}

/// What the longer run takes more than the shorter one.
fn longer(route: Route, run: impl Fn(u64) -> Result<Account, BenchError>) -> Result<Account, BenchError> {
    let [short, long] = route.amounts();
    let (short, long) = (run(short)?, run(long)?);
    Ok(Account {
        bytes: long.bytes.saturating_sub(short.bytes),
        instructions: long.instructions.saturating_sub(short.instructions),
        exits: long.exits.without(&short.exits),
    })
}

impl Account {
    /// As much of something as goes with a MiB.
    fn per_mib(&self, all: u64) -> u64 {
        let per_mib = u128::from(all) * u128::from(MIB) / u128::from(self.bytes.max(1));
        u64::try_from(per_mib).unwrap_or(u64::MAX)
    }
}

impl Route {
    fn judge(self, native: &Account, vambrace: &Account, has_target: bool) -> Phase {
        let target = has_target.then_some(TARGET);
        let (native, took) = (native.per_mib(native.instructions), vambrace.per_mib(vambrace.instructions));
        let ratio = Ratio::new(took, native);
        Phase {
            name: self.name().to_owned(),
            what: self.what().to_owned(),
            native,
            vambrace: took,
            ratio,
            target,
            verdict: ratio.verdict(target),
            tolerance: TOLERANCE,
            exits: vambrace.per_mib(vambrace.exits.total()),
            causes: vambrace.exits.scaled(|count| vambrace.per_mib(count)).causes(),
        }
    }
}

impl Traffic {
    /// The ratios by the names that a record has for them.
    pub(super) fn ratios(&self) -> BTreeMap<String, Ratio> {
        self.routes.iter().map(|route| (route.name.clone(), route.ratio)).collect()
    }

    /// How each route stands to its target.
    pub(super) fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        self.routes.iter().map(|route| route.verdict)
    }
}

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Data on their way: what a disk and a network take per MiB, held against QEMU's own disk and Linux's own loopback without a
//! hypervisor.
//!
//! Counted is what all CPUs execute, wherever it is executed: in the guests, in EL2 in their time and in EL2 while they
//! sleep. Each run moves data and ends; two that differ in nothing but how much they move differ by what that takes. The
//! tools are those that anybody would take: dd, and Debian's iperf3.

use std::collections::BTreeMap;

use serde::Serialize;

use super::suite::Machine;
use super::systems::exits::Exits;
use super::systems::{Phase, Ratio};
use super::{Options, PROCESSOR, Verdict};
use crate::failure::Failure;
use crate::setup::qemu::Qemu;
use crate::setup::{Bare, Setup};

mod machine;
mod text;

pub use self::text::markdown;

/// Debian's kernel.
const KERNEL: &str = "6.12";

/// MiB that the shorter and the longer run move: what only the first ones take is in both.
const LENGTHS: [u64; 2] = [32, 160];
/// By how much they differ.
const MOVED: u64 = LENGTHS[1] - LENGTHS[0];

/// What guest / native may be at most.
const TARGET: Ratio = Ratio::thousandths(1_500);
/// How much more than recorded it may be: the computer's own disk takes part, and how requests and segments are joined is
/// chance.
const TOLERANCE: Ratio = Ratio::thousandths(50);

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
pub fn measure(setup: &Setup, bare: &Bare, qemu: &Qemu, options: &Options) -> Result<Traffic, Failure> {
    measure_on(&Machine { setup, bare, qemu, options })
}

/// Measures all routes on a machine.
pub(super) fn measure_on(machine: &Machine<'_>) -> Result<Traffic, Failure> {
    let linux = machine::Linux::prepare(machine)?;
    let routes = ROUTES.into_iter().map(|route| {
        let native = longer(|mib| linux.natively(route, mib))?;
        let vambrace = longer(|mib| linux.under_vambrace(route, mib))?;
        Ok(route.judge(native.instructions, vambrace, machine.options.cpu == PROCESSOR))
    });
    Ok(Traffic { release: linux.release(), routes: routes.collect::<Result<_, Failure>>()? })
}

/// What the longer run takes more than the shorter one.
fn longer(run: impl Fn(u64) -> Result<Account, Failure>) -> Result<Account, Failure> {
    let [short, long] = LENGTHS;
    let (short, long) = (run(short)?, run(long)?);
    Ok(Account {
        instructions: long.instructions.saturating_sub(short.instructions),
        exits: long.exits.without(&short.exits),
    })
}

impl Route {
    fn judge(self, native: u64, vambrace: Account, has_target: bool) -> Phase {
        let ratio = Ratio::new(vambrace.instructions, native);
        let target = has_target.then_some(TARGET);
        Phase {
            name: self.name().to_owned(),
            what: self.what().to_owned(),
            native: native / MOVED,
            vambrace: vambrace.instructions / MOVED,
            ratio,
            target,
            verdict: ratio.verdict(target),
            tolerance: TOLERANCE,
            exits: vambrace.exits.total() / MOVED,
            causes: vambrace.exits.per(MOVED).causes(),
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the whole-system tests stand on: they boot the hypervisor in QEMU, as a user would.
//!
//! A [`Case`] is one named test. Before the first one runs, a [`Bench`] is set up with all that the chosen cases
//! need: toolchain, QEMU, kernels. A case describes VMs in a [`Scenario`], whose text is a manifest, runs it, and
//! judges the [`Record`] of all that was said. Whatever needs no protocol (the command itself, QEMU without the
//! hypervisor) is a [`Process`].
//!
//! Nothing here sleeps: everything waits for words on a console, with a deadline.
#![forbid(unsafe_code)]

use std::time::Duration;

mod bench;
mod case;
pub mod documents;
mod process;
mod record;
mod scenario;
mod tree;
mod write_log;

pub use self::bench::{Bench, Need};
pub use self::case::{Case, Verdict, main};
pub use self::process::{Finished, Process};
pub use self::record::{Live, Record};
pub use self::scenario::Scenario;
pub use self::tree::Tree;
pub use self::write_log::WriteLog;
pub use libtest_mimic::Failed;

/// How long anything may take that has to come: a run, or a text that is waited for. It ends what hangs, and is no judgement:
/// on an idle machine the longest takes a twentieth of it, and nothing may fail since the machine has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(1800);

/// Fails the case unless something holds.
///
/// # Errors
/// With the given words, if it does not.
pub fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise().into()) }
}

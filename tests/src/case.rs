// SPDX-License-Identifier: MIT OR Apache-2.0
//! Named tests, and the program that runs those chosen on the command line.
//!
//! libtest-mimic gives them the command line of Rust's own tests: filters, `--list`, `--test-threads`,
//! `--ignored`. Each QEMU already has a thread for each of its CPUs, so no more than two cases run at once unless
//! `--test-threads` says so.

use std::collections::BTreeSet;
use std::fmt;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::bench::{Bench, Need};

/// What a case comes to.
pub type Verdict = Result<(), Failed>;

/// How many cases run at once.
const AT_ONCE: usize = 2;

/// Set, it makes the long cases usual ones.
const LONG: &str = "VAMBRACE_LONG";

/// One named test.
pub struct Case {
    name: String,
    needs: BTreeSet<Need>,
    is_long: bool,
    run: Box<dyn FnOnce(&Bench) -> Verdict + Send>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("name", &self.name).field("needs", &self.needs).finish_non_exhaustive()
    }
}

impl Case {
    /// A case that needs no more than the hypervisor, our guests and QEMU.
    pub fn new(name: impl Into<String>, run: impl FnOnce(&Bench) -> Verdict + Send + 'static) -> Self {
        Self { name: name.into(), needs: BTreeSet::new(), is_long: false, run: Box::new(run) }
    }

    /// It needs something more.
    #[must_use]
    pub fn needs(mut self, need: Need) -> Self {
        self.needs.insert(need);
        self
    }

    /// It takes too long for every day: it runs with `-- --ignored`, or when `VAMBRACE_LONG` is set.
    #[must_use]
    pub fn long(mut self) -> Self {
        self.is_long = true;
        self
    }

    fn into_trial(self, shared: &Arc<Shared>) -> Trial {
        let shared = Arc::clone(shared);
        let is_ignored = self.is_long && std::env::var_os(LONG).is_none();
        Trial::ignorable_test(self.name.clone(), move || {
            // Without QEMU, or with a hypervisor that does not build, nothing was tried.
            let bench = shared.bench().map_err(|why| format!("it cannot run: {why}"))?;
            let Some(lacks) = bench.lacks(&self.needs) else {
                let start = Instant::now();
                let verdict = (self.run)(bench);
                shared.note(self.name, start.elapsed());
                return verdict.map(|()| Completion::Completed);
            };
            if is_ci() {
                Err(format!("it cannot run, and with CI=true all of them must: {lacks}").into())
            } else {
                Ok(Completion::ignored_with(one_line(lacks)))
            }
        })
        .with_ignored_flag(is_ignored)
    }
}

/// What the cases share.
#[derive(Default)]
struct Shared {
    bench: OnceLock<Result<Bench, String>>,
    times: Mutex<Vec<(Duration, String)>>,
}

impl Shared {
    fn bench(&self) -> Result<&Bench, &str> {
        match self.bench.get() {
            Some(Ok(bench)) => Ok(bench),
            Some(Err(why)) => Err(why),
            None => Err("nothing was set up"),
        }
    }

    fn note(&self, name: String, took: Duration) {
        if let Ok(mut times) = self.times.lock() {
            times.push((took, name));
        }
    }

    /// Says how long each case took, the longest first.
    fn tell_times(&self) {
        let Ok(mut times) = self.times.lock() else { return };
        times.sort_by(|a, b| b.cmp(a));
        for (took, name) in times.iter() {
            println!("{:8.1} s  {name}", took.as_secs_f64());
        }
    }
}

/// Runs the cases that the command line chooses.
#[must_use]
pub fn main(cases: Vec<Case>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let parallel = available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(parallel.min(AT_ONCE));

    let shared = Arc::new(Shared::default());
    let mut needs = BTreeSet::new();
    let mut trials = Vec::new();
    let mut is_idle = true;
    for case in cases {
        let wanted = case.needs.clone();
        let trial = case.into_trial(&shared);
        if !arguments.is_filtered_out(&trial) && !arguments.is_ignored(&trial) {
            needs.extend(wanted);
            is_idle = false;
        }
        trials.push(trial);
    }
    if !arguments.list && !is_idle {
        shared.bench.get_or_init(|| Bench::prepare(&needs));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    shared.tell_times();
    conclusion.exit_code()
}

/// Whether this is a run where nothing may be left out.
fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

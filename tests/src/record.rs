// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was said in a run, and the judgement on it. Every failure shows the last lines of all consoles.

use std::fmt::Write as _;
use std::time::Duration;

use libtest_mimic::Failed;
use vambrace_runner::{Exit, RunOutcome, Running, VmOutcome, WaitError};
use vambrace_wire::message::{VcpuReport, VmControl, VmState};

use crate::case::Verdict;

/// How many lines of each console a failure shows.
const TAIL: usize = 60;

/// How many VMs' consoles a failure shows in full; of more, only of those that have not powered off.
const FEW: usize = 8;

/// A run in progress.
#[derive(Debug)]
pub struct Live {
    running: Running,
    patience: Duration,
}

impl Live {
    pub(crate) fn new(running: Running, patience: Duration) -> Self {
        Self { running, patience }
    }

    /// Waits for a text on the console of the VM with this index. The next call for this VM looks behind it.
    ///
    /// # Errors
    /// When it does not come.
    pub fn wait_for(&mut self, vm: u16, text: &str) -> Verdict {
        let waited = self.running.wait_for(vm, text, self.patience);
        self.judge(waited)
    }

    /// Waits until something holds for all that was said so far.
    ///
    /// # Errors
    /// When it never does.
    pub fn wait_until(&mut self, what: &str, holds: impl FnMut(&RunOutcome) -> bool) -> Verdict {
        let waited = self.running.wait_for_outcome(what, self.patience, holds);
        self.judge(waited)
    }

    /// Types on a VM's console.
    pub fn send(&mut self, vm: u16, keys: &str) {
        self.running.send(vm, keys);
    }

    /// Sends a break on a VM's serial line.
    pub fn send_break(&mut self, vm: u16) {
        self.running.send_break(vm);
    }

    /// Has the hypervisor do something to a VM.
    pub fn ask_for(&mut self, vm: u16, control: VmControl) {
        self.running.control(vm, control);
    }

    /// Has the hypervisor do something to a VM, and waits until the VM has come to a state.
    ///
    /// # Errors
    /// When it never does.
    pub fn control(&mut self, vm: u16, control: VmControl, state: VmState) -> Verdict {
        let so_often = |outcome: &RunOutcome| {
            outcome
                .vms
                .get(usize::from(vm))
                .map_or(0, |vm| vm.states.iter().filter(|it| **it == state).count())
        };
        let before = so_often(self.so_far());
        self.ask_for(vm, control);
        self.wait_until(&format!("{state:?} after {control:?}"), |outcome| so_often(outcome) > before)
    }

    /// Asks each of the board's `cpus` physical CPUs what its vCPUs do.
    ///
    /// # Errors
    /// When one of them never answers.
    pub fn inspect(&mut self, cpus: usize) -> Result<Vec<VcpuReport>, Failed> {
        let (reports, answers) = (self.so_far().vcpus.len(), self.so_far().inspections);
        self.running.inspect();
        self.wait_until("what the vCPUs do", |outcome| outcome.inspections >= answers + cpus)?;
        Ok(self.so_far().vcpus.get(reports..).unwrap_or_default().to_vec())
    }

    /// Types a command to the shell of a Linux VM and waits for what it must answer. The answer must differ from
    /// what was typed, which the console repeats.
    ///
    /// # Errors
    /// When the answer does not come.
    pub fn ask(&mut self, vm: u16, command: &str, answer: &str) -> Verdict {
        self.send(vm, &format!("{command}\n"));
        self.wait_for(vm, answer)
    }

    /// All that was said so far.
    #[must_use]
    pub fn so_far(&self) -> &RunOutcome {
        self.running.so_far()
    }

    /// Waits for the end.
    #[must_use]
    pub fn finish(self) -> Record {
        Record { outcome: self.running.finish() }
    }

    /// Ends it now.
    #[must_use]
    pub fn stop(self) -> Record {
        Record { outcome: self.running.stop() }
    }

    fn judge(&self, waited: Result<(), WaitError>) -> Verdict {
        waited.map_err(|error| report(&error.to_string(), self.running.so_far()).into())
    }
}

/// All that was said in a run.
#[derive(Clone, Debug)]
pub struct Record {
    /// As the runner has it.
    pub outcome: RunOutcome,
}

impl Record {
    /// Fails with the last lines of everything.
    #[must_use]
    pub fn fail(&self, why: &str) -> Failed {
        report(why, &self.outcome).into()
    }

    /// Fails unless something holds.
    ///
    /// # Errors
    /// With the given words and the last lines, if it does not.
    pub fn ensure(&self, holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
        if holds { Ok(()) } else { Err(self.fail(&otherwise())) }
    }

    /// The run must have ended so.
    ///
    /// # Errors
    /// When it has not.
    pub fn exits(&self, exit: Exit) -> Verdict {
        self.ensure(self.outcome.exit() == exit, || {
            format!("{exit:?} is due, and it is {:?}: {:?}", self.outcome.exit(), self.outcome.summary.ending)
        })
    }

    /// The VM of a name.
    ///
    /// # Errors
    /// When there is none.
    pub fn vm(&self, name: &str) -> Result<&VmOutcome, Failed> {
        self.outcome.vm(name).ok_or_else(|| self.fail(&format!("there is no VM {name}")))
    }

    /// A VM must have written a text.
    ///
    /// # Errors
    /// When it has not.
    pub fn says(&self, vm: &str, text: &str) -> Verdict {
        let said = self.vm(vm)?.text().contains(text);
        self.ensure(said, || format!("{vm} has not said {text:?}"))
    }

    /// A VM must have written exactly this line.
    ///
    /// # Errors
    /// When it has not.
    pub fn says_line(&self, vm: &str, line: &str) -> Verdict {
        let said = self.vm(vm)?.text().lines().any(|said| said.trim_end() == line);
        self.ensure(said, || format!("{vm} has not said the line {line:?}"))
    }

    /// The hypervisor must have said something that begins so.
    ///
    /// # Errors
    /// When it has not.
    pub fn is_told(&self, beginning: &str) -> Verdict {
        let is_told = self.outcome.log.iter().any(|(_, text)| text.starts_with(beginning));
        self.ensure(is_told, || format!("nothing says {beginning:?}"))
    }

    /// One of our guests must have made its checks, and none may have failed.
    ///
    /// # Errors
    /// When one has failed, or the guest has not come to its end.
    pub fn passes(&self, vm: &str, guest: &str) -> Verdict {
        let failed = self.vm(vm)?.text().contains("guest: FAIL");
        self.ensure(!failed, || format!("a check of {vm} has failed"))?;
        self.says(vm, &format!("guest: {guest} ok"))
    }
}

/// What failed, and the last lines of everything.
fn report(why: &str, outcome: &RunOutcome) -> String {
    let mut text = format!("{why}\n");
    let few = outcome.vms.len() <= FEW;
    for vm in outcome.vms.iter().filter(|vm| few || vm.state() != Some(VmState::Off)).take(FEW) {
        let _ = writeln!(text, "--- {}, {:?}\n{}", vm.name, vm.state(), last_lines(&vm.text()));
        for line in &vm.report {
            let _ = writeln!(text, "! {line}");
        }
    }
    let log: Vec<String> = outcome.log.iter().map(|(level, line)| format!("{level:?}: {line}")).collect();
    let _ =
        writeln!(text, "--- the hypervisor, {:?}\n{}", outcome.summary.ending, last_lines(&log.join("\n")));
    for (who, said) in [
        ("outside any message", String::from_utf8_lossy(&outcome.raw).into_owned()),
        ("QEMU", outcome.qemu.join("\n")),
    ] {
        if !said.is_empty() {
            let _ = writeln!(text, "--- {who}\n{}", last_lines(&said));
        }
    }
    text
}

/// The last lines of a text.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(|line| line.trim_end_matches('\r')).collect();
    let start = lines.len().saturating_sub(TAIL);
    lines.get(start..).unwrap_or_default().join("\n")
}

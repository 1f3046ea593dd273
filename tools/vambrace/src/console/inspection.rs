// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each VM and vCPU does, in words: asked for by a key, and when the time is over.

use std::collections::BTreeSet;

use vambrace_cpu::pstate::ExceptionLevel;
use vambrace_cpu::registers::TrapFrame;
use vambrace_cpu::syndrome;
use vambrace_wire::message::{ToldExit, VcpuActivity, VcpuReport, VmState};

use super::describe_state;
use vambrace_manifest::symbols::Symbols;
use vambrace_runner::{Event, Message};

/// What is known of a VM.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// The VM that must have ended before it starts.
    pub after: Option<String>,
    /// Names for its addresses.
    pub symbols: Option<Symbols>,
}

/// The answers of the CPUs, as they come.
#[derive(Clone, Debug)]
pub struct Inspection {
    vms: Vec<Known>,
    states: Vec<Option<VmState>>,
    cpus: Option<u16>,
    reports: Vec<VcpuReport>,
    answered: BTreeSet<u16>,
    /// All CPUs have answered since the last question, and it was told.
    is_told: bool,
}

impl Inspection {
    /// Of these VMs.
    #[must_use]
    pub fn new(vms: Vec<Known>) -> Self {
        let states = vec![None; vms.len()];
        Self { vms, states, cpus: None, reports: Vec::new(), answered: BTreeSet::new(), is_told: false }
    }

    /// Takes note of an event. When all CPUs have answered, or none will any more: the answer, in lines.
    pub fn absorb(&mut self, event: &Event) -> Option<Vec<String>> {
        match event {
            Event::Message(Message::Hello { cpus, .. }) => self.cpus = Some(*cpus),
            Event::Message(Message::State { vm, state }) => {
                if let Some(slot) = self.states.get_mut(usize::from(*vm)) {
                    *slot = Some(*state);
                }
            }
            Event::Asking => self.begin(),
            Event::Message(Message::Vcpu(report)) => self.reports.push(**report),
            Event::Message(Message::Inspected { cpu }) => {
                self.answered.insert(*cpu);
                if self.silent_cpus().is_empty() {
                    self.is_told = true;
                    return Some(self.take());
                }
            }
            Event::TimedOut if self.cpus.is_some() && !self.is_told => return Some(self.take()),
            _ => {}
        }
        None
    }

    /// The CPUs have been asked.
    fn begin(&mut self) {
        self.reports.clear();
        self.answered.clear();
        self.is_told = false;
    }

    fn silent_cpus(&self) -> Vec<u16> {
        (0..self.cpus.unwrap_or(0)).filter(|cpu| !self.answered.contains(cpu)).collect()
    }

    /// The answers so far; the next question begins anew.
    fn take(&mut self) -> Vec<String> {
        let mut reports = std::mem::take(&mut self.reports);
        reports.sort_by_key(|report| (report.vm, report.vcpu));
        let mut lines = Vec::new();
        for (index, (vm, state)) in (0..).zip(self.vms.iter().zip(&self.states)) {
            lines.push(describe_vm(vm, *state));
            for report in reports.iter().filter(|report| report.vm == index) {
                describe_vcpu(report, vm.symbols.as_ref(), &mut lines);
            }
        }
        for cpu in self.silent_cpus() {
            lines.push(format!("CPU {cpu} does not answer"));
        }
        self.answered.clear();
        lines
    }
}

fn describe_vm(vm: &Known, state: Option<VmState>) -> String {
    let name = &vm.name;
    match (state, &vm.after) {
        (Some(state), _) => format!("{name} {}", describe_state(state)),
        (None, Some(after)) => format!("{name} has not started: it waits for the end of {after}"),
        (None, None) => format!("{name} has not started"),
    }
}

fn describe_vcpu(report: &VcpuReport, symbols: Option<&Symbols>, lines: &mut Vec<String>) {
    let VcpuReport { vcpu, cpu, .. } = report;
    let activity = match report.activity {
        VcpuActivity::Running => "runs".to_owned(),
        VcpuActivity::Ready => "wants to run, and others have their turn".to_owned(),
        VcpuActivity::Waiting { timer: Some(micros) } => {
            let millis = micros as f64 / 1000.0;
            format!("waits for an interrupt; its timer comes in {millis:.3} ms")
        }
        VcpuActivity::Waiting { timer: None } => {
            "waits for an interrupt, and has set no timer: a device, another vCPU or a key has to wake it"
                .to_owned()
        }
        VcpuActivity::Paused => "is paused".to_owned(),
        VcpuActivity::Off => {
            lines.push(format!("  vCPU {vcpu} on CPU {cpu} is off"));
            return;
        }
    };
    lines.push(format!("  vCPU {vcpu} on CPU {cpu} {activity}"));
    let name = |pc| symbols.and_then(|symbols| symbols.name(pc, report.vbar));
    let symbol = name(report.pc).map(|name| format!("  {name}")).unwrap_or_default();
    lines.push(format!("    PC {:#018x}{symbol}  ({})", report.pc, level(report.pstate)));
    for exit in report.exits.iter().flatten() {
        lines.push(format!("    exit: {}", describe_exit(exit, name(exit.pc))));
    }
}

fn describe_exit(exit: &ToldExit, symbol: Option<String>) -> String {
    let symbol = symbol.map(|name| format!("  {name}")).unwrap_or_default();
    let address = exit.address.map(|address| format!(", at {address:#x}")).unwrap_or_default();
    format!("PC {:#018x}{symbol}  {}{address}", exit.pc, syndrome::describe(exit.esr))
}

fn level(pstate: u64) -> &'static str {
    match (TrapFrame { pstate, ..TrapFrame::default() }).level() {
        ExceptionLevel::El0 => "EL0",
        ExceptionLevel::El0Aarch32 => "EL0, AArch32",
        ExceptionLevel::El1t | ExceptionLevel::El1h => "EL1",
    }
}

#[cfg(test)]
mod tests {
    use vambrace_wire::message::{ResetCause, TOLD_EXITS};

    use super::*;

    fn report(vm: u16, vcpu: u16, activity: VcpuActivity) -> Event {
        let mut exits = [None; TOLD_EXITS];
        exits[0] = Some(ToldExit { esr: 0x5A00_0000, pc: 0x4020_0004, address: None });
        Event::Message(Message::Vcpu(Box::new(VcpuReport {
            vm,
            vcpu,
            cpu: vcpu,
            activity,
            pc: 0x4020_0010,
            pstate: 0x3C5,
            vbar: 0,
            exits,
        })))
    }

    fn inspection() -> Inspection {
        let symbols = Symbols::read(b"40200000 T _start\n40200008 T spin\n");
        let known = |name: &str| Known { name: name.into(), after: None, symbols: None };
        let mut inspection = Inspection::new(vec![
            Known { symbols, ..known("a") },
            Known { after: Some("a".into()), ..known("b") },
        ]);
        inspection.absorb(&Event::Message(Message::Hello { cpus: 2, vms: 2 }));
        inspection
            .absorb(&Event::Message(Message::State { vm: 0, state: VmState::Reset(3, ResetCause::Asked) }));
        inspection
    }

    #[test]
    fn the_answer_is_told_when_all_cpus_have_given_theirs() {
        let mut inspection = inspection();
        for _ in 0..2 {
            assert_eq!(inspection.absorb(&report(0, 1, VcpuActivity::Waiting { timer: None })), None);
            assert_eq!(inspection.absorb(&Event::Message(Message::Inspected { cpu: 1 })), None);
            assert_eq!(inspection.absorb(&report(0, 0, VcpuActivity::Running)), None);
            let lines = inspection.absorb(&Event::Message(Message::Inspected { cpu: 0 })).unwrap();
            let text = lines.join("\n");
            assert!(text.starts_with("a was reset, 3 times by now\n  vCPU 0 on CPU 0 runs\n"), "{text}");
            assert!(text.contains("PC 0x0000000040200010  spin+0x8  (EL1)"), "{text}");
            assert!(text.contains("exit: PC 0x0000000040200004  _start+0x4  HVC"), "{text}");
            assert!(text.contains("vCPU 1 on CPU 1 waits for an interrupt, and has set no timer"), "{text}");
            assert!(text.ends_with("\nb has not started: it waits for the end of a"), "{text}");
        }
        assert_eq!(inspection.absorb(&Event::TimedOut), None, "it was told");
        assert_eq!(inspection.absorb(&Event::Asking), None);
        let silent = inspection.absorb(&Event::TimedOut).unwrap().join("\n");
        assert!(silent.ends_with("CPU 0 does not answer\nCPU 1 does not answer"), "{silent}");
    }

    #[test]
    fn a_cpu_that_does_not_answer_is_told() {
        let mut inspection = inspection();
        inspection.absorb(&report(0, 0, VcpuActivity::Running));
        inspection.absorb(&Event::Message(Message::Inspected { cpu: 0 }));
        let lines = inspection.absorb(&Event::TimedOut).unwrap();
        assert_eq!(lines.last().map(String::as_str), Some("CPU 1 does not answer"));
    }

    #[test]
    fn before_the_hypervisor_is_up_there_is_nothing_to_tell() {
        let mut inspection = Inspection::new(vec![Known::default()]);
        assert_eq!(inspection.absorb(&Event::TimedOut), None);
    }
}

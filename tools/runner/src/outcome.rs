// SPDX-License-Identifier: MIT OR Apache-2.0
//! What came of a run.

use vambrace_wire::message::{BootEpoch, LogLevel, MemoryUse, VcpuReport, VmState};

use super::session::{Event, Message};
use crate::Exit;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All VMs had ended, and the hypervisor said so.
    Complete,
    /// The hypervisor failed, and said so.
    Failed,
    /// QEMU ended before the hypervisor said that all is done; its exit code, unless a signal ended it.
    Broken(Option<i32>),
    /// The time was over.
    TimedOut,
    /// We stopped it.
    Stopped,
}

/// The states, without the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Physical CPUs, once the hypervisor is up.
    pub cpus: Option<u16>,
    /// For each VM, the last state it was in.
    pub states: Vec<Option<VmState>>,
    /// How it ended; `None` while it runs.
    pub ending: Option<Ending>,
    /// The hypervisor has said that all VMs have ended.
    complete: bool,
    /// The hypervisor has said that it failed.
    failed: bool,
}

impl Summary {
    /// Nothing has been heard of `vms` VMs.
    #[must_use]
    pub fn new(vms: usize) -> Self {
        Self { cpus: None, states: vec![None; vms], ending: None, complete: false, failed: false }
    }

    /// Takes note of an event.
    pub fn absorb(&mut self, event: &Event) {
        match event {
            Event::Message(Message::Hello { cpus, .. }) => self.cpus = Some(*cpus),
            Event::Message(Message::State { vm, state }) => {
                if let Some(slot) = self.states.get_mut(usize::from(*vm)) {
                    *slot = Some(*state);
                }
            }
            Event::Message(Message::End) => self.complete = true,
            Event::Message(Message::Failed) => self.failed = true,
            Event::Exited(code) => {
                self.ending.get_or_insert(match (self.failed, self.complete) {
                    (true, _) => Ending::Failed,
                    (false, true) => Ending::Complete,
                    (false, false) => Ending::Broken(*code),
                });
            }
            Event::TimedOut => {
                self.ending.get_or_insert(Ending::TimedOut);
            }
            _ => {}
        }
    }

    /// Whether a VM was stopped for a fault of its own.
    #[must_use]
    pub fn has_crash(&self) -> bool {
        self.states.contains(&Some(VmState::Crashed))
    }

    /// Whether a VM could not be made.
    fn lacks_a_vm(&self) -> bool {
        self.states.contains(&Some(VmState::NotMade))
    }

    /// The command's exit code for it. A run that we stopped is judged by what happened before.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self.ending {
            Some(Ending::Failed | Ending::Broken(_)) => Exit::Hypervisor,
            Some(Ending::TimedOut) => Exit::TimedOut,
            _ if self.failed => Exit::Hypervisor,
            _ if self.has_crash() => Exit::Crashed,
            _ if self.lacks_a_vm() => Exit::NotMade,
            _ => Exit::Success,
        }
    }
}

/// One VM's part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmOutcome {
    /// Its name.
    pub name: String,
    /// All it wrote to its console.
    pub console: Vec<u8>,
    /// Each state it was in, in order.
    pub states: Vec<VmState>,
    /// Its crash report, line by line.
    pub report: Vec<String>,
    /// The numbers that it gave as its result, one in each boot epoch at most.
    pub results: Vec<u32>,
    /// The boot epochs that are over, in order.
    pub boot_epochs: Vec<BootEpoch>,
    /// When its memory had been cleared and when it was free, in counts of the system counter.
    pub gone: Option<(u64, u64)>,
    /// How often it was gone.
    pub gone_count: usize,
    /// The vCPUs that have moved as they were asked to, each with its new physical CPU, in order.
    pub migrations: Vec<(u16, u16)>,
    /// How often a page of its RAM was replaced, each time that it was asked for.
    pub replaced: Vec<u32>,
}

impl VmOutcome {
    /// What it wrote, as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.console).into_owned()
    }

    /// The state it was last in.
    #[must_use]
    pub fn state(&self) -> Option<VmState> {
        self.states.last().copied()
    }

    /// How often it was reset.
    #[must_use]
    pub fn resets(&self) -> u32 {
        let count = |state: &VmState| if let VmState::Reset(count, _) = state { Some(*count) } else { None };
        self.states.iter().filter_map(count).max().unwrap_or(0)
    }
}

/// All that was said in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOutcome {
    /// The states and the end.
    pub summary: Summary,
    /// The VMs, in the bundle's order.
    pub vms: Vec<VmOutcome>,
    /// The memory that the hypervisor takes, each time it told, with the number of VMs that there were.
    pub memory: Vec<(u16, MemoryUse)>,
    /// What the vCPUs did when it was asked.
    pub vcpus: Vec<VcpuReport>,
    /// How often a physical CPU has told of all its vCPUs.
    pub inspections: usize,
    /// The hypervisor's log.
    pub log: Vec<(LogLevel, String)>,
    /// What arrived outside any message: firmware's greetings, a panic report.
    pub raw: Vec<u8>,
    /// What QEMU complained of.
    pub qemu: Vec<String>,
}

impl RunOutcome {
    /// Nothing was said yet.
    #[must_use]
    pub fn new(names: &[String]) -> Self {
        Self {
            summary: Summary::new(names.len()),
            vms: names.iter().map(|name| VmOutcome { name: name.clone(), ..VmOutcome::default() }).collect(),
            memory: Vec::new(),
            vcpus: Vec::new(),
            inspections: 0,
            log: Vec::new(),
            raw: Vec::new(),
            qemu: Vec::new(),
        }
    }

    /// The command's exit code for it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.summary.exit()
    }

    /// The VM of a name.
    #[must_use]
    pub fn vm(&self, name: &str) -> Option<&VmOutcome> {
        self.vms.iter().find(|vm| vm.name == name)
    }

    /// Takes note of an event.
    pub fn absorb(&mut self, event: &Event) {
        self.summary.absorb(event);
        match event {
            Event::Text(bytes) => self.raw.extend_from_slice(bytes),
            Event::QemuSays(line) => self.qemu.push(line.clone()),
            Event::Message(Message::Log { level, text }) => self.log.push((*level, text.clone())),
            Event::Message(Message::Console { vm, bytes }) => {
                self.with(*vm, |vm| vm.console.extend_from_slice(bytes));
            }
            Event::Message(Message::State { vm, state }) => self.with(*vm, |vm| vm.states.push(*state)),
            Event::Message(Message::Report { vm, text }) => self.with(*vm, |vm| vm.report.push(text.clone())),
            Event::Message(Message::Result { vm, number }) => self.with(*vm, |vm| vm.results.push(*number)),
            Event::Message(Message::BootEpoch { vm, epoch }) => {
                self.with(*vm, |vm| vm.boot_epochs.push(*epoch));
            }
            Event::Message(Message::Gone { vm, cleared, at }) => {
                self.with(*vm, |vm| {
                    vm.gone = Some((*cleared, *at));
                    vm.gone_count += 1;
                });
            }
            Event::Message(Message::Replaced { vm, times }) => {
                self.with(*vm, |vm| vm.replaced.push(*times));
            }
            Event::Message(Message::Migrated { vm, vcpu, cpu }) => {
                self.with(*vm, |vm| vm.migrations.push((*vcpu, *cpu)));
            }
            Event::Message(Message::Inspected { .. }) => self.inspections += 1,
            Event::Message(Message::Vcpu(report)) => self.vcpus.push(**report),
            Event::Message(Message::Memory { vms, memory }) => self.memory.push((*vms, *memory)),
            _ => {}
        }
    }

    fn with(&mut self, vm: u16, change: impl FnOnce(&mut VmOutcome)) {
        if let Some(vm) = self.vms.get_mut(usize::from(vm)) {
            change(vm);
        }
    }
}

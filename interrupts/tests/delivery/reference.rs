// SPDX-License-Identifier: MIT OR Apache-2.0
//! An ideal GICv3: no list registers, each interrupt a struct, each question a walk over all of them.

use std::collections::BTreeMap;

/// A private interrupt has its vCPU, an SPI has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) cpu: Option<usize>,
    pub(crate) intid: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    To(usize),
    Nowhere,
    Any,
}

#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    pub(crate) enabled: bool,
    pub(crate) group1: bool,
    pub(crate) priority: u8,
    pub(crate) edge: bool,
    pub(crate) line: bool,
    pub(crate) latch: bool,
    pub(crate) active: bool,
    pub(crate) linked: bool,
    pub(crate) route: Route,
    /// Who acknowledged it last.
    pub(crate) taker: Option<usize>,
}

impl Interrupt {
    pub(crate) fn pending(&self) -> bool {
        self.latch || self.line && !self.edge
    }

    pub(crate) fn set_line(&mut self, high: bool) {
        if self.edge && high && !self.line {
            self.latch = true;
        }
        self.line = high;
    }

    /// A link ends when the interrupt is over.
    pub(crate) fn settle(&mut self) {
        self.linked &= self.latch || self.active;
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Cpu {
    pub(crate) mask: u8,
    pub(crate) groups: u32,
    pub(crate) points: [u32; 2],
    pub(crate) split: bool,
    pub(crate) asleep: bool,
    /// Acknowledged and not ended: INTID and group priority.
    pub(crate) running: Vec<(u32, u32)>,
}

#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) groups: u32,
    pub(crate) preemption_bits: u32,
    pub(crate) cpus: Vec<Cpu>,
    pub(crate) interrupts: BTreeMap<Id, Interrupt>,
}

/// What may be signalled to a vCPU.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// One of these.
    Must(Vec<u32>),
    /// One of these, or nothing.
    May(Vec<u32>),
}

impl Signal {
    pub(crate) fn allows(&self, signalled: Option<u32>) -> bool {
        match (self, signalled) {
            (Self::Must(list) | Self::May(list), Some(intid)) => list.contains(&intid),
            (Self::Must(_), None) => false,
            (Self::May(_), None) => true,
        }
    }

    pub(crate) fn allows_some(&self, signalled: bool) -> bool {
        match self {
            Self::Must(_) => signalled,
            Self::May(list) => !signalled || !list.is_empty(),
        }
    }
}

impl Reference {
    pub(crate) fn get(&mut self, id: Id) -> &mut Interrupt {
        self.interrupts.get_mut(&id).expect("an interrupt that exists")
    }

    fn mask_of(&self, cpu: usize, group1: bool) -> u32 {
        let least = 7 - self.preemption_bits;
        let low = match group1 {
            false => self.cpus[cpu].points[0].max(least) + 1,
            true => self.cpus[cpu].points[1].max(least + 1),
        };
        0xFF << low & 0xFF
    }

    fn signals(&self, cpu: usize, interrupt: &Interrupt) -> bool {
        let mask = self.mask_of(cpu, interrupt.group1);
        let priority = u32::from(interrupt.priority);
        interrupt.priority < self.cpus[cpu].mask
            && self.cpus[cpu].running.iter().all(|&(_, running)| priority & mask < running & mask)
    }

    /// Whether the vCPU could get the interrupt, and whether it must: others may take one for any.
    fn candidate(&self, cpu: usize, id: Id, interrupt: &Interrupt) -> Option<bool> {
        let group = u32::from(interrupt.group1);
        let ready = interrupt.pending() && interrupt.enabled && !interrupt.active;
        let forwarded = self.groups >> group & self.cpus[cpu].groups >> group & 1 != 0;
        let (here, must) = match (id.cpu, interrupt.route) {
            (Some(own), _) => (own == cpu, true),
            (None, Route::To(target)) => (target == cpu, true),
            (None, Route::Nowhere) => (false, false),
            (None, Route::Any) => (!self.cpus[cpu].asleep, false),
        };
        (ready && forwarded && here).then_some(must)
    }

    pub(crate) fn signal(&self, cpu: usize) -> Signal {
        let candidates = || {
            let all = self.interrupts.iter();
            all.filter_map(move |(&id, interrupt)| Some((id, interrupt, self.candidate(cpu, id, interrupt)?)))
        };
        let required = candidates().filter(|c| c.2).map(|c| c.1.priority).min();
        let most_urgent = |priority| required.is_none_or(|required| priority <= required);
        let list = candidates().filter(|c| most_urgent(c.1.priority) && self.signals(cpu, c.1));
        let list: Vec<u32> = list.map(|c| c.0.intid).collect();
        // Equally urgent ones of different groups, or one for any vCPU, leave room for choice.
        let is_clear = required.is_some()
            && candidates().filter(|c| most_urgent(c.1.priority)).all(|c| self.signals(cpu, c.1));
        if is_clear { Signal::Must(list) } else { Signal::May(list) }
    }

    pub(crate) fn id(cpu: usize, intid: u32) -> Id {
        Id { cpu: (intid < 32).then_some(cpu), intid }
    }

    /// Whether a vCPU acknowledged the interrupt and did not end it.
    pub(crate) fn is_handled(&self, id: Id) -> bool {
        let mut cpus = self.cpus.iter().enumerate().filter(|&(cpu, _)| id.cpu.is_none_or(|own| own == cpu));
        cpus.any(|(_, cpu)| cpu.running.iter().any(|&(intid, _)| intid == id.intid))
    }

    pub(crate) fn acknowledge(&mut self, cpu: usize, intid: u32) {
        let interrupt = self.get(Self::id(cpu, intid));
        interrupt.latch = false;
        interrupt.active = true;
        interrupt.taker = Some(cpu);
        let (priority, group1) = (u32::from(interrupt.priority), interrupt.group1);
        let level = priority & self.mask_of(cpu, group1);
        self.cpus[cpu].running.push((intid, level));
    }

    pub(crate) fn end(&mut self, cpu: usize, intid: u32) {
        self.cpus[cpu].running.pop();
        if !self.cpus[cpu].split {
            self.deactivate(cpu, intid);
        }
    }

    pub(crate) fn deactivate(&mut self, cpu: usize, intid: u32) {
        self.get(Self::id(cpu, intid)).active = false;
    }

    /// What nobody has taken though someone could.
    pub(crate) fn undelivered(&self) -> Vec<(usize, Id)> {
        let cpus = 0..self.cpus.len();
        cpus.flat_map(|cpu| {
            let all = self.interrupts.iter();
            all.filter(move |&(&id, i)| {
                self.candidate(cpu, id, i).is_some() && i.priority < self.cpus[cpu].mask
            })
            .map(move |(&id, _)| (cpu, id))
        })
        .collect()
    }
}

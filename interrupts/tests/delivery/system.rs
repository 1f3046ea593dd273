// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtual GIC, the machine under it and the ideal GIC beside it, driven together.
//!
//! What the EL2 program would do is done here in the simplest way: whoever is in a returned set, and runs, syncs
//! and flushes at once.

use std::collections::BTreeMap;

use vambrace_ids::VcpuId;
use vambrace_interrupts::{
    Intid, LineLevel, LrWrite, PrivateIrq, Put, SgiRegister, SgiRequest, Trigger, VcpuSet, Vgic, VgicConfig,
    Width,
};

use crate::machine::Machine;
use crate::op::{Field, Op};
use crate::reference::{Cpu, Id, Interrupt, Reference, Route};
use crate::vcpu;

mod checks;
mod registers;

/// SPIs: more than one bank, and the last one incomplete.
const SPIS: u32 = 40;
const TIMER: u32 = 27;

/// Adds an interrupt to a vCPU's list registers without a flush, if that can be.
fn directly(vgic: &mut Vgic, vcpu: VcpuId, irq: PrivateIrq, machine: &Machine) -> Option<LrWrite> {
    let empty = machine.empty();
    vgic.requeue(vcpu, irq, empty).or_else(|| vgic.queue(vcpu, irq, empty))
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) cpus: usize,
    pub(crate) list_registers: u8,
    pub(crate) priority_bits: u8,
    pub(crate) preemption_bits: u8,
    pub(crate) seed: u64,
}

/// The interrupts that take part: SGIs, PPIs and SPIs, from both banks.
const INTIDS: [u32; 12] = [0, 1, 2, 16, TIMER, 30, 32, 33, 34, 63, 64, 71];

pub(crate) struct System {
    vgic: Vgic,
    reference: Reference,
    /// The machine a vCPU is on, if it is on one.
    machines: Vec<Option<Machine>>,
    /// Whether the physical timer interrupt of a vCPU is active.
    timers: Vec<bool>,
    /// Ended with EOImode 1, and not deactivated.
    ended: Vec<Id>,
    /// Whether the next vCPU that is kicked while it is on no machine looks at once.
    looks_at_once: bool,
}

impl System {
    /// Everything enabled, priorities by the seed, half the interrupts edge-triggered, CPU interfaces open.
    pub(crate) fn new(shape: Shape) -> Self {
        let config = VgicConfig {
            spi_count: SPIS,
            priority_bits: shape.priority_bits,
            preemption_bits: shape.preemption_bits,
            list_registers: shape.list_registers,
            ..VgicConfig::new((0..shape.cpus as u64).collect())
        };
        let cpu = Cpu { mask: 0, groups: 0, points: [0; 2], split: false, asleep: true, running: Vec::new() };
        let mut system = Self {
            vgic: Vgic::new(config).unwrap(),
            reference: Reference {
                groups: 0,
                preemption_bits: shape.preemption_bits.into(),
                cpus: vec![cpu; shape.cpus],
                interrupts: BTreeMap::new(),
            },
            machines: (0..shape.cpus).map(|_| None).collect(),
            timers: vec![false; shape.cpus],
            ended: Vec::new(),
            looks_at_once: false,
        };
        system.set_up(shape);
        system
    }

    fn set_up(&mut self, shape: Shape) {
        for cpu in 0..shape.cpus {
            for intid in INTIDS {
                let id = Reference::id(cpu, intid);
                let interrupt = Interrupt {
                    enabled: false,
                    group1: false,
                    priority: 0,
                    edge: intid < 16,
                    line: false,
                    latch: false,
                    active: false,
                    linked: false,
                    route: Route::To(0),
                    taker: None,
                };
                self.reference.interrupts.insert(id, interrupt);
            }
        }
        for cpu in 0..shape.cpus {
            self.step(&Op::Enter { cpu });
            self.step(&Op::Sleep { cpu, asleep: false });
            self.step(&Op::CpuInterface { cpu, mask: 0xFF, groups: 3 });
        }
        self.step(&Op::DistributorGroups { by: 0, groups: 3 });
        let mut random = shape.seed | 1;
        for cpu in 0..shape.cpus {
            for irq in 0..INTIDS.len() as u32 {
                random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
                let bytes = random.to_be_bytes();
                let fields = [
                    Field::Enabled(true),
                    Field::Group1(bytes[0] > 60),
                    Field::Priority(bytes[1]),
                    Field::Edge(bytes[2] < 128),
                    Field::Route(bytes[3].into()),
                ];
                for what in fields {
                    self.step(&Op::Write { by: cpu, cpu, irq, what, exact: false });
                }
            }
        }
    }

    fn cpu(&self, cpu: usize) -> usize {
        cpu % self.machines.len()
    }

    /// Syncs a vCPU, if it is on a machine.
    fn sync(&mut self, cpu: usize) -> VcpuSet {
        match &self.machines[cpu] {
            Some(machine) => self.vgic.sync(vcpu(cpu), &machine.registers),
            None => VcpuSet::new(),
        }
    }

    /// Deactivates the physical interrupts whose virtual ones are over.
    fn release(&mut self, cpu: usize) {
        while let Some(physical) = self.vgic.take_hw_deactivate(vcpu(cpu)) {
            assert_eq!(physical.get(), TIMER);
            assert!(std::mem::take(&mut self.timers[cpu]), "to be deactivated, but not active");
        }
    }

    /// What EL2 does before it enters a vCPU, and for maintenance interrupts until there are none.
    fn sync_and_flush(&mut self, cpu: usize) -> VcpuSet {
        let mut kicks = VcpuSet::new();
        for _ in 0..4 {
            kicks.extend(&self.sync(cpu));
            let interface = self.vgic.flush(vcpu(cpu)).unwrap().clone();
            self.release(cpu);
            let Some(machine) = &mut self.machines[cpu] else { return kicks };
            machine.flush(&interface);
            let lrs = interface.lr.iter().filter(|&&lr| lr != 0).count();
            assert!(
                lrs == usize::from(interface.used) && lrs <= usize::from(self.vgic.config().list_registers)
            );
            if !machine.maintenance() {
                assert!(!self.vgic.needs_flush(vcpu(cpu)));
                return kicks;
            }
        }
        panic!("a maintenance interrupt that does not go away");
    }

    /// Lets everyone look again who has to.
    fn settle(&mut self, mut kicks: VcpuSet) {
        while let Some(kicked) = kicks.iter().next() {
            kicks.remove(kicked);
            let cpu = kicked.index();
            if self.machines[cpu].is_some() {
                let more = self.sync_and_flush(cpu);
                kicks.extend(&more);
            } else {
                assert!(self.vgic.needs_flush(vcpu(cpu)));
                // One that is blocked looks at once, one that is runnable when it is loaded.
                self.looks_at_once ^= true;
                if self.looks_at_once {
                    let more = self.vgic.sync_put_if_changed(vcpu(cpu));
                    kicks.extend(&more);
                }
            }
        }
    }

    /// After the guest did something without an exit: the exits that follow of themselves.
    fn maintain(&mut self, cpu: usize) {
        if let Some(machine) = &mut self.machines[cpu] {
            for physical in std::mem::take(&mut machine.deactivated) {
                assert_eq!(physical, TIMER);
                assert!(std::mem::take(&mut self.timers[cpu]), "deactivated, but not active");
            }
            if machine.maintenance() {
                let kicks = self.sync_and_flush(cpu);
                self.settle(kicks);
            }
        }
    }

    fn set_line(&mut self, id: Id, level: LineLevel) {
        let kicks = match id.cpu {
            Some(cpu) => self.vgic.set_ppi_level(vcpu(cpu), Intid::new(id.intid), level),
            None => self.vgic.set_spi_level(Intid::new(id.intid), level),
        };
        self.reference.get(id).set_line(level == LineLevel::High);
        self.settle(kicks);
    }

    pub(crate) fn step(&mut self, op: &Op) {
        self.apply(op);
        self.check();
    }

    fn apply(&mut self, op: &Op) {
        let id = |cpu: usize, irq: u32| Reference::id(self.cpu(cpu), INTIDS[irq as usize % INTIDS.len()]);
        match *op {
            Op::Line { cpu, irq, high } => {
                let id = id(cpu, irq);
                if id.intid >= 16 && id.intid != TIMER {
                    self.set_line(id, if high { LineLevel::High } else { LineLevel::Low });
                }
            }
            Op::Pulse { cpu, irq } => self.pulse(id(cpu, irq)),
            Op::Timer { cpu } => self.fire_timer(self.cpu(cpu)),
            Op::Sgi { from, intid, register, list } => self.send_sgi(self.cpu(from), intid, register, list),
            Op::Write { by, cpu, irq, what, exact } => {
                self.write_field(self.cpu(by), id(cpu, irq), what, exact);
            }
            Op::DistributorGroups { by, groups } => {
                self.reference.groups = groups;
                let spi = Reference::id(0, 32);
                self.write(self.cpu(by), spi, 0, Width::Word, groups.into(), false);
            }
            Op::Sleep { cpu, asleep } => {
                let cpu = self.cpu(cpu);
                self.reference.cpus[cpu].asleep = asleep;
                let value = u64::from(asleep) << 1;
                self.access(cpu, VcpuSet::new(), |vgic| {
                    (vgic.write_redistributor(vcpu(cpu), 0x14, Width::Word, value), ())
                });
            }
            Op::Exit { cpu } => {
                self.save_and_restore();
                let cpu = self.cpu(cpu);
                if self.machines[cpu].is_some() {
                    self.settle(VcpuSet::from_iter([vcpu(cpu)]));
                }
            }
            Op::Leave { cpu } => {
                let cpu = self.cpu(cpu);
                if let Some(machine) = self.machines[cpu].take() {
                    match self.vgic.put(vcpu(cpu), |known| *known = machine.left(known.used)) {
                        Put::Synced(kicks) => self.settle(kicks),
                        Put::Kept | Put::Idle => {
                            assert!(!self.vgic.is_hw_active(vcpu(cpu), Intid::new(TIMER)));
                            assert_eq!(self.vgic.take_hw_deactivate(vcpu(cpu)), None);
                        }
                    }
                }
            }
            Op::Enter { cpu } => self.enter(self.cpu(cpu)),
            Op::ReadState { by, cpu } => self.read_state(self.cpu(by), self.cpu(cpu)),
            Op::Acknowledge { cpu }
            | Op::End { cpu }
            | Op::Deactivate { cpu, .. }
            | Op::CpuInterface { cpu, .. }
            | Op::BinaryPoints { cpu, .. }
            | Op::Split { cpu, .. } => {
                let cpu = self.cpu(cpu);
                if self.machines[cpu].is_some() {
                    self.run_guest(cpu, op);
                    self.maintain(cpu);
                }
            }
        }
    }

    /// The GIC is a value: what is written away and read again goes on as if nothing had been.
    fn save_and_restore(&mut self) {
        let saved = postcard::to_allocvec(&self.vgic).unwrap();
        let restored: Vgic = postcard::from_bytes(&saved).unwrap();
        assert_eq!(restored, self.vgic);
        assert_eq!(restored.validate(), Ok(()));
        self.vgic = restored;
    }

    fn pulse(&mut self, id: Id) {
        let kicks = match id.cpu {
            _ if id.intid < 16 || id.intid == TIMER => return,
            Some(cpu) => self.vgic.pulse_ppi(vcpu(cpu), Intid::new(id.intid)),
            None => self.vgic.pulse_spi(Intid::new(id.intid)),
        };
        let interrupt = self.reference.get(id);
        interrupt.set_line(true);
        interrupt.set_line(false);
        self.settle(kicks);
    }

    fn fire_timer(&mut self, cpu: usize) {
        // While it is active it cannot fire again.
        if !std::mem::replace(&mut self.timers[cpu], true) {
            let interrupt = self.reference.get(Reference::id(cpu, TIMER));
            interrupt.latch = true;
            interrupt.linked = true;
            if let Some(machine) = &mut self.machines[cpu]
                && let Some(write) = directly(
                    &mut self.vgic,
                    vcpu(cpu),
                    PrivateIrq::Hw { intid: Intid::new(TIMER), physical: Intid::new(TIMER) },
                    machine,
                )
            {
                return machine.add(write);
            }
            let kicks =
                self.vgic.inject_hw(vcpu(cpu), Intid::new(TIMER), Intid::new(TIMER), Trigger::Edge).unwrap();
            self.settle(kicks);
        }
    }

    fn send_sgi(&mut self, from: usize, intid: u32, register: SgiRegister, list: Option<u16>) {
        let value = u64::from(intid) << 24 | list.map_or(1 << 40, u64::from);
        for cpu in 0..self.machines.len() {
            let is_target = list.map_or(cpu != from, |list| list >> cpu & 1 != 0);
            let interrupt = self.reference.get(Reference::id(cpu, intid));
            interrupt.latch |= is_target && (!interrupt.group1 || register == SgiRegister::Sgi1r);
        }
        let is_to_self = list.is_some_and(|list| list & ((1 << self.machines.len()) - 1) == 1 << from);
        if is_to_self
            && register == SgiRegister::Sgi1r
            && let Some(machine) = &mut self.machines[from]
            && let Some(write) =
                directly(&mut self.vgic, vcpu(from), PrivateIrq::Sgi { intid: Intid::new(intid) }, machine)
        {
            return machine.add(write);
        }
        let others = list.map_or(0, |list| u32::from(list) & ((1 << self.machines.len()) - 1));
        if register == SgiRegister::Sgi1r && others.is_power_of_two() {
            let target = others.trailing_zeros();
            let to = vcpu(target as usize);
            assert_eq!(self.vgic.find(target), Some(to));
            if !self.vgic.send_sgi_to(to, Intid::new(intid)) {
                return;
            }
            if let Some(machine) = &mut self.machines[to.index()]
                && let Some(write) = self.vgic.queue_pending_sgi(to, machine.empty())
            {
                return machine.add(write);
            }
            return self.settle(VcpuSet::from_iter([to]));
        }
        let kicks = self.vgic.send_sgi(vcpu(from), SgiRequest::decode(register, value));
        self.settle(kicks);
    }

    fn enter(&mut self, cpu: usize) {
        if self.machines[cpu].is_none() {
            let mut kicks = VcpuSet::new();
            if !self.vgic.load(vcpu(cpu)) {
                kicks = self.vgic.sync_put(vcpu(cpu));
                let _ = self.vgic.flush(vcpu(cpu));
            }
            assert!(!self.vgic.needs_flush(vcpu(cpu)));
            let interface = self.vgic.interface(vcpu(cpu)).unwrap().clone();
            self.machines[cpu] = Some(Machine::new(interface, self.vgic.config().preemption_bits));
            self.release(cpu);
            if self.machines[cpu].as_ref().is_some_and(Machine::maintenance) {
                kicks.extend(&self.sync_and_flush(cpu));
            }
            self.settle(kicks);
        }
    }

    /// What the guest does without an exit, but for ICC_DIR_EL1.
    fn run_guest(&mut self, cpu: usize, op: &Op) {
        let Some(machine) = &mut self.machines[cpu] else { return };
        let state = &mut self.reference.cpus[cpu];
        match *op {
            Op::Acknowledge { .. } => {
                let expected = self.reference.signal(cpu);
                let intid = machine.acknowledge();
                assert!(expected.allows(intid), "vCPU {cpu} acknowledges {intid:?}, not {expected:?}");
                if let Some(intid) = intid {
                    self.reference.acknowledge(cpu, intid);
                }
            }
            Op::End { .. } => {
                let Some(&(intid, _)) = state.running.last() else { return };
                let is_split = state.split;
                let id = Reference::id(cpu, intid);
                // What no sane guest does: it was deactivated by a write, and another vCPU handles it now. With few list
                // registers only a count says which interrupt was ended.
                let interrupt = self.reference.get(id);
                if interrupt.active && interrupt.taker != Some(cpu) {
                    return;
                }
                machine.end(intid);
                self.reference.end(cpu, intid);
                if is_split {
                    self.ended.push(id);
                }
                self.reference.get(id).settle();
            }
            Op::Deactivate { which, .. } => self.deactivate(cpu, which),
            Op::CpuInterface { mask, groups, .. } => {
                (state.mask, state.groups) = (mask, groups);
                let kept = machine.registers.vmcr & !(0xFF << 24 | 3);
                machine.registers.vmcr = kept | u64::from(mask) << 24 | u64::from(groups);
            }
            Op::BinaryPoints { points, .. } if state.running.is_empty() => {
                state.points = points;
                let kept = machine.registers.vmcr & !(0x3F << 18);
                machine.registers.vmcr = kept | u64::from(points[0]) << 21 | u64::from(points[1]) << 18;
            }
            Op::Split { split, .. } if state.running.is_empty() && self.ended.is_empty() => {
                state.split = split;
                machine.registers.vmcr = machine.registers.vmcr & !(1 << 9) | u64::from(split) << 9;
            }
            _ => {}
        }
    }

    /// A write of ICC_DIR_EL1 for one of the interrupts that the vCPU may deactivate.
    fn deactivate(&mut self, cpu: usize, which: usize) {
        let Some(machine) = &mut self.machines[cpu] else { return };
        let candidates = (0..self.ended.len()).filter(|&n| self.ended[n].cpu.is_none_or(|own| own == cpu));
        let candidates: Vec<_> = candidates.collect();
        if candidates.is_empty() || !self.reference.cpus[cpu].split {
            return;
        }
        let id = self.ended.swap_remove(candidates[which % candidates.len()]);
        self.reference.deactivate(cpu, id.intid);
        self.reference.get(id).settle();
        if machine.traps_dir() {
            self.access(cpu, VcpuSet::new(), |vgic| (vgic.write_dir(vcpu(cpu), id.intid.into()), ()));
        } else {
            machine.deactivate(id.intid);
        }
    }

    /// The guest comes to rest: it takes all there is. Nothing may be left over.
    pub(crate) fn drain(&mut self) {
        for cpu in 0..self.machines.len() {
            self.step(&Op::Enter { cpu });
            self.step(&Op::CpuInterface { cpu, mask: 0xFF, groups: 3 });
        }
        for _ in 0..500 {
            let mut is_idle = true;
            for cpu in 0..self.machines.len() {
                let before = self.reference.cpus[cpu].running.len();
                self.step(&Op::Acknowledge { cpu });
                if let Some(&(intid, _)) = self.reference.cpus[cpu].running.last() {
                    let id = Reference::id(cpu, intid);
                    if self.reference.get(id).line {
                        self.set_line(id, LineLevel::Low);
                    }
                    is_idle = false;
                    self.step(&Op::End { cpu });
                }
                is_idle &= before == 0;
                while self.reference.cpus[cpu].split
                    && self.ended.iter().any(|id| id.cpu.is_none_or(|c| c == cpu))
                {
                    is_idle = false;
                    self.step(&Op::Deactivate { cpu, which: 0 });
                }
            }
            if is_idle {
                assert_eq!(self.reference.undelivered(), [], "lost");
                return;
            }
        }
        panic!("never at rest");
    }
}

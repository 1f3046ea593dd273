// SPDX-License-Identifier: MIT OR Apache-2.0
//! vCPUs that are kicked late: a kick takes effect at some later time, and until then the vCPU goes on with the
//! list registers it has. What exactly is signalled when is then open, but nothing may be lost, nothing delivered
//! that was not sent, and no SPI handled by two vCPUs at a time.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vambrace_interrupts::{Intid, SgiRegister, SgiRequest, Trigger, VcpuSet, Vgic, VgicConfig, Width};

use crate::machine::Machine;
use crate::reference::{Id, Reference};
use crate::vcpu;

const CPUS: usize = 3;
const TIMER: u32 = 27;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Pulse { spi: u32 },
    Sgi { from: usize, intid: u32, list: u16 },
    Timer { cpu: usize },
    Route { by: usize, spi: u32, to: Option<usize> },
    Enable { by: usize, spi: u32, enabled: bool },
    Priority { by: usize, spi: u32, priority: u8 },
    Acknowledge { cpu: usize },
    End { cpu: usize },
    Kick { cpu: usize },
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let cpu = || 0..CPUS;
    let spi = || 32_u32..38;
    prop_oneof![
        6 => spi().prop_map(|spi| Op::Pulse { spi }),
        4 => (cpu(), 0_u32..3, any::<u16>()).prop_map(|(from, intid, list)| Op::Sgi { from, intid, list }),
        2 => cpu().prop_map(|cpu| Op::Timer { cpu }),
        3 => (cpu(), spi(), prop::option::of(cpu())).prop_map(|(by, spi, to)| Op::Route { by, spi, to }),
        2 => (cpu(), spi(), any::<bool>()).prop_map(|(by, spi, enabled)| Op::Enable { by, spi, enabled }),
        2 => (cpu(), spi(), any::<u8>()).prop_map(|(by, spi, priority)| Op::Priority { by, spi, priority }),
        12 => cpu().prop_map(|cpu| Op::Acknowledge { cpu }),
        8 => cpu().prop_map(|cpu| Op::End { cpu }),
        6 => cpu().prop_map(|cpu| Op::Kick { cpu }),
    ]
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    sent: usize,
    taken: usize,
    sent_at: usize,
    taken_at: usize,
    is_handled: bool,
}

pub(crate) struct Late {
    vgic: Vgic,
    machines: Vec<Machine>,
    running: Vec<Vec<u32>>,
    timers: [bool; CPUS],
    kicks: VcpuSet,
    counts: BTreeMap<Id, Count>,
    now: usize,
}

impl Late {
    pub(crate) fn new(list_registers: u8) -> Self {
        let config = VgicConfig { list_registers, ..VgicConfig::new((0..CPUS as u64).collect()) };
        let mut vgic = Vgic::new(config).unwrap();
        let _ = vgic.write_distributor(0, Width::Word, 2);
        let _ = vgic.write_distributor(0x84, Width::Word, !0);
        let _ = vgic.write_distributor(0x104, Width::Word, !0);
        let _ = vgic.write_distributor(0xC08, Width::Word, !0);
        let mut machines = Vec::new();
        for cpu in 0..CPUS {
            for (offset, value) in [(0x14, 0), (0x1_0080, !0), (0x1_0100, !0), (0x1_0418, 0x6060_6060)] {
                let _ = vgic.write_redistributor(vcpu(cpu), offset, Width::Word, value);
            }
            let mut interface = vgic.flush(vcpu(cpu)).unwrap().clone();
            interface.vmcr = 0xFF << 24 | 2;
            machines.push(Machine::new(interface, 5));
        }
        let running = vec![Vec::new(); CPUS];
        let (kicks, counts) = (VcpuSet::new(), BTreeMap::new());
        Self { vgic, machines, running, timers: [false; CPUS], kicks, counts, now: 0 }
    }

    fn sync_and_flush(&mut self, cpu: usize) {
        self.kicks.remove(vcpu(cpu));
        let more = self.vgic.sync(vcpu(cpu), &self.machines[cpu].registers);
        self.kicks.extend(&more);
        self.machines[cpu].flush(self.vgic.flush(vcpu(cpu)).unwrap());
        // Ended while it was in no list register.
        while let Some(physical) = self.vgic.take_hw_deactivate(vcpu(cpu)) {
            assert_eq!(physical.get(), TIMER);
            assert!(std::mem::take(&mut self.timers[cpu]), "to be deactivated, but not active");
        }
    }

    fn write(&mut self, by: usize, offset: u64, width: Width, value: u64) {
        let more = self.vgic.sync(vcpu(by), &self.machines[by].registers);
        self.kicks.extend(&more);
        let more = self.vgic.write_distributor(offset, width, value);
        self.kicks.extend(&more);
        self.sync_and_flush(by);
    }

    fn send(&mut self, id: Id) {
        let count = self.counts.entry(id).or_default();
        count.sent += 1;
        count.sent_at = self.now;
    }

    pub(crate) fn step(&mut self, op: &Op) {
        self.now += 1;
        match *op {
            Op::Pulse { spi } => {
                self.send(Reference::id(0, spi));
                let kicks = self.vgic.pulse_spi(Intid::new(spi));
                self.kicks.extend(&kicks);
            }
            Op::Sgi { from, intid, list } => {
                (0..CPUS)
                    .filter(|cpu| list >> cpu & 1 != 0)
                    .for_each(|cpu| self.send(Reference::id(cpu, intid)));
                let request =
                    SgiRequest::decode(SgiRegister::Sgi1r, u64::from(intid) << 24 | u64::from(list));
                let kicks = self.vgic.send_sgi(vcpu(from), request);
                self.kicks.extend(&kicks);
            }
            Op::Timer { cpu } => {
                // The physical interrupt is taken on this vCPU's CPU: an exit, with or without a kick.
                if !std::mem::replace(&mut self.timers[cpu], true) {
                    self.send(Reference::id(cpu, TIMER));
                    let _ = self
                        .vgic
                        .inject_hw(vcpu(cpu), Intid::new(TIMER), Intid::new(TIMER), Trigger::Edge)
                        .unwrap();
                    self.sync_and_flush(cpu);
                }
            }
            Op::Route { by, spi, to } => {
                let router = to.map_or(1 << 31, |cpu| cpu as u64);
                self.write(by, 0x6000 + 8 * u64::from(spi), Width::Double, router);
            }
            Op::Enable { by, spi, enabled } => {
                let offset = if enabled { 0x104 } else { 0x184 };
                self.write(by, offset, Width::Word, 1 << (spi % 32));
            }
            Op::Priority { by, spi, priority } => {
                self.write(by, 0x400 + u64::from(spi), Width::Byte, (priority & 0x7F).into());
            }
            Op::Acknowledge { cpu } => self.acknowledge(cpu),
            Op::End { cpu } => self.end(cpu),
            Op::Kick { cpu } if self.kicks.contains(vcpu(cpu)) => self.sync_and_flush(cpu),
            Op::Kick { .. } => {}
        }
    }

    fn acknowledge(&mut self, cpu: usize) {
        if let Some(intid) = self.machines[cpu].acknowledge() {
            let count = self.counts.entry(Reference::id(cpu, intid)).or_default();
            assert!(!count.is_handled, "INTID {intid} is handled twice");
            count.is_handled = true;
            count.taken += 1;
            count.taken_at = self.now;
            assert!(count.taken <= count.sent, "INTID {intid} was not sent");
            self.running[cpu].push(intid);
        }
        self.maintain(cpu);
    }

    fn end(&mut self, cpu: usize) {
        if let Some(intid) = self.running[cpu].pop() {
            self.counts.entry(Reference::id(cpu, intid)).or_default().is_handled = false;
            self.machines[cpu].end(intid);
        }
        self.maintain(cpu);
    }

    fn maintain(&mut self, cpu: usize) {
        if self.machines[cpu].deactivated.pop().is_some() {
            assert!(std::mem::take(&mut self.timers[cpu]), "deactivated, but not active");
        }
        if self.machines[cpu].maintenance() {
            self.sync_and_flush(cpu);
        }
        assert!(!self.machines[cpu].maintenance());
    }

    /// All kicks arrive, and all there is is handled.
    pub(crate) fn drain(&mut self) {
        for spi in 32..38 {
            self.step(&Op::Enable { by: 0, spi, enabled: true });
        }
        for _ in 0..200 {
            for cpu in 0..CPUS {
                self.step(&Op::Kick { cpu });
                self.step(&Op::Acknowledge { cpu });
                self.step(&Op::End { cpu });
            }
        }
        for (id, count) in &self.counts {
            assert!(count.taken_at >= count.sent_at && !count.is_handled, "{id:?} is lost: {count:?}");
        }
        assert_eq!(self.timers, [false; CPUS]);
    }
}

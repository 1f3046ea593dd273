// SPDX-License-Identifier: MIT OR Apache-2.0
//! Level-sensitive physical interrupts, linked: whatever the guest masks meanwhile, it never takes one whose line is low,
//! and takes every one whose line stays high.

use proptest::prelude::*;
use vambrace_ids::VcpuId;
use vambrace_interrupts::{
    Group, Intid, PendingRead, PendingRegister, SgiRegister, SgiRequest, Trigger, Vgic, VgicConfig, Width,
};

use crate::machine::Machine;

/// The one vCPU.
const V0: VcpuId = VcpuId::new(0);
/// The virtual timer, and two devices; the numbers of the virtual and the physical interrupt are the same.
const LINES: [u32; 3] = [27, 40, 41];
const TIMER: usize = 0;
const SPURIOUS: u32 = 1023;
/// Reads of ICC_IAR1_EL1 that one takes at most.
const TRIES: usize = 3;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Line {
        which: usize,
        high: bool,
    },
    Mask(bool),
    PriorityMask(u8),
    Priority {
        which: usize,
        priority: u8,
    },
    Sgi(u32),
    /// A read of ICC_IAR1_EL1 without an exception before.
    Poll,
    /// A read of ICC_HPPIR1_EL1.
    Peek,
    End,
    Exit,
    /// Off the CPU and back.
    Switch,
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..LINES.len(), any::<bool>()).prop_map(|(which, high)| Op::Line { which, high }),
        4 => any::<bool>().prop_map(Op::Mask),
        2 => prop_oneof![Just(0xFF), any::<u8>()].prop_map(Op::PriorityMask),
        1 => (0..LINES.len(), any::<u8>()).prop_map(|(which, priority)| Op::Priority { which, priority }),
        3 => (0_u32..3).prop_map(Op::Sgi),
        2 => Just(Op::Poll),
        1 => Just(Op::Peek),
        5 => Just(Op::End),
        2 => Just(Op::Exit),
        2 => Just(Op::Switch),
    ]
}

pub(crate) struct Lines {
    vgic: Vgic,
    machine: Machine,
    high: [bool; LINES.len()],
    /// The physical interrupt is active.
    active: [bool; LINES.len()],
    is_masked: bool,
    running: Vec<u32>,
    /// EL2 can look at the timer's line.
    sees_timer: bool,
    /// Exits to resample a line.
    pub(crate) traps: usize,
}

impl Lines {
    pub(crate) fn new(list_registers: u8, split: bool, sees_timer: bool) -> Self {
        let mut vgic = Vgic::new(VgicConfig { list_registers, ..VgicConfig::new(vec![0]) }).unwrap();
        let _ = vgic.write_distributor(0, Width::Word, 2);
        let _ = vgic.write_distributor(0x84, Width::Word, !0);
        let _ = vgic.write_distributor(0x104, Width::Word, !0);
        for (offset, value) in [(0x14, 0), (0x1_0080, !0), (0x1_0100, !0)] {
            let _ = vgic.write_redistributor(V0, offset, Width::Word, value);
        }
        let mut interface = vgic.flush(V0).unwrap().clone();
        interface.vmcr = 0xFF << 24 | 2 | u64::from(split) << 9;
        let machine = Machine::new(interface, 5);
        let (high, active) = ([false; LINES.len()], [false; LINES.len()]);
        Self { vgic, machine, high, active, is_masked: true, running: Vec::new(), sees_timer, traps: 0 }
    }

    fn is_split(&self) -> bool {
        self.machine.registers.vmcr & 1 << 9 != 0
    }

    /// What EL2 does before it enters the vCPU.
    fn flush(&mut self) {
        self.vgic.set_masked_groups(V0, u32::from(self.is_masked) << 1);
        let interface = self.vgic.flush(V0).unwrap().clone();
        self.machine.registers = interface;
        while let Some(physical) = self.vgic.take_hw_deactivate(V0) {
            self.deactivate(physical.get());
        }
    }

    fn sync(&mut self) {
        let _ = self.vgic.sync(V0, &self.machine.registers);
        if self.sees_timer && !self.high[TIMER] && self.vgic.is_hw_active(V0, Intid::new(LINES[TIMER])) {
            let _ = self.vgic.write_redistributor(V0, 0x1_0280, Width::Word, 1 << LINES[TIMER]);
        }
    }

    fn sync_and_flush(&mut self) {
        self.sync();
        self.flush();
    }

    fn deactivate(&mut self, physical: u32) {
        let which = LINES.iter().position(|line| *line == physical).expect("one of the lines");
        assert!(std::mem::take(&mut self.active[which]), "{physical} is not active");
    }

    /// The physical interrupts come whose line is high.
    fn fire(&mut self) {
        for (which, intid) in LINES.into_iter().enumerate() {
            if self.high[which] && !std::mem::replace(&mut self.active[which], true) {
                let _ =
                    self.vgic.inject_hw(V0, Intid::new(intid), Intid::new(intid), Trigger::Level).unwrap();
                self.sync_and_flush();
            }
        }
    }

    /// What the guest's instruction has caused.
    fn settle(&mut self) {
        for physical in std::mem::take(&mut self.machine.deactivated) {
            self.deactivate(physical);
        }
        if self.machine.maintenance() {
            self.sync_and_flush();
        }
        self.fire();
    }

    fn traps(&self) -> bool {
        self.machine.registers.hcr & 1 << 12 != 0
    }

    /// A read of ICC_IAR1_EL1 or ICC_HPPIR1_EL1.
    fn read(&mut self, register: PendingRegister) -> u32 {
        for _ in 0..TRIES {
            if !self.traps() {
                let intid = match register {
                    PendingRegister::Iar => self.machine.acknowledge(),
                    PendingRegister::Hppir => {
                        self.machine.signalled().map(|n| self.machine.registers.lr[n] as u32)
                    }
                };
                return intid.unwrap_or(SPURIOUS);
            }
            self.traps += 1;
            self.sync();
            if self.sees_timer && self.high[TIMER] {
                self.vgic.confirm_line(V0, Intid::new(LINES[TIMER]));
            }
            let mut kicks = vambrace_interrupts::VcpuSet::new();
            let read = self.vgic.read_pending(V0, Group::One, register, &mut kicks);
            self.flush();
            self.settle();
            if let PendingRead::Intid(intid) = read {
                return intid.get();
            }
        }
        panic!("the instruction never ends");
    }

    fn acknowledge(&mut self) {
        let intid = self.read(PendingRegister::Iar);
        if intid != SPURIOUS {
            if let Some(which) = LINES.iter().position(|line| *line == intid) {
                assert!(self.high[which], "{intid} is taken, and its line is low");
            }
            self.running.push(intid);
        }
        self.settle();
    }

    fn end(&mut self) {
        let Some(intid) = self.running.pop() else { return };
        if self.traps() {
            self.traps += 1;
            self.sync();
            self.vgic.write_eoi(V0, intid.into(), &mut vambrace_interrupts::VcpuSet::new());
            self.flush();
        } else {
            self.machine.end(intid);
        }
        self.settle();
        if self.is_split() {
            // ICC_DIR_EL1, which traps or does not.
            if self.machine.traps_dir() {
                self.sync();
                let _ = self.vgic.write_dir(V0, intid.into());
                self.flush();
            } else {
                self.machine.deactivate(intid);
            }
            self.settle();
        }
    }

    pub(crate) fn step(&mut self, op: &Op) {
        match *op {
            Op::Line { which, high } => self.high[which] = high,
            Op::Mask(is_masked) => self.is_masked = is_masked,
            Op::PriorityMask(mask) => {
                let kept = self.machine.registers.vmcr & !(0xFF << 24);
                self.machine.registers.vmcr = kept | u64::from(mask) << 24;
            }
            Op::Priority { which, priority } => {
                self.sync();
                let (intid, priority) = (u64::from(LINES[which]), (priority & 0x7F).into());
                let _ = match which {
                    TIMER => self.vgic.write_redistributor(V0, 0x1_0400 + intid, Width::Byte, priority),
                    _ => self.vgic.write_distributor(0x400 + intid, Width::Byte, priority),
                };
                self.flush();
            }
            Op::Sgi(intid) => {
                let request = SgiRequest::decode(SgiRegister::Sgi1r, u64::from(intid) << 24 | 1);
                let _ = self.vgic.send_sgi(V0, request);
                self.sync_and_flush();
            }
            Op::Poll => self.acknowledge(),
            Op::Peek => {
                let _ = self.read(PendingRegister::Hppir);
            }
            Op::End => self.end(),
            Op::Exit => self.sync_and_flush(),
            Op::Switch => self.switch(),
        }
        self.settle();
        self.take();
        self.check();
    }

    /// The vCPU leaves, and comes back; physical interrupts that are active for it go with it.
    fn switch(&mut self) {
        let registers = self.machine.registers.clone();
        let _ = self.vgic.put(V0, |known| {
            *known = vambrace_interrupts::VirtualCpuInterface { used: known.used, ..registers }
        });
        while let Some(physical) = self.vgic.take_hw_deactivate(V0) {
            self.deactivate(physical.get());
        }
        if self.vgic.load(V0) {
            self.machine.registers = self.vgic.interface(V0).unwrap().clone();
        } else {
            let _ = self.vgic.sync_put(V0);
            self.flush();
        }
    }

    /// The CPU takes an interrupt that is signalled and not masked, and its handler asks at once which it is.
    fn take(&mut self) {
        while !self.is_masked && self.machine.signalled().is_some() {
            self.is_masked = true;
            self.acknowledge();
        }
    }

    /// Whose line is high and could be taken has been taken.
    fn check(&self) {
        let is_open = !self.is_masked && self.running.is_empty() && self.machine.registers.vmcr >> 24 == 0xFF;
        for (which, intid) in LINES.into_iter().enumerate() {
            assert!(self.active[which] || !self.high[which], "{intid} is not seen");
            assert!(!is_open || !self.high[which], "{intid} is lost");
        }
    }

    /// The guest handles whatever comes, each device until its line is low.
    pub(crate) fn drain(&mut self) {
        self.step(&Op::PriorityMask(0xFF));
        for _ in 0..100 {
            for intid in self.running.clone() {
                if let Some(which) = LINES.iter().position(|line| *line == intid) {
                    self.high[which] = false;
                }
            }
            while !self.running.is_empty() {
                self.end();
            }
            self.step(&Op::Mask(false));
            if self.running.is_empty() && !self.is_masked {
                break;
            }
        }
        // What was spurious has masked.
        self.step(&Op::Mask(false));
        assert_eq!((self.high, self.active), ([false; LINES.len()], [false; LINES.len()]), "never at rest");
        assert!(!self.traps(), "traps for nothing");
    }
}

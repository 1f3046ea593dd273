// SPDX-License-Identifier: MIT OR Apache-2.0
//! What has to hold at any time: what registers say, what is signalled, what is linked.

use vambrace_interrupts::{Intid, Vgic, Width};

use super::{INTIDS, System, TIMER};
use crate::reference::Reference;
use crate::vcpu;

impl System {
    /// Compares what the registers say with what is.
    pub(super) fn read_state(&mut self, by: usize, cpu: usize) {
        for id in INTIDS.map(|intid| Reference::id(cpu, intid)) {
            let interrupt = self.reference.get(id).clone();
            let (word, bit) = (u64::from(id.intid / 32 * 4), id.intid % 32);
            let mut flag = |offset: u64| self.read(by, id, offset + word, Width::Word) >> bit & 1 != 0;
            assert_eq!(flag(0x80), interrupt.group1, "IGROUPR of {id:?}");
            assert_eq!(flag(0x100), interrupt.enabled, "ISENABLER of {id:?}");
            assert_eq!(flag(0x280), interrupt.pending(), "ICPENDR of {id:?}");
            assert_eq!(flag(0x300), interrupt.active, "ISACTIVER of {id:?}");
            let priority = self.read(by, id, 0x400 + u64::from(id.intid), Width::Byte);
            assert_eq!(priority, interrupt.priority.into(), "IPRIORITYR of {id:?}");
        }
    }

    /// What is signalled, to those on a machine and those that are not, and what is linked.
    pub(super) fn check(&mut self) {
        for cpu in 0..self.machines.len() {
            let expected = self.reference.signal(cpu);
            match &self.machines[cpu] {
                Some(machine) => {
                    assert!(!machine.maintenance(), "vCPU {cpu} would exit");
                    let signalled = machine.signalled().map(|index| machine.registers.lr[index] as u32);
                    assert!(expected.allows(signalled), "vCPU {cpu} is told {signalled:?}, not {expected:?}");
                }
                None => {
                    let mut looking = self.vgic.clone();
                    let _ = looking.sync_put_if_changed(vcpu(cpu));
                    let signalled = looking.has_deliverable(vcpu(cpu));
                    assert!(
                        expected.allows_some(signalled),
                        "vCPU {cpu} would go on: {signalled}, {expected:?}"
                    );
                }
            }
            let linked = self.reference.get(Reference::id(cpu, TIMER)).linked;
            if self.machines[cpu].is_some() {
                assert_eq!(self.timers[cpu], linked, "the physical timer interrupt of vCPU {cpu}");
            } else {
                assert_eq!(self.timers[cpu], self.vgic.is_hw_active(vcpu(cpu), Intid::new(TIMER)));
                assert!(!linked || self.timers[cpu]);
            }
        }
    }

    /// A saved state with some bytes changed either is refused, or is a GIC like any other.
    pub(crate) fn damage(&self, changes: &[(usize, u8)]) -> Option<Vgic> {
        let mut saved = postcard::to_allocvec(&self.vgic).unwrap();
        for &(place, value) in changes {
            let place = place % saved.len();
            saved[place] = value;
        }
        postcard::from_bytes(&saved).ok().filter(|vgic: &Vgic| vgic.validate().is_ok())
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vCPUs' accesses to the controller's registers, and what the reference makes of them.

use vambrace_interrupts::{VcpuSet, Vgic, Width};

use super::System;
use crate::op::Field;
use crate::reference::{Id, Route};
use crate::vcpu;

impl System {
    /// A register access by a vCPU; with `exact`, those who hold what it is about have synced.
    pub(super) fn access<T>(
        &mut self,
        by: usize,
        lr_owners: VcpuSet,
        access: impl FnOnce(&mut Vgic) -> (VcpuSet, T),
    ) -> T {
        let mut kicks = self.sync(by);
        for lr_owner in lr_owners.iter() {
            kicks.extend(&self.sync(lr_owner.index()));
            kicks.insert(lr_owner);
        }
        let (more, value) = access(&mut self.vgic);
        kicks.extend(&more);
        if self.machines[by].is_some() {
            kicks.insert(vcpu(by));
        }
        self.settle(kicks);
        value
    }

    /// Writes a register at its offset in the distributor, or in the SGI frame for private interrupts.
    pub(super) fn write(&mut self, by: usize, id: Id, offset: u64, width: Width, value: u64, exact: bool) {
        let lr_owners = match id.cpu {
            _ if !exact => VcpuSet::new(),
            Some(cpu) => self.vgic.redistributor_lr_owners(vcpu(cpu), 0x1_0000 + offset),
            None => self.vgic.distributor_lr_owners(offset),
        };
        self.access(by, lr_owners, |vgic| match id.cpu {
            Some(cpu) => (vgic.write_redistributor(vcpu(cpu), 0x1_0000 + offset, width, value), ()),
            None => (vgic.write_distributor(offset, width, value), ()),
        });
    }

    pub(super) fn read(&mut self, by: usize, id: Id, offset: u64, width: Width) -> u64 {
        let lr_owners = match id.cpu {
            Some(cpu) => self.vgic.redistributor_lr_owners(vcpu(cpu), 0x1_0000 + offset),
            None => self.vgic.distributor_lr_owners(offset),
        };
        self.access(by, lr_owners, |vgic| match id.cpu {
            Some(cpu) => (VcpuSet::new(), vgic.read_redistributor(vcpu(cpu), 0x1_0000 + offset, width)),
            None => (VcpuSet::new(), vgic.read_distributor(offset, width)),
        })
    }

    pub(super) fn write_field(&mut self, by: usize, id: Id, what: Field, exact: bool) {
        let intid = u64::from(id.intid);
        let (word, bit) = (intid / 32 * 4, 1 << (intid % 32));
        let is_handled = self.reference.is_handled(id);
        let interrupt = self.reference.get(id);
        let (offset, value) = match what {
            // What no sane guest does: with few list registers only a count says which interrupt it ended.
            Field::Group1(_) if interrupt.active => return,
            Field::Active(true) if is_handled => return,
            Field::Enabled(enabled) => {
                interrupt.enabled = enabled;
                (if enabled { 0x100 } else { 0x180 }, bit)
            }
            Field::Pending(pending) => {
                interrupt.latch = pending;
                (if pending { 0x200 } else { 0x280 }, bit)
            }
            Field::Active(active) => {
                interrupt.active = active;
                (if active { 0x300 } else { 0x380 }, bit)
            }
            Field::Group1(group1) => {
                interrupt.group1 = group1;
                let old = self.read(by, id, 0x80 + word, Width::Word);
                (0x80, if group1 { old | bit } else { old & !bit })
            }
            Field::Priority(priority) => {
                let unused = 8 - self.vgic.config().priority_bits;
                interrupt.priority = priority >> unused << unused;
                return self.write(by, id, 0x400 + intid, Width::Byte, priority.into(), exact);
            }
            Field::Edge(edge) => {
                interrupt.edge = edge || id.intid < 16;
                let (offset, bit) = (0xC00 + intid / 16 * 4, 2 << (intid % 16 * 2));
                let old = self.read(by, id, offset, Width::Word);
                let value = if edge { old | bit } else { old & !bit };
                return self.write(by, id, offset, Width::Word, value, exact);
            }
            Field::Route(route) => return self.write_route(by, id, route, exact),
        };
        self.write(by, id, offset + word, Width::Word, value, exact);
        self.reference.get(id).settle();
    }

    fn write_route(&mut self, by: usize, id: Id, route: usize, exact: bool) {
        if id.cpu.is_some() {
            return;
        }
        let (route, value) = match route {
            6 => (Route::Nowhere, 0x12_0000_0000),
            7 => (Route::Any, 1 << 31),
            _ => (Route::To(self.cpu(route)), self.cpu(route) as u64),
        };
        self.reference.get(id).route = route;
        self.write(by, id, 0x6000 + 8 * u64::from(id.intid), Width::Double, value, exact);
    }
}

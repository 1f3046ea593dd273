// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each vCPU does, told when the user asks.
//!
//! Each physical CPU tells of the vCPUs that live on it: their locks are its own, and no VM's lock is taken. So a VM that
//! holds its lock for long, or stands still, is told of like any other.

use vambrace_machine::Vcpu;
use vambrace_wire::message::{FromHypervisor, TOLD_EXITS, ToldExit, VcpuActivity, VcpuReport};

use super::slots::{Slot, State};
use super::{NEVER, Pcpu, now};
use crate::sysreg::{CntfrqEl0, Read};
use crate::{console, resident};

impl Pcpu {
    /// Tells of all vCPUs here; `running` is the one in the machine, with its slot.
    #[cold]
    #[inline(never)]
    pub(super) fn tell_vcpus(&self, mut running: Option<(u16, &mut Vcpu)>) {
        for (id, slot) in (0..).zip(&self.slots) {
            let Some(slot) = slot else { continue };
            match &mut running {
                Some((resident, vcpu)) if *resident == id => {
                    resident::save_el1(&mut vcpu.registers.el1);
                    self.tell_vcpu(slot, vcpu, VcpuActivity::Running);
                }
                _ => {
                    let Some(vcpu) = slot.cell.vcpus.get(usize::from(slot.vcpu)) else { continue };
                    self.tell_vcpu(slot, &vcpu.lock(), activity(slot));
                }
            }
        }
        console::say(&FromHypervisor::Inspected { cpu: self.index as u16 });
    }

    fn tell_vcpu(&self, slot: &Slot, vcpu: &Vcpu, activity: VcpuActivity) {
        let mut exits = [None; TOLD_EXITS];
        let skipped = vcpu.recent.iter().count().saturating_sub(TOLD_EXITS);
        for (place, exit) in exits.iter_mut().zip(vcpu.recent.iter().skip(skipped)) {
            let address = exit.address.map(|address| address.0);
            *place = Some(ToldExit { esr: exit.esr, pc: exit.pc, address });
        }
        console::say(&FromHypervisor::Vcpu(VcpuReport {
            vm: slot.cell.id,
            vcpu: slot.vcpu,
            cpu: self.index as u16,
            activity,
            pc: vcpu.registers.frame.pc,
            pstate: vcpu.registers.frame.pstate,
            vbar: vcpu.registers.el1.vbar,
            exits,
        }));
    }
}

/// What a vCPU does that is not in the machine.
fn activity(slot: &Slot) -> VcpuActivity {
    match slot.state {
        State::Ready => VcpuActivity::Ready,
        State::Off => VcpuActivity::Off,
        State::Waiting => {
            let counts = slot.wake_at.saturating_sub(now());
            let micros = u128::from(counts) * 1_000_000 / u128::from(CntfrqEl0.read().max(1));
            let timer = (slot.wake_at != NEVER).then(|| u64::try_from(micros).unwrap_or(u64::MAX));
            VcpuActivity::Waiting { timer }
        }
    }
}

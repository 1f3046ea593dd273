// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each vCPU does, told when the user asks.
//!
//! Each physical CPU tells of the vCPUs that are affine to it: their locks are its own, and no VM's lock is taken. So a VM that
//! holds its lock for long, or stands still, is told of like any other.

use vambrace_cpu::scheduler::RunQueueIndex;
use vambrace_hypervisor::invariant;
use vambrace_machine::Vcpu;
use vambrace_wire::message::{FromHypervisor, TOLD_EXITS, ToldExit, VcpuActivity, VcpuReport};

use super::queued::{QueuedVcpu, VcpuState};
use super::{NEVER, Pcpu, now};
use crate::arch::sysreg::{CntfrqEl0, Read};
use crate::arch::sysreg_context;
use crate::console;

impl Pcpu {
    /// Tells of all vCPUs here; `running` is the loaded one, with its run-queue index.
    #[cold]
    #[inline(never)]
    pub(super) fn tell_vcpus(&self, mut running: Option<(RunQueueIndex, &mut Vcpu)>) {
        for (id, queued) in (0..).map(RunQueueIndex::new).zip(&self.queued) {
            // The index is free.
            let Some(queued) = queued else { continue };
            match &mut running {
                Some((loaded, vcpu)) if *loaded == id => {
                    sysreg_context::save_el1(&mut vcpu.registers.el1);
                    self.tell_vcpu(queued, vcpu, VcpuActivity::Running);
                }
                _ => {
                    let Some(vcpu) = queued.handle.vcpus.get(queued.vcpu.index()) else {
                        invariant!("a queued vCPU is its VM's")
                    };
                    self.tell_vcpu(queued, &vcpu.lock(), activity(queued));
                }
            }
        }
        console::say(&FromHypervisor::Inspected { cpu: self.index.number() });
    }

    fn tell_vcpu(&self, queued: &QueuedVcpu, vcpu: &Vcpu, activity: VcpuActivity) {
        let mut exits = [None; TOLD_EXITS];
        let skipped = vcpu.recent.iter().count().saturating_sub(TOLD_EXITS);
        for (place, exit) in exits.iter_mut().zip(vcpu.recent.iter().skip(skipped)) {
            let address = exit.address.map(|address| address.0);
            *place = Some(ToldExit { esr: exit.esr, pc: exit.pc, address });
        }
        console::say(&FromHypervisor::Vcpu(VcpuReport {
            vm: queued.handle.id.wire_index(),
            vcpu: queued.vcpu.number(),
            cpu: self.index.number(),
            activity,
            pc: vcpu.registers.frame.pc,
            pstate: vcpu.registers.frame.pstate,
            vbar: vcpu.registers.el1.vbar,
            exits,
        }));
    }
}

/// What a vCPU does that is not loaded.
fn activity(queued: &QueuedVcpu) -> VcpuActivity {
    match queued.state {
        VcpuState::Ready => VcpuActivity::Ready,
        VcpuState::Off => VcpuActivity::Off,
        VcpuState::Paused { .. } => VcpuActivity::Paused,
        VcpuState::Waiting => {
            let counts = queued.wake_at.saturating_sub(now());
            let micros = u128::from(counts) * 1_000_000 / u128::from(CntfrqEl0.read().max(1));
            let timer = (queued.wake_at != NEVER).then(|| u64::try_from(micros).unwrap_or(u64::MAX));
            VcpuActivity::Waiting { timer }
        }
    }
}

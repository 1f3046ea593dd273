// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical interrupts and deadlines of a CPU.

use vambrace_cpu::scheduler::RunQueueIndex;
use vambrace_interrupts::{Intid, Trigger};
use vambrace_machine::{Vcpu, layout};

use super::queued::VcpuState;
use super::{NEVER, Pcpu, now};
use crate::arch::barrier;
use crate::arch::sysreg::{CnthpCtlEl2, CnthpCvalEl2, CntvCtlEl0, SafeWrite};
use crate::devices::assigned::{self, Forwarded};
use crate::gic::{self, CpuInterface};
use crate::vm::shared::{VmHandle, VmShared};
use crate::{console, host_io};

/// Physical interrupts served at most before a guest runs again.
const INTERRUPTS_AT_ONCE: usize = 32;

/// Whose an interrupt of one of the board's devices is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// EL2's, which ends it.
    Ours,
    /// That of the VM whose vCPU is loaded, and whose guest will end it.
    Loaded,
    /// Another VM's, or nobody's for now.
    Others,
}

impl Pcpu {
    /// Serves the physical interrupts that are pending, `first` being the one that was acknowledged. Says whether the
    /// loaded vCPU's list registers must be looked at.
    pub(super) fn serve_interrupts(
        &mut self,
        first: Option<Intid>,
        loaded: Option<(&VmHandle, &mut Vcpu)>,
    ) -> bool {
        let mut refresh = false;
        let further = (1..INTERRUPTS_AT_ONCE).map(|_| CpuInterface::acknowledge());
        for intid in core::iter::once(first).chain(further) {
            let Some(intid) = intid else { break };
            if intid == self.virtual_timer {
                refresh |=
                    self.virtual_timer_fired(loaded.as_ref().map(|(handle, vcpu)| (&***handle, &**vcpu)));
                continue;
            }
            if intid == self.hypervisor_timer {
                CnthpCtlEl2.write(0);
                self.programmed = NEVER;
                let loaded = self.queue.current().filter(|_| loaded.is_some());
                self.deadlines_passed(loaded);
                refresh = true;
            } else if intid == self.maintenance {
                refresh = true;
                // Level-sensitive: its cause must be gone before it ends.
                if let Some((handle, vcpu)) = &loaded {
                    self.refresh(handle, vcpu);
                    refresh = false;
                }
            } else {
                let began = now();
                let whose = self.serve_device(intid, loaded.as_ref().map(|(handle, _)| &***handle));
                if whose != Whose::Loaded {
                    // It is not in the account of the one that runs.
                    self.account.leave_out(began);
                }
                if whose != Whose::Ours {
                    // The guest ends it.
                    continue;
                }
            }
            CpuInterface::end(intid);
        }
        refresh
    }

    /// Serves an interrupt of one of the board's devices.
    /// `loaded` is the VM whose vCPU is.
    fn serve_device(&self, intid: Intid, loaded: Option<&VmShared>) -> Whose {
        if intid == gic::KICK {
            // What it is for is in the requests, which are looked at before the next entry.
        } else if Some(intid) == self.uart {
            console::interrupt();
        } else if let Some(forwarded) = assigned::forward_irq(intid, loaded) {
            return match forwarded {
                Forwarded::ToLoaded => Whose::Loaded,
                Forwarded::ToAnother => Whose::Others,
            };
        } else {
            host_io::interrupt(intid);
        }
        Whose::Ours
    }

    /// The guest's virtual timer: handed on, linked to the physical interrupt, which the guest itself will end.
    pub(super) fn virtual_timer_fired(&self, loaded: Option<(&VmShared, &Vcpu)>) -> bool {
        CpuInterface::drop_priority(self.virtual_timer);
        let linked = loaded.and_then(|(handle, vcpu)| {
            let intid = layout::VIRTUAL_TIMER_INTID;
            handle.vm.lock().gic.inject_hw(vcpu.id, intid, self.virtual_timer, Trigger::Level)
        });
        if linked.is_none() {
            // Nobody's: off with it, and it is asserted no more.
            CntvCtlEl0.write(0);
            barrier::isb();
            CpuInterface::deactivate(self.virtual_timer);
        }
        linked.is_some()
    }

    /// Wakes who waited for the time that has come, and passes unfinished console lines on. `loaded` is the run-queue index of the
    /// vCPU that is.
    pub(super) fn deadlines_passed(&mut self, loaded: Option<RunQueueIndex>) {
        let now = now();
        while let Some(id) = self.deadlines.due(now) {
            // Whatever is due there is done below.
            self.deadlines.set(id, NEVER);
            // The index may be free by now.
            let Some(Some(queued)) = self.queued.get_mut(id.index()) else { continue };
            let is_flush_due = queued.flush_at <= now;
            let works = queued.work_at <= now;
            if works {
                queued.work_at = NEVER;
            }
            let is_over = queued.state == VcpuState::Waiting && queued.wake_at <= now;
            if is_flush_due {
                self.flush_now(id, loaded);
            }
            if is_over {
                self.wake(id);
            } else {
                self.note_deadline(id);
            }
            if works {
                self.work_again(id);
            }
        }
    }

    /// Sets CNTHP to the next deadline of this CPU.
    pub(super) fn program_timer(&mut self, loaded: Option<(&Vcpu, u64)>) {
        let mut next = self.deadlines.next();
        if let Some((vcpu, slice_end)) = loaded {
            next = next.min(slice_end).min(self.alarm);
            // One that had passed when its line was last updated is asserted already. One that has passed since is not,
            // and fires at once.
            let updated = self.lines_updated_at;
            next = next.min(vcpu.physical_timer.deadline().filter(|at| *at > updated).unwrap_or(NEVER));
        }
        if next != self.programmed {
            self.programmed = next;
            CnthpCvalEl2.write(next);
            CnthpCtlEl2.write(u64::from(next != NEVER));
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! vCPUs that move from one physical CPU to another.
//!
//! The CPU that a vCPU leaves pushes it, between two of its runs: what is kept lazily there, its floating-point registers, the
//! stage 2 of its VM, only that CPU can save or leave. All else is in the vCPU's value since it was unloaded: its list registers
//! are the [`Vgic`](vambrace_interrupts::Vgic)'s, the active state of its timer's interrupt is set and cleared as it is loaded and
//! unloaded, and nothing of its translations need be flushed (see [`vmid`](vambrace_memory::vmid)).
//!
//! While it is on its way it is affine to the new CPU, which looks at it when it receives the message. How no kick is lost
//! meanwhile is told in [`requests`](vambrace_hypervisor::sched::requests).
//!
//! A vCPU moves by itself when it wants to run, another has its CPU, and a CPU has nothing to do, unless it is pinned. It stays for
//! a slice at least, so that it does not spend its time on moving. It pays for its move.

use alloc::boxed::Box;

use vambrace_cpu::scheduler::RunQueueIndex;
use vambrace_hypervisor::invariant;
use vambrace_hypervisor::sched::placement::PlacementCell;
use vambrace_ids::{PcpuId, VcpuId, VmId};
use vambrace_wire::message::FromHypervisor;

use super::queued::{Affinity, QueuedVcpu, VcpuState};
use super::{Pcpu, SLICES_PER_SECOND, now};
use crate::arch::barrier;
use crate::console;
use crate::devices::assigned;
use crate::sched::percpu::{self, Message};
use crate::sched::placements::{self, CannotMove};
use crate::vm::registry;
use crate::vm::shared::VmShared;

/// How often a CPU looks for another that has nothing to do, in a second, while it has more to run than it can.
const BALANCES_PER_SECOND: u64 = 1000;

/// When a CPU shares what it has to run with others.
#[derive(Debug)]
pub(super) struct Balance {
    /// It looks for an idle CPU from this count on.
    next: u64,
    /// Counts from one look to the next.
    interval: u64,
    /// Counts that a vCPU stays on a CPU at least.
    stay: u64,
    /// How many vCPUs here may move.
    free: u32,
}

impl Balance {
    /// That of a CPU without a vCPU. `frequency` is the counter's, in Hz.
    pub(super) const fn new(frequency: u64) -> Self {
        Self {
            next: 0,
            interval: frequency / BALANCES_PER_SECOND,
            stay: frequency / SLICES_PER_SECOND,
            free: 0,
        }
    }

    /// A vCPU has come.
    pub(super) fn count_in(&mut self, affinity: Affinity) {
        self.free = self.free.saturating_add(u32::from(affinity != Affinity::Pinned));
    }

    /// A vCPU has left, or is no more.
    pub(super) fn count_out(&mut self, affinity: Affinity) {
        self.free = self.free.saturating_sub(u32::from(affinity != Affinity::Pinned));
    }
}

/// Whether a vCPU has moved.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Migrated {
    Yes,
    /// It is where it was.
    No,
}

impl Pcpu {
    /// Gives a vCPU that waits for its turn to a CPU that has nothing to do. No vCPU is loaded.
    #[inline(always)]
    pub(super) fn balance(&mut self) {
        if self.balance.free != 0 && self.queue.has_waiting() {
            self.look_for_idle();
        }
    }

    #[cold]
    #[inline(never)]
    fn look_for_idle(&mut self) {
        let began = now();
        if began < self.balance.next {
            return;
        }
        self.balance.next = began.saturating_add(self.balance.interval);
        let long_here = began.saturating_sub(self.balance.stay);
        let may_move = |id: RunQueueIndex| {
            let queued = self.queued.get(id.index()).and_then(Option::as_ref);
            queued.is_some_and(|queued| {
                let is_free = matches!(queued.affinity, Affinity::FreeSince(at) if at <= long_here);
                is_free
                    && queued.state == VcpuState::Ready
                    && queued.task.is_none()
                    && queued.wanted.is_none()
            })
        };
        // All that wait here are pinned, or have just come.
        let Some(id) = self.queue.find_waiting(may_move) else { return };
        // Every CPU has something to do.
        let Some(to) = percpu::take_idle() else { return };
        if self.migrate(id, to, began).is_err() {
            // Without memory for it there it runs on here. The other finds once more that it has nothing to do.
            percpu::get(to).interrupt();
        }
    }

    /// A vCPU is to move to another CPU. It may have moved meanwhile, or be no more.
    pub(super) fn note_wanted(&mut self, vm: VmId, vcpu: VcpuId, id: RunQueueIndex, to: PcpuId) {
        if let Some(Some(queued)) = self.queued.get_mut(id.index())
            && queued.handle.id == vm
            && queued.vcpu == vcpu
        {
            queued.wanted = Some(to);
            queued.is_requested = true;
            self.queue_up(id);
            // If it is the one that runs, it is taken out for that.
            self.queue.expire(id);
            return;
        }
        let Some(handle) = registry::find(vm) else {
            // The VM is no more.
            return;
        };
        let place = handle.placements.get(vcpu.index()).map(PlacementCell::get);
        if place.is_some_and(|place| (place.cpu(), place.index()) == (self.index, id)) {
            // Its VM is over and it has been forgotten, or it is on its way here: nobody else could answer.
            handle.warn_cannot_move(vcpu, &CannotMove::NotThere);
        } else {
            handle.ask_to_migrate(vcpu, to);
        }
    }

    /// Moves a vCPU where it is wanted, in its own time.
    pub(super) fn migrate_as_wanted(&mut self, id: RunQueueIndex, handle: &VmShared, to: PcpuId) -> Migrated {
        let moved = if to == self.index { None } else { Some(self.migrate(id, to, now())) };
        if let Some(Ok(())) = moved {
            return Migrated::Yes;
        }
        let Some(Some(queued)) = self.queued.get_mut(id.index()) else { invariant!("only vCPUs are queued") };
        queued.wanted = None;
        match moved {
            Some(Err(error)) => handle.warn_cannot_move(queued.vcpu, &error),
            // It is there already.
            _ => tell(handle.id, queued.vcpu, to),
        }
        Migrated::No
    }

    /// Gives a vCPU, which is not loaded, to another CPU. `began` is when it began to cost time.
    fn migrate(&mut self, id: RunQueueIndex, to: PcpuId, began: u64) -> Result<(), CannotMove> {
        let Some(Some(queued)) = self.queued.get(id.index()) else { invariant!("only vCPUs are queued") };
        let (handle, vcpu) = (queued.handle.clone(), queued.vcpu);
        let reserved = placements::reserve(to, &handle.devices)?;
        let Some(values) = handle.vcpus.get(vcpu.index()) else { invariant!("a queued vCPU is its VM's") };
        self.put_fp(id, &mut values.lock());
        if self.translation == Some(handle.id) {
            // The VM may be gone before this CPU loads another.
            self.leave_translation();
        }
        let queued = Box::new(self.remove(id));
        let Some(place) = handle.placements.get(vcpu.index()) else { invariant!("each vCPU has a place") };
        let (at, room) = reserved.give_to(place);
        if vcpu.number() == 0 {
            assigned::route_to(&handle, percpu::get(to).affinity);
        }
        // The maintenance that the guest has issued here is complete before it goes on there, where its own barrier would not wait
        // for it (Arm ARM, "Data Synchronization Barrier": it is for what its own PE has issued).
        barrier::dsb_sy();
        let cost = now().saturating_sub(began);
        percpu::send(to, Message::Migrated { vcpu: queued, index: at.index(), cost, room });
        self.account.leave_out(began);
        Ok(())
    }

    /// A vCPU that another CPU had is affine to this one from now on, and does what it did.
    pub(super) fn receive_vcpu(&mut self, mut queued: QueuedVcpu, id: RunQueueIndex, cost: u64) {
        if let Affinity::FreeSince(since) = &mut queued.affinity {
            *since = now();
        }
        if queued.wanted == Some(self.index) {
            queued.wanted = None;
            tell(queued.handle.id, queued.vcpu, self.index);
        }
        let is_ready = queued.state == VcpuState::Ready;
        self.take_in(queued, id);
        self.queue.charge(id, cost);
        self.note_deadline(id);
        // One that is not is looked at, since it comes by a message.
        if is_ready {
            self.queue_up(id);
        }
    }
}

/// Tells that a vCPU is where it was asked to be.
fn tell(vm: VmId, vcpu: VcpuId, cpu: PcpuId) {
    console::tell_of(vm, |vm| FromHypervisor::Migrated { vm, vcpu: vcpu.number(), cpu: cpu.number() });
}

impl VmShared {
    /// Asks for a vCPU to move to another CPU, which it does in its own time.
    pub(crate) fn ask_to_migrate(&self, vcpu: VcpuId, to: PcpuId) {
        let asked = match self.placements.get(vcpu.index()) {
            None => Err(CannotMove::NoSuchVcpu),
            Some(_) if registry::pin(self.id, vcpu).is_some() => Err(CannotMove::Pinned),
            Some(place) => {
                let at = place.get();
                percpu::try_send(at.cpu(), Message::Migrate { vm: self.id, vcpu, index: at.index(), to })
                    .map_err(CannotMove::from)
            }
        };
        if let Err(error) = asked {
            self.warn_cannot_move(vcpu, &error);
        }
    }

    fn warn_cannot_move(&self, vcpu: VcpuId, error: &CannotMove) {
        let name = registry::name(self.id);
        console::warn_of(self.id, format_args!("vCPU {vcpu} of {name} cannot move: {error}"));
    }
}

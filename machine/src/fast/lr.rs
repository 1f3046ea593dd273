// SPDX-License-Identifier: MIT OR Apache-2.0
//! One private interrupt into an empty list register, for [`sgi`](super::sgi) and [`timer`](super::timer).
//!
//! Left to the long path: everything that is not one interrupt more beside what the list registers hold: syncing, choosing
//! among several, and making room.

use spin::RelaxStrategy;
use spin::mutex::SpinMutexGuard;
use vambrace_ids::VcpuId;
use vambrace_interrupts::PrivateIrq;

use super::{FastPath, ListRegisters};
use crate::vm::Vm;

/// Puts an interrupt into the list registers, if that takes no more. False if it does, and nothing has changed.
#[inline(always)]
pub(super) fn queue(
    fast: &mut FastPath<'_, impl RelaxStrategy>,
    irq: PrivateIrq,
    lists: &mut impl ListRegisters,
) -> bool {
    let Some(vm) = fast.vm.try_lock() else { return false };
    match vm.gic.requeue(fast.vcpu, irq, lists.empty()) {
        Some(again) => {
            drop(vm);
            lists.write(again);
            true
        }
        None => queue_first(vm, fast.vcpu, irq, lists),
    }
}

/// Apart, since it happens once.
#[cold]
#[inline(never)]
fn queue_first<R: RelaxStrategy>(
    mut vm: SpinMutexGuard<'_, Vm, R>,
    vcpu: VcpuId,
    irq: PrivateIrq,
    lists: &mut impl ListRegisters,
) -> bool {
    let empty = lists.empty();
    let is_idle = vm.gic.is_idle(vcpu, empty);
    let Some(write) = vm.gic.queue(vcpu, irq, empty) else { return false };
    lists.write(write);
    if matches!(irq, PrivateIrq::Hw { .. }) && !is_idle {
        // The guest may handle another interrupt, and come to this one later.
        lists.set_control(vm.gic.mark_queued_for_resample(vcpu, write.value.intid()));
    }
    true
}

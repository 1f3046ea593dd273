// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's own virtual timer: its physical interrupt, handed on to be ended by the guest, and the read of ICC_IAR1_EL1
//! that traps while its line may fall before the guest looks.
//!
//! Left to the long path: the timer's registers (which do not trap, or are the physical timer's), a timer that is no longer
//! asserted when the guest looks, anything else that pends beside it, no empty list register, and the VM's lock taken.

use spin::RelaxStrategy;
use vambrace_cpu::exit::{Direction, SystemRegisterAccess};
use vambrace_cpu::syndrome::SyndromePattern;
use vambrace_cpu::sysreg::SysReg;
use vambrace_cpu::{pstate, timer};
use vambrace_interrupts::{Intid, PrivateIrq};

use super::{FastPath, FastResult, ListRegisters, Trap, lr};
use crate::layout;

const IAR1_READ: SyndromePattern = SystemRegisterAccess::pattern(SysReg::ICC_IAR1_EL1, Direction::Read);

/// A read of ICC_IAR1_EL1, which traps since the virtual timer's interrupt came while the guest masked it. If the timer
/// asserts it still, and nothing else is pending, the instruction runs again and takes it.
#[cold]
#[inline(never)]
pub(super) fn acknowledge(
    trap: &impl Trap,
    fast: &mut FastPath<'_, impl RelaxStrategy>,
    lists: &mut impl ListRegisters,
) -> FastResult {
    let esr = trap.esr();
    if !IAR1_READ.matches(esr) || !timer::is_asserted(trap.virtual_timer()) {
        return FastResult::No;
    }
    let Some(mut vm) = fast.vm.try_lock() else { return FastResult::No };
    let intid = layout::VIRTUAL_TIMER_INTID;
    let Some(hcr) = vm.gic.confirm_queued_line(fast.vcpu, intid, lists.empty()) else {
        return FastResult::No;
    };
    drop(vm);
    lists.set_control(hcr);
    fast.note(esr, trap.pc(), None);
    FastResult::Yes
}

/// Hands the vCPU its virtual timer's interrupt, whose physical one, `physical`, has been acknowledged. The caller drops the
/// priority of that one, and the guest itself will end it. False if that takes more, and nothing has changed. `pstate` is
/// SPSR_EL2.
#[inline(always)]
pub fn give_timer(
    fast: &mut FastPath<'_, impl RelaxStrategy>,
    pstate: u64,
    physical: Intid,
    lists: &mut impl ListRegisters,
) -> bool {
    let irq = PrivateIrq::Hw { intid: layout::VIRTUAL_TIMER_INTID, physical };
    if pstate & pstate::I != 0 { queue_for_resample(fast, irq, lists) } else { lr::queue(fast, irq, lists) }
}

/// The guest masks interrupts, and the timer may be set anew by the time that it looks.
#[inline(never)]
fn queue_for_resample(
    fast: &mut FastPath<'_, impl RelaxStrategy>,
    irq: PrivateIrq,
    lists: &mut impl ListRegisters,
) -> bool {
    let Some(mut vm) = fast.vm.try_lock() else { return false };
    let (vcpu, empty) = (fast.vcpu, lists.empty());
    let Some(write) = vm.gic.requeue_beside(vcpu, irq, empty).or_else(|| vm.gic.queue(vcpu, irq, empty))
    else {
        return false;
    };
    let hcr = vm.gic.mark_queued_for_resample(vcpu, write.value.intid());
    drop(vm);
    lists.write(write);
    lists.set_control(hcr);
    true
}

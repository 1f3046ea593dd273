// SPDX-License-Identifier: MIT OR Apache-2.0
//! SGIs to one vCPU, at both ends: MSR of ICC_SGI1R_EL1, and the kick by which it arrives.
//!
//! Left to the long path: SGIs to several vCPUs, to one that has the same physical CPU as the sender, or that find no empty
//! list register or the VM's lock taken; the registers of the other groups; operands that the vectors have not saved; and a
//! kick that brings more than one SGI.

use spin::RelaxStrategy;
use vambrace_cpu::exit::{Direction, SystemRegisterAccess};
use vambrace_cpu::syndrome::{Syndrome, SyndromePattern, field};
use vambrace_cpu::sysreg::SysReg;
use vambrace_interrupts::{Intid, PrivateIrq, SgiRegister, SgiRequest, SgiTargets};

use super::{FastPath, ListRegisters, SCRATCH_REGISTERS, SiblingVcpus, lr};
use crate::lifecycle::Lifecycle;

/// ICC_SGI1R_EL1.INTID.
const SGI_INTID: u64 = 0xF << 24;

const SGI1R_WRITE: SyndromePattern = SystemRegisterAccess::pattern(SysReg::ICC_SGI1R_EL1, Direction::Write);

/// The value of an MSR of ICC_SGI1R_EL1, from a register that is saved.
#[inline(always)]
pub(super) fn written(esr: Syndrome, x: &[u64; 31]) -> Option<u64> {
    if !SGI1R_WRITE.matches(esr) {
        return None;
    }
    let rt = field::RT.of(esr) as usize;
    x.get(rt).filter(|_| rt < SCRATCH_REGISTERS).copied()
}

/// Whether an SGI is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It takes more, and nothing has changed.
    No,
    Yes,
}

/// Sends the SGI that the vCPU has written to ICC_SGI1R_EL1.
#[inline(always)]
pub(super) fn send(
    value: u64,
    fast: &mut FastPath<'_, impl RelaxStrategy>,
    lists: &mut impl ListRegisters,
    siblings: &impl SiblingVcpus,
) -> Sent {
    let intid = Intid::new(((value & SGI_INTID) >> 24) as u32);
    if value & !SGI_INTID == fast.constants.sgi_to_self {
        return if lr::queue(fast, PrivateIrq::Sgi { intid }, lists) { Sent::Yes } else { Sent::No };
    }
    let request = SgiRequest::decode(SgiRegister::Sgi1r, value);
    let Some(affinity) = only_target(request) else { return Sent::No };
    let Some(mut vm) = fast.vm.try_lock() else { return Sent::No };
    let Some(vcpu) = vm.gic.find(affinity) else { return Sent::No };
    // A vCPU that is affine to this CPU, too, is to be looked at before this vCPU goes on, or it waits for as long as that runs.
    let Some(placement) = siblings.elsewhere(vcpu) else { return Sent::No };
    let has_to_look = vm.gic.send_sgi_to(vcpu, intid);
    drop(vm);
    if has_to_look {
        siblings.kick(placement);
    }
    Sent::Yes
}

/// The packed affinity of the one vCPU that an SGI is for.
#[inline(always)]
fn only_target(request: SgiRequest) -> Option<u32> {
    match request.targets() {
        SgiTargets::List { first, list } if list.is_power_of_two() => Some(first | list.trailing_zeros()),
        SgiTargets::List { .. } | SgiTargets::AllButSelf => None,
    }
}

/// Another vCPU has called: queues the one SGI that is pending. False if there is more to it, and nothing has changed.
#[inline(always)]
pub fn queue_pending_sgi(
    fast: &mut FastPath<'_, impl RelaxStrategy>,
    lists: &mut impl ListRegisters,
) -> bool {
    let Some(mut vm) = fast.vm.try_lock() else { return false };
    if vm.lifecycle != Lifecycle::Running {
        return false;
    }
    let write = vm.gic.queue_pending_sgi(fast.vcpu, lists.empty());
    drop(vm);
    let Some(write) = write else { return false };
    lists.write(write);
    true
}

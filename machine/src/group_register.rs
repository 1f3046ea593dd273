// SPDX-License-Identifier: MIT OR Apache-2.0
//! ICC_* registers of one group: the hardware serves them, but while an interrupt pends whose line may have fallen; see
//! `vambrace_interrupts`, "Linked interrupts whose line may have fallen".

use spin::RelaxStrategy;
use spin::mutex::SpinMutex;
use vambrace_cpu::exit::Direction;
use vambrace_cpu::sysreg::SysReg;
use vambrace_interrupts::{Group, GroupRegister, LineLevel, PendingRead, PendingRegister};

use crate::host::{LoadedVcpu, Notify};
use crate::layout;
use crate::mmio::take_back;
use crate::system_register::AccessResult;
use crate::vcpu::Vcpu;
use crate::vm::Vm;

/// What an access is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GroupRegisterAccess {
    /// ICC_IARn_EL1 and ICC_HPPIRn_EL1.
    Pending(Group, PendingRegister),
    /// ICC_EOIRn_EL1.
    End,
    /// The others.
    Register(GroupRegister),
}

fn decode(register: SysReg) -> Option<GroupRegisterAccess> {
    use GroupRegister::{ActivePriorities, BinaryPoint, Enable};

    Some(match register {
        SysReg::ICC_IAR0_EL1 => GroupRegisterAccess::Pending(Group::Zero, PendingRegister::Iar),
        SysReg::ICC_IAR1_EL1 => GroupRegisterAccess::Pending(Group::One, PendingRegister::Iar),
        SysReg::ICC_HPPIR0_EL1 => GroupRegisterAccess::Pending(Group::Zero, PendingRegister::Hppir),
        SysReg::ICC_HPPIR1_EL1 => GroupRegisterAccess::Pending(Group::One, PendingRegister::Hppir),
        SysReg::ICC_EOIR0_EL1 | SysReg::ICC_EOIR1_EL1 => GroupRegisterAccess::End,
        SysReg::ICC_IGRPEN0_EL1 => GroupRegisterAccess::Register(Enable(Group::Zero)),
        SysReg::ICC_IGRPEN1_EL1 => GroupRegisterAccess::Register(Enable(Group::One)),
        SysReg::ICC_BPR0_EL1 => GroupRegisterAccess::Register(BinaryPoint(Group::Zero)),
        SysReg::ICC_BPR1_EL1 => GroupRegisterAccess::Register(BinaryPoint(Group::One)),
        // ICC_AP0R<n>_EL1 and ICC_AP1R<n>_EL1.
        SysReg { op0: 3, op1: 0, crn: 12, crm: 8, op2: op2 @ 4.. } => {
            GroupRegisterAccess::Register(ActivePriorities(Group::Zero, op2 - 4))
        }
        SysReg { op0: 3, op1: 0, crn: 12, crm: 9, op2: op2 @ ..4 } => {
            GroupRegisterAccess::Register(ActivePriorities(Group::One, op2))
        }
        _ => return None,
    })
}

/// Serves an access that has trapped (ICH_HCR_EL2.TALL0 and TALL1).
pub(crate) fn access(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &Vcpu,
    (register, direction): (SysReg, Direction),
    value: u64,
    host: &mut (impl LoadedVcpu + Notify),
) -> AccessResult {
    let Some(access) = decode(register) else { return AccessResult::Undefined };
    let mut shared = vm.lock();
    let mut notify = take_back(&mut shared, vcpu, host);
    let served = match (access, direction) {
        (GroupRegisterAccess::Pending(group, register), _) => {
            if host.virtual_timer_line() == LineLevel::High {
                shared.gic.confirm_line(vcpu.id, layout::VIRTUAL_TIMER_INTID);
            }
            match shared.gic.read_pending(vcpu.id, group, register, &mut notify) {
                PendingRead::Intid(intid) => AccessResult::Value(intid.into()),
                PendingRead::Retry => AccessResult::Unfinished,
            }
        }
        (GroupRegisterAccess::End, _) => {
            shared.gic.write_eoi(vcpu.id, value, &mut notify);
            AccessResult::Written
        }
        (GroupRegisterAccess::Register(register), Direction::Read) => shared
            .gic
            .read_group_register(vcpu.id, register)
            .map_or(AccessResult::Undefined, AccessResult::Value),
        (GroupRegisterAccess::Register(register), Direction::Write) => {
            match shared.gic.write_group_register(vcpu.id, register, value, &mut notify) {
                true => AccessResult::Written,
                false => AccessResult::Undefined,
            }
        }
    };
    if let Some(interface) = shared.flush_interrupts(vcpu) {
        host.set_whole_interface(interface);
    }
    host.notify(&notify);
    served
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Data and instruction aborts from stage 2: a device to emulate, RAM that has come by now, or nothing there.
//!
//! While a page of the RAM is changed a vCPU that uses it takes a translation fault. Whoever changes it holds the lock of the RAM
//! until it is there again, so who looks then finds it, and the guest tries again. An access to nothing is a synchronous external
//! abort for the guest, as on a bus without a device. It is never the end of more than the guest's own instruction.

use spin::RelaxStrategy;
use spin::mutex::SpinMutex;
use vambrace_cpu::exception::{AbortedAccess, Exception, ExternalAbort, WalkLevel};
use vambrace_cpu::exit::{DataAbort, Direction, InstructionAbort};
use vambrace_cpu::syndrome::FaultStatus;
use vambrace_io::decode::Unsupported;
use vambrace_memory::{GuestMemory, Ipa, Va};

use crate::dispatch::Resume;
use crate::host::{GuestRam, Host, LoadedVcpu, Report};
use crate::injection::inject;
use crate::mmio;
use crate::translation::{self, Stage1Access};
use crate::vcpu::Vcpu;
use crate::vm::Vm;

/// Why an access is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// No RAM and no device, or not all of the access on one of them.
    #[error("where it has nothing")]
    Nothing,
    /// Stage 2 has another reason, which no VM's map gives.
    #[error("{0}")]
    Fault(FaultStatus),
    /// The instruction could not be read.
    #[error("by an instruction that cannot be read")]
    Unreadable,
    /// The instruction is not one that is emulated.
    #[error("{0}")]
    Instruction(Unsupported),
}

/// Serves a data abort.
pub(crate) fn data<H: Host>(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    abort: &DataAbort,
    host: &mut H,
) -> Resume {
    vcpu.recent.note_address(abort.va);
    let outcome = match place(vm, vcpu, abort, host) {
        Ok(_) if abort.cache_maintenance && has_come(abort.status, abort.ipa, host) => return Resume::Guest,
        // Where there is no RAM, there is nothing to maintain in a cache; and ROM is never dirty.
        Ok(_) if abort.cache_maintenance => Ok(()),
        Ok(ipa) => mmio::carry_out(vm, vcpu, abort, ipa, host),
        Err(refusal) => Err(refusal),
    };
    match outcome {
        Ok(()) => {
            vcpu.skip_instruction(abort.length);
            Resume::Guest
        }
        Err(_) if has_come(abort.status, abort.ipa, host) => Resume::Guest,
        Err(refusal) => refuse(vm, vcpu, abort, refusal, host),
    }
}

/// Whether there is RAM by now where stage 2 found nothing.
fn has_come(status: FaultStatus, ipa: Option<Ipa>, host: &impl GuestRam) -> bool {
    matches!(status, FaultStatus::Translation(_)) && ipa.is_some_and(|ipa| host.memory().is_there(ipa))
}

/// Where an access goes that stage 2 refused, if it may be emulated there.
fn place(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    abort: &DataAbort,
    host: &mut (impl LoadedVcpu + GuestRam),
) -> Result<Ipa, Refusal> {
    match abort.status {
        FaultStatus::Translation(_) if !abort.on_walk => abort.ipa.ok_or(Refusal::Nothing),
        FaultStatus::Permission(_) if !abort.on_walk && abort.direction == Direction::Write => {
            rom(vm, vcpu, abort, host).ok_or(Refusal::Fault(abort.status))
        }
        FaultStatus::Translation(_) => Err(Refusal::Nothing),
        status => Err(Refusal::Fault(status)),
    }
}

/// Where in ROM a store goes that stage 2 does not permit. HPFAR_EL2 does not say: the address is translated anew.
fn rom(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    abort: &DataAbort,
    host: &mut (impl LoadedVcpu + GuestRam),
) -> Option<Ipa> {
    let access = if abort.cache_maintenance { Stage1Access::Read } else { Stage1Access::Write };
    let ipa = translation::translate(vcpu, abort.va?, access, host).ok()?.ipa;
    vm.lock().memory.is_rom(ipa, 1).then_some(ipa)
}

/// The guest gets a synchronous external abort, and it is told.
fn refuse(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    abort: &DataAbort,
    why: Refusal,
    host: &mut (impl LoadedVcpu + GuestRam + Report),
) -> Resume {
    let (id, pc) = (vcpu.id, vcpu.registers.frame.pc);
    let what = if abort.on_walk { "table walk for a " } else { "" };
    let (direction, at) = (abort.direction, FaultAddress(abort.ipa, abort.va));
    host.guest_error(format_args!("vCPU {id}: {what}{direction} of {at}, {why} (PC {pc:#x})"));
    let (access, walked) = match (abort.cache_maintenance, abort.direction) {
        (true, _) => (AbortedAccess::CacheMaintenance, Stage1Access::Read),
        (false, Direction::Read) => (AbortedAccess::Data(abort.direction), Stage1Access::Read),
        (false, Direction::Write) => (AbortedAccess::Data(abort.direction), Stage1Access::Write),
    };
    let walk_level = abort.on_walk.then(|| walk_level(vcpu, abort.va, walked, host));
    inject(vm, vcpu, Exception::ExternalAbort(ExternalAbort { access, va: abort.va, walk_level }), host)
}

/// Serves an instruction abort: a fetch from where there is no RAM.
pub(crate) fn instruction(
    vm: &SpinMutex<Vm, impl RelaxStrategy>,
    vcpu: &mut Vcpu,
    abort: &InstructionAbort,
    host: &mut (impl LoadedVcpu + GuestRam + Report),
) -> Resume {
    vcpu.recent.note_address(abort.va);
    if has_come(abort.status, abort.ipa, host) {
        return Resume::Guest;
    }
    let (id, at) = (vcpu.id, FaultAddress(abort.ipa, abort.va));
    let what = if abort.on_walk { "table walk for a fetch" } else { "fetch" };
    let why = match abort.status {
        FaultStatus::Translation(_) => Refusal::Nothing,
        status => Refusal::Fault(status),
    };
    host.guest_error(format_args!("vCPU {id}: {what} of {at}, {why}"));
    let walk_level = abort.on_walk.then(|| walk_level(vcpu, abort.va, Stage1Access::Execute, host));
    let aborted = ExternalAbort { access: AbortedAccess::Fetch, va: abort.va, walk_level };
    inject(vm, vcpu, Exception::ExternalAbort(aborted), host)
}

/// For a fault on the guest's own table walk: the level of the table that is out of reach. The syndrome does not say
/// it (its level is stage 2's), so the walk is done again.
fn walk_level(
    vcpu: &mut Vcpu,
    va: Option<Va>,
    access: Stage1Access,
    host: &mut (impl LoadedVcpu + GuestRam),
) -> WalkLevel {
    let fault = translation::translate(vcpu, va.unwrap_or_default(), access, host).err();
    match fault.map(|fault| fault.level) {
        Some(0) => WalkLevel::L0,
        Some(1) => WalkLevel::L1,
        Some(2) => WalkLevel::L2,
        // And where the walk succeeds now: the CPU wanted to update the last descriptor, in ROM; or the tables have
        // changed since, and any level is as good.
        _ => WalkLevel::L3,
    }
}

/// An address, the way it is known.
struct FaultAddress(Option<Ipa>, Option<Va>);

impl core::fmt::Display for FaultAddress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match (self.0, self.1) {
            (Some(ipa), _) => write!(f, "{ipa}"),
            (None, Some(va)) => write!(f, "virtual address {va}"),
            (None, None) => f.write_str("an unknown address"),
        }
    }
}

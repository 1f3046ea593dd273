// SPDX-License-Identifier: MIT OR Apache-2.0
//! PSCI 1.1, as a VM sees it.
//!
//! The crate `arm-psci` gives the encodings; which functions a VM has, and what they do, is decided here.
//! Optional functions that are absent answer NOT_SUPPORTED whatever their arguments. Source: PSCI (DEN0022).

use arm_psci::{
    AffinityInfo, EntryPoint, ErrorCode, Function, FunctionId, MigrateInfoType, Mpidr, PowerState,
    PsciFeature, ResetType, Version,
};
use vambrace_ids::VcpuId;
use vambrace_memory::Ipa;

use crate::power::{CpuEntry, NotOff, Power, PowerStates};
use crate::pstate::Endianness;
use crate::smccc::{Call, CallOutcome, Services, Suspend};

const VERSION: Version = Version { major: 1, minor: 1 };

/// The function id of PSCI_VERSION.
pub(crate) const VERSION_FUNCTION: u32 = 0x8400_0000;

/// What PSCI_VERSION returns: the major version above the minor one.
pub(crate) const VERSION_VALUE: u64 = 1 << 16 | 1;

/// CPU_SUSPEND's power_state, original format: a core in standby.
const STANDBY: u32 = 0;
/// CPU_SUSPEND's power_state, original format: a core powered down. The deeper states, of clusters and of the
/// system, do not exist: a VM's CPUs share no power domain.
const POWER_DOWN: u32 = 1 << 16;

/// Whether a function id is in the range that the convention reserves for PSCI.
pub(crate) const fn is_function(id: u32) -> bool {
    matches!(id & !(1 << 30), 0x8400_0000..=0x8400_001F)
}

/// Serves a call whose function id [is PSCI's](is_function).
pub(crate) fn call(
    call: &Call,
    caller: VcpuId,
    power: &mut PowerStates,
    services: &impl Services,
) -> CallOutcome {
    let outcome = match FunctionId::try_from(call.function()) {
        Ok(id) if is_offered(id) => Function::try_from(&call.x)
            .map_err(ErrorCode::from)
            .and_then(|function| perform(function, call.endianness, caller, power, services)),
        _ => Err(ErrorCode::NotSupported),
    };
    outcome.unwrap_or_else(|error| CallOutcome::returning(error.into()))
}

/// The functions that a VM has.
const fn is_offered(id: FunctionId) -> bool {
    matches!(
        id,
        FunctionId::PsciVersion
            | FunctionId::PsciFeatures
            | FunctionId::CpuOn32
            | FunctionId::CpuOn64
            | FunctionId::CpuOff
            | FunctionId::CpuSuspend32
            | FunctionId::CpuSuspend64
            | FunctionId::AffinityInfo32
            | FunctionId::AffinityInfo64
            | FunctionId::MigrateInfoType
            | FunctionId::SystemOff
            | FunctionId::SystemReset
            | FunctionId::SystemReset232
            | FunctionId::SystemReset264
    )
}

fn perform(
    function: Function,
    endianness: Endianness,
    caller: VcpuId,
    power: &mut PowerStates,
    services: &impl Services,
) -> Result<CallOutcome, ErrorCode> {
    match function {
        Function::Version => Ok(CallOutcome::returning(u32::from(VERSION).into())),
        Function::Features { psci_func_id } => features(psci_func_id),
        Function::CpuOn { target_cpu, entry } => {
            let entry = checked_entry(entry, endianness, services);
            cpu_on(target_cpu, entry, power)
        }
        Function::CpuOff => Ok(CallOutcome::CpuOff(power.off(caller))),
        Function::CpuSuspend { state, entry } => match state_bits(state) {
            STANDBY => Ok(CallOutcome::Suspend(Suspend::Standby)),
            POWER_DOWN => checked_entry(entry, endianness, services)
                .map(|e| CallOutcome::Suspend(Suspend::PowerDown(e))),
            _ => Err(ErrorCode::InvalidParameters),
        },
        Function::AffinityInfo { mpidr, lowest_affinity_level } => {
            affinity_info(mpidr, lowest_affinity_level, power)
        }
        Function::MigrateInfoType => {
            Ok(CallOutcome::returning(u32::from(MigrateInfoType::MigrationNotRequired).into()))
        }
        Function::SystemOff => Ok(CallOutcome::SystemOff),
        // The only architectural type is a warm reset, and RAM need not survive it.
        Function::SystemReset | Function::SystemReset2 { reset_type: ResetType::Architectural(_), .. } => {
            Ok(CallOutcome::SystemReset)
        }
        Function::SystemReset2 { reset_type: ResetType::VendorSpecific(_), .. } => {
            Err(ErrorCode::InvalidParameters)
        }
        _ => Err(ErrorCode::NotSupported),
    }
}

/// PSCI_FEATURES. CPU_SUSPEND's flags are 0: original power_state format, no OS-initiated mode.
fn features(feature: PsciFeature) -> Result<CallOutcome, ErrorCode> {
    match feature {
        PsciFeature::SmcccVersion => Ok(CallOutcome::returning(0)),
        PsciFeature::PsciFunction(id) if is_offered(id) => Ok(CallOutcome::returning(0)),
        PsciFeature::PsciFunction(_) => Err(ErrorCode::NotSupported),
    }
}

/// CPU_ON. The target's state is looked at before the entry point: a CPU that is not off says so first.
fn cpu_on(
    target: Mpidr,
    entry: Result<CpuEntry, ErrorCode>,
    power: &mut PowerStates,
) -> Result<CallOutcome, ErrorCode> {
    let target = power.find(target.into()).ok_or(ErrorCode::InvalidParameters)?;
    power.check_off(target)?;
    power.begin_on(target, entry?)?;
    Ok(CallOutcome::CpuOn { target })
}

impl From<NotOff> for ErrorCode {
    fn from(reason: NotOff) -> Self {
        match reason {
            NotOff::AlreadyOn => Self::AlreadyOn,
            NotOff::NoSuchCpu => Self::InvalidParameters,
        }
    }
}

/// Checks an entry point. A64 code needs an aligned one.
fn checked_entry(
    entry: EntryPoint,
    endianness: Endianness,
    services: &impl Services,
) -> Result<CpuEntry, ErrorCode> {
    let address = Ipa(entry.entry_point_address());
    if address.is_aligned(4) && services.is_executable(address) {
        Ok(CpuEntry { address, context: entry.context_id(), endianness })
    } else {
        Err(ErrorCode::InvalidAddress)
    }
}

/// The raw power_state, which `arm-psci` reads as the extended format.
fn state_bits(state: PowerState) -> u32 {
    match state {
        PowerState::StandbyOrRetention(bits) => bits,
        // Bit 30 must be zero in the original format.
        PowerState::PowerDown(_) => u32::MAX,
    }
}

/// AFFINITY_INFO: a group of CPUs is on when any is, and off when all are. One that is pending is on, as CPU_ON says too.
fn affinity_info(mpidr: Mpidr, level: u32, power: &PowerStates) -> Result<CallOutcome, ErrorCode> {
    let is_on = power
        .in_group(mpidr.into(), level)
        .map(|power| power != Power::Off)
        .reduce(|any, on| any || on)
        .ok_or(ErrorCode::InvalidParameters)?;
    let info = if is_on { AffinityInfo::On } else { AffinityInfo::Off };
    Ok(CallOutcome::returning(u32::from(info).into()))
}

#[cfg(test)]
mod tests;

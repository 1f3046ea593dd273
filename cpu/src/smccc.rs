// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls that a guest makes with HVC or SMC, by the SMC Calling Convention.
//!
//! The hypervisor is the VM's whole firmware: Arm architecture calls, PSCI, TRNG and Vambrace's own calls are served here,
//! and every other function id is NOT_SUPPORTED. No call is ever passed on to EL3. Source: SMCCC (DEN0028) 1.1.

use vambrace_ids::VcpuId;
use vambrace_memory::Ipa;

use crate::power::{CpuEntry, PowerStates, Remaining};
use crate::pstate::Endianness;
use crate::registers::TrapFrame;
use crate::{psci, trng, vendor};

/// SMCCC_VERSION.
const VERSION: u32 = 0x8000_0000;
/// SMCCC_ARCH_FEATURES.
const ARCH_FEATURES: u32 = 0x8000_0001;
/// The version of SMCCC: 1.1, which has both calls above.
const VERSION_1_1: u64 = 0x1_0001;
/// "The call is not supported", in a 64-bit register whatever the call's width.
pub const NOT_SUPPORTED: u64 = -1i64 as u64;

/// A call, as the guest made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The immediate of the instruction. The convention has 0 only.
    pub immediate: u16,
    /// X0 to X3: the function id and its arguments.
    pub x: [u64; 4],
    /// The caller's endianness at EL1.
    pub endianness: Endianness,
}

impl Call {
    /// Takes the call out of the caller's registers; `sctlr` is its SCTLR_EL1.
    #[must_use]
    pub fn new(immediate: u16, frame: &TrapFrame, sctlr: u64) -> Self {
        let [x0, x1, x2, x3, ..] = frame.x;
        Self { immediate, x: [x0, x1, x2, x3], endianness: frame.endianness(sctlr) }
    }

    /// W0.
    #[must_use]
    pub const fn function(&self) -> u32 {
        self.x[0] as u32
    }
}

/// What a call needs to know about the VM.
pub trait Services {
    /// Whether a CPU can start at this address: it is in the VM's memory.
    fn is_executable(&self, address: Ipa) -> bool;

    /// Fills `bytes` with entropy that is fit for keys, or has none now.
    ///
    /// # Errors
    /// [`NoEntropy`]; then `bytes` is not used.
    fn entropy(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy>;
}

/// There is no entropy to be had now; the guest may ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no entropy at the moment")]
pub struct NoEntropy;

/// What becomes of a call.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// It returns with X0 to X3 set to these.
    Return([u64; 4]),
    /// The CPU `target` is pending: its physical CPU must be told. Then the call returns 0.
    CpuOn {
        /// Which CPU of the VM.
        target: VcpuId,
    },
    /// The caller is off, and does not return.
    CpuOff(Remaining),
    /// The caller waits for an interrupt that could wake it.
    Suspend(Suspend),
    /// The number is the VM's result, if it has given none before: 0 is returned then, else
    /// [`ALREADY_GIVEN`](vendor::ALREADY_GIVEN).
    Result(u32),
    /// The VM powers itself off; its other CPUs must be stopped.
    SystemOff,
    /// The VM resets itself; its other CPUs must be stopped.
    SystemReset,
}

impl CallOutcome {
    /// A call that returns one value.
    pub const fn returning(value: u64) -> Self {
        Self::Return([value, 0, 0, 0])
    }
}

/// How a CPU wakes after CPU_SUSPEND.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspend {
    /// Standby: the call returns 0.
    Standby,
    /// Power-down: the CPU starts at the entry point with its registers reset. It counts as on meanwhile.
    PowerDown(CpuEntry),
}

/// Serves a call of the CPU `caller`, which is on, under the VM's lock.
pub fn call(
    call: &Call,
    caller: VcpuId,
    power: &mut PowerStates,
    services: &mut impl Services,
) -> CallOutcome {
    if call.immediate != 0 {
        return CallOutcome::returning(NOT_SUPPORTED);
    }
    match call.function() {
        VERSION => CallOutcome::returning(VERSION_1_1),
        ARCH_FEATURES => CallOutcome::returning(arch_features(call.x[1] as u32)),
        function if psci::is_function(function) => psci::call(call, caller, power, services),
        function if trng::is_function(function) => CallOutcome::Return(trng::call(call, services)),
        function if vendor::is_function(function) => vendor::call(call),
        _ => CallOutcome::returning(NOT_SUPPORTED),
    }
}

/// The answer to a function id where it is the same for every caller, with the immediate 0: PSCI_VERSION, and what
/// nobody serves. `None`: ask [`call`].
#[inline]
#[must_use]
pub const fn constant_answer(function: u32) -> Option<u64> {
    /// The owner of a service: Arm's architecture calls, standard services, the hypervisor's vendor, and others, which a VM
    /// does not have.
    const OWNER: u32 = 0x3F00_0000;
    const ARCHITECTURE: u32 = 0x0000_0000;
    const STANDARD: u32 = 0x0400_0000;
    const VENDOR: u32 = 0x0600_0000;
    match function {
        psci::VERSION_FUNCTION => Some(psci::VERSION_VALUE),
        _ if matches!(function & OWNER, ARCHITECTURE | STANDARD | VENDOR) => None,
        _ => Some(NOT_SUPPORTED),
    }
}

/// SMCCC_ARCH_FEATURES. Whether the CPU needs a workaround by firmware, a VM cannot be told truly:
/// NOT_SUPPORTED.
const fn arch_features(function: u32) -> u64 {
    match function {
        VERSION | ARCH_FEATURES => 0,
        _ => NOT_SUPPORTED,
    }
}

#[cfg(test)]
mod tests;

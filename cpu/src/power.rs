// SPDX-License-Identifier: MIT OR Apache-2.0
//! The power states of a VM's CPUs, as PSCI sees them.
//!
//! One value for the whole VM, and every transition takes `&mut`: whoever holds the VM's lock makes it, so
//! two calls can never both turn one CPU on, and a CPU_ON comes either before or after a CPU_OFF. A CPU that
//! is turned on passes through [`Power::OnPending`] until its own physical CPU fetches the entry point with
//! [`PowerStates::take_pending`]; nothing else makes it run. That is between the physical CPUs: for the guest, as under
//! KVM, a CPU is on as soon as its CPU_ON is accepted. Source: PSCI (DEN0022), AFFINITY_INFO and
//! CPU_ON.

use alloc::boxed::Box;

use serde::{Deserialize, Serialize};
use vambrace_ids::VcpuId;
use vambrace_memory::Ipa;
use vambrace_state::restore_fields;

use crate::pstate::Endianness;

/// The affinity fields of MPIDR_EL1: Aff3, Aff2, Aff1 and Aff0.
pub const AFFINITY_MASK: u64 = 0xFF_00FF_FFFF;

/// Where a CPU that is turned on starts, and in what state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuEntry {
    /// The first instruction; stage 1 is off.
    pub address: Ipa,
    /// X0.
    pub context: u64,
    /// The caller's endianness at EL1, which the CPU inherits.
    pub endianness: Endianness,
}

/// The power state of one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Power {
    /// It executes nothing.
    #[default]
    Off,
    /// It has been turned on and has not started yet.
    OnPending(CpuEntry),
    /// It runs, or is suspended.
    On,
}

/// Why a CPU cannot be turned on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOff {
    /// It is on, or about to be.
    #[error("the CPU is already on")]
    AlreadyOn,
    /// There is none of that number.
    #[error("the VM has no such CPU")]
    NoSuchCpu,
}

/// Whether a VM has any CPU left that runs or will run.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// At least one is on, or about to be.
    Some,
    /// None: nothing can ever happen in the VM again.
    None,
}

/// The CPUs of one VM and their power states. A CPU is named by its place in the VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerStates {
    cpus: Box<[Cpu]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cpu {
    affinity: u64,
    power: Power,
}

restore_fields!(PowerStates { parts cpus });
restore_fields!(Cpu { same affinity, whole power });

impl PowerStates {
    /// CPUs with these affinity fields of MPIDR_EL1, all off. The only function here that allocates.
    pub fn new(affinities: impl IntoIterator<Item = u64>) -> Self {
        let cpu = |affinity| Cpu { affinity: affinity & AFFINITY_MASK, power: Power::Off };
        Self { cpus: affinities.into_iter().map(cpu).collect() }
    }

    /// The power state of a CPU; one that does not exist is off.
    #[must_use]
    pub fn get(&self, cpu: VcpuId) -> Power {
        self.cpus.get(cpu.index()).map_or(Power::Off, |cpu| cpu.power)
    }

    /// The CPU with exactly this affinity.
    #[must_use]
    pub fn find(&self, affinity: u64) -> Option<VcpuId> {
        self.cpus.iter().position(|cpu| cpu.affinity == affinity).and_then(VcpuId::from_index)
    }

    /// The states of the CPUs that share the affinity fields from `level` (0 to 3) upwards with `affinity`.
    pub(crate) fn in_group(&self, affinity: u64, level: u32) -> impl Iterator<Item = Power> {
        let mask = match level {
            0 => AFFINITY_MASK,
            1 => 0xFF_00FF_FF00,
            2 => 0xFF_00FF_0000,
            _ => 0xFF_0000_0000,
        };
        let in_group = move |cpu: &&Cpu| (cpu.affinity ^ affinity) & mask == 0;
        self.cpus.iter().filter(in_group).map(|cpu| cpu.power)
    }

    /// Whether a CPU could be turned on.
    ///
    /// # Errors
    /// [`NotOff`] when it is not off.
    pub fn check_off(&self, cpu: VcpuId) -> Result<(), NotOff> {
        match self.cpus.get(cpu.index()).ok_or(NotOff::NoSuchCpu)?.power {
            Power::Off => Ok(()),
            Power::OnPending(_) | Power::On => Err(NotOff::AlreadyOn),
        }
    }

    /// Turns a CPU on: from off to pending.
    ///
    /// # Errors
    /// [`NotOff`] when it is not off; then nothing changes.
    pub fn begin_on(&mut self, cpu: VcpuId, entry: CpuEntry) -> Result<(), NotOff> {
        self.check_off(cpu)?;
        let cpu = self.cpus.get_mut(cpu.index()).ok_or(NotOff::NoSuchCpu)?;
        cpu.power = Power::OnPending(entry);
        Ok(())
    }

    /// Starts a CPU that is pending: from now on it is on. Called on the physical CPU that will run it.
    pub fn take_pending(&mut self, cpu: VcpuId) -> Option<CpuEntry> {
        let cpu = self.cpus.get_mut(cpu.index())?;
        let Power::OnPending(entry) = cpu.power else {
            return None;
        };
        cpu.power = Power::On;
        Some(entry)
    }

    /// Turns a CPU off, by itself: from on to off. One that is pending stays so.
    pub fn off(&mut self, cpu: VcpuId) -> Remaining {
        if let Some(cpu) = self.cpus.get_mut(cpu.index())
            && cpu.power == Power::On
        {
            cpu.power = Power::Off;
        }
        self.remaining()
    }

    /// Turns all CPUs off, pending ones too: the VM is reset or ends. By then all of them must have left the
    /// guest: what one asks for afterwards counts for the VM's next boot epoch.
    pub fn all_off(&mut self) {
        for cpu in &mut self.cpus {
            cpu.power = Power::Off;
        }
    }

    /// Whether any CPU is on or pending.
    pub fn remaining(&self) -> Remaining {
        remaining_among(&self.cpus)
    }

    /// Whether any other CPU than this one is on or pending.
    pub fn remaining_beside(&self, cpu: VcpuId) -> Remaining {
        let others = self.cpus.iter().enumerate().filter(|(index, _)| *index != cpu.index());
        remaining_among(others.map(|(_, other)| other))
    }
}

fn remaining_among<'a>(cpus: impl IntoIterator<Item = &'a Cpu>) -> Remaining {
    let is_any_on = cpus.into_iter().any(|cpu| cpu.power != Power::Off);
    if is_any_on { Remaining::Some } else { Remaining::None }
}

#[cfg(test)]
mod tests;

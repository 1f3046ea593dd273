// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a vCPU does at one moment: told when the user asks, each vCPU by its affine CPU.

use serde::{Deserialize, Serialize};

/// How many of a vCPU's last exits are told.
pub const TOLD_EXITS: usize = 6;

/// What a vCPU does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuReport {
    /// Its VM's index in the bundle.
    pub vm: u16,
    /// Its number in the VM.
    pub vcpu: u16,
    /// Its affine CPU.
    pub cpu: u16,
    /// Whether it runs.
    pub activity: VcpuActivity,
    /// Its PC.
    pub pc: u64,
    /// Its PSTATE, as SPSR_EL2 has it.
    pub pstate: u64,
    /// Its VBAR_EL1: where its kernel lies, if that moves itself.
    pub vbar: u64,
    /// Its last exits, oldest first, and then none.
    pub exits: [Option<ToldExit>; TOLD_EXITS],
}

/// Whether a vCPU runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VcpuActivity {
    /// It is in the machine.
    Running,
    /// It wants to run, and another does.
    Ready,
    /// It waits for an interrupt.
    Waiting {
        /// In how many microseconds a timer wakes it, if one does.
        timer: Option<u64>,
    },
    /// It is switched off.
    Off,
    /// Its VM is paused.
    Paused,
}

/// An exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldExit {
    /// ESR_EL2.
    pub esr: u64,
    /// The guest's PC.
    pub pc: u64,
    /// Of an abort: the virtual address that was to be reached, if known.
    pub address: Option<u64>,
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The registers of a virtual CPU, as plain data.
//!
//! They fall into groups by when they are moved. [`TrapFrame`] changes hands at each exit. [`El1Registers`],
//! [`DebugRegisters`] and [`PointerAuthKeys`] stay in the hardware while the vCPU is loaded, and are
//! only true here after the hypervisor has fetched them. [`FpRegisters`] move when another vCPU uses them.

use serde::{Deserialize, Serialize};

/// What each exit saves: the general-purpose registers, PC and PSTATE.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[repr(C, align(16))]
pub struct TrapFrame {
    /// X0 to X30.
    pub x: [u64; 31],
    /// The PC: ELR_EL2 at the exit.
    pub pc: u64,
    /// PSTATE, in SPSR_EL2's format.
    pub pstate: u64,
}

impl TrapFrame {
    /// Reads register `n` of an instruction: 31 is XZR.
    #[must_use]
    pub fn get(&self, n: u8) -> u64 {
        self.x.get(usize::from(n)).copied().unwrap_or(0)
    }

    /// Writes register `n` of an instruction: 31 is XZR, the write is dropped.
    pub fn set(&mut self, n: u8, value: u64) {
        if let Some(register) = self.x.get_mut(usize::from(n)) {
            *register = value;
        }
    }
}

macro_rules! register_group {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $arm:literal,)* }) => {
        $(#[$doc])*
        /// In this order in memory too, so that pairs are loaded and stored at once.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[repr(C)]
        pub struct $name {
            $(#[doc = $arm] pub $field: u64,)*
        }

        impl $name {
            /// Each register with Arm's name for it, for reports.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($arm, self.$field)),*].into_iter()
            }
        }
    };
}

register_group! {
    /// The EL1 and EL0 system registers that a vCPU owns.
    El1Registers {
        sctlr: "SCTLR_EL1",
        cpacr: "CPACR_EL1",
        ttbr0: "TTBR0_EL1",
        ttbr1: "TTBR1_EL1",
        tcr: "TCR_EL1",
        mair: "MAIR_EL1",
        amair: "AMAIR_EL1",
        vbar: "VBAR_EL1",
        esr: "ESR_EL1",
        far: "FAR_EL1",
        afsr0: "AFSR0_EL1",
        afsr1: "AFSR1_EL1",
        elr: "ELR_EL1",
        spsr: "SPSR_EL1",
        sp_el0: "SP_EL0",
        sp_el1: "SP_EL1",
        tpidr_el0: "TPIDR_EL0",
        tpidrro_el0: "TPIDRRO_EL0",
        tpidr_el1: "TPIDR_EL1",
        contextidr: "CONTEXTIDR_EL1",
        par: "PAR_EL1",
        csselr: "CSSELR_EL1",
        cntkctl: "CNTKCTL_EL1",
        mdscr: "MDSCR_EL1",
        cntv_cval: "CNTV_CVAL_EL0",
        cntv_ctl: "CNTV_CTL_EL0",
    }
}

register_group! {
    /// The pointer authentication keys (FEAT_PAuth).
    PointerAuthKeys {
        apia_lo: "APIAKeyLo_EL1",
        apia_hi: "APIAKeyHi_EL1",
        apib_lo: "APIBKeyLo_EL1",
        apib_hi: "APIBKeyHi_EL1",
        apda_lo: "APDAKeyLo_EL1",
        apda_hi: "APDAKeyHi_EL1",
        apdb_lo: "APDBKeyLo_EL1",
        apdb_hi: "APDBKeyHi_EL1",
        apga_lo: "APGAKeyLo_EL1",
        apga_hi: "APGAKeyHi_EL1",
    }
}

/// The self-hosted debug registers: breakpoints and watchpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugRegisters {
    /// DBGBVR0_EL1 to DBGBVR15_EL1.
    pub breakpoint_value: [u64; 16],
    /// DBGBCR0_EL1 to DBGBCR15_EL1.
    pub breakpoint_control: [u64; 16],
    /// DBGWVR0_EL1 to DBGWVR15_EL1.
    pub watchpoint_value: [u64; 16],
    /// DBGWCR0_EL1 to DBGWCR15_EL1.
    pub watchpoint_control: [u64; 16],
    /// Whether any of them is enabled, as of when they were last fetched.
    pub armed: bool,
}

impl DebugRegisters {
    /// DBGBCR.E and DBGWCR.E.
    const ENABLED: u64 = 1;

    /// Whether any breakpoint or watchpoint is enabled.
    #[must_use]
    pub fn any_enabled(&self) -> bool {
        let controls = self.breakpoint_control.iter().chain(&self.watchpoint_control);
        controls.fold(0, |all, control| all | control) & Self::ENABLED != 0
    }
}

/// The SIMD and floating-point registers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[repr(C, align(16))]
pub struct FpRegisters {
    /// V0 to V31.
    pub v: [u128; 32],
    /// FPCR.
    pub fpcr: u64,
    /// FPSR.
    pub fpsr: u64,
}

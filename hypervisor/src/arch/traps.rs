// SPDX-License-Identifier: MIT OR Apache-2.0
//! What of a guest's doings comes to EL2: the trap controls, as values.
//!
//! EL2 writes what one table says ([`table`]); it is held against the features that a VM's ID registers hide ([`hidden`]) and
//! against the list of registers that guests reach ([`crate::arch::el1`]). Source: Arm ARM, HCR_EL2, HCRX_EL2, MDCR_EL2,
//! CPTR_EL2, CNTHCTL_EL2, MPAM2_EL2 and the fine-grained trap registers.

pub mod control;
pub mod hidden;
pub mod table;
pub mod trap;

use control::{Register, Setting, always, bits};
use vambrace_cpu::id_registers::HostIdRegisters;
use vambrace_memory::attributes::Stage2Encoding;
use vambrace_memory::features as memory;
use vambrace_memory::stage2::{Geometry, GeometryError};
use vambrace_memory::vmid::VmidWidth;

/// Features that decide what EL2 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// FEAT_PAuth: keys to be switched.
    pub pointer_auth: bool,
    /// FEAT_RAS: guests' DISR_EL1 is VDISR_EL2, to be switched.
    pub deferred_errors: bool,
    /// FEAT_S2FWB.
    pub encoding: Stage2Encoding,
    /// VMID bits.
    pub vmids: VmidWidth,
    /// Physical address bits.
    pub pa_bits: u32,
}

/// Whether a guest's WFI and WFE come to EL2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WfiTrap {
    /// They do not: the guest waits in the hardware's own WFI, since nobody else wants the CPU.
    Off,
    /// They do, and another vCPU may run.
    On,
}

/// Which fine-grained trap registers a CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FineGrained {
    /// None.
    No,
    /// FEAT_FGT: HFGRTR_EL2, HFGWTR_EL2, HFGITR_EL2, HDFGRTR_EL2, HDFGWTR_EL2.
    First,
    /// FEAT_FGT2: the same with a 2 in their names, too.
    Second,
}

/// What of the optional controls a CPU has, and EL2 has to write: out of reset they are UNKNOWN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Optional {
    /// Fine-grained traps.
    pub fine_grained: FineGrained,
    /// FEAT_HCX: HCRX_EL2.
    pub hcrx: bool,
    /// FEAT_RAS: VSESR_EL2 and VDISR_EL2.
    pub deferred_errors: bool,
    /// FEAT_MPAM, in either of its versions: MPAM2_EL2.
    pub mpam: bool,
}

const fn field(value: u64, shift: u32) -> u64 {
    value >> shift & 0xF
}

impl Optional {
    /// As the ID registers say.
    #[must_use]
    pub const fn of(host: &HostIdRegisters) -> Self {
        Self {
            fine_grained: match field(host.aa64mmfr0, 56) {
                0 => FineGrained::No,
                1 => FineGrained::First,
                _ => FineGrained::Second,
            },
            hcrx: field(host.aa64mmfr1, 40) != 0,
            deferred_errors: field(host.aa64pfr0, 28) != 0,
            // Version 0.1 tells of itself by the fraction only.
            mpam: field(host.aa64pfr0, 40) | field(host.aa64pfr1, 16) != 0,
        }
    }
}

impl Features {
    /// As the ID registers say.
    #[must_use]
    pub fn of(host: &HostIdRegisters) -> Self {
        let memory = memory::Features { mmfr0: host.aa64mmfr0, mmfr1: host.aa64mmfr1, mmfr2: host.aa64mmfr2 };
        Self {
            // APA, API and APA3: three ways to have the same feature.
            pointer_auth: field(host.aa64isar1, 4) | field(host.aa64isar1, 8) | field(host.aa64isar2, 12)
                != 0,
            deferred_errors: Optional::of(host).deferred_errors,
            encoding: if memory.has_fwb() { Stage2Encoding::Forcing } else { Stage2Encoding::Combining },
            vmids: if memory.has_vmid16() { VmidWidth::Sixteen } else { VmidWidth::Eight },
            // The tables we write have no more.
            pa_bits: memory.pa_bits().min(48),
        }
    }

    /// VTCR_EL2 for stage-2 tables without a translation, for a CPU that runs no VM: no longer than 16 KiB, aligned to that.
    ///
    /// # Errors
    /// When the CPU has a physical address size that the architecture does not know.
    pub const fn empty_vtcr(self) -> Result<u64, GeometryError> {
        let wanted = if self.pa_bits < 39 { self.pa_bits } else { 39 };
        match Geometry::for_machine(self.pa_bits, wanted) {
            Ok(geometry) => Ok(geometry.vtcr(self.vmids)),
            Err(error) => Err(error),
        }
    }

    /// HCR_EL2 for a guest.
    #[must_use]
    pub const fn hcr(self, wfi: WfiTrap) -> u64 {
        let mut hcr = const { always(Register::Hcr) };
        if matches!(wfi, WfiTrap::On) {
            hcr |= const { bits(Register::Hcr, Setting::WhileOthersWait) };
        }
        if self.pointer_auth {
            hcr |= const { bits(Register::Hcr, Setting::WithPointerAuth) };
        }
        if matches!(self.encoding, Stage2Encoding::Forcing) {
            hcr |= const { bits(Register::Hcr, Setting::WithForcedWriteBack) };
        }
        hcr
    }
}

/// HCR_EL2.VSE: a virtual SError pends, until the guest takes it.
pub const HCR_VSE: u64 = bits(Register::Hcr, Setting::PerVcpu);

/// CPTR_EL2, for a guest whose floating-point registers are loaded.
pub const CPTR: u64 = always(Register::Cptr);
/// CPTR_EL2.TFP: the floating-point registers trap, too.
pub const CPTR_TFP: u64 = bits(Register::Cptr, Setting::PerVcpu);

/// MDCR_EL2, given what it holds.
#[must_use]
pub const fn mdcr(now: u64) -> u64 {
    now & const { bits(Register::Mdcr, Setting::Kept) } | const { always(Register::Mdcr) }
}

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What of a guest's doings comes to EL2: the trap controls, as values.
//!
//! EL2 writes them; here they are so that the host can hold them against the list of registers that guests reach
//! ([`crate::el1`]). Source: Arm ARM, HCR_EL2, HCRX_EL2, MDCR_EL2, CPTR_EL2, CNTHCTL_EL2, MPAM2_EL2 and the fine-grained
//! trap registers.

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
pub enum Waiting {
    /// It waits in the machine's own WFI: nobody else wants the CPU.
    InTheMachine,
    /// It traps, and another vCPU may run.
    Traps,
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

    /// HCR_EL2 for a guest. `Waiting` decides whether its WFI and WFE trap.
    #[must_use]
    pub const fn hcr(self, waiting: Waiting) -> u64 {
        let mut hcr = HCR;
        if matches!(waiting, Waiting::Traps) {
            // TWI and TWE.
            hcr |= 1 << 13 | 1 << 14;
        }
        if self.pointer_auth {
            hcr |= 1 << 40 | 1 << 41;
        }
        if matches!(self.encoding, Stage2Encoding::Forcing) {
            hcr |= 1 << 46;
        }
        hcr
    }
}

/// HCR_EL2.VSE: a virtual SError pends, until the guest takes it.
pub const HCR_VSE: u64 = 1 << 8;
/// HCR_EL2.FMO, IMO and AMO: interrupts and SErrors come to EL2, and a guest's ICC registers and DISR_EL1 are virtual.
pub const VIRTUAL_INTERRUPTS: u64 = 1 << 3 | 1 << 4 | 1 << 5;

/// HCR_EL2 for every guest. VM, SWIO, PTW; FB and BSU: a guest's TLBIs and barriers reach all CPUs it may be on; TID1, TID3,
/// TSC, TIDCP, TACR, TSW: trapped and emulated; RW: EL1 is AArch64; TLOR, TERR: hidden features. TID5, ATA, EnSCXT, FIEN and
/// AMVOFFEN are 0: what they would let through traps.
const HCR: u64 = 1
    | 1 << 1
    | 1 << 2
    | VIRTUAL_INTERRUPTS
    | 1 << 9
    | 1 << 10
    | 1 << 16
    | 1 << 18
    | 1 << 19
    | 1 << 20
    | 1 << 21
    | 1 << 22
    | 1 << 31
    | 1 << 35
    | 1 << 36;

/// CPTR_EL2: SVE, SME, trace and the activity monitors trap. For a guest whose floating-point registers are loaded.
pub const CPTR: u64 = 0x33FF | 1 << 20 | 1 << 30;
/// CPTR_EL2.TFP: the floating-point registers trap, too.
pub const CPTR_TFP: u64 = 1 << 10;

/// MDCR_EL2, given what it holds: HPMN, the low five bits, stays. TPMCR, TPM: the PMU; TDA, TDOSA, TDRA, TDCC: all debug
/// registers; TPMS: SPE; TTRF: trace filters. E2PB, E2TB, EnSPM, EBWE and EnSTEPOP are 0: what they would let through traps.
#[must_use]
pub const fn mdcr(now: u64) -> u64 {
    now & 0x1F | 1 << 5 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 14 | 1 << 19 | 1 << 27
}

/// CNTHCTL_EL2: EL1 reads the physical counter itself (EL1PCTEN); its physical timer traps (EL1PCEN is 0).
pub const CNTHCTL: u64 = 1;
/// HCRX_EL2: every extension that it can let a guest use stays off.
pub const HCRX: u64 = 0;
/// Each of the fine-grained trap registers: the bits that let something through are 0. Those that would trap what is a
/// guest's own are 0, too.
pub const FINE_GRAINED: u64 = 0;
/// MPAM2_EL2: TRAPMPAM0EL1 and TRAPMPAM1EL1. EnMPAMSM is 0.
pub const MPAM2: u64 = 0b11 << 48;

#[cfg(test)]
mod tests {
    use super::*;

    /// A CPU that runs no VM has to have other tables than the last VM's, whatever CPU it is.
    #[test]
    fn every_cpu_can_leave_its_vms_tables() {
        for range in 0..16 {
            let features = Features::of(&HostIdRegisters { aa64mmfr0: range, ..HostIdRegisters::default() });
            assert!(features.empty_vtcr().is_ok(), "PARange {range}");
        }
    }

    /// A vCPU that spins for another in WFE keeps its slice only while nobody else wants the CPU.
    #[test]
    fn waiting_traps_only_while_others_want_the_cpu() {
        let features = Features::of(&HostIdRegisters::default());
        let (alone, wanted) = (features.hcr(Waiting::InTheMachine), features.hcr(Waiting::Traps));
        assert_eq!(wanted & !alone, 1 << 13 | 1 << 14, "TWI and TWE");
        assert_eq!(alone & !wanted, 0);
    }

    #[test]
    fn what_a_cpu_has_is_read_from_its_id_registers() {
        let none = HostIdRegisters::default();
        assert_eq!(
            Optional::of(&none),
            Optional { fine_grained: FineGrained::No, hcrx: false, deferred_errors: false, mpam: false }
        );
        assert!(Optional::of(&HostIdRegisters { aa64pfr1: 1 << 16, ..none.clone() }).mpam, "MPAM 0.1");
        assert!(Optional::of(&HostIdRegisters { aa64pfr0: 1 << 40, ..none.clone() }).mpam, "MPAM 1.0");
        let second = HostIdRegisters { aa64mmfr0: 2 << 56, ..none.clone() };
        assert_eq!(Optional::of(&second).fine_grained, FineGrained::Second);
        // QEMU's cortex-a76.
        let a76 = HostIdRegisters {
            aa64pfr0: 0x1100_0000_1011_1112,
            aa64mmfr0: 0x10_1122,
            aa64mmfr1: 0x1021_2122,
            aa64mmfr2: 0x1011,
            ..none
        };
        let features = Features::of(&a76);
        assert!(features.deferred_errors && !features.pointer_auth);
        assert_eq!((features.pa_bits, features.vmids), (40, VmidWidth::Sixteen));
        assert_eq!(features.encoding, Stage2Encoding::Combining);
    }
}

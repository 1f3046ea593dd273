// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this machine has, and the trap controls that follow from it.

use vambrace_cpu::id_registers::HostIdRegisters;
use vambrace_cpu::sysreg::SysReg;
use vambrace_memory::attributes::Stage2Encoding;
use vambrace_memory::features as memory;
use vambrace_memory::vmid::VmidWidth;

use crate::sysreg::*;

/// Features that decide what EL2 does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    /// FEAT_PAuth: keys to be switched.
    pub(crate) pointer_auth: bool,
    /// FEAT_S2FWB.
    pub(crate) encoding: Stage2Encoding,
    /// VMID bits.
    pub(crate) vmids: VmidWidth,
    /// Physical address bits.
    pub(crate) pa_bits: u32,
}

/// What this CPU makes of translation tables.
pub(crate) fn translation() -> memory::Features {
    memory::Features {
        mmfr0: IdAa64mmfr0El1.read(),
        mmfr1: IdAa64mmfr1El1.read(),
        mmfr2: IdAa64mmfr2El1.read(),
    }
}

fn field(value: u64, shift: u32) -> u64 {
    value >> shift & 0xF
}

impl Features {
    /// Reads the ID registers.
    pub(crate) fn of_machine() -> Self {
        let (isar1, isar2) = (IdAa64isar1El1.read(), IdAa64isar2El1.read());
        // APA, API and APA3: three ways to have the same feature.
        let pointer_auth = field(isar1, 4) | field(isar1, 8) | field(isar2, 12) != 0;
        let memory = translation();
        let encoding = if memory.has_fwb() { Stage2Encoding::Forcing } else { Stage2Encoding::Combining };
        let vmids = if memory.has_vmid16() { VmidWidth::Sixteen } else { VmidWidth::Eight };
        // The tables we write have no more.
        let pa_bits = memory.pa_bits().min(48);
        Self { pointer_auth, encoding, vmids, pa_bits }
    }

    /// HCR_EL2 for a guest. `Waiting` decides whether its WFI traps.
    pub(crate) fn hcr(self, waiting: Waiting) -> u64 {
        // VM, SWIO, PTW, FMO, IMO, AMO; FB and BSU: a guest's TLBIs and barriers reach all CPUs it may be on;
        // TID1, TID3, TSC, TIDCP, TACR, TSW: trapped and emulated; RW: EL1 is AArch64; TLOR, TERR: hidden features.
        let mut hcr = 1 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9 | 1 << 10;
        hcr |= 1 << 16 | 1 << 18 | 1 << 19 | 1 << 20 | 1 << 21 | 1 << 22 | 1 << 31 | 1 << 35 | 1 << 36;
        if waiting == Waiting::Traps {
            hcr |= 1 << 13;
        }
        if self.pointer_auth {
            hcr |= 1 << 40 | 1 << 41;
        }
        if self.encoding == Stage2Encoding::Forcing {
            hcr |= 1 << 46;
        }
        hcr
    }
}

/// HCR_EL2.VSE: a virtual SError pends, until the guest takes it.
pub(crate) const HCR_VSE: u64 = 1 << 8;

/// Whether a virtual SError still pends.
pub(crate) fn has_virtual_serror() -> bool {
    HcrEl2.read() & HCR_VSE != 0
}

/// Whether a guest's WFI comes to EL2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// It waits in the machine's own WFI: nobody else wants the CPU.
    InTheMachine,
    /// It traps, and another vCPU may run.
    Traps,
}

/// CPTR_EL2: SVE, SME, trace and the activity monitors trap.
const CPTR: u64 = 0x33FF | 1 << 20 | 1 << 30;
/// CPTR_EL2.TFP.
const CPTR_TFP: u64 = 1 << 10;

/// Lets the guest use the floating-point registers, or not.
pub(crate) fn set_fp(use_of: Fp) {
    let value = match use_of {
        Fp::Traps => CPTR | CPTR_TFP,
        Fp::IsLoaded => CPTR,
    };
    // SAFETY: EL2 uses no floating point; the rest traps what guests do not have.
    unsafe { CptrEl2.write(value) };
}

/// Whose the floating-point registers' contents are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fp {
    /// Another vCPU's: using them traps.
    Traps,
    /// This vCPU's.
    IsLoaded,
}

/// Sets this CPU's trap controls, the same for all guests.
pub(crate) fn start_cpu() {
    // HPMN, the low five bits, stays; debug power, DCC, PMU, SPE and trace trap; breakpoints and the OS lock's
    // registers: the former are the guest's, the latter are emulated.
    let mdcr = MdcrEl2.read() & 0x1F | 1 << 5 | 1 << 6 | 1 << 10 | 1 << 11 | 1 << 14 | 1 << 19 | 1 << 27;
    // SAFETY: these only make more of what EL1 and EL0 do trap.
    unsafe {
        MdcrEl2.write(mdcr);
        HstrEl2.write(0);
        if field(IdAa64mmfr0El1.read(), 56) != 0 {
            HfgrtrEl2.write(0);
            HfgwtrEl2.write(0);
            HfgitrEl2.write(0);
            HdfgrtrEl2.write(0);
            HdfgwtrEl2.write(0);
        }
        if field(IdAa64mmfr1El1.read(), 40) != 0 {
            HcrxEl2.write(0);
        }
        if field(IdAa64pfr0El1.read(), 28) != 0 {
            // What a guest is told of a virtual SError: nothing beyond that it is one.
            VsesrEl2.write(0);
        }
        if field(IdAa64pfr0El1.read(), 40) != 0 {
            Mpam2El2.write(0b11 << 48);
        }
    }
    set_fp(Fp::Traps);
    // EL1 reads the physical counter itself; its physical timer traps and is emulated.
    CnthctlEl2.write(1);
    CnthpCtlEl2.write(0);
    CntvCtlEl0.write(0);
    // Unlocked: the guests' own lock is emulated, and the machine's would keep their breakpoints off.
    OslarEl1.write(0);
    VpidrEl2.write(MidrEl1.read());
    crate::barrier::tlbi_alle1();
    crate::barrier::dsb_nsh();
    crate::barrier::isb();
}

macro_rules! id_space {
    ($($crm:literal)*) => {
        /// All ID registers, as the machine has them.
        pub(crate) fn id_registers() -> HostIdRegisters {
            let mut host = HostIdRegisters { midr: MidrEl1.read(), ctr: CtrEl0.read(), ..HostIdRegisters::default() };
            $(id_space!(@row host $crm 0 1 2 3 4 5 6 7);)*
            host
        }
    };
    (@row $host:ident $crm:literal $($op2:literal)*) => {
        $({
            let value: u64;
            // SAFETY: the whole ID space can be read; what is not allocated reads as zero.
            unsafe {
                core::arch::asm!(
                    concat!("mrs {}, s3_0_c0_c", $crm, "_", $op2),
                    out(reg) value,
                    options(nomem, nostack, preserves_flags),
                );
            }
            $host.set(SysReg { op0: 3, op1: 0, crn: 0, crm: $crm, op2: $op2 }, value);
        })*
    };
}

id_space! { 1 2 3 4 5 6 7 }

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this machine has, and the trap controls that follow from it.

use vambrace_cpu::id_registers::HostIdRegisters;
use vambrace_cpu::sysreg::SysReg;
use vambrace_hypervisor::arch::traps::control::{Register, always};
use vambrace_hypervisor::arch::traps::{
    self, CPTR, CPTR_TFP, Features, FineGrained, HCR_VSE, Optional, WfiTrap,
};
use vambrace_memory::features as memory;

use crate::arch::sysreg::*;

/// What this CPU makes of translation tables.
pub(crate) fn translation() -> memory::Features {
    memory::Features {
        mmfr0: IdAa64mmfr0El1.read(),
        mmfr1: IdAa64mmfr1El1.read(),
        mmfr2: IdAa64mmfr2El1.read(),
    }
}

/// Whether a virtual SError still pends.
pub(crate) fn has_virtual_serror() -> bool {
    HcrEl2.read() & HCR_VSE != 0
}

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
pub(crate) fn start_cpu(features: Features) {
    let has = Optional::of(&id_registers());
    // SAFETY: these only make more of what EL1 and EL0 do trap.
    unsafe {
        HcrEl2.write(features.hcr(WfiTrap::On));
        MdcrEl2.write(traps::mdcr(MdcrEl2.read()));
        HstrEl2.write(0);
        if has.fine_grained >= FineGrained::First {
            HfgrtrEl2.write(const { always(Register::Hfgrtr) });
            HfgwtrEl2.write(const { always(Register::Hfgrtr) });
            HfgitrEl2.write(const { always(Register::Hfgitr) });
            HdfgrtrEl2.write(const { always(Register::Hdfgrtr) });
            HdfgwtrEl2.write(const { always(Register::Hdfgrtr) });
        }
        if has.fine_grained >= FineGrained::Second {
            Hfgrtr2El2.write(const { always(Register::Hfgrtr2) });
            Hfgwtr2El2.write(const { always(Register::Hfgrtr2) });
            Hfgitr2El2.write(const { always(Register::Hfgitr2) });
            Hdfgrtr2El2.write(const { always(Register::Hdfgrtr2) });
            Hdfgwtr2El2.write(const { always(Register::Hdfgrtr2) });
        }
        if has.hcrx {
            HcrxEl2.write(const { always(Register::Hcrx) });
        }
        if has.deferred_errors {
            // What a guest is told of a virtual SError: nothing beyond that it is one.
            VsesrEl2.write(0);
        }
        if has.mpam {
            Mpam2El2.write(const { always(Register::Mpam2) });
        }
    }
    set_fp(Fp::Traps);
    CnthctlEl2.write(const { always(Register::Cnthctl) });
    CnthpCtlEl2.write(0);
    CntvCtlEl0.write(0);
    // Unlocked: the guests' own lock is emulated, and the hardware's would keep their breakpoints off.
    OslarEl1.write(0);
    VpidrEl2.write(MidrEl1.read());
    crate::arch::barrier::isb();
}

macro_rules! id_space {
    ($($crm:literal)*) => {
        /// All ID registers, as the hardware has them.
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

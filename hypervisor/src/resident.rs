// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moving a vCPU's registers into and out of the machine.
//!
//! They move when a vCPU takes or leaves a physical CPU, not at each exit: while a vCPU is resident its values
//! live in the hardware, and EL2 does not touch them.

use vambrace_cpu::registers::{DebugRegisters, El1Registers, PointerAuthKeys};

use crate::sysreg::*;

macro_rules! el1_registers {
    ($($field:ident = $register:ident,)*) => {
        /// Fetches the EL1 registers from the machine.
        pub(crate) fn save_el1(to: &mut El1Registers) {
            *to = El1Registers { $($field: $register.read(),)* };
        }

        /// Puts the EL1 registers into the machine. The timer's control comes last, when its compare value is right.
        pub(crate) fn load_el1(from: &El1Registers) {
            $($register.write(from.$field);)*
        }
    };
}

el1_registers! {
    sctlr = SctlrEl1,
    cpacr = CpacrEl1,
    ttbr0 = Ttbr0El1,
    ttbr1 = Ttbr1El1,
    tcr = TcrEl1,
    mair = MairEl1,
    amair = AmairEl1,
    vbar = VbarEl1,
    esr = EsrEl1,
    far = FarEl1,
    afsr0 = Afsr0El1,
    afsr1 = Afsr1El1,
    elr = ElrEl1,
    spsr = SpsrEl1,
    sp_el0 = SpEl0,
    sp_el1 = SpEl1,
    tpidr_el0 = TpidrEl0,
    tpidrro_el0 = TpidrroEl0,
    tpidr_el1 = TpidrEl1,
    contextidr = ContextidrEl1,
    par = ParEl1,
    csselr = CsselrEl1,
    cntkctl = CntkctlEl1,
    cntv_cval = CntvCvalEl0,
    cntv_ctl = CntvCtlEl0,
    mdscr = MdscrEl1,
}

macro_rules! pointer_auth_keys {
    ($($field:ident = $register:ident,)*) => {
        /// Fetches the pointer authentication keys. Only where the machine has FEAT_PAuth.
        pub(crate) fn save_keys(to: &mut PointerAuthKeys) {
            *to = PointerAuthKeys { $($field: $register.read(),)* };
        }

        /// Puts the pointer authentication keys into the machine. Only where it has FEAT_PAuth.
        pub(crate) fn load_keys(from: &PointerAuthKeys) {
            $($register.write(from.$field);)*
        }
    };
}

pointer_auth_keys! {
    apia_lo = ApiaKeyLo,
    apia_hi = ApiaKeyHi,
    apib_lo = ApibKeyLo,
    apib_hi = ApibKeyHi,
    apda_lo = ApdaKeyLo,
    apda_hi = ApdaKeyHi,
    apdb_lo = ApdbKeyLo,
    apdb_hi = ApdbKeyHi,
    apga_lo = ApgaKeyLo,
    apga_hi = ApgaKeyHi,
}

/// DBG{BVR,BCR,WVR,WCR}<n>_EL1: S2_0_C0_C<n>_{4,5,6,7}.
macro_rules! debug_register {
    (read $n:literal, $op2:literal) => {{
        let value: u64;
        // SAFETY: reading a debug register that exists changes nothing.
        unsafe {
            core::arch::asm!(concat!("mrs {}, s2_0_c0_c", $n, "_", $op2), out(reg) value, options(nostack, preserves_flags));
        }
        value
    }};
    (write $n:literal, $op2:literal, $value:expr) => {
        // SAFETY: MDCR_EL2.TDE = 0, so the guest's break- and watchpoints act on EL1 and EL0 only: EL2 runs with
        // debug exceptions off.
        unsafe {
            core::arch::asm!(concat!("msr s2_0_c0_c", $n, "_", $op2, ", {}"), in(reg) $value, options(nostack, preserves_flags));
        }
    };
}

macro_rules! debug_registers {
    ($($n:literal)*) => {
        /// Fetches the breakpoints and watchpoints that the machine has.
        pub(crate) fn save_debug(to: &mut DebugRegisters, count: DebugCount) {
            $(
                if $n < count.breakpoints {
                    to.breakpoint_value[$n] = debug_register!(read $n, 4);
                    to.breakpoint_control[$n] = debug_register!(read $n, 5);
                }
                if $n < count.watchpoints {
                    to.watchpoint_value[$n] = debug_register!(read $n, 6);
                    to.watchpoint_control[$n] = debug_register!(read $n, 7);
                }
            )*
        }

        /// Puts the breakpoints and watchpoints into the machine.
        pub(crate) fn load_debug(from: &DebugRegisters, count: DebugCount) {
            $(
                if $n < count.breakpoints {
                    debug_register!(write $n, 4, from.breakpoint_value[$n]);
                    debug_register!(write $n, 5, from.breakpoint_control[$n]);
                }
                if $n < count.watchpoints {
                    debug_register!(write $n, 6, from.watchpoint_value[$n]);
                    debug_register!(write $n, 7, from.watchpoint_control[$n]);
                }
            )*
        }
    };
}

debug_registers! { 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 }

/// How many breakpoints and watchpoints the machine has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DebugCount {
    breakpoints: usize,
    watchpoints: usize,
}

impl DebugCount {
    /// As ID_AA64DFR0_EL1 says.
    pub(crate) fn of_machine() -> Self {
        let features = IdAa64dfr0El1.read();
        let field = |shift: u32| (features >> shift & 0xF) as usize + 1;
        Self { breakpoints: field(12), watchpoints: field(20) }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests' breakpoints and watchpoints: up to 64 registers, which hardly anybody uses.
//!
//! So they move only for a vCPU that has one enabled. For all others the hardware's are all disabled, whatever else is in
//! them. Accesses always trap (MDCR_EL2.TDA): the first gives the vCPU its own registers, which it keeps until it leaves, and
//! each is carried out here, in its stead. Without the trap a guest would also reach the claim tags, the debug communication
//! channel and OSECCR_EL1, which are neither moved nor reset between VMs. Linux writes these registers once when a CPU starts,
//! and then only for a debugger.

use vambrace_cpu::exit::{Direction, SystemRegisterAccess};
use vambrace_cpu::registers::DebugRegisters;
use vambrace_cpu::sysreg::SysReg;

use crate::arch::sysreg::{IdAa64dfr0El1, Read};

/// This CPU's breakpoints and watchpoints.
#[derive(Debug)]
pub(crate) struct Debug {
    count: Count,
    held: Held,
}

/// Whose values the hardware's registers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// Nobody's: all are disabled.
    ByNobody,
    /// The loaded vCPU's.
    ByTheLoaded,
}

/// How many breakpoints and watchpoints the hardware has.
#[derive(Clone, Copy, Debug)]
struct Count {
    breakpoints: usize,
    watchpoints: usize,
}

impl Debug {
    /// All disabled.
    pub(crate) fn start() -> Self {
        let features = IdAa64dfr0El1.read();
        let field = |shift: u32| (features >> shift & 0xF) as usize + 1;
        let count = Count { breakpoints: field(12), watchpoints: field(20) };
        disable(count);
        Self { count, held: Held::ByNobody }
    }

    /// A vCPU is loaded on this CPU.
    #[inline]
    pub(crate) fn load(&mut self, registers: &DebugRegisters) {
        if registers.armed {
            self.give(registers);
        }
    }

    /// Carries the loaded vCPU's access out: what it reads, if it reads. `None` when the hardware has no such register.
    #[cold]
    pub(crate) fn access(
        &mut self,
        access: SystemRegisterAccess,
        operand: u64,
        registers: &DebugRegisters,
    ) -> Option<u64> {
        let SysReg { crm, op2, .. } = access.register;
        let count = if op2 < 6 { self.count.breakpoints } else { self.count.watchpoints };
        if usize::from(crm) >= count {
            return None;
        }
        if self.held == Held::ByNobody {
            self.give(registers);
        }
        match access.direction {
            Direction::Read => read_one(crm, op2),
            Direction::Write => write_one(crm, op2, operand).map(|()| 0),
        }
    }

    /// The loaded vCPU is unloaded.
    #[inline]
    pub(crate) fn unload(&mut self, registers: &mut DebugRegisters) {
        if self.held == Held::ByTheLoaded {
            self.take(registers);
        }
    }

    #[cold]
    fn give(&mut self, registers: &DebugRegisters) {
        load(registers, self.count);
        self.held = Held::ByTheLoaded;
    }

    #[cold]
    fn take(&mut self, registers: &mut DebugRegisters) {
        save(registers, self.count);
        registers.armed = registers.any_enabled();
        disable(self.count);
        self.held = Held::ByNobody;
    }
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
        /// Fetches the breakpoints and watchpoints that the hardware has.
        fn save(to: &mut DebugRegisters, count: Count) {
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

        /// Disables all breakpoints and watchpoints that the hardware has.
        fn disable(count: Count) {
            $(
                if $n < count.breakpoints {
                    debug_register!(write $n, 5, 0u64);
                }
                if $n < count.watchpoints {
                    debug_register!(write $n, 7, 0u64);
                }
            )*
        }

        /// Reads the register S2_0_C0_C<n>_<op2>, which the hardware has.
        fn read_one(n: u8, op2: u8) -> Option<u64> {
            match (n, op2) {
                $(
                    ($n, 4) => Some(debug_register!(read $n, 4)),
                    ($n, 5) => Some(debug_register!(read $n, 5)),
                    ($n, 6) => Some(debug_register!(read $n, 6)),
                    ($n, 7) => Some(debug_register!(read $n, 7)),
                )*
                _ => None,
            }
        }

        /// Writes the register S2_0_C0_C<n>_<op2>, which the hardware has.
        fn write_one(n: u8, op2: u8, value: u64) -> Option<()> {
            match (n, op2) {
                $(
                    ($n, 4) => debug_register!(write $n, 4, value),
                    ($n, 5) => debug_register!(write $n, 5, value),
                    ($n, 6) => debug_register!(write $n, 6, value),
                    ($n, 7) => debug_register!(write $n, 7, value),
                )*
                _ => return None,
            }
            Some(())
        }

        /// Loads the breakpoints and watchpoints into the hardware.
        fn load(from: &DebugRegisters, count: Count) {
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

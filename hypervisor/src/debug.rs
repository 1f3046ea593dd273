// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests' breakpoints and watchpoints: up to 64 registers, which hardly anybody uses.
//!
//! So they move only for a vCPU that has one enabled. For all others the machine's are all disabled, whatever else is in
//! them, and an access traps (MDCR_EL2.TDA): then the vCPU gets its own, and keeps them until it leaves. Linux writes them
//! once when a CPU starts, and then only for a debugger.

use vambrace_cpu::registers::DebugRegisters;

use crate::sysreg::{GuardedWrite, IdAa64dfr0El1, MdcrEl2, Read};

/// MDCR_EL2.TDA: EL1's and EL0's accesses to debug registers trap.
const TDA: u64 = 1 << 9;

/// This CPU's breakpoints and watchpoints.
#[derive(Debug)]
pub(crate) struct Debug {
    count: Count,
    held: Held,
}

/// Whose values the machine's registers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// Nobody's: all are disabled, and accesses trap.
    ByNobody,
    /// The resident vCPU's.
    ByTheResident,
}

/// How many breakpoints and watchpoints the machine has.
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
        let this = Self { count, held: Held::ByNobody };
        this.disable();
        this
    }

    /// A vCPU comes to this CPU.
    #[inline]
    pub(crate) fn enter(&mut self, registers: &DebugRegisters) {
        if registers.armed {
            self.give(registers);
        }
    }

    /// The resident vCPU has accessed a debug register. Says whether that is why it trapped: it has its own now, and may
    /// try again.
    pub(crate) fn wanted(&mut self, registers: &DebugRegisters) -> bool {
        let is_trapped = self.held == Held::ByNobody;
        if is_trapped {
            self.give(registers);
        }
        is_trapped
    }

    /// The resident vCPU leaves this CPU.
    #[inline]
    pub(crate) fn leave(&mut self, registers: &mut DebugRegisters) {
        if self.held == Held::ByTheResident {
            self.take(registers);
        }
    }

    #[cold]
    fn give(&mut self, registers: &DebugRegisters) {
        load(registers, self.count);
        set_trap(0);
        self.held = Held::ByTheResident;
    }

    #[cold]
    fn take(&mut self, registers: &mut DebugRegisters) {
        save(registers, self.count);
        registers.armed = registers.any_enabled();
        self.disable();
        self.held = Held::ByNobody;
    }

    fn disable(&self) {
        disable(self.count);
        set_trap(TDA);
    }
}

fn set_trap(tda: u64) {
    // SAFETY: TDA makes more of what EL1 and EL0 do trap; without it they have breakpoints of their own.
    unsafe { MdcrEl2.write(MdcrEl2.read() & !TDA | tda) }
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

        /// Disables all breakpoints and watchpoints that the machine has.
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

        /// Puts the breakpoints and watchpoints into the machine.
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a CPU turns the GIC's system registers on, and keeps ICC_SRE_EL1 to itself.
//!
//! ICC_SRE_EL1 is one register for EL1 and EL2. A guest that clears its SRE would leave a CPU on which the next guest's
//! ICC registers are UNDEFINED. So it is set once, and closed: with ICC_SRE_EL2.Enable = 0 EL1's accesses trap. Source:
//! GICv3 architecture specification (IHI 0069), ICC_SRE_EL1 and ICC_SRE_EL2.

use crate::arch::traps::control::{self as traps, always};

/// A register of the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// ICC_SRE_EL1, one for EL1 and EL2.
    El1,
    /// ICC_SRE_EL2.
    El2,
}

/// A step of the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SreStep {
    /// Write this value.
    Write(Register, u64),
    /// ISB: what was written applies to what follows.
    Synchronise,
}

/// SRE: system registers, not memory, are this exception level's interface.
pub const SRE: u64 = 1;
/// DFB and DIB: interrupts do not bypass the GIC.
const NO_BYPASS: u64 = 0b110;
/// ICC_SRE_EL2.Enable: EL1's accesses to ICC_SRE_EL1 do not trap.
pub const ENABLE: u64 = 1 << 3;
/// ICC_SRE_EL1 on every CPU and for every guest.
pub const EL1: u64 = NO_BYPASS | SRE;

/// ICC_SRE_EL2 on every CPU, as [`traps::table`](crate::arch::traps::table) has it: Enable is 0.
pub const EL2: u64 = always(traps::Register::IccSre);

/// What each CPU does once. ICC_SRE_EL1.SRE ignores writes while ICC_SRE_EL2.SRE is 0, so EL2's comes first; it comes with
/// Enable = 0, so that EL1's accesses trap from then on.
pub const STEPS: [SreStep; 4] = [
    SreStep::Write(Register::El2, EL2),
    SreStep::Synchronise,
    SreStep::Write(Register::El1, EL1),
    SreStep::Synchronise,
];

/// What a CPU makes of [`STEPS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// EL1's accesses trap.
    Traps,
    /// Enable is fixed at 1, as the architecture allows where EL2's SRE is fixed, too: what one guest writes is set right
    /// before the next one runs.
    SetForEachGuest,
    /// The firmware keeps the system registers from EL2 (ICC_SRE_EL3): no interrupt can be taken by them.
    NoSystemRegisters,
}

impl Guard {
    /// As ICC_SRE_EL2 reads after [`STEPS`].
    #[must_use]
    pub const fn of(sre_el2: u64) -> Self {
        match (sre_el2 & SRE != 0, sre_el2 & ENABLE != 0) {
            (false, _) => Self::NoSystemRegisters,
            (true, false) => Self::Traps,
            (true, true) => Self::SetForEachGuest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the two registers are, as the specification has them: a write counts for what follows the next ISB, and
    /// ICC_SRE_EL1.SRE ignores writes while EL2's is 0.
    #[derive(Clone, Copy, Debug)]
    struct Model {
        el1: u64,
        el2: u64,
        /// EL2's as it applies now.
        effective: u64,
        /// EL2's bits that are fixed at one.
        fixed: u64,
    }

    impl Model {
        fn run(mut self, steps: &[SreStep]) -> Self {
            for step in steps {
                match *step {
                    SreStep::Write(Register::El1, value) if self.effective & SRE != 0 => self.el1 = value,
                    SreStep::Write(Register::El1, value) => self.el1 = value & !SRE,
                    SreStep::Write(Register::El2, value) => self.el2 = value | self.fixed,
                    SreStep::Synchronise => self.effective = self.el2,
                }
            }
            self
        }

        /// EL1 writes `value`; whether it came through.
        fn guest_writes(&mut self, value: u64) -> bool {
            let passes = self.effective & ENABLE != 0;
            if passes {
                self.el1 = value;
            }
            passes
        }
    }

    /// Every state that firmware may leave.
    fn states(fixed: u64) -> impl Iterator<Item = Model> {
        (0..8).flat_map(move |el1| {
            (0..16).map(move |el2| Model { el1, el2: el2 | fixed, effective: el2 | fixed, fixed })
        })
    }

    #[test]
    fn no_guest_changes_what_the_next_one_finds() {
        for state in states(0) {
            let mut cpu = state.run(&STEPS);
            assert_eq!(Guard::of(cpu.effective), Guard::Traps);
            assert!(!cpu.guest_writes(0), "EL1's accesses trap, from {state:?}");
            assert_eq!(cpu.el1, EL1, "from {state:?}");
        }
    }

    #[test]
    fn a_cpu_that_cannot_close_it_sets_it_again() {
        for state in states(SRE | ENABLE) {
            let cpu = state.run(&STEPS);
            assert_eq!((cpu.el1, Guard::of(cpu.effective)), (EL1, Guard::SetForEachGuest));
        }
    }

    #[test]
    fn firmware_that_keeps_the_registers_is_noticed() {
        assert_eq!(Guard::of(0), Guard::NoSystemRegisters);
        assert_eq!(Guard::of(ENABLE), Guard::NoSystemRegisters);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ID registers that a VM sees.
//!
//! Default deny: a feature is shown when it is in the policy and the hardware has it, and in no other case. A
//! field that the policy does not name reads as "not implemented", and a known field reads at most the
//! highest value known, so that a newer CPU never shows a VM something that would trap. HCR_EL2.TID3 makes
//! every access come here. Source: Arm ARM, "Principles of the ID scheme for fields in ID registers".

use serde::{Deserialize, Serialize};

use crate::exception::PstateFeatures;
use crate::sysreg::SysReg;

mod policy;

pub use policy::{Field, Rule};

macro_rules! host_id_registers {
    ($($field:ident: $register:ident,)*) => {
        /// The ID registers of the hardware, raw. The hypervisor fills them in.
        ///
        /// Registers that are missing here hold nothing that a VM may see.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct HostIdRegisters {
            $(#[doc = stringify!($register)] pub $field: u64,)*
        }

        impl HostIdRegisters {
            /// Each register that the hardware should be asked for.
            pub const REGISTERS: &'static [SysReg] = &[$(SysReg::$register),*];

            /// The machine's value of `register`; 0 when it is not one of [`REGISTERS`](Self::REGISTERS).
            #[must_use]
            pub const fn get(&self, register: SysReg) -> u64 {
                $(if same(register, SysReg::$register) {
                    return self.$field;
                })*
                0
            }

            /// Sets the value of `register`; one that is not in [`REGISTERS`](Self::REGISTERS) is dropped.
            pub fn set(&mut self, register: SysReg, value: u64) {
                $(if register == SysReg::$register {
                    self.$field = value;
                })*
            }
        }
    };
}

host_id_registers! {
    midr: MIDR_EL1,
    revidr: REVIDR_EL1,
    aidr: AIDR_EL1,
    ctr: CTR_EL0,
    pfr0: ID_PFR0_EL1,
    pfr1: ID_PFR1_EL1,
    pfr2: ID_PFR2_EL1,
    dfr0: ID_DFR0_EL1,
    mmfr0: ID_MMFR0_EL1,
    mmfr1: ID_MMFR1_EL1,
    mmfr2: ID_MMFR2_EL1,
    mmfr3: ID_MMFR3_EL1,
    mmfr4: ID_MMFR4_EL1,
    mmfr5: ID_MMFR5_EL1,
    isar0: ID_ISAR0_EL1,
    isar1: ID_ISAR1_EL1,
    isar2: ID_ISAR2_EL1,
    isar3: ID_ISAR3_EL1,
    isar4: ID_ISAR4_EL1,
    isar5: ID_ISAR5_EL1,
    isar6: ID_ISAR6_EL1,
    mvfr0: MVFR0_EL1,
    mvfr1: MVFR1_EL1,
    mvfr2: MVFR2_EL1,
    aa64pfr0: ID_AA64PFR0_EL1,
    aa64pfr1: ID_AA64PFR1_EL1,
    aa64dfr0: ID_AA64DFR0_EL1,
    aa64isar0: ID_AA64ISAR0_EL1,
    aa64isar1: ID_AA64ISAR1_EL1,
    aa64isar2: ID_AA64ISAR2_EL1,
    aa64mmfr0: ID_AA64MMFR0_EL1,
    aa64mmfr1: ID_AA64MMFR1_EL1,
    aa64mmfr2: ID_AA64MMFR2_EL1,
}

const fn same(a: SysReg, b: SysReg) -> bool {
    a.to_iss() == b.to_iss()
}

/// The ID registers of one VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRegisters {
    midr: u64,
    revidr: u64,
    aidr: u64,
    ctr: u64,
    /// op0 3, op1 0, CRn 0: a row for each CRm from 1 to 7, a column for each op2.
    space: [[u64; 8]; 7],
}

impl IdRegisters {
    /// What a VM may see of a machine with the registers `host`.
    #[must_use]
    pub fn for_vm(host: &HostIdRegisters) -> Self {
        let mut vm =
            Self { midr: host.midr, revidr: host.revidr, aidr: host.aidr, ctr: host.ctr, space: [[0; 8]; 7] };
        let aarch32 = host.aa64pfr0 & 0xF == policy::EL0_HAS_AARCH32;
        for (register, fields) in policy::REGISTERS {
            // Without AArch32 its ID registers are UNKNOWN: zero is as good as any, and the same everywhere.
            if register.crm >= policy::FIRST_AARCH64_CRM || aarch32 {
                let shown = fields.iter().fold(0, |value, field| value | field.shown(host.get(*register)));
                if let Some(slot) = vm.slot_mut(*register) {
                    *slot = shown;
                }
            }
        }
        vm
    }

    /// Reads a register; `None` when it is not an ID register. Unallocated ones read as zero, as the
    /// architecture says.
    #[must_use]
    pub fn read(&self, register: SysReg) -> Option<u64> {
        match register {
            SysReg::MIDR_EL1 => Some(self.midr),
            SysReg::REVIDR_EL1 => Some(self.revidr),
            SysReg::AIDR_EL1 => Some(self.aidr),
            SysReg::CTR_EL0 => Some(self.ctr),
            SysReg { op0: 3, op1: 0, crn: 0, crm, op2 } => {
                let row = usize::from(crm).checked_sub(1)?;
                self.space.get(row)?.get(usize::from(op2)).copied()
            }
            _ => None,
        }
    }

    /// The first register that is another in `other`, with its value here and there.
    #[must_use]
    pub fn first_difference(&self, other: &Self) -> Option<(SysReg, u64, u64)> {
        let named = [SysReg::MIDR_EL1, SysReg::REVIDR_EL1, SysReg::AIDR_EL1, SysReg::CTR_EL0];
        let space = (1..8).flat_map(|crm| (0..8).map(move |op2| SysReg { op0: 3, op1: 0, crn: 0, crm, op2 }));
        named.into_iter().chain(space).find_map(|register| {
            let (here, there) = (self.read(register)?, other.read(register)?);
            (here != there).then_some((register, here, there))
        })
    }

    /// Which bits of PSTATE the VM has.
    #[must_use]
    pub fn pstate_features(&self) -> PstateFeatures {
        let has = |register, lsb: u32| self.read(register).is_some_and(|value| value >> lsb & 0xF != 0);
        PstateFeatures {
            pan: has(SysReg::ID_AA64MMFR1_EL1, 20),
            ssbs: has(SysReg::ID_AA64PFR1_EL1, 4),
            mte: has(SysReg::ID_AA64PFR1_EL1, 8),
        }
    }

    /// AArch32's DBGDIDR, as it follows from ID_AA64DFR0_EL1: how many breakpoints and watchpoints there are, and that
    /// debug is Armv8's. Its other bits say what it says on every CPU with EL3.
    #[must_use]
    pub fn debug_id(&self) -> u64 {
        const ARMV8: u64 = 0b0110 << 16;
        /// RES1, nSUHD_imp and SE_imp.
        const FIXED: u64 = 1 << 15 | 1 << 14 | 1 << 12;
        let features = self.read(SysReg::ID_AA64DFR0_EL1).unwrap_or(0);
        let field = |lsb: u32| features >> lsb & 0xF;
        let (breakpoints, watchpoints, contexts) = (field(12), field(20), field(28));
        watchpoints << 28 | breakpoints << 24 | contexts << 20 | ARMV8 | FIXED
    }

    fn slot_mut(&mut self, register: SysReg) -> Option<&mut u64> {
        let row = usize::from(register.crm).checked_sub(1)?;
        self.space.get_mut(row)?.get_mut(usize::from(register.op2))
    }
}

#[cfg(test)]
mod tests;

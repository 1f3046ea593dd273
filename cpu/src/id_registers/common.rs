// SPDX-License-Identifier: MIT OR Apache-2.0
//! What several CPUs have in common: a VM's vCPUs live on all of them, and its software looks at one.

use super::policy::{self, Field, Rule};
use super::{HostIdRegisters, SysReg};

/// Fields are four bits wide.
const FIELD: u64 = 0xF;

impl Field {
    /// The part of this field that CPUs with the registers `a` and `b` share, in its place. By what its values mean: a higher
    /// one has all that a lower one has, and counts less.
    fn common(&self, a: u64, b: u64) -> u64 {
        let (a, b) = (a >> self.lsb & FIELD, b >> self.lsb & FIELD);
        let signed = |value: u64| if value >= 8 { value.cast_signed() - 16 } else { value.cast_signed() };
        let least = match self.rule {
            Rule::SignedAtMost(_) if signed(a) < signed(b) => a,
            Rule::SignedAtMost(_) => b,
            Rule::AtMost(_) | Rule::AsHost | Rule::Fixed(_) => a.min(b),
        };
        least << self.lsb
    }
}

/// Of a register that no policy names: each field's lower value. Those that EL2 itself looks at are all unsigned.
fn least_fields(a: u64, b: u64) -> u64 {
    (0..64).step_by(4).fold(0, |least, lsb| least | (a >> lsb & FIELD).min(b >> lsb & FIELD) << lsb)
}

impl HostIdRegisters {
    /// What both of two CPUs have.
    ///
    /// Names and revisions have nothing in common: MIDR_EL1 and CTR_EL0 are this CPU's, and a guest reads those of the CPU that
    /// it is on, as on a board with such CPUs; REVIDR_EL1 and AIDR_EL1, which would say that errata are mended, read as zero
    /// where CPUs differ.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let mut common = self.clone();
        for register in Self::REGISTERS {
            let (a, b) = (self.get(*register), other.get(*register));
            let value = match *register {
                SysReg::MIDR_EL1 | SysReg::CTR_EL0 => a,
                SysReg::REVIDR_EL1 | SysReg::AIDR_EL1 => {
                    if a == b {
                        a
                    } else {
                        0
                    }
                }
                _ => {
                    let fields = policy::REGISTERS.iter().find(|(named, _)| named == register);
                    let fields = fields.map_or(&[][..], |(_, fields)| *fields);
                    fields.iter().fold(least_fields(a, b), |value, field| {
                        value & !(FIELD << field.lsb) | field.common(a, b)
                    })
                }
            };
            common.set(*register, value);
        }
        common
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id_registers::IdRegisters;

    fn read(host: &HostIdRegisters, register: SysReg) -> u64 {
        IdRegisters::for_vm(host).read(register).unwrap()
    }

    /// Four small CPUs and two large ones, as many boards have them.
    #[test]
    fn a_cortex_a53_beside_a_cortex_a72() {
        let small = HostIdRegisters {
            midr: 0x410F_D034,
            revidr: 0x100,
            aa64pfr0: 0x0100_2222,
            aa64dfr0: 0x1030_5106,
            aa64isar0: 0x0001_1120,
            aa64mmfr0: 0x0000_1122,
            ..HostIdRegisters::default()
        };
        let large = HostIdRegisters { midr: 0x410F_D083, revidr: 0, aa64mmfr0: 0x1124, ..small.clone() };
        for common in [small.common(&large), large.common(&small)] {
            assert_eq!(read(&common, SysReg::ID_AA64MMFR0_EL1) & 0xF, 2, "40 bits of address");
            assert_eq!(read(&common, SysReg::ID_AA64ISAR0_EL1), 0x0001_1120);
            assert_eq!(read(&common, SysReg::REVIDR_EL1), 0);
        }
    }

    #[test]
    fn what_one_lacks_is_hidden_from_all() {
        let newer = HostIdRegisters {
            aa64isar0: 2 << 20 | 1 << 44,
            aa64mmfr0: 0xF << 28 | 1 << 20,
            aa64dfr0: 5 << 12,
            ..HostIdRegisters::default()
        };
        let older = HostIdRegisters { aa64dfr0: 3 << 12, aa64pfr0: 0xFF << 16, ..HostIdRegisters::default() };
        let common = newer.common(&older);
        assert_eq!(read(&common, SysReg::ID_AA64ISAR0_EL1), 0, "neither LSE nor DP");
        assert_eq!(read(&common, SysReg::ID_AA64MMFR0_EL1) >> 28 & 0xF, 0xF, "no 4 KiB granule");
        assert_eq!(read(&common, SysReg::ID_AA64MMFR0_EL1) >> 20 & 0xF, 0, "no 16 KiB granule");
        assert_eq!(read(&common, SysReg::ID_AA64DFR0_EL1) >> 12 & 0xF, 3, "four breakpoints");
        assert_eq!(read(&common, SysReg::ID_AA64PFR0_EL1) >> 16 & 0xFF, 0xFF, "no floating point");
    }

    fn host() -> impl Strategy<Value = HostIdRegisters> {
        proptest::collection::vec(any::<u64>(), HostIdRegisters::REGISTERS.len()).prop_map(|values| {
            let mut host = HostIdRegisters::default();
            HostIdRegisters::REGISTERS
                .iter()
                .zip(values)
                .for_each(|(register, value)| host.set(*register, value));
            host
        })
    }

    proptest! {
        /// Whatever a VM sees of all CPUs, each of them has.
        #[test]
        fn each_cpu_has_what_all_have(a in host(), b in host()) {
            let common = a.common(&b);
            for cpu in [&a, &b] {
                for (register, fields) in policy::REGISTERS {
                    let (shown, own) = (read(&common, *register), read(cpu, *register));
                    for field in *fields {
                        let (shown, own) = (shown >> field.lsb & FIELD, own >> field.lsb & FIELD);
                        let is_within = match field.rule {
                            Rule::SignedAtMost(_) => shown == FIELD || own != FIELD && shown <= own,
                            _ => shown <= own,
                        };
                        // Without AArch32 at EL0 its registers are zero.
                        prop_assert!(is_within || own == 0 && register.crm < 4, "{register}.{}", field.name);
                    }
                }
            }
        }

        #[test]
        fn the_order_of_cpus_does_not_matter(a in host(), b in host(), c in host()) {
            let all = |host: &HostIdRegisters| HostIdRegisters { midr: 0, ctr: 0, ..host.clone() };
            prop_assert_eq!(all(&a.common(&b)), all(&b.common(&a)));
            let (left, right) = (a.common(&b).common(&c), a.common(&b.common(&c)));
            prop_assert_eq!(HostIdRegisters { revidr: 0, aidr: 0, ..all(&left) }, HostIdRegisters { revidr: 0, aidr: 0, ..all(&right) });
            prop_assert_eq!(a.common(&a), a);
        }
    }
}

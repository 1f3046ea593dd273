// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::*;

fn field(value: u64, lsb: u32) -> u64 {
    value >> lsb & 0xF
}

/// A host whose every register is `value`, but for EL0's AArch32.
fn host(value: u64) -> HostIdRegisters {
    let mut host = HostIdRegisters::default();
    for register in HostIdRegisters::REGISTERS {
        host.set(*register, value);
    }
    host
}

fn read(host: &HostIdRegisters, register: SysReg) -> u64 {
    IdRegisters::for_vm(host).read(register).unwrap()
}

#[test]
fn the_host_registers_can_be_set_by_encoding() {
    let mut host = HostIdRegisters::default();
    for (index, register) in HostIdRegisters::REGISTERS.iter().enumerate() {
        host.set(*register, index as u64 + 1);
    }
    for (index, register) in HostIdRegisters::REGISTERS.iter().enumerate() {
        assert_eq!(host.get(*register), index as u64 + 1);
    }
    assert_eq!(host.get(SysReg::MPIDR_EL1), 0);
}

#[test]
fn each_policy_is_of_a_register_that_the_host_gives() {
    for (register, fields) in policy::REGISTERS {
        assert!(HostIdRegisters::REGISTERS.contains(register), "{register}");
        let mut used = 0u64;
        for field in *fields {
            assert_eq!(used >> field.lsb & 0xF, 0, "{register}.{} overlaps", field.name);
            used |= 0xF << field.lsb;
        }
    }
}

/// Arm's list of the registers' fields.
const FIELDS: &str = include_str!("fields.txt");

/// A field of four bits: its register, lowest bit and name, and the values that are allocated, in words.
fn arms_fields() -> impl Iterator<Item = (&'static str, u32, &'static str, &'static str)> {
    FIELDS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [register, lsb, width, name, values] = words[..] else { panic!("{line}") };
        (width == "4").then(|| (register, lsb.parse().unwrap(), name, values))
    })
}

#[test]
fn each_field_is_where_arm_has_it_and_shows_what_arm_has_allocated() {
    for (register, fields) in policy::REGISTERS {
        for field in *fields {
            let is_it = |(of, lsb, name, _): &(&str, u32, &str, &str)| {
                (Some(*of), *lsb, *name) == (register.name(), field.lsb, field.name)
            };
            let (.., values) = arms_fields()
                .find(is_it)
                .unwrap_or_else(|| panic!("{register} has no {} at bit {}", field.name, field.lsb));
            let allocated = |value: u8| values.split(',').any(|it| it.parse() == Ok(value));
            let is_allocated = match field.rule {
                Rule::AtMost(limit) | Rule::Fixed(limit) => allocated(limit),
                Rule::SignedAtMost(limit) => allocated(limit) && allocated(15),
                Rule::AsHost => true,
            };
            assert!(is_allocated, "{register}.{}: {:?} of {values}", field.name, field.rule);
        }
    }
}

/// QEMU's cortex-a72, as the machine `virt` with `virtualization=on` shows it.
#[test]
fn a_cortex_a72() {
    let host = HostIdRegisters {
        aa64pfr0: 0x0100_2222,
        aa64dfr0: 0x1030_5106,
        aa64isar0: 0x0001_1120,
        aa64mmfr0: 0x0000_1124,
        pfr0: 0x131,
        isar5: 0x1_1121,
        mvfr0: 0x1011_0222,
        ..HostIdRegisters::default()
    };
    assert_eq!(read(&host, SysReg::ID_AA64PFR0_EL1), 0x0100_0012);
    assert_eq!(read(&host, SysReg::ID_AA64DFR0_EL1), 0xF0_1030_5006);
    assert_eq!(read(&host, SysReg::ID_AA64ISAR0_EL1), 0x0001_1120);
    // SNSMem is hidden, mixed endianness shown.
    assert_eq!(read(&host, SysReg::ID_AA64MMFR0_EL1), 0x124);
    assert_eq!(read(&host, SysReg::ID_PFR0_EL1), 0x131);
    assert_eq!(read(&host, SysReg::ID_ISAR5_EL1), 0x1_1121);
    assert_eq!(read(&host, SysReg::MVFR0_EL1), 0x1011_0222);
}

#[test]
fn a_machine_with_everything_shows_nothing_that_would_trap() {
    // The highest positive value of each field, as a CPU of the far future might have.
    let host = host(0x7777_7777_7777_7777);
    let hidden = [
        (SysReg::ID_AA64PFR0_EL1, &[8, 12, 28, 32, 36, 40, 44, 52][..]),
        (SysReg::ID_AA64PFR1_EL1, &[8, 12, 16, 24, 28, 36, 40, 44, 48, 52, 56, 60]),
        (SysReg::ID_AA64DFR0_EL1, &[4, 8, 16, 24, 32, 40, 44, 48, 52, 56, 60]),
        (SysReg::ID_AA64ISAR0_EL1, &[0, 24]),
        (SysReg::ID_AA64ISAR1_EL1, &[56, 60]),
        (SysReg::ID_AA64ISAR2_EL1, &[16, 32, 36, 40, 44, 56, 60]),
        (SysReg::ID_AA64MMFR0_EL1, &[12, 24, 28, 32, 36, 40, 48, 52, 56, 60]),
        (SysReg::ID_AA64MMFR1_EL1, &[4, 8, 16, 28, 32, 40, 52, 56]),
        (SysReg::ID_AA64MMFR2_EL1, &[12, 16, 24, 28, 40, 44, 56]),
    ];
    for (register, lsbs) in hidden {
        for lsb in lsbs {
            assert_eq!(field(read(&host, register), *lsb), 0, "{register}, bit {lsb}");
        }
    }
    let whole = [
        SysReg::ID_AA64PFR2_EL1,
        SysReg::ID_AA64ZFR0_EL1,
        SysReg::ID_AA64SMFR0_EL1,
        SysReg::ID_AA64FPFR0_EL1,
        SysReg::ID_AA64DFR1_EL1,
        SysReg::ID_AA64AFR0_EL1,
        SysReg::ID_AA64ISAR3_EL1,
        SysReg::ID_AA64MMFR3_EL1,
        SysReg::ID_AA64MMFR4_EL1,
    ];
    for register in whole {
        assert_eq!(read(&host, register), 0, "{register}");
    }
    assert_eq!(field(read(&host, SysReg::ID_AA64PFR0_EL1), 24), 1, "GICv3");
    assert_eq!(field(read(&host, SysReg::ID_AA64ISAR1_EL1), 4), 5, "pointer authentication");
    assert_eq!(field(read(&host, SysReg::ID_AA64MMFR0_EL1), 0), 5, "48 bits of address");
}

#[test]
fn what_is_absent_stays_absent() {
    // Nothing but signed fields at 15: no floating point, no 4 KiB or 64 KiB granule.
    let mut host = host(0);
    host.aa64pfr0 = 0x00FF_0000;
    host.aa64mmfr0 = 0xFF00_0000;
    assert_eq!(read(&host, SysReg::ID_AA64PFR0_EL1), 0x01FF_0010);
    assert_eq!(read(&host, SysReg::ID_AA64MMFR0_EL1), 0xFF00_0000);
    assert_eq!(read(&host, SysReg::ID_AA64ISAR0_EL1), 0);
}

#[test]
fn without_aarch32_its_registers_are_zero() {
    let mut host = host(0x1111_1111);
    host.aa64pfr0 = 0x11;
    for crm in 1..4 {
        for op2 in 0..8 {
            assert_eq!(read(&host, SysReg::new(3, 0, 0, crm, op2)), 0);
        }
    }
    host.aa64pfr0 = 0x12;
    assert_ne!(read(&host, SysReg::ID_ISAR0_EL1), 0);
}

#[test]
fn el1_is_aarch64_only() {
    for value in [0x0100_0011, 0x0100_2222] {
        let host = HostIdRegisters { aa64pfr0: value, ..HostIdRegisters::default() };
        assert_eq!(field(read(&host, SysReg::ID_AA64PFR0_EL1), 4), 1);
        assert_eq!(field(read(&host, SysReg::ID_AA64PFR0_EL1), 0), value & 0xF);
    }
}

#[test]
fn the_whole_id_space_answers_and_nothing_else() {
    let vm = IdRegisters::for_vm(&host(0x1111_1111_1111_1112));
    for crm in 0..16 {
        for op2 in 0..8 {
            let register = SysReg::new(3, 0, 0, crm, op2);
            let named = matches!((crm, op2), (0, 0 | 6));
            assert_eq!(vm.read(register).is_some(), named || (1..=7).contains(&crm), "{register:?}");
        }
    }
    assert_eq!(vm.read(SysReg::new(3, 0, 0, 4, 3)), Some(0), "unallocated reads as zero");
    assert_eq!(vm.read(SysReg::ACTLR_EL1), None);
    assert_eq!(vm.read(SysReg::new(3, 3, 0, 4, 0)), None);
}

#[test]
fn pstate_follows_the_id_registers() {
    let none = IdRegisters::for_vm(&host(0)).pstate_features();
    assert_eq!(none, PstateFeatures::default());
    let all = IdRegisters::for_vm(&host(0x1111_1111_1111_1111)).pstate_features();
    assert_eq!(all, PstateFeatures { pan: true, ssbs: true, mte: false });
}

proptest! {
    /// A VM never sees more than the hardware has, nor any field that the policy does not name.
    #[test]
    fn a_vm_sees_a_part_of_the_machine(values in proptest::collection::vec(any::<u64>(), 40)) {
        let mut host = HostIdRegisters::default();
        for (register, value) in HostIdRegisters::REGISTERS.iter().zip(values) {
            host.set(*register, value);
        }
        host.aa64pfr0 = host.aa64pfr0 & !0xF | 2;
        let vm = IdRegisters::for_vm(&host);
        for (register, fields) in policy::REGISTERS {
            let (seen, had) = (vm.read(*register).unwrap(), host.get(*register));
            let mut named = 0;
            for rule in *fields {
                named |= 0xF << rule.lsb;
                let (seen, had) = (field(seen, rule.lsb), field(had, rule.lsb));
                match rule.rule {
                    Rule::AtMost(limit) => prop_assert_eq!(seen, had.min(u64::from(limit))),
                    Rule::SignedAtMost(_) if had >= 8 => prop_assert_eq!(seen, 15),
                    Rule::SignedAtMost(limit) => prop_assert_eq!(seen, had.min(u64::from(limit))),
                    Rule::AsHost => prop_assert_eq!(seen, had),
                    Rule::Fixed(value) => prop_assert_eq!(seen, u64::from(value)),
                }
            }
            prop_assert_eq!(seen & !named, 0, "{} shows a field without a policy", register);
        }
    }
}

#[test]
fn aarch32_is_told_of_the_same_breakpoints() {
    // ID_AA64DFR0_EL1 and DBGDIDR of Cortex-A53, A57 and A72: 6 breakpoints, 2 of them for contexts, 4 watchpoints.
    let host = HostIdRegisters { aa64dfr0: 0x1030_5106, ..HostIdRegisters::default() };
    assert_eq!(IdRegisters::for_vm(&host).debug_id(), 0x3516_D000);
}

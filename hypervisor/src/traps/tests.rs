// SPDX-License-Identifier: MIT OR Apache-2.0
use std::collections::BTreeSet;

use vambrace_cpu::id_registers::IdRegisters;
use vambrace_cpu::sysreg::SysReg;

use super::control::Control;
use super::hidden::{Guard, HIDDEN, Hidden};
use super::table::TABLE;
use super::*;
use crate::el1::{self, Keeper};

mod document;

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

/// The values, said once more by hand: a row that is lost or changed shows here, whatever it guards.
#[test]
fn the_registers_hold_what_they_have_to() {
    let plain = Features {
        pointer_auth: false,
        deferred_errors: false,
        encoding: Stage2Encoding::Combining,
        vmids: VmidWidth::Eight,
        pa_bits: 48,
    };
    assert_eq!(plain.hcr(Waiting::InTheMachine), 0x18_807D_063F);
    assert_eq!(plain.hcr(Waiting::Traps), 0x18_807D_663F);
    let full = Features { pointer_auth: true, encoding: Stage2Encoding::Forcing, ..plain };
    assert_eq!(full.hcr(Waiting::InTheMachine), 0x4318_807D_063F);
    assert_eq!(HCR_VSE, 0x100);
    assert_eq!((CPTR, CPTR_TFP), (0x4010_33FF, 0x400));
    assert_eq!((mdcr(0), mdcr(u64::MAX)), (0x808_4E60, 0x808_4E7F));
    assert_eq!(always(Register::Cnthctl), 1);
    assert_eq!(always(Register::Mpam2), 3 << 48);
    assert_eq!(always(Register::IccSre), 0b111);
    assert_eq!(always(Register::Hcrx), 0);
    for register in [
        Register::Hfgrtr,
        Register::Hfgitr,
        Register::Hdfgrtr,
        Register::Hfgrtr2,
        Register::Hfgitr2,
        Register::Hdfgrtr2,
    ] {
        assert_eq!(always(register), 0, "{register:?}");
    }
}

#[test]
fn no_bit_is_two_controls() {
    for (index, control) in TABLE.iter().enumerate() {
        let Control { register, name, lsb, width, setting, .. } = *control;
        assert!(width > 0 && lsb + width <= 64, "{name}");
        if let Setting::Always(value) = setting {
            assert!(value < 1 << width, "{name}");
        }
        let before = &TABLE[..index];
        assert!(before.iter().all(|it| it.register != register || it.mask() & control.mask() == 0), "{name}");
    }
}

/// Every trap that features or registers are guarded by is in the table, and EL2 has it so on every CPU.
#[test]
fn each_control_that_something_counts_on_is_set() {
    let by_register = el1::TABLE.iter().filter_map(|row| match row.keeper {
        Keeper::Trapped(by) | Keeper::Reset(by) => Some((row.name, by)),
        _ => None,
    });
    let by_feature = HIDDEN.iter().flat_map(|hidden| match hidden.guard {
        Guard::Controlled(by) => by.iter().map(|by| (hidden.name, *by)).collect(),
        Guard::Harmless(_) => Vec::new(),
    });
    for (name, by) in by_register.chain(by_feature) {
        assert!(!by.is_empty(), "{name} has no control");
        for trap in by {
            assert!(trap.control().is_some(), "{name}: {trap:?} is not in the table");
            assert!(trap.is_set(), "{name}: {trap:?} is not set");
        }
    }
}

/// What a VM shows of `register` on a machine that has `value` there.
fn shown(register: SysReg, value: u64) -> u64 {
    let mut host = HostIdRegisters::default();
    host.set(register, value);
    IdRegisters::for_vm(&host).read(register).unwrap()
}

/// How a VM shows each value of a field.
fn shown_field(register: SysReg, lsb: u32) -> [u64; 16] {
    std::array::from_fn(|value| shown(register, (value as u64) << lsb) >> lsb & 0xF)
}

fn hidden(register: SysReg, lsb: Option<u32>) -> Vec<&'static Hidden> {
    HIDDEN.iter().filter(|hidden| hidden.register == register && hidden.lsb == lsb).collect()
}

/// AArch64's ID registers that Arm has named.
fn id_registers() -> Vec<SysReg> {
    let all = (4..8).flat_map(|crm| (0..8).map(move |op2| SysReg::new(3, 0, 0, crm, op2)));
    all.filter(|register| register.name().is_some()).collect()
}

/// The other direction of default deny: what the policy hides needs a reason why hiding it is enough.
#[test]
fn each_hidden_feature_is_controlled_or_harmless() {
    let registers = id_registers();
    assert!(registers.len() >= 19);
    for register in registers {
        let is_shown = shown(register, 0x1111_1111_1111_1111) != 0;
        if !is_shown {
            assert_eq!(hidden(register, None).len(), 1, "{register} is hidden whole: say what guards it");
            continue;
        }
        for lsb in (0..64).step_by(4) {
            if shown_field(register, lsb) == [0; 16] {
                let entries = hidden(register, Some(lsb));
                assert_eq!(entries.len(), 1, "{register}, bit {lsb} is hidden: say what guards it");
            }
        }
    }
}

/// The list says of each field the limit that a VM really sees.
#[test]
fn what_is_said_to_be_hidden_is() {
    let mut seen = BTreeSet::new();
    for entry in HIDDEN {
        let Hidden { register, lsb, name, shown: limit, .. } = *entry;
        assert!(seen.insert((register.to_iss(), lsb)), "{register}.{name} is there twice");
        let Some(lsb) = lsb else {
            assert_eq!(shown(register, u64::MAX), 0, "{register}");
            continue;
        };
        // Of a signed field the values from 8 up are "not implemented", and DoubleLock is that on every machine.
        let most = shown_field(register, lsb).into_iter().filter(|value| limit >= 8 || *value < 8).max();
        assert_eq!(most, Some(u64::from(limit)), "{register}.{name}");
    }
}

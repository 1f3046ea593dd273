// SPDX-License-Identifier: MIT OR Apache-2.0
//! What guards registers and features is so on every CPU, and gives a guest what the table says.

use std::collections::BTreeSet;

use vambrace_cpu::exit::{Direction, SystemRegisterAccess};
use vambrace_cpu::id_registers::IdRegisters;
use vambrace_cpu::pstate::ExceptionLevel;
use vambrace_cpu::trap::{TrapOutcome, access};

use super::super::table::UNDEFINED;
use super::super::trap::Trap;
use super::*;

/// The groups of traps that registers and features are guarded by, and whose they are.
fn guards() -> impl Iterator<Item = (&'static str, &'static [Trap])> {
    let by_register = el1::TABLE.iter().filter_map(|row| match row.keeper {
        Keeper::Trapped(by) | Keeper::Reset(by) => Some((row.name, by)),
        _ => None,
    });
    let by_feature = hidden::all().flat_map(|hidden| match hidden.guard {
        Guard::Controlled(by) => by.iter().map(|by| (hidden.name, *by)).collect(),
        Guard::Switched(..) | Guard::Harmless(_) => Vec::new(),
    });
    by_register.chain(by_feature)
}

#[test]
fn each_control_that_something_counts_on_is_set() {
    for (name, by) in guards() {
        assert!(!by.is_empty(), "{name} has no control");
        for trap in by {
            assert!(trap.control().is_some(), "{name}: {trap:?} is not in the table");
            assert!(trap.is_set(), "{name}: {trap:?} is not set");
        }
    }
}

/// A fine-grained trap guards while it is 0 if its name begins with n, and an enable while it is 0.
#[test]
fn a_controls_name_says_with_which_value_it_guards() {
    for (name, by) in guards() {
        for trap in by {
            let is_enable = trap.name.starts_with('n') || trap.name.contains("En");
            assert!(!is_enable || *trap == Trap { value: trap::Value::Zero, ..*trap }, "{name}: {trap:?}");
        }
    }
}

/// What the reasons say is switched is on the list of registers that move with a vCPU.
#[test]
fn a_feature_acts_on_switched_registers_only() {
    let switched: BTreeSet<_> = el1::TABLE
        .iter()
        .filter(|row| matches!(row.keeper, Keeper::Switched(_)))
        .map(|row| row.name)
        .collect();
    for hidden in hidden::all() {
        if let Guard::Switched(_, registers) = hidden.guard {
            assert!(!registers.is_empty(), "{} names no register", hidden.name);
            for register in registers {
                assert!(switched.contains(register), "{}: {register} does not move", hidden.name);
            }
        }
    }
}

/// What the handler makes of an access that comes to it.
fn outcome(register: vambrace_cpu::sysreg::SysReg, direction: Direction) -> TrapOutcome {
    let vm = IdRegisters::for_vm(&HostIdRegisters::default());
    access(SystemRegisterAccess { register, rt: 0, direction }, ExceptionLevel::El1h, &vm)
}

/// Where the table says UNDEFINED, the handler injects that, whatever the access; elsewhere it gives at least one an answer.
#[test]
fn a_guest_finds_what_the_table_says() {
    for row in el1::TABLE {
        let Keeper::Trapped(by) = row.keeper else { continue };
        let is_undefined = by.iter().all(|trap| trap.control().is_some_and(|it| it.guest == UNDEFINED));
        for register in el1::tests::registers_of(row) {
            let outcomes = [Direction::Read, Direction::Write].map(|direction| outcome(register, direction));
            let all_undefined = outcomes == [TrapOutcome::Undefined, TrapOutcome::Undefined];
            // Of the registers by these controls some are UNDEFINED, as their rows say.
            let says_so = register == vambrace_cpu::sysreg::SysReg::new(3, 1, 0, 0, 6);
            assert_eq!(all_undefined, is_undefined || says_so, "{register} of {}", row.name);
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
use std::collections::BTreeSet;

use vambrace_cpu::registers::{El1Registers, PointerAuthKeys};
use vambrace_cpu::sysreg::SysReg;

use super::*;
use crate::arch::traps::control::Register;
use crate::arch::traps::trap::{TIDCP, Value};

/// Arm's list.
const REGISTERS: &str = include_str!("registers.txt");

/// A register of the list: op0 and op1; CRn, CRm and op2; its name.
type Listed = ((u8, u8), (u8, u8, u8), &'static str);

fn registers() -> impl Iterator<Item = Listed> {
    REGISTERS.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut words = line.split(' ');
        let [op0, op1, crn, crm, op2] =
            std::array::from_fn(|_| words.next().unwrap().parse::<u8>().expect("five numbers, a name"));
        ((op0, op1), (crn, crm, op2), words.next().expect("a name"))
    })
}

/// The registers of Arm's list that `row` keeps.
pub(crate) fn registers_of(row: &Row) -> Vec<SysReg> {
    let of_row = |(op, at, _): &Listed| {
        row_of(*op, *at).is_some_and(|index| {
            let Row { op, from, to, .. } = TABLE[index];
            (op, from, to) == (row.op, row.from, row.to)
        })
    };
    registers().filter(of_row).map(|(op, at, _)| SysReg::new(op.0, op.1, at.0, at.1, at.2)).collect()
}

fn row_of(op: (u8, u8), at: (u8, u8, u8)) -> Option<usize> {
    TABLE.iter().position(|row| row.op == op && row.from <= at && at <= row.to)
}

#[test]
fn each_register_of_arms_list_has_a_keeper() {
    let missing: Vec<_> = registers().filter(|(op, at, _)| row_of(*op, *at).is_none()).collect();
    assert_eq!(missing, [], "say in the table what keeps these from the next VM");
    assert!(registers().count() > 1000);
}

#[test]
fn no_row_is_without_a_register() {
    let used: BTreeSet<_> = registers().filter_map(|(op, at, _)| row_of(op, at)).collect();
    for (index, row) in TABLE.iter().enumerate() {
        // What belongs to a CPU's maker has no names in the list.
        assert!(used.contains(&index) || row.keeper == Keeper::Trapped(TIDCP), "{row:?}");
    }
}

/// A view is another register's only while EL1's interrupts are virtual: HCR_EL2.FMO, IMO and AMO.
#[test]
fn interrupts_are_virtual() {
    for name in ["FMO", "IMO", "AMO"] {
        let trap = Trap { register: Register::Hcr, name, value: Value::One };
        assert!(trap.is_set(), "HCR_EL2.{name}");
    }
}

#[test]
fn what_is_switched_is_what_moves_with_a_vcpu() {
    let switched = |group| {
        TABLE
            .iter()
            .filter(move |row| row.keeper == Keeper::Switched(group))
            .map(|row| row.name)
            .collect::<BTreeSet<_>>()
    };
    // EL1 names SP_EL1 only as SP.
    let el1 = El1Registers::default();
    let moved: BTreeSet<_> = el1.named().map(|(name, _)| name).filter(|name| *name != "SP_EL1").collect();
    assert_eq!(switched(Group::El1), moved);
    let keys = PointerAuthKeys::default();
    assert_eq!(switched(Group::PointerAuthKeys), keys.named().map(|(name, _)| name).collect());
    assert_eq!(switched(Group::Fp), BTreeSet::from(["FPCR", "FPSR"]));
}

/// A switched register moves by its name, so the name has to be right.
#[test]
fn single_rows_have_arms_names() {
    for (op, at, name) in registers() {
        let row = row_of(op, at).map(|index| &TABLE[index]).unwrap();
        assert!(row.from != row.to || row.name == name, "{name} is called {}", row.name);
    }
}

#[test]
fn a_trapped_register_is_one_that_the_trap_handler_answers() {
    use vambrace_cpu::exit::{Direction, SystemRegisterAccess};
    use vambrace_cpu::id_registers::{HostIdRegisters, IdRegisters};
    use vambrace_cpu::pstate::ExceptionLevel;
    use vambrace_cpu::trap::{TrapOutcome, access};

    // What is absent for guests is UNDEFINED or constant, never somebody's value.
    let vm = IdRegisters::for_vm(&HostIdRegisters::default());
    for (op, at, name) in registers() {
        let row = row_of(op, at).map(|index| &TABLE[index]).unwrap();
        if !matches!(row.keeper, Keeper::Trapped(_)) {
            continue;
        }
        let register = SysReg::new(op.0, op.1, at.0, at.1, at.2);
        let read = SystemRegisterAccess { register, rt: 0, direction: Direction::Read };
        let known = matches!(access(read, ExceptionLevel::El1h, &vm), TrapOutcome::Emulate(_));
        // The VM's own physical timer, OS Lock, breakpoints and watchpoints.
        let is_own = matches!((op, at.0), ((3, 3), 14) | ((2, 0), 0 | 1));
        assert!(!known || is_own, "{name}");
    }
}

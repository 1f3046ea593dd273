// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a VM does not see, against Arm's list of fields: each difference from the hardware has a reason, and no reason is without.

use std::collections::BTreeSet;

use vambrace_cpu::id_registers::{HostIdRegisters, IdRegisters};
use vambrace_cpu::sysreg::SysReg;

use super::*;

const FIELDS: &str = include_str!("../../../../../cpu/src/id_registers/fields.txt");

/// A field of an ID register, by Arm's list.
#[derive(Clone, Copy, Debug)]
struct Field {
    register: SysReg,
    lsb: u32,
    width: u32,
    name: &'static str,
    /// The values that are allocated, in words.
    values: &'static str,
}

impl Field {
    fn mask(self) -> u64 {
        u64::MAX >> (64 - self.width)
    }

    /// The values that a machine may have there.
    fn values(self) -> Vec<u64> {
        match self.values {
            "*" => (0..=self.mask()).collect(),
            values => values.split(',').map(|value| value.parse().unwrap()).collect(),
        }
    }

    /// What a VM shows on a machine that has `value` there.
    fn shown(self, value: u64) -> u64 {
        let mut host = HostIdRegisters { aa64pfr0: 2, ..HostIdRegisters::default() };
        let others = host.get(self.register) & !(self.mask() << self.lsb);
        host.set(self.register, others | value << self.lsb);
        IdRegisters::for_vm(&host).read(self.register).unwrap() >> self.lsb & self.mask()
    }

    fn is_changed(self) -> bool {
        self.values().into_iter().any(|value| self.shown(value) != value)
    }
}

/// The ID registers by name.
fn register(name: &str) -> SysReg {
    let all = (1..8).flat_map(|crm| (0..8).map(move |op2| SysReg::new(3, 0, 0, crm, op2)));
    all.into_iter().find(|it| it.name() == Some(name)).unwrap_or_else(|| panic!("{name}"))
}

fn fields() -> Vec<Field> {
    let lines = FIELDS.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [name_of_register, lsb, width, name, values] = words[..] else { panic!("{line}") };
            let (lsb, width) = (lsb.parse().unwrap(), width.parse().unwrap());
            Field { register: register(name_of_register), lsb, width, name, values }
        })
        .collect()
}

fn entries(register: SysReg, lsb: Option<u32>) -> Vec<&'static Hidden> {
    hidden::all().filter(|hidden| hidden.register == register && hidden.lsb == lsb).collect()
}

/// The other direction of default deny: what a VM sees other than the hardware has it needs a reason why that is enough.
#[test]
fn each_field_that_a_vm_sees_otherwise_has_a_reason() {
    for field in fields() {
        let (alone, whole) = (entries(field.register, Some(field.lsb)), entries(field.register, None));
        let expected = usize::from(field.is_changed());
        let Field { register, lsb, name, .. } = field;
        assert_eq!(alone.len() + whole.len(), expected, "{register}.{name}, bit {lsb}: {alone:?} {whole:?}");
        assert!(alone.iter().all(|hidden| hidden.name == name), "{register}.{name}: {alone:?}");
    }
}

/// The list of fields has each ID register that a guest can name, or the register has a reason as a whole.
#[test]
fn each_id_register_is_on_the_list() {
    let fields = fields();
    let row = el1::TABLE.iter().find(|row| row.keeper == Keeper::Trapped(trap::TID3)).unwrap();
    let registers = el1::tests::registers_of(row);
    assert!(registers.len() > 40);
    for register in registers {
        let is_listed = fields.iter().any(|field| field.register == register);
        assert!(is_listed || !entries(register, None).is_empty(), "{register}");
    }
}

/// The list says of each field the limit that a VM really sees.
#[test]
fn what_is_said_to_be_hidden_is() {
    let fields = fields();
    let mut seen = BTreeSet::new();
    for entry in hidden::all() {
        let Hidden { register, lsb, name, shown: limit, .. } = *entry;
        assert!(seen.insert((register.to_iss(), lsb)), "{register}.{name} is there twice");
        let Some(lsb) = lsb else {
            let mut of = fields.iter().filter(|field| field.register == register);
            assert!(
                of.all(|field| field.values().into_iter().all(|value| field.shown(value) == 0)),
                "{register}"
            );
            continue;
        };
        let field = fields.iter().find(|field| (field.register, field.lsb) == (register, lsb));
        let field = field.unwrap_or_else(|| panic!("{register} has no field at bit {lsb}"));
        // Of a signed field 15 is "not implemented" and stays so, and DoubleLock is that on every machine.
        let shown = field.values().into_iter().map(|value| field.shown(value));
        let most = shown.filter(|value| limit >= 8 || *value < 8).max();
        assert_eq!(most, Some(u64::from(limit)), "{register}.{name}");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where each control is, against Arm's own list.

use super::document::REGISTERS;
use super::*;

const BITS: &str = include_str!("../controls.txt");

/// The name of the control at these bits of `register`, by Arm's list.
fn name_at(register: &str, lsb: u32, width: u32) -> Option<&'static str> {
    BITS.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut words = line.split(' ');
        let mut next = || words.next().expect("a register, two numbers, a name");
        let found = (next(), next().parse(), next().parse());
        (found == (register, Ok(lsb), Ok(width))).then(next)
    })
}

#[test]
fn each_control_is_where_arm_has_it() {
    for control in TABLE {
        let (_, registers) = REGISTERS.iter().find(|(register, _)| *register == control.register).unwrap();
        let mut registers = registers.split(", ");
        let Control { name, lsb, width, .. } = *control;
        let read = registers.next().unwrap();
        assert_eq!(name_at(read, lsb, width), Some(name), "{read}, bit {lsb}");
        // What is written to both registers of a pair is the same control in both, or nothing.
        for write in registers {
            assert!(name_at(write, lsb, width).is_none_or(|other| other == name), "{write}, bit {lsb}");
        }
    }
}

/// A later feature is off as long as EL2 does not know it: each enable and each fine-grained trap of Arm's is 0, but for what
/// the table sets.
#[test]
fn what_the_table_does_not_know_is_off() {
    let mut enables = 0;
    for line in BITS.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let [register, lsb, _, name] = words[..] else { panic!("{line}") };
        let is_enable = name.starts_with('n') || name.starts_with("En");
        let Some((register, _)) =
            REGISTERS.iter().find(|(_, names)| names.split(", ").any(|it| it == register))
        else {
            panic!("{register} is none that EL2 writes")
        };
        if is_enable {
            enables += 1;
            assert_eq!(always(*register) >> lsb.parse::<u32>().unwrap() & 1, 0, "{name}");
        }
    }
    assert!(enables > 50);
}

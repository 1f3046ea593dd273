// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an access can meet while tables change.

use super::*;

const HERE: u64 = 5 * PAGE + 4;

fn by(descriptor: u64) -> Outcome {
    Outcome::Memory { pa: Pa((descriptor & !0xfff) + HERE % PAGE), attributes: descriptor & 0xffc }
}

fn possible(machine: &TlbMachine, va: u64) -> Vec<Outcome> {
    machine.possible(1, Va(va), 0).into_iter().collect()
}

#[test]
fn a_page_that_goes_is_met_until_it_is_invalidated() {
    let mut machine = machine();
    let old = by(0x5000_5000 | RAM);
    assert_eq!(possible(&machine, HERE), [old]);
    machine.write(LEAF, 0);
    assert_eq!(possible(&machine, HERE), [old, Outcome::TranslationFault]);
    machine.publish();
    assert_eq!(possible(&machine, HERE), [old, Outcome::TranslationFault]);
    assert_eq!(machine.holders(Pa(0x5000_5000)).len(), 4, "stage 2 and combined, on both CPUs");
    invalidate(&mut machine, by_ipa(Reach::LastLevel));
    assert_eq!(possible(&machine, HERE), [old, Outcome::TranslationFault], "by the combined entry");
    assert_eq!(machine.holders(Pa(0x5000_5000)).len(), 2);
    invalidate(&mut machine, Tlbi::Stage1);
    assert_eq!(possible(&machine, HERE), [Outcome::TranslationFault]);
    assert_eq!(machine.holders(Pa(0x5000_5000)), []);
}

#[test]
fn a_walk_goes_on_in_a_table_that_is_cached() {
    let mut machine = machine();
    machine.write(SECOND, 0);
    invalidate(&mut machine, by_ipa(Reach::LastLevel));
    invalidate(&mut machine, Tlbi::Stage1);
    machine.publish();
    machine.write(LEAF, 0x6000_5000 | RAM);
    machine.publish();
    assert!(possible(&machine, HERE).contains(&by(0x6000_5000 | RAM)));
    assert_eq!(machine.holders(THIRD).len(), 2, "as a table, on both CPUs");
    machine.free(THIRD);
    assert_eq!(machine.possible(1, Va(4 * PAGE), 0).last(), Some(&Outcome::AddressSizeFault));
}

#[test]
fn a_walk_may_leave_the_tables_and_the_space() {
    let mut machine = machine();
    machine.write(Pa(TABLE.0 + 8), 0x7000_0000 | 0b11);
    machine.write(Pa(TABLE.0 + 16), 1 << 32 | 0b11);
    machine.publish();
    let faults = |va| possible(&machine, va);
    assert_eq!(faults(1 << 30), [Outcome::Astray { table: Pa(0x7000_0000) }]);
    assert_eq!(faults(2 << 30), [Outcome::AddressSizeFault]);
    assert_eq!(faults(3 << 30), [Outcome::TranslationFault]);
    assert_eq!(faults(1 << 39), [Outcome::TranslationFault], "beyond the IPA space");
}

#[test]
fn entries_of_a_vm_that_is_not_loaded_count() {
    let mut machine = machine();
    machine.load(1, context(2, vec![Window::IDENTITY]));
    machine.unload(0);
    assert_eq!(possible(&machine, HERE), [by(0x5000_5000 | RAM)]);
    assert!(machine.possible(0, Va(HERE), 0).is_empty(), "nothing runs there");
    assert_eq!(machine.holders(Pa(0x5000_5000)).len(), 6, "two on CPU 0, and of each VMID two on CPU 1");
    assert_eq!(machine.holders(Pa(0x5000_6000)), []);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the model makes of each TLBI, and of each kind of negligence.

mod instructions;
mod issuers;
mod operands;
mod outcomes;
mod stage1;
mod tags;
mod zoo;

use super::*;
use crate::granule::Granule;
use crate::stage2::Reach;

const TABLE: Pa = Pa(0x10_0000);
const SECOND: Pa = Pa(0x10_1000);
const THIRD: Pa = Pa(0x10_2000);
const PAGE: u64 = 0x1000;
/// 39 bits of IPA from level 1.
const VTCR: u64 = 25 | 1 << 6;
const RAM: u64 = 0x7ff;

fn context(vmid: u64, windows: Vec<Window>) -> Context {
    Context::from_registers(VTCR, vmid << 48 | TABLE.0, windows)
}

fn window(va: u64, ipa: u64, size: u64, asid: Option<u16>) -> Window {
    Window { va: Va(va), ipa: Ipa(ipa), size, asid }
}

/// Two CPUs run VMID 1, whose page 5 is at 0x5000_5000.
fn machine_with(windows: Vec<Window>) -> TlbMachine {
    let mut machine = TlbMachine::new(2);
    machine.write(Pa(THIRD.0 + 5 * 8), 0x5000_5000 | RAM);
    machine.write(SECOND, THIRD.0 | 3);
    machine.write(TABLE, SECOND.0 | 3);
    machine.publish();
    machine.load(0, context(1, windows.clone()));
    machine.load(1, context(1, windows));
    assert_eq!(machine.verify(), []);
    machine
}

fn machine() -> TlbMachine {
    machine_with(vec![Window::IDENTITY])
}

const LEAF: Pa = Pa(THIRD.0 + 5 * 8);

fn reaches(machine: &TlbMachine, va: u64, asid: u16) -> bool {
    !machine.outcomes(1, Va(va), asid).is_empty()
}

fn invalidate(machine: &mut TlbMachine, op: Tlbi) {
    machine.issue(0, op, Scope::InnerShareable);
    machine.complete(0);
    machine.synchronize(0);
}

fn by_ipa(reach: Reach) -> Tlbi {
    Tlbi::Ipa { addresses: Addresses::one(5 * PAGE), reach }
}

fn by_va(va: u64, asid: Option<u16>) -> Tlbi {
    Tlbi::Va { addresses: Addresses::one(va), asid, reach: Reach::LastLevel }
}

#[test]
fn what_faults_is_not_cached() {
    let mut machine = machine();
    machine.write(Pa(THIRD.0 + 6 * 8), 0x5000_6000 | RAM);
    machine.publish();
    assert_eq!(machine.verify(), []);
    assert_eq!(machine.outcomes(1, Va(6 * PAGE + 4), 0), [Pa(0x5000_6004)]);
}

#[test]
fn an_entry_outlives_its_descriptor() {
    let mut machine = machine();
    machine.write(LEAF, 0);
    machine.publish();
    assert!(reaches(&machine, 5 * PAGE, 0));
    assert_eq!(machine.verify().len(), 4, "stage 2 and combined, on both CPUs");
}

#[test]
fn invalidation_by_ipa_leaves_combined_entries() {
    let mut machine = machine();
    machine.write(LEAF, 0);
    machine.publish();
    invalidate(&mut machine, by_ipa(Reach::LastLevel));
    assert!(reaches(&machine, 5 * PAGE, 0));
    invalidate(&mut machine, Tlbi::Stage1);
    assert!(!reaches(&machine, 5 * PAGE, 0));
    assert_eq!(machine.verify(), []);
}

#[test]
fn stage_1_first_is_in_vain() {
    let mut machine = machine();
    machine.write(LEAF, 0);
    machine.publish();
    invalidate(&mut machine, Tlbi::Stage1);
    invalidate(&mut machine, by_ipa(Reach::LastLevel));
    assert!(reaches(&machine, 5 * PAGE, 0), "made again from the stage-2 entry in between");
}

#[test]
fn a_tlbi_before_the_write_is_published_is_in_vain() {
    let mut machine = machine();
    machine.write(LEAF, 0);
    invalidate(&mut machine, Tlbi::Vm);
    assert!(reaches(&machine, 5 * PAGE, 0));
}

#[test]
fn a_tlbi_needs_its_barriers() {
    let mut machine = machine();
    machine.write(LEAF, 0);
    machine.publish();
    machine.issue(0, Tlbi::Vm, Scope::InnerShareable);
    machine.publish();
    assert!(reaches(&machine, 5 * PAGE, 0), "DSB ISHST does not complete it");
    machine.complete(1);
    assert!(reaches(&machine, 5 * PAGE, 0), "nor does another CPU's DSB ISH");
    machine.complete(0);
    assert!(!reaches(&machine, 5 * PAGE, 0));
    assert_eq!(machine.verify(), [Violation::NotSynchronized { cpu: 0 }]);
    machine.synchronize(0);
    assert_eq!(machine.verify(), []);
}

#[test]
fn a_local_tlbi_leaves_the_other_cpu() {
    let mut machine = machine();
    machine.write(LEAF, 0);
    machine.publish();
    machine.issue(0, Tlbi::All, Scope::Local);
    machine.complete(0);
    assert!(machine.outcomes(0, Va(5 * PAGE), 0).is_empty());
    assert!(reaches(&machine, 5 * PAGE, 0));
}

#[test]
fn a_tlbi_is_for_the_vmid_loaded() {
    let mut machine = machine();
    machine.write(LEAF, 0);
    machine.publish();
    machine.load(0, Context::from_registers(VTCR, 2 << 48 | 0x20_0000, vec![]));
    invalidate(&mut machine, Tlbi::Vm);
    assert!(reaches(&machine, 5 * PAGE, 0));
    invalidate(&mut machine, Tlbi::All);
    assert!(!reaches(&machine, 5 * PAGE, 0));
}

#[test]
fn an_entry_waits_for_its_vmid() {
    let mut machine = machine();
    machine.unload(0);
    machine.unload(1);
    machine.write(LEAF, 0);
    machine.publish();
    assert_eq!(machine.verify(), [], "no CPU can use it");
    machine.load(1, context(1, vec![Window::IDENTITY]));
    assert!(reaches(&machine, 5 * PAGE, 0));
    assert_ne!(machine.verify(), []);
}

#[test]
fn the_walk_goes_on_in_an_unlinked_table() {
    let mut machine = machine();
    machine.write(SECOND, 0);
    machine.publish();
    invalidate(&mut machine, by_ipa(Reach::LastLevel));
    invalidate(&mut machine, Tlbi::Stage1);
    assert!(reaches(&machine, 5 * PAGE, 0), "from the cached table");
    machine.free(THIRD);
    assert!(machine.verify().contains(&Violation::FreedTable { cpu: 1, frame: THIRD }));
}

#[test]
fn a_wrong_level_hint_misses() {
    let mut machine = machine();
    machine.write(LEAF, 0);
    machine.publish();
    invalidate(
        &mut machine,
        Tlbi::Ipa {
            addresses: Addresses::One {
                address: 5 * PAGE,
                hint: Some(Hint { granule: Granule::Kib4, level: 2 }),
            },
            reach: Reach::AllLevels,
        },
    );
    invalidate(&mut machine, Tlbi::Stage1);
    assert!(machine.verify().iter().any(|found| matches!(found, Violation::Stale { .. })));
}

#[test]
fn changes_without_a_break_are_seen() {
    let breaks = |machine: &TlbMachine| {
        machine.verify().iter().any(|found| matches!(found, Violation::BreakBeforeMake { .. }))
    };
    let mut output = machine();
    output.write(LEAF, 0x6000_5000 | RAM);
    assert!(breaks(&output), "output address");
    let mut memory_type = machine();
    memory_type.write(LEAF, 0x5000_5000 | RAM & !0b11_1100);
    assert!(breaks(&memory_type), "memory type");
    let mut size = machine();
    size.write(SECOND, 0x5000_0000 | RAM & !0b10);
    assert!(breaks(&size), "table to block");
    let mut other_table = machine();
    other_table.write(SECOND, 0x10_3003);
    assert!(breaks(&other_table), "table to table");
    let mut permission = machine();
    permission.write(LEAF, 0x5000_5000 | RAM & !(1 << 7));
    assert!(!breaks(&permission), "permissions may change without a break, and need a TLBI all the same");
    permission.publish();
    assert_ne!(permission.verify(), []);
}

#[test]
fn a_table_linked_before_its_content_is_seen_with_its_old_content() {
    let mut machine = machine();
    let frame = Pa(0x10_4000);
    machine.free(frame);
    for word in 0..512 {
        machine.write(Pa(frame.0 + word * 8), 0);
    }
    machine.write(Pa(SECOND.0 + 8), frame.0 | 3);
    machine.publish();
    assert_ne!(machine.verify(), []);
}

#[test]
fn invalidation_by_address_and_asid() {
    let all = || {
        machine_with(vec![
            window(0xa000, 5 * PAGE, PAGE, Some(1)),
            window(0xa000, 5 * PAGE, PAGE, Some(2)),
            window(0xb000, 5 * PAGE, PAGE, Some(1)),
            window(0xc000, 5 * PAGE, PAGE, None),
        ])
    };
    let places = [(0xa000, 1), (0xa000, 2), (0xb000, 1), (0xc000, 1)];
    let cases = [
        (by_va(0xa000, Some(1)), [false, true, true, true]),
        (by_va(0xc000, Some(9)), [true, true, true, false]),
        (by_va(0xa000, None), [false, false, true, true]),
        (Tlbi::Asid { asid: 1 }, [false, true, false, true]),
        (Tlbi::Stage1, [false; 4]),
        (Tlbi::Vm, [false; 4]),
        (Tlbi::All, [false; 4]),
        (by_ipa(Reach::AllLevels), [true; 4]),
    ];
    for (op, left) in cases {
        let mut machine = all();
        // The guest unmaps all four on both CPUs; our tables stay.
        machine.load(0, context(1, vec![]));
        machine.load(1, context(1, vec![]));
        invalidate(&mut machine, op);
        let found = places.map(|(va, asid)| reaches(&machine, va, asid));
        assert_eq!(found, left, "{op:?}");
    }
}

#[test]
fn an_entry_of_one_asid_is_no_use_to_another() {
    let machine = machine_with(vec![window(0xa000, 5 * PAGE, PAGE, Some(1))]);
    assert!(reaches(&machine, 0xa000, 1));
    assert!(!reaches(&machine, 0xa000, 2));
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest that changes its own tables, with two CPUs walking them.

use super::zoo::{el1, global, one};
use super::*;

/// The VM's memory: one stage-2 block.
const RAM_IPA: u64 = 0x20_0000;
const RAM_PA: u64 = 0x5020_0000;
/// Three tables at its start, for 39 bits of VA, and a page.
const TABLES: [u64; 3] = [RAM_IPA, RAM_IPA + PAGE, RAM_IPA + 2 * PAGE];
const HERE: u64 = 0x4000_5000;
const THERE: u64 = RAM_IPA + 0x1_0000;
const INDEX: [u64; 3] = [1, 0, 5];

const TCR: u64 = 25 | 1 << 36;
const PAGE_LEAF: u64 = 1 << 10 | 0b11;
const NOT_GLOBAL: u64 = 1 << 11;
const CONTIGUOUS: u64 = 1 << 52;

fn write(machine: &mut TlbMachine, ipa: u64, value: u64) {
    machine.write(Pa(ipa - RAM_IPA + RAM_PA), value);
}

fn slot(table: usize) -> u64 {
    TABLES[table] + INDEX[table] * 8
}

fn guest(asid: u64) -> Context {
    context(1, vec![]).with_stage1(TCR, asid << 48 | TABLES[0])
}

/// `HERE` leads `THERE`, in ASID 3, on both CPUs.
fn guest_machine(flags: u64) -> TlbMachine {
    let mut machine = TlbMachine::new(2);
    machine.write(Pa(SECOND.0 + 8), RAM_PA | RAM & !0b10);
    machine.write(TABLE, SECOND.0 | 3);
    write(&mut machine, slot(0), TABLES[1] | 3);
    write(&mut machine, slot(1), TABLES[2] | 3);
    write(&mut machine, slot(2), THERE | PAGE_LEAF | flags);
    machine.publish();
    for cpu in 0..2 {
        machine.load(cpu, guest(3));
    }
    assert_eq!(machine.verify(), []);
    machine
}

fn by_guest(machine: &mut TlbMachine, operation: Operation, va: u64) {
    let instruction = Instruction { operation, scope: Scope::InnerShareable };
    machine.execute(0, instruction, one(va, 3), Issuer::El1 { hcr: 0 }).unwrap();
    machine.complete(0);
    machine.synchronize(0);
}

fn pages(machine: &TlbMachine, asid: u16) -> Vec<Pa> {
    machine.outcomes(1, Va(HERE), asid)
}

const PAGE_PA: Pa = Pa(THERE - RAM_IPA + RAM_PA);

#[test]
fn a_walk_caches_each_table_the_leaf_and_both_stages() {
    let machine = guest_machine(NOT_GLOBAL);
    let usable = machine.entries(1).lookup(el1(1, 3), Va(HERE));
    let found: Vec<_> = usable.iter().map(|entry| (entry.kind, entry.source.level, entry.output)).collect();
    let expected = [
        (TlbEntryKind::Stage1Table, 2, TABLES[2]),
        (TlbEntryKind::Stage1Table, 1, TABLES[1]),
        (TlbEntryKind::Stage1Leaf, 3, THERE),
        (TlbEntryKind::Combined, 3, PAGE_PA.0),
    ];
    assert_eq!(found, expected);
    assert_eq!(pages(&machine, 3), [PAGE_PA]);
}

#[test]
fn leaves_are_of_the_asid_or_global_and_tables_of_the_asid() {
    for (flags, tag) in [(NOT_GLOBAL, el1(1, 3)), (0, global(1))] {
        let machine = guest_machine(flags);
        let tags = |kind| {
            let of_kind = machine.entries(0).iter().filter(move |entry| entry.kind == kind);
            of_kind.map(|entry| entry.tag).collect::<Vec<_>>()
        };
        assert_eq!(tags(TlbEntryKind::Stage1Table), [el1(1, 3); 2]);
        assert_eq!(tags(TlbEntryKind::Stage1Leaf), [tag]);
        assert_eq!(tags(TlbEntryKind::Combined), [tag]);
        assert_eq!(pages(&machine, 4).is_empty(), flags == NOT_GLOBAL);
    }
}

/// The guest goes over to another address space: what is cached on the way to the old one is of no use there.
#[test]
fn tables_of_another_asid_are_not_walked() {
    let mut machine = guest_machine(NOT_GLOBAL);
    let empty = RAM_IPA + 0x8000;
    for cpu in 0..2 {
        machine.load(cpu, context(1, vec![]).with_stage1(TCR, 4 << 48 | empty));
    }
    assert_eq!(pages(&machine, 4), []);
    assert_eq!(machine.verify(), []);
    assert_eq!(pages(&machine, 3), [PAGE_PA], "it waits for its ASID");
}

#[test]
fn an_unmapped_page_stays_until_its_tlbi() {
    for operation in [Operation::Vale1, Operation::Vaale1, Operation::Aside1, Operation::Vmalle1] {
        let mut machine = guest_machine(NOT_GLOBAL);
        write(&mut machine, slot(2), 0);
        machine.publish();
        assert_eq!(pages(&machine, 3), [PAGE_PA]);
        assert!(machine.verify().iter().any(|found| matches!(found, Violation::StaleStage1 { .. })));
        by_guest(&mut machine, operation, HERE);
        assert_eq!(pages(&machine, 3), []);
        assert_eq!(machine.verify(), []);
    }
}

#[test]
fn a_tlbi_before_the_guests_dsb_is_in_vain() {
    let mut machine = guest_machine(NOT_GLOBAL);
    write(&mut machine, slot(2), 0);
    by_guest(&mut machine, Operation::Vmalle1, 0);
    assert_eq!(pages(&machine, 3), [PAGE_PA]);
}

/// Linux's page-table free: after the last-level TLBI alone, a walker goes on in the page that was the table.
#[test]
fn a_table_unlinked_with_vale1_is_walked_on() {
    for (operation, walked_on) in [(Operation::Vale1, true), (Operation::Vae1, false)] {
        let mut machine = guest_machine(NOT_GLOBAL);
        write(&mut machine, slot(1), 0);
        write(&mut machine, slot(2), 0);
        machine.publish();
        by_guest(&mut machine, operation, HERE);
        assert_eq!(pages(&machine, 3), []);
        let va = Va(HERE).align_down(0x20_0000);
        let stale = Violation::StaleStage1 { cpu: 1, va, ipa: Ipa(TABLES[2]) };
        assert_eq!(machine.verify().contains(&stale), walked_on);
        // The page is used for something else now, which happens to look like this.
        write(&mut machine, slot(2), (THERE + PAGE) | PAGE_LEAF);
        machine.publish();
        let expected = if walked_on { vec![Pa(PAGE_PA.0 + PAGE)] } else { vec![] };
        assert_eq!(pages(&machine, 3), expected, "{operation:?}");
        assert_eq!(machine.verify().is_empty(), !walked_on);
    }
}

#[test]
fn a_guest_that_makes_without_breaking_is_found_out() {
    for breaks in [false, true] {
        let mut machine = guest_machine(NOT_GLOBAL);
        if breaks {
            write(&mut machine, slot(2), 0);
            machine.publish();
            by_guest(&mut machine, Operation::Vale1, HERE);
        }
        write(&mut machine, slot(2), (THERE + PAGE) | PAGE_LEAF | NOT_GLOBAL);
        machine.publish();
        by_guest(&mut machine, Operation::Vale1, HERE);
        let conflict =
            Violation::CombinedConflict { vmid: 1, va: Va(HERE), old: PAGE_PA, new: Pa(PAGE_PA.0 + PAGE) };
        assert_eq!(machine.verify().contains(&conflict), !breaks);
        assert_eq!(pages(&machine, 3), [Pa(PAGE_PA.0 + PAGE)]);
    }
}

/// Global and not: an access in the ASID could use both.
#[test]
fn a_global_page_conflicts_with_that_of_an_asid() {
    let mut machine = guest_machine(0);
    for cpu in 0..2 {
        machine.load(cpu, guest(4));
    }
    write(&mut machine, slot(2), (THERE + PAGE) | PAGE_LEAF | NOT_GLOBAL);
    let conflicts = machine.verify();
    assert!(
        conflicts.iter().any(|found| matches!(found, Violation::CombinedConflict { .. })),
        "{conflicts:?}"
    );
    assert_eq!(pages(&machine, 4), [PAGE_PA, Pa(PAGE_PA.0 + PAGE)]);
}

#[test]
fn a_contiguous_run_must_go_as_a_whole() {
    let mut machine = guest_machine(NOT_GLOBAL);
    let run = |machine: &mut TlbMachine, pages: core::ops::Range<u64>, flags: u64| {
        for page in pages {
            let value = (THERE + page * PAGE) | PAGE_LEAF | NOT_GLOBAL | flags;
            write(machine, TABLES[2] + page * 8, if flags == 0 { 0 } else { value });
        }
        machine.publish();
    };
    write(&mut machine, slot(2), 0);
    machine.publish();
    by_guest(&mut machine, Operation::Vmalle1, 0);
    run(&mut machine, 0..16, CONTIGUOUS);
    assert_eq!(machine.verify(), []);
    assert_eq!(pages(&machine, 3), [Pa(PAGE_PA.0 + 5 * PAGE)]);
    // Page 5 alone: the walkers make the run anew from its neighbours.
    run(&mut machine, 5..6, 0);
    by_guest(&mut machine, Operation::Vale1, HERE);
    assert_eq!(pages(&machine, 3), [Pa(PAGE_PA.0 + 5 * PAGE)]);
    assert_ne!(machine.verify(), []);
    // Without them, any address of the run takes the run, and each page's own entry stays.
    run(&mut machine, 0..16, 0);
    by_guest(&mut machine, Operation::Vale1, HERE + PAGE);
    assert_eq!(pages(&machine, 3), []);
    assert_eq!(machine.outcomes(1, Va(HERE + 2 * PAGE), 3), [Pa(PAGE_PA.0 + 7 * PAGE)]);
    by_guest(&mut machine, Operation::Aside1, 0);
    assert_eq!(machine.verify(), []);
}

/// ASID 3 of two VMs, both of which map the same VA, each on its CPU and then on the other's.
#[test]
fn two_vms_with_one_asid_do_not_meet() {
    let mut machine = guest_machine(NOT_GLOBAL);
    let (root, second) = (Pa(0x30_0000), Pa(0x30_1000));
    let other_ram = 0x7020_0000;
    machine.write(Pa(second.0 + 8), other_ram | RAM & !0b10);
    machine.write(root, second.0 | 3);
    for (table, target) in [(0, TABLES[1] | 3), (1, TABLES[2] | 3), (2, THERE | PAGE_LEAF | NOT_GLOBAL)] {
        machine.write(Pa(slot(table) - RAM_IPA + other_ram), target);
    }
    machine.publish();
    let other = Context::from_registers(VTCR, 2 << 48 | root.0, vec![]);
    machine.load(1, other.with_stage1(TCR, 3 << 48 | TABLES[0]));
    assert_eq!(machine.verify(), []);
    assert_eq!(pages(&machine, 3), [Pa(THERE - RAM_IPA + other_ram)]);
    // VM 1's ASIDE1IS, on CPU 0, is not about VM 2 on CPU 1.
    let held = machine.entries(1).lookup(el1(2, 3), Va(HERE));
    by_guest(&mut machine, Operation::Aside1, 0);
    assert_eq!(machine.entries(1).lookup(el1(2, 3), Va(HERE)), held);
    machine.load(1, guest(3));
    assert_eq!(pages(&machine, 3), [PAGE_PA]);
}

/// The page under a guest's table is exchanged: what was walked through it is of stage 1, and IPAS2E1 leaves it.
#[test]
fn stage_2_below_a_table_changes() {
    let mut machine = guest_machine(NOT_GLOBAL);
    let block = Pa(SECOND.0 + 8);
    let by_el2 = |machine: &mut TlbMachine, operation, operand| {
        let instruction = Instruction { operation, scope: Scope::InnerShareable };
        machine.execute(0, instruction, operand, Issuer::El2 { hcr: 0 }).unwrap();
        machine.complete(0);
        machine.synchronize(0);
    };
    machine.write(block, 0);
    machine.publish();
    by_el2(&mut machine, Operation::Ipas2e1, one(RAM_IPA, 0));
    let kinds = |machine: &TlbMachine| {
        let usable = machine.entries(1).lookup(el1(1, 3), Va(HERE));
        usable.iter().map(|entry| entry.kind).collect::<Vec<_>>()
    };
    assert_eq!(
        kinds(&machine),
        [
            TlbEntryKind::Stage1Table,
            TlbEntryKind::Stage1Table,
            TlbEntryKind::Stage1Leaf,
            TlbEntryKind::Combined
        ]
    );
    assert_ne!(machine.verify(), []);
    by_el2(&mut machine, Operation::Vmalle1, 0);
    assert_eq!(kinds(&machine), []);
    assert_eq!(machine.verify(), []);
}

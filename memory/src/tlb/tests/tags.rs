// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMIDs and ASIDs: who can use what, and how many bits count.

use super::zoo::{HERE, el1, global, one, source, zoo};
use super::*;

const VTCR_VS: u64 = 1 << 19;
const TCR_AS: u64 = 1 << 36;

fn context_with(vtcr: u64, vttbr: u64, tcr: u64, windows: Vec<Window>) -> Context {
    Context::from_registers(vtcr, vttbr, windows).with_tcr(tcr)
}

fn found(current: Tag) -> Vec<&'static str> {
    let mut entries = Entries::new();
    for (_, entry) in zoo() {
        entries.insert(entry);
    }
    let usable = entries.lookup(current, Va(HERE));
    zoo().iter().filter(|(_, entry)| usable.contains(entry)).map(|(name, _)| *name).collect()
}

#[test]
fn asid_5_of_one_vm_is_not_asid_5_of_another() {
    assert_eq!(
        found(el1(2, 5)),
        ["leaf 5 of VM 2", "global leaf of VM 2", "table 5 of VM 2", "combined 5 of VM 2"]
    );
    assert_eq!(found(el1(2, 6)), ["global leaf of VM 2"]);
    assert_eq!(found(el1(3, 5)), [""; 0], "global is global in its VM");
}

#[test]
fn an_access_can_use_its_asid_and_what_is_global() {
    assert_eq!(found(el1(1, 6)), ["leaf 6", "table 6", "combined 6", "global leaf", "global combined"]);
    let five = found(el1(1, 5));
    assert!(five.contains(&"table 5") && five.contains(&"combined 5") && five.contains(&"global leaf"));
    assert!(!five.contains(&"table 6") && !five.contains(&"piece of block 5"));
}

#[test]
fn el2_and_el1_do_not_meet() {
    assert_eq!(found(Tag::El2), ["EL2 leaf", "EL2 block", "EL2 table"]);
}

#[test]
fn stage_2_is_found_by_ipa_and_vmid() {
    let mut entries = Entries::new();
    for (_, entry) in zoo() {
        entries.insert(entry);
    }
    assert_eq!(entries.lookup_ipa(1, Ipa(super::zoo::IPA)).len(), 6);
    assert_eq!(entries.lookup_ipa(2, Ipa(super::zoo::IPA)).len(), 2);
    assert_eq!(entries.lookup_ipa(3, Ipa(super::zoo::IPA)), []);
}

#[test]
fn vmids_of_16_bits_are_told_apart_by_their_upper_byte() {
    let vmids = [0x0107, 0x0207, 0x0007, 0xff07];
    let contexts = vmids.map(|vmid| context_with(VTCR | VTCR_VS, vmid << 48, TCR_AS, vec![]));
    assert_eq!(contexts.map(|context| u64::from(context.vmid())), vmids);
    for vmid in vmids {
        let mut entries = Entries::new();
        for other in vmids {
            entries.insert(TlbEntry::new(TlbEntryKind::Stage1Leaf, el1(other as u16, 5), source(3, HERE), 0));
        }
        entries.forget(Tlbi::Vm, vmid as u16);
        assert_eq!(entries.iter().count(), 3);
        assert_eq!(entries.lookup(el1(vmid as u16, 5), Va(HERE)), []);
    }
}

#[test]
fn vmids_of_8_bits_ignore_the_upper_byte_of_vttbr() {
    let vmid = |vttbr| context_with(VTCR, vttbr, TCR_AS, vec![]).vmid();
    assert_eq!(vmid(0x0107 << 48), 7);
    assert_eq!(vmid(0xff07 << 48), 7);
}

/// Two VMs whose VMIDs differ in the upper byte alone, on one CPU one after the other.
#[test]
fn with_vs_clear_such_vms_would_meet() {
    let reached = |vtcr: u64| {
        let mut machine = machine();
        machine.unload(1);
        let load = |machine: &mut TlbMachine, vmid: u64, root: Pa| {
            machine.load(0, context_with(vtcr, vmid << 48 | root.0, TCR_AS, vec![Window::IDENTITY]));
        };
        load(&mut machine, 0x0103, TABLE);
        load(&mut machine, 0x0203, Pa(0x20_0000));
        !machine.outcomes(0, Va(5 * PAGE), 0).is_empty()
    };
    assert!(!reached(VTCR | VTCR_VS));
    assert!(reached(VTCR));
}

#[test]
fn asids_of_16_bits_are_told_apart_by_their_upper_byte() {
    let context = context_with(VTCR, 1 << 48, TCR_AS, vec![]);
    assert_eq!(context.tag(0x0105), el1(1, 0x0105));
    let entries: Vec<TlbEntry> = [0x0105, 0x0205, 0x0005]
        .map(|asid| TlbEntry::new(TlbEntryKind::Stage1Leaf, el1(1, asid), source(3, HERE), 0))
        .into();
    for op in [Operation::Aside1, Operation::Vae1] {
        let op = Tlbi::new(op, one(HERE, 0x0205), RangeUnit::Granule);
        let gone: Vec<bool> = entries.iter().map(|entry| op.forgets(1, entry)).collect();
        assert_eq!(gone, [false, true, false]);
    }
}

/// The guest's TCR_EL1.AS is clear: ASID 0x305 in a TTBR or an operand is ASID 5.
#[test]
fn asids_of_8_bits_ignore_the_upper_byte() {
    let windows = vec![window(0xa000, 5 * PAGE, PAGE, Some(0x0305))];
    for (tcr, meets) in [(0, true), (TCR_AS, false)] {
        let load = |machine: &mut TlbMachine, windows: &[Window]| {
            for cpu in 0..2 {
                machine.load(cpu, context_with(VTCR, 1 << 48 | TABLE.0, tcr, windows.to_vec()));
            }
        };
        let mut machine = machine_with(vec![]);
        load(&mut machine, &windows);
        assert_eq!(reaches(&machine, 0xa000, 5), meets, "in use");
        assert_eq!(reaches(&machine, 0xa000, 0x0705), meets, "in use");
        load(&mut machine, &[]);
        let aside1is = Instruction { operation: Operation::Aside1, scope: Scope::InnerShareable };
        machine.execute(0, aside1is, 0x0905 << 48, Issuer::El1 { hcr: 0 }).unwrap();
        machine.complete(0);
        assert_eq!(!reaches(&machine, 0xa000, 0x0305), meets, "invalidated");
    }
}

#[test]
fn range_units_follow_the_registers() {
    const TCR_DS: u64 = 1 << 59;
    const VTCR_DS: u64 = 1 << 32;
    let rvae1 = |context: &Context| Tlbi::in_context(Operation::Rvae1, 1 << 46 | 1, context);
    let ripas2e1 = |context: &Context| Tlbi::in_context(Operation::Ripas2e1, 1 << 46 | 1, context);
    let first = |op| match op {
        Tlbi::Va { addresses: Addresses::Range { first, .. }, .. }
        | Tlbi::Ipa { addresses: Addresses::Range { first, .. }, .. } => first,
        other => panic!("{other:?}"),
    };
    let plain = context_with(VTCR, 0, TCR_AS, vec![]);
    assert_eq!((first(rvae1(&plain)), first(ripas2e1(&plain))), (0x1000, 0x1000));
    let stage1 = context_with(VTCR, 0, TCR_AS | TCR_DS, vec![]);
    assert_eq!((first(rvae1(&stage1)), first(ripas2e1(&stage1))), (0x1_0000, 0x1000));
    let stage2 = context_with(VTCR | VTCR_DS, 0, TCR_AS, vec![]);
    assert_eq!((first(rvae1(&stage2)), first(ripas2e1(&stage2))), (0x1000, 0x1_0000));
}

#[test]
fn global_entries_are_no_asids() {
    let entry = TlbEntry::new(TlbEntryKind::Stage1Leaf, global(1), source(3, HERE), 0);
    for asid in [0, 5, u16::MAX] {
        assert!(!Tlbi::Asid { asid }.forgets(1, &entry));
    }
}

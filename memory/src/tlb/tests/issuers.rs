// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who executes a TLBI, where it reaches, and when.

use super::zoo::{HERE, el1, one, source};
use super::*;

const HCR_FB: u64 = 1 << 9;
const HCR_TTLB: u64 = 1 << 25;
const HCR_TGE: u64 = 1 << 27;
const HCR_E2H: u64 = 1 << 34;
const HCR_TTLBIS: u64 = 1 << 54;
const HCR_TTLBOS: u64 = 1 << 55;

const SCOPES: [Scope; 3] = [Scope::Local, Scope::InnerShareable, Scope::OuterShareable];

const fn instruction(operation: Operation, scope: Scope) -> Instruction {
    Instruction { operation, scope }
}

/// On which of two CPUs an entry of EL1&0 is gone after `issuer` on CPU 0 executed and completed the instruction.
fn gone_after(issuer: Issuer, instruction: Instruction) -> [bool; 2] {
    let mut machine = machine();
    let entry = TlbEntry::new(TlbEntryKind::Stage1Table, el1(1, 5), source(2, HERE), 0);
    for cpu in 0..2 {
        machine.fetch(cpu, entry);
    }
    machine.execute(0, instruction, one(HERE, 5), issuer).unwrap();
    assert!((0..2).all(|cpu| machine.entries(cpu).iter().any(|found| *found == entry)), "before the DSB");
    machine.complete(0);
    [0, 1].map(|cpu| !machine.entries(cpu).iter().any(|found| *found == entry))
}

#[test]
fn a_local_form_reaches_one_cpu_and_the_others_all() {
    for issuer in [Issuer::El1 { hcr: 0 }, Issuer::El2 { hcr: 0 }] {
        for (scope, expected) in SCOPES.into_iter().zip([[true, false], [true; 2], [true; 2]]) {
            assert_eq!(
                gone_after(issuer, instruction(Operation::Vae1, scope)),
                expected,
                "{issuer:?} {scope:?}"
            );
        }
    }
}

#[test]
fn fb_makes_a_guests_local_tlbi_reach_all() {
    let local = |operation| instruction(operation, Scope::Local);
    let of_el1 = Instruction::all().filter(|all| all.scope == Scope::Local && all.encoding().0 == 0);
    let mut count = 0;
    for local in of_el1 {
        assert_eq!(
            local.executed_by(Issuer::El1 { hcr: HCR_FB }),
            Ok(instruction(local.operation, Scope::InnerShareable))
        );
        count += 1;
    }
    assert_eq!(count, 10);
    assert_eq!(gone_after(Issuer::El1 { hcr: HCR_FB }, local(Operation::Vae1)), [true; 2]);
    // Not ours: the hypervisor's local TLBIs stay local.
    assert_eq!(gone_after(Issuer::El2 { hcr: HCR_FB }, local(Operation::Vae1)), [true, false]);
    let outer = instruction(Operation::Vae1, Scope::OuterShareable);
    assert_eq!(outer.executed_by(Issuer::El1 { hcr: HCR_FB }), Ok(outer));
}

#[test]
fn el1_has_no_tlbi_of_stage_2_and_el2() {
    for instruction in Instruction::all() {
        let at_el1 = instruction.executed_by(Issuer::El1 { hcr: 0 });
        if instruction.to_string().contains("E2")
            || instruction.to_string().contains("S2")
            || instruction.to_string().contains("S12")
            || instruction.operation == Operation::Alle1
        {
            assert_eq!(at_el1, Err(Refused::Undefined), "{instruction}");
        } else {
            assert_eq!(at_el1, Ok(instruction));
        }
        assert_eq!(instruction.executed_by(Issuer::El2 { hcr: 0 }), Ok(instruction));
    }
}

#[test]
fn traps_go_by_scope() {
    let trapped = |hcr| {
        SCOPES.map(|scope| {
            let result = instruction(Operation::Vae1, scope).executed_by(Issuer::El1 { hcr });
            result == Err(Refused::Trapped)
        })
    };
    assert_eq!(trapped(HCR_TTLB), [true; 3]);
    assert_eq!(trapped(HCR_TTLBIS), [false, true, false]);
    assert_eq!(trapped(HCR_TTLBOS), [false, false, true]);
    assert_eq!(trapped(HCR_FB), [false; 3]);
    let own = instruction(Operation::Vae1, Scope::Local);
    assert_eq!(own.executed_by(Issuer::El2 { hcr: HCR_TTLB }), Ok(own));
}

/// At EL2 with E2H = 0 the TLBIs of EL1&0 are about the VMID in VTTBR_EL2, whatever TGE says.
#[test]
fn el2_acts_on_the_vmid_loaded() {
    for hcr in [0, HCR_TGE] {
        let mut machine = machine();
        machine.fetch(0, TlbEntry::new(TlbEntryKind::Stage1Leaf, el1(1, 5), source(3, HERE), 0));
        machine.fetch(0, TlbEntry::new(TlbEntryKind::Stage1Leaf, el1(2, 5), source(3, HERE), 0));
        machine.load(0, Context::from_registers(VTCR, 2 << 48 | 0x20_0000, vec![]));
        let vmalle1 = instruction(Operation::Vmalle1, Scope::Local);
        machine.execute(0, vmalle1, 0, Issuer::El2 { hcr }).unwrap();
        machine.complete(0);
        assert_eq!(machine.entries(0).lookup(el1(2, 5), Va(HERE)), []);
        // Besides, VM 1's window is there.
        assert_eq!(machine.entries(0).lookup(el1(1, 5), Va(HERE)).len(), 2);
    }
}

/// An IS form takes the issuer's VMID along; what the other CPU has loaded does not matter.
#[test]
fn other_cpus_act_on_the_issuers_vmid() {
    let mut machine = machine();
    machine.fetch(1, TlbEntry::new(TlbEntryKind::Stage1Leaf, el1(1, 5), source(3, HERE), 0));
    machine.fetch(1, TlbEntry::new(TlbEntryKind::Stage1Leaf, el1(2, 5), source(3, HERE), 0));
    machine.load(1, Context::from_registers(VTCR, 2 << 48 | 0x20_0000, vec![]));
    let aside1is = instruction(Operation::Aside1, Scope::InnerShareable);
    machine.execute(0, aside1is, 5 << 48, Issuer::El2 { hcr: 0 }).unwrap();
    machine.complete(0);
    assert_eq!(machine.entries(1).lookup(el1(2, 5), Va(HERE)).len(), 1);
    let left = machine.entries(1).lookup(el1(1, 5), Va(HERE));
    assert!(left.iter().all(|entry| entry.tag != el1(1, 5)));
}

/// With E2H, EL2's own TLBIs are for EL2&0, and with TGE too those of EL1&0's stage 1; of stage 2 and all, never.
#[test]
fn the_host_extensions_are_refused() {
    let refused = |operation, hcr| {
        let result = instruction(operation, Scope::Local).executed_by(Issuer::El2 { hcr });
        result == Err(Refused::HostExtensions)
    };
    let both = HCR_E2H | HCR_TGE;
    for operation in
        [Operation::Vae2, Operation::Vale2, Operation::Alle2, Operation::Rvae2, Operation::Rvale2]
    {
        assert_eq!(
            [0, HCR_TGE, HCR_E2H, both].map(|hcr| refused(operation, hcr)),
            [false, false, true, true]
        );
    }
    for operation in [Operation::Vmalle1, Operation::Vae1, Operation::Aside1, Operation::Rvaale1] {
        assert_eq!([HCR_TGE, HCR_E2H, both].map(|hcr| refused(operation, hcr)), [false, false, true]);
    }
    for operation in [Operation::Vmalls12e1, Operation::Alle1, Operation::Ipas2e1, Operation::Ripas2le1] {
        assert_eq!([HCR_TGE, HCR_E2H, both].map(|hcr| refused(operation, hcr)), [false; 3]);
    }
}

/// EL2's entries are nobody's VM's: its TLBIs find them whatever VMID is loaded, and no other does.
#[test]
fn el2s_own_entries_on_two_cpus() {
    let entry = TlbEntry::new(TlbEntryKind::Stage1Leaf, Tag::El2, source(3, HERE), 0);
    let gone_after = |instruction: Instruction| {
        let mut machine = machine();
        for cpu in 0..2 {
            machine.fetch(cpu, entry);
        }
        machine.unload(1);
        machine.execute(0, instruction, one(HERE, 0), Issuer::El2 { hcr: 0 }).unwrap();
        machine.complete(0);
        [0, 1].map(|cpu| machine.entries(cpu).lookup(Tag::El2, Va(HERE)).is_empty())
    };
    for operation in [Operation::Vae2, Operation::Vale2, Operation::Alle2] {
        assert_eq!(gone_after(instruction(operation, Scope::Local)), [true, false], "{operation:?}");
        assert_eq!(gone_after(instruction(operation, Scope::InnerShareable)), [true; 2], "{operation:?}");
        assert_eq!(gone_after(instruction(operation, Scope::OuterShareable)), [true; 2], "{operation:?}");
    }
    for operation in [Operation::Alle1, Operation::Vmalls12e1, Operation::Vae1] {
        assert_eq!(gone_after(instruction(operation, Scope::InnerShareable)), [false; 2], "{operation:?}");
    }
}

/// What the guest forgot of its stage 1, and what a walker makes of it with our stage 2.
#[test]
fn a_guest_that_only_drops_the_last_level_keeps_its_walk_caches() {
    let mut machine = machine_with(vec![window(0xa000, 5 * PAGE, PAGE, Some(1))]);
    let table = TlbEntry::new(TlbEntryKind::Stage1Table, el1(1, 1), source(2, 0xa000), 0);
    machine.fetch(0, table);
    machine.load(0, context(1, vec![]));
    assert!(machine.verify().iter().any(|found| matches!(found, Violation::StaleStage1 { cpu: 0, .. })));
    let local = |operation| instruction(operation, Scope::Local);
    let kinds = |machine: &TlbMachine| {
        let usable = machine.entries(0).lookup(el1(1, 1), Va(0xa000));
        usable.iter().map(|entry| entry.kind).collect::<Vec<_>>()
    };
    assert_eq!(
        kinds(&machine),
        [TlbEntryKind::Stage1Table, TlbEntryKind::Stage1Leaf, TlbEntryKind::Combined]
    );
    machine.execute(0, local(Operation::Vale1), one(0xa000, 1), Issuer::El1 { hcr: 0 }).unwrap();
    machine.complete(0);
    assert_eq!(kinds(&machine), [TlbEntryKind::Stage1Table]);
    machine.execute(0, local(Operation::Vae1), one(0xa000, 1), Issuer::El1 { hcr: 0 }).unwrap();
    machine.complete(0);
    assert_eq!(kinds(&machine), []);
}

/// Stage 1 outlives stage 2: what IPAS2E1 leaves, the walkers combine with whatever is mapped there next.
#[test]
fn a_stage_1_leaf_waits_for_stage_2() {
    let mut machine = machine_with(vec![window(0xa000, 5 * PAGE, PAGE, Some(1))]);
    for cpu in 0..2 {
        machine.load(cpu, context(1, vec![]));
    }
    machine.write(LEAF, 0);
    machine.publish();
    machine.issue(0, by_ipa(Reach::LastLevel), Scope::InnerShareable);
    machine.complete(0);
    machine.write(LEAF, 0x6000_5000 | RAM);
    machine.publish();
    assert!(machine.outcomes(1, Va(0xa000), 1).contains(&Pa(0x6000_5000)));
}

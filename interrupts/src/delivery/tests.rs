// SPDX-License-Identifier: MIT OR Apache-2.0
//! Delivery step by step: what is in the list registers, and what comes back.

use std::vec;
use std::vec::Vec;

use vambrace_ids::VcpuId;

use crate::list_register::{HCR_EN, HCR_LRENPIE, HCR_NPIE, HCR_TDIR, HCR_VGRP0EIE, HCR_VGRP1DIE};
use crate::{
    Intid, LineLevel, ListRegister, SgiRegister, SgiRequest, State, Trigger, VcpuRunState, VcpuSet, Vgic,
    VgicConfig, VirtualCpuInterface, Width,
};

const PENDING: u64 = 1 << 62;
const ACTIVE: u64 = 2 << 62;
/// Group 1 enabled, all priorities let through.
const VMCR: u64 = 0xFF << 24 | 1 << 1;
const TIMER: u32 = 27;
const V0: VcpuId = VcpuId::new(0);
const V1: VcpuId = VcpuId::new(1);

/// A GIC whose interrupts are all enabled, in Group 1, with priority 0xA0, its vCPUs' interfaces open.
fn vgic(vcpus: u64, list_registers: u8) -> Vgic {
    let mut config = VgicConfig::new((0..vcpus).collect());
    config.list_registers = list_registers;
    let mut vgic = Vgic::new(config).unwrap();
    let _ = vgic.write_distributor(0, Width::Word, 2);
    for word in 1..8 {
        let _ = vgic.write_distributor(0x80 + 4 * word, Width::Word, !0);
        let _ = vgic.write_distributor(0x100 + 4 * word, Width::Word, !0);
    }
    for intid in 32..256 {
        let _ = vgic.write_distributor(0x400 + intid, Width::Byte, 0xA0);
    }
    for vcpu in vgic.vcpu_ids() {
        let _ = vgic.write_redistributor(vcpu, 0x14, Width::Word, 0);
        let _ = vgic.write_redistributor(vcpu, 0x1_0080, Width::Word, !0);
        let _ = vgic.write_redistributor(vcpu, 0x1_0100, Width::Word, !0);
        for intid in 0..32 {
            let _ = vgic.write_redistributor(vcpu, 0x1_0400 + intid, Width::Byte, 0xA0);
        }
        open(&mut vgic, vcpu);
    }
    vgic
}

/// The guest opens its CPU interface.
fn open(vgic: &mut Vgic, vcpu: VcpuId) {
    let mut machine = vgic.flush(vcpu).unwrap().clone();
    machine.vmcr = VMCR;
    let _ = vgic.sync(vcpu, &machine);
}

fn list(vgic: &mut Vgic, vcpu: VcpuId) -> Vec<ListRegister> {
    let interface = vgic.flush(vcpu).unwrap();
    interface.lr[..usize::from(interface.used)].iter().map(|&lr| ListRegister(lr)).collect()
}

/// The machine as it was flushed, with the states of the list registers changed.
fn machine(vgic: &Vgic, vcpu: VcpuId, states: &[u64]) -> VirtualCpuInterface {
    let mut machine = vgic.interface(vcpu).unwrap().clone();
    for (lr, state) in machine.lr.iter_mut().zip(states) {
        *lr = *lr & !(3 << 62) | state;
    }
    machine
}

fn set(vcpus: &[u16]) -> VcpuSet {
    vcpus.iter().copied().map(VcpuId::new).collect()
}

#[test]
fn a_level_interrupt_is_pending_again_until_its_line_is_low() {
    let mut vgic = vgic(1, 4);
    assert_eq!(vgic.set_spi_level(Intid::new(33), LineLevel::High), set(&[0]));
    assert_eq!(vgic.set_spi_level(Intid::new(33), LineLevel::High), set(&[]));
    assert!(vgic.has_deliverable(V0) && vgic.needs_flush(V0));

    let [lr] = list(&mut vgic, V0)[..] else { panic!("one interrupt") };
    assert_eq!((lr.intid().get(), lr.priority(), lr.state()), (33, 0xA0, State::Pending));
    assert!(lr.is_group1() && lr.wants_eoi_maintenance() && lr.physical().is_none());
    assert!(!vgic.needs_flush(V0));

    // Handled, and the line still high: EOI maintenance brings it back.
    let ended = machine(&vgic, V0, &[0]);
    assert_eq!(vgic.sync(V0, &ended), set(&[]));
    assert_eq!(list(&mut vgic, V0)[0].state(), State::Pending);

    // Acknowledged, and the line goes low: active, nothing to come back for.
    assert_eq!(vgic.set_spi_level(Intid::new(33), LineLevel::Low), set(&[0]));
    let active = machine(&vgic, V0, &[ACTIVE]);
    let _ = vgic.sync(V0, &active);
    let [lr] = list(&mut vgic, V0)[..] else { panic!("one interrupt") };
    assert!(lr.state() == State::Active && !lr.wants_eoi_maintenance());
    let ended = machine(&vgic, V0, &[0]);
    let _ = vgic.sync(V0, &ended);
    assert!(list(&mut vgic, V0).is_empty());
}

#[test]
fn the_timer_is_linked_and_its_end_needs_no_exit() {
    let mut vgic = vgic(1, 4);
    assert_eq!(vgic.inject_hw(V0, Intid::new(TIMER), Intid::new(27), Trigger::Edge), Some(set(&[0])));
    assert!(vgic.is_hw_active(V0, Intid::new(27)));
    assert_eq!(list(&mut vgic, V0)[0].physical(), Some(Intid::new(27)));
    let active = machine(&vgic, V0, &[ACTIVE]);
    let _ = vgic.sync(V0, &active);
    assert!(vgic.is_hw_active(V0, Intid::new(27)));
    let [lr] = list(&mut vgic, V0)[..] else { panic!("one interrupt") };
    assert_eq!((lr.physical(), lr.state()), (Some(Intid::new(27)), State::Active));
    let ended = machine(&vgic, V0, &[0]);
    let _ = vgic.sync(V0, &ended);
    assert!(!vgic.is_hw_active(V0, Intid::new(27)));
    assert_eq!(vgic.take_hw_deactivate(V0), None);
}

#[test]
fn a_dropped_link_is_deactivated() {
    let mut vgic = vgic(1, 4);
    let _ = vgic.write_redistributor(V0, 0x1_0180, Width::Word, 1 << TIMER);
    assert_eq!(vgic.inject_hw(V0, Intid::new(TIMER), Intid::new(27), Trigger::Edge), Some(set(&[])));
    assert!(list(&mut vgic, V0).is_empty() && vgic.is_hw_active(V0, Intid::new(27)));
    assert_eq!(vgic.take_hw_deactivate(V0), None);
    let _ = vgic.write_redistributor(V0, 0x1_0280, Width::Word, 1 << TIMER);
    assert!(vgic.is_hw_active(V0, Intid::new(27)));
    assert_eq!(vgic.take_hw_deactivate(V0), Some(Intid::new(27)));
    assert_eq!(vgic.take_hw_deactivate(V0), None);
    assert!(!vgic.is_hw_active(V0, Intid::new(27)));

    let _ = vgic.inject_hw(V0, Intid::new(TIMER), Intid::new(27), Trigger::Edge);
    vgic.reset();
    assert_eq!(vgic.take_hw_deactivate(V0), Some(Intid::new(27)));
}

#[test]
fn a_link_cleared_while_pending_in_a_list_register_is_deactivated_at_the_sync() {
    let mut vgic = vgic(2, 4);
    let _ = vgic.inject_hw(V1, Intid::new(TIMER), Intid::new(27), Trigger::Edge);
    let _ = vgic.flush(V1);
    // The other vCPU clears it.
    assert_eq!(vgic.write_redistributor(V1, 0x1_0280, Width::Word, 1 << TIMER), set(&[1]));
    assert_eq!(vgic.take_hw_deactivate(V1), None);
    let pending = machine(&vgic, V1, &[PENDING]);
    let _ = vgic.sync(V1, &pending);
    assert_eq!(vgic.take_hw_deactivate(V1), Some(Intid::new(27)));
    assert!(list(&mut vgic, V1).is_empty());
}

#[test]
fn linked_anew_before_the_sync() {
    let mut vgic = vgic(1, 4);
    let _ = vgic.inject_hw(V0, Intid::new(TIMER), Intid::new(27), Trigger::Edge);
    let _ = vgic.flush(V0);
    // The guest handled it, and the physical interrupt fired again, before anyone synced.
    assert_eq!(vgic.inject_hw(V0, Intid::new(TIMER), Intid::new(27), Trigger::Edge), Some(set(&[0])));
    let ended = machine(&vgic, V0, &[0]);
    let _ = vgic.sync(V0, &ended);
    assert_eq!(
        (list(&mut vgic, V0)[0].physical(), vgic.take_hw_deactivate(V0)),
        (Some(Intid::new(27)), None)
    );
}

#[test]
fn an_sgi_sent_while_one_is_handled_is_pending_behind_it() {
    let mut vgic = vgic(2, 4);
    let request = SgiRequest::decode(SgiRegister::Sgi1r, 3 << 24 | 0b10);
    assert_eq!(vgic.send_sgi(V0, request), set(&[1]));
    assert_eq!(vgic.send_sgi(V0, request), set(&[]));
    let _ = vgic.flush(V1);
    assert_eq!(vgic.send_sgi(V0, request), set(&[1]));
    let active = machine(&vgic, V1, &[ACTIVE]);
    let _ = vgic.sync(V1, &active);
    let [lr] = list(&mut vgic, V1)[..] else { panic!("one interrupt") };
    assert_eq!((lr.intid().get(), lr.state()), (3, State::ActivePending));
}

#[test]
fn what_does_not_fit_comes_by_priority() {
    let mut vgic = vgic(1, 2);
    for (intid, priority) in [(40, 0x80), (41, 0x60), (42, 0x40)] {
        let _ = vgic.write_distributor(0x400 + intid, Width::Byte, priority);
        let _ = vgic.set_spi_level(Intid::new(intid as u32), LineLevel::High);
    }
    let first: Vec<_> = list(&mut vgic, V0).iter().map(|lr| lr.intid().get()).collect();
    assert_eq!(first, [42, 41]);
    let expected = HCR_EN | HCR_NPIE | HCR_VGRP0EIE | HCR_VGRP1DIE;
    assert_eq!(vgic.interface(V0).unwrap().hcr, expected);

    // Both acknowledged: one of them makes room for the pending one, and its end is then counted.
    let active = machine(&vgic, V0, &[ACTIVE, ACTIVE]);
    let _ = vgic.sync(V0, &active);
    let second: Vec<_> = list(&mut vgic, V0).iter().map(|lr| (lr.intid().get(), lr.state())).collect();
    assert_eq!(second, [(40, State::Pending), (42, State::Active)]);
    assert_eq!(vgic.interface(V0).unwrap().hcr, HCR_EN | HCR_LRENPIE | HCR_TDIR);

    // 42 ends in its list register, 41 by EOIcount; their lines are low by then.
    let _ = vgic.set_spi_level(Intid::new(42), LineLevel::Low);
    let _ = vgic.set_spi_level(Intid::new(41), LineLevel::Low);
    let mut ended = machine(&vgic, V0, &[PENDING, 0]);
    ended.hcr |= 1 << 27;
    let _ = vgic.sync(V0, &ended);
    let third: Vec<_> = list(&mut vgic, V0).iter().map(|lr| (lr.intid().get(), lr.state())).collect();
    assert_eq!(third, [(40, State::Pending)]);
}

#[test]
fn a_sync_done_twice_counts_ends_once() {
    let mut vgic = vgic(1, 1);
    for intid in [40, 41] {
        let _ = vgic.set_spi_level(Intid::new(intid), LineLevel::High);
        let _ = vgic.flush(V0);
        let active = machine(&vgic, V0, &[ACTIVE]);
        let _ = vgic.sync(V0, &active);
    }
    let _ = vgic.flush(V0);
    let mut ended = machine(&vgic, V0, &[ACTIVE]);
    ended.hcr |= 1 << 27;
    let _ = vgic.sync(V0, &ended);
    let _ = vgic.sync(V0, &ended);
    assert_eq!(vgic.read_distributor(0x304, Width::Word).count_ones(), 1);
}

#[test]
fn rerouted_while_pending_in_a_list_register() {
    let mut vgic = vgic(2, 4);
    assert_eq!(vgic.set_spi_level(Intid::new(50), LineLevel::High), set(&[0]));
    let _ = vgic.flush(V0);
    assert_eq!(vgic.write_distributor(0x6000 + 8 * 50, Width::Double, 1), set(&[0]));
    let pending = machine(&vgic, V0, &[PENDING]);
    assert_eq!(vgic.sync(V0, &pending), set(&[1]));
    assert!(list(&mut vgic, V0).is_empty());
    assert_eq!(list(&mut vgic, V1)[0].intid().get(), 50);
}

#[test]
fn deactivated_by_another_vcpu() {
    let mut vgic = vgic(2, 4);
    let split = VMCR | 1 << 9;
    for vcpu in [V0, V1] {
        let mut machine = vgic.flush(vcpu).unwrap().clone();
        assert_eq!(machine.hcr, HCR_EN | HCR_TDIR);
        machine.vmcr = split;
        let _ = vgic.sync(vcpu, &machine);
    }
    let _ = vgic.pulse_spi(Intid::new(50));
    let _ = vgic.set_spi_level(Intid::new(50), LineLevel::High);
    let _ = vgic.flush(V0);
    let _ = vgic.set_spi_level(Intid::new(50), LineLevel::Low);
    // Acknowledged there, deactivated here.
    assert_eq!(vgic.write_dir(V1, 50), set(&[0]));
    let active = machine(&vgic, V0, &[ACTIVE]);
    let _ = vgic.sync(V0, &active);
    assert!(list(&mut vgic, V0).is_empty());
    assert_eq!(vgic.read_distributor(0x304, Width::Word), 0);
}

#[test]
fn deliverable_as_the_cpu_interface_lets_it() {
    let mut vgic = vgic(1, 4);
    let _ = vgic.set_spi_level(Intid::new(40), LineLevel::High);
    let cases: Vec<(u64, u32, bool)> = vec![
        (VMCR, 0, true),
        (VMCR & !2, 0, false),
        (0xA0 << 24 | 2, 0, false),
        (0xA8 << 24 | 2, 0, true),
        // Runs at 0xA0, at 0xA8, at 0x98.
        (VMCR, 1 << 20, false),
        (VMCR, 1 << 21, true),
        (VMCR, 1 << 19, false),
        // The binary point makes 0xA0 and 0xA8 one level.
        (VMCR | 4 << 18, 1 << 21, false),
    ];
    for (vmcr, ap1r, expected) in cases {
        let _ = vgic.flush(V0);
        let mut machine = machine(&vgic, V0, &[PENDING]);
        machine.vmcr = vmcr;
        machine.ap1r[0] = ap1r;
        let _ = vgic.sync(V0, &machine);
        assert_eq!(vgic.has_deliverable(V0), expected, "VMCR {vmcr:#x}, AP1R0 {ap1r:#x}");
        let _ = vgic.flush(V0);
        assert_eq!(vgic.has_deliverable(V0), expected, "flushed, VMCR {vmcr:#x}, AP1R0 {ap1r:#x}");
    }
}

#[test]
fn a_disabled_group_does_not_block_the_other() {
    let mut vgic = vgic(1, 1);
    // INTID 40 in Group 0, less urgent, and the guest has Group 1 disabled.
    let _ = vgic.write_distributor(0, Width::Word, 3);
    let _ = vgic.write_distributor(0x84, Width::Word, !(1 << 8));
    let _ = vgic.write_distributor(0x400 + 40, Width::Byte, 0xC0);
    let _ = vgic.flush(V0);
    let mut closed = machine(&vgic, V0, &[]);
    closed.vmcr = 0xFF << 24 | 1;
    let _ = vgic.sync(V0, &closed);
    let _ = vgic.set_spi_level(Intid::new(40), LineLevel::High);
    let _ = vgic.set_spi_level(Intid::new(41), LineLevel::High);
    assert_eq!(list(&mut vgic, V0)[0].intid().get(), 40);
}

#[test]
fn ended_is_what_no_longer_runs() {
    let mut vgic = vgic(1, 1);
    // 41 interrupts 40, in a machine with one list register.
    for (intid, priority) in [(40, 0x80), (41, 0x40)] {
        let _ = vgic.write_distributor(0x400 + intid, Width::Byte, priority);
        let _ = vgic.pulse_edge(intid as u32);
        let _ = vgic.flush(V0);
        let mut active = machine(&vgic, V0, &[ACTIVE]);
        active.ap1r[0] |= 1 << (priority >> 3);
        let _ = vgic.sync(V0, &active);
    }
    // 41 is deactivated by a write, and then ended by its handler.
    let _ = vgic.write_distributor(0x384, Width::Word, 1 << 9);
    let _ = vgic.flush(V0);
    let mut ended = machine(&vgic, V0, &[ACTIVE]);
    ended.ap1r[0] = 1 << 16;
    ended.hcr |= 1 << 27;
    let _ = vgic.sync(V0, &ended);
    assert_eq!(vgic.read_distributor(0x304, Width::Word), 1 << 8);
}

#[test]
fn the_count_of_ends_means_nothing_with_eoimode_1() {
    let mut vgic = vgic(1, 1);
    for intid in [40, 41] {
        let _ = vgic.pulse_edge(intid);
        let _ = vgic.flush(V0);
        let active = machine(&vgic, V0, &[ACTIVE]);
        let _ = vgic.sync(V0, &active);
    }
    // Both dropped their priority; one of them is in the list register.
    let _ = vgic.flush(V0);
    let mut dropped = machine(&vgic, V0, &[ACTIVE]);
    dropped.vmcr |= 1 << 9;
    dropped.hcr |= 1 << 27;
    let _ = vgic.sync(V0, &dropped);
    assert_eq!(vgic.read_distributor(0x304, Width::Word), 0b11 << 8);
    let _ = vgic.write_dir(V0, 41);
    assert_eq!(vgic.read_distributor(0x304, Width::Word), 1 << 8);
}

#[test]
fn pending_again_elsewhere() {
    let mut vgic = vgic(2, 4);
    let _ = vgic.pulse_edge(40);
    let _ = vgic.flush(V0);
    let active = machine(&vgic, V0, &[ACTIVE]);
    let _ = vgic.sync(V0, &active);
    // Handled by one vCPU, routed to the other, and there again.
    let _ = vgic.write_distributor(0x6000 + 8 * 40, Width::Double, 1);
    assert_eq!(vgic.pulse_edge(40), set(&[0]));
    let [lr] = list(&mut vgic, V0)[..] else { panic!("one interrupt") };
    assert!(lr.state() == State::Active && lr.wants_eoi_maintenance());
    let ended = machine(&vgic, V0, &[0]);
    assert_eq!(vgic.sync(V0, &ended), set(&[1]));
    assert!(list(&mut vgic, V0).is_empty());
    assert_eq!(list(&mut vgic, V1)[0].state(), State::Pending);
}

impl Vgic {
    /// An edge on an SPI, made edge-triggered.
    fn pulse_edge(&mut self, intid: u32) -> VcpuSet {
        let _ = self.write_distributor(0xC00 + u64::from(intid / 16 * 4), Width::Word, !0);
        self.pulse_spi(Intid::new(intid))
    }
}

/// A vCPU that is not loaded costs its CPU's neighbour an interrupt only when it is blocked, and then once.
#[test]
fn a_vcpu_is_kicked_for_what_it_cannot_find_itself() {
    let send = |vgic: &mut Vgic, intid: u64| {
        let request = SgiRequest::decode(SgiRegister::Sgi1r, intid << 24 | 1 << 1);
        vgic.send_sgi(V0, request)
    };
    let kicked = VcpuSet::from_iter([V1]);
    let mut vgic = vgic(2, 4);
    let _ = vgic.flush(V1);
    // While loaded it is kicked for everything.
    assert_eq!(send(&mut vgic, 1), kicked);
    assert_eq!(send(&mut vgic, 2), kicked);
    // It is put, and looks when it comes back.
    let _ = vgic.put(V1, |_| {});
    assert_eq!(send(&mut vgic, 3), VcpuSet::new());
    assert!(vgic.needs_flush(V1));
    // It is blocked: it is kicked once, and not until it blocks again.
    vgic.set_run_state(V1, VcpuRunState::Blocked);
    assert_eq!(send(&mut vgic, 4), kicked);
    assert_eq!(send(&mut vgic, 5), VcpuSet::new());
    vgic.set_run_state(V1, VcpuRunState::Blocked);
    assert_eq!(send(&mut vgic, 6), kicked);
    // It is back.
    assert!(!vgic.load(V1));
    assert_eq!(send(&mut vgic, 7), kicked);
}

/// Somebody who reads what a vCPU holds makes it bring that, if it is loaded, and else has it at once.
#[test]
fn a_vcpu_that_is_put_is_not_kicked_for_what_it_holds() {
    let mut vgic = vgic(2, 4);
    let _ = vgic.set_ppi_level(V1, Intid::new(TIMER), LineLevel::High);
    let _ = vgic.flush(V1);
    assert_eq!(vgic.redistributor_lr_owners(V1, 0x1_0200), VcpuSet::from_iter([V1]));
    let _ = vgic.put(V1, |_| {});
    assert_eq!(vgic.redistributor_lr_owners(V1, 0x1_0200), VcpuSet::new());
    assert_eq!(vgic.read_redistributor(V1, 0x1_0200, Width::Word) >> TIMER & 1, 1);
}

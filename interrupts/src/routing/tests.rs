// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who gets an interrupt, in small VMs and large ones.

use std::vec::Vec;

use vambrace_ids::VcpuId;

use crate::{
    Intid, LineLevel, ListRegister, SgiRegister, SgiRequest, Trigger, VcpuRunState, VcpuSet, Vgic,
    VgicConfig, Width,
};

const ANY: u64 = 1 << 31;
const V0: VcpuId = VcpuId::new(0);
const V1: VcpuId = VcpuId::new(1);
const V2: VcpuId = VcpuId::new(2);
const V3: VcpuId = VcpuId::new(3);

/// 16 vCPUs a cluster, 256 clusters a level.
fn affinity(vcpu: u16) -> u64 {
    let vcpu = u64::from(vcpu);
    vcpu & 0xF | (vcpu >> 4 & 0xFF) << 8 | vcpu >> 12 << 16
}

/// All awake, all interrupts enabled in Group 1, the CPU interfaces open.
fn vgic(affinities: Vec<u64>) -> Vgic {
    let mut vgic = Vgic::new(VgicConfig::new(affinities)).unwrap();
    let _ = vgic.write_distributor(0, Width::Word, 2);
    for word in 1..8 {
        let _ = vgic.write_distributor(0x80 + 4 * word, Width::Word, !0);
        let _ = vgic.write_distributor(0x100 + 4 * word, Width::Word, !0);
    }
    for vcpu in vgic.vcpu_ids() {
        let _ = vgic.write_redistributor(vcpu, 0x14, Width::Word, 0);
        let _ = vgic.write_redistributor(vcpu, 0x1_0080, Width::Word, !0);
        let _ = vgic.write_redistributor(vcpu, 0x1_0100, Width::Word, !0);
        let mut interface = vgic.flush(vcpu).unwrap().clone();
        interface.vmcr = 0xFF << 24 | 2;
        let _ = vgic.sync(vcpu, &interface);
    }
    vgic
}

fn route(vgic: &mut Vgic, intid: u64, router: u64) -> VcpuSet {
    vgic.write_distributor(0x6000 + 8 * intid, Width::Double, router)
}

fn set(vcpus: &[u16]) -> VcpuSet {
    vcpus.iter().copied().map(VcpuId::new).collect()
}

/// The INTIDs a vCPU would get, leaving it synced.
fn listed(vgic: &mut Vgic, vcpu: VcpuId) -> Vec<u32> {
    let interface = vgic.flush(vcpu).unwrap().clone();
    let _ = vgic.sync(vcpu, &interface);
    interface.lr[..interface.used.into()].iter().map(|&lr| ListRegister(lr).intid().get()).collect()
}

fn sgi(vgic: &mut Vgic, from: VcpuId, value: u64) -> VcpuSet {
    vgic.send_sgi(from, SgiRequest::decode(SgiRegister::Sgi1r, value))
}

#[test]
fn each_vcpu_of_many_is_reached_by_spi_and_sgi() {
    for count in [1, 8, 9, 17, 20, 300, 1024] {
        let mut vgic = vgic((0..count).map(affinity).collect());
        for vcpu in (0..count).step_by(if count > 20 { 13 } else { 1 }) {
            let address = affinity(vcpu);
            assert!(route(&mut vgic, 40, address).is_empty());
            assert_eq!(vgic.set_spi_level(Intid::new(40), LineLevel::High), set(&[vcpu]));
            assert_eq!(listed(&mut vgic, VcpuId::new(vcpu)), [40]);
            let _ = vgic.set_spi_level(Intid::new(40), LineLevel::Low);

            let (aff1, aff2) = (address >> 8 & 0xFF, address >> 16 & 0xFF);
            let value = 5 << 24 | aff2 << 32 | aff1 << 16 | 1 << (address & 0xF);
            assert_eq!(sgi(&mut vgic, V0, value), set(&[vcpu]));
            assert_eq!(listed(&mut vgic, VcpuId::new(vcpu)), [5]);
        }
    }
}

#[test]
fn an_sgi_reaches_a_whole_cluster_or_everyone_else() {
    let mut vgic = vgic((0..20).map(affinity).collect());
    assert_eq!(sgi(&mut vgic, V3, 1 << 24 | 0xFFFF), (0..16).map(VcpuId::new).collect());
    assert_eq!(sgi(&mut vgic, V3, 2 << 24 | 1 << 16 | 0xFFFF), (16..20).map(VcpuId::new).collect());
    assert_eq!(
        sgi(&mut vgic, VcpuId::new(18), 3 << 24 | 1 << 40 | 0xFFFF),
        (0..20).filter(|&vcpu| vcpu != 18).map(VcpuId::new).collect()
    );
    // No such cluster, and an empty list.
    assert!(sgi(&mut vgic, V0, 4 << 24 | 2 << 16 | 0xFFFF).is_empty());
    assert!(sgi(&mut vgic, V0, 4 << 24).is_empty());
}

#[test]
fn the_range_selector_reaches_affinities_above_16() {
    let mut vgic = vgic((0..20).chain([0x100, 0xFF]).collect());
    assert_eq!(sgi(&mut vgic, V0, 1 << 24 | 1 << 44 | 0xFFFF), (16..20).map(VcpuId::new).collect());
    assert_eq!(sgi(&mut vgic, V0, 2 << 24 | 1 << 44 | 0b100), set(&[18]));
    assert_eq!(sgi(&mut vgic, V0, 3 << 24 | 15 << 44 | 1 << 15), set(&[21]));
    assert_eq!(sgi(&mut vgic, V0, 4 << 24 | 15 << 44 | 0x7FFF), set(&[]));
}

#[test]
fn aff2_and_aff3_count() {
    let mut vgic = vgic([0, 0x1_0000, 0x1_0000_0000, 0x12_0034_5607].into());
    assert_eq!(sgi(&mut vgic, V0, 1 << 32 | 1), set(&[1]));
    assert_eq!(sgi(&mut vgic, V0, 1 << 48 | 1), set(&[2]));
    assert_eq!(sgi(&mut vgic, V0, 0x12 << 48 | 0x34 << 32 | 0x56 << 16 | 1 << 7), set(&[3]));
    let _ = route(&mut vgic, 40, 0x12_0034_5607);
    assert_eq!(vgic.set_spi_level(Intid::new(40), LineLevel::High), set(&[3]));
}

#[test]
fn an_sgi_goes_by_its_group() {
    let mut vgic = vgic([0, 1].into());
    let _ = vgic.write_distributor(0, Width::Word, 3);
    let _ = vgic.write_redistributor(V1, 0x1_0080, Width::Word, !1);
    let send = |vgic: &mut Vgic, register, intid: u64| {
        vgic.send_sgi(V0, SgiRequest::decode(register, intid << 24 | 0b10)).contains(V1)
    };
    for (register, group0, group1) in [
        (SgiRegister::Sgi0r, true, false),
        (SgiRegister::Asgi1r, true, false),
        (SgiRegister::Sgi1r, true, true),
    ] {
        assert_eq!((send(&mut vgic, register, 0), send(&mut vgic, register, 1)), (group0, group1));
        let _ = vgic.write_redistributor(V1, 0x1_0280, Width::Word, 0xFFFF);
    }
}

#[test]
fn an_spi_for_nobody_waits_for_its_route() {
    let mut vgic = vgic([0, 1].into());
    let _ = route(&mut vgic, 40, 0x77);
    assert!(vgic.set_spi_level(Intid::new(40), LineLevel::High).is_empty());
    assert_eq!((listed(&mut vgic, V0).len(), vgic.read_distributor(0x204, Width::Word)), (0, 1 << 8));
    assert_eq!(route(&mut vgic, 40, 1), set(&[1]));
    assert_eq!(listed(&mut vgic, V1), [40]);
    assert_eq!(route(&mut vgic, 40, 0), set(&[0]));
    assert_eq!((listed(&mut vgic, V0), listed(&mut vgic, V1).len()), ([40].into(), 0));
}

#[test]
fn one_of_n_goes_round_those_who_take_part() {
    let mut vgic = vgic((0..4).collect());
    let _ = vgic.write_redistributor(V1, 0x14, Width::Word, 0b10);
    let _ = vgic.write_redistributor(V2, 0, Width::Word, 1 << 25);
    for intid in 40..44 {
        let _ = route(&mut vgic, intid, ANY);
    }
    // Awake, and not declining Group 1: 0 and 3.
    let takers: Vec<_> =
        (40..44).map(|intid| vgic.set_spi_level(Intid::new(intid), LineLevel::High)).collect();
    assert_eq!(takers, [set(&[0]), set(&[3]), set(&[0]), set(&[3])]);
    assert_eq!((listed(&mut vgic, V0), listed(&mut vgic, V3)), ([40, 42].into(), [41, 43].into()));
    // Who falls asleep hands on what is pending.
    assert_eq!(vgic.write_redistributor(V3, 0x14, Width::Word, 0b10), set(&[0]));
    assert_eq!(listed(&mut vgic, V0), [40, 41, 42, 43]);
}

#[test]
fn one_of_n_prefers_who_waits_and_has_the_group_enabled() {
    let mut vgic = vgic((0..4).collect());
    let _ = vgic.reset_interface(V2);
    vgic.set_run_state(V2, VcpuRunState::Blocked);
    vgic.set_run_state(V3, VcpuRunState::Blocked);
    let _ = route(&mut vgic, 40, ANY);
    assert_eq!(vgic.set_spi_level(Intid::new(40), LineLevel::High), set(&[3]));
}

#[test]
fn one_of_n_moves_to_who_enables_its_group() {
    let mut vgic = vgic((0..2).collect());
    for vcpu in vgic.vcpu_ids() {
        let _ = vgic.reset_interface(vcpu);
    }
    let _ = route(&mut vgic, 40, ANY);
    assert_eq!(vgic.set_spi_level(Intid::new(40), LineLevel::High), set(&[0]));
    let mut interface = vgic.flush(V1).unwrap().clone();
    interface.vmcr = 0xFF << 24 | 2;
    let _ = vgic.sync(V1, &interface);
    assert_eq!((listed(&mut vgic, V0).len(), listed(&mut vgic, V1)), (0, [40].into()));
}

#[test]
fn one_of_n_waits_until_someone_wakes() {
    let mut vgic = vgic((0..2).collect());
    for vcpu in vgic.vcpu_ids() {
        let _ = vgic.write_redistributor(vcpu, 0x14, Width::Word, 0b10);
    }
    let _ = route(&mut vgic, 40, ANY);
    assert!(vgic.set_spi_level(Intid::new(40), LineLevel::High).is_empty());
    assert_eq!(vgic.write_redistributor(V1, 0x14, Width::Word, 0), set(&[1]));
    assert_eq!(listed(&mut vgic, V1), [40]);
}

#[test]
fn a_linked_spi_is_deactivated_by_whoever_comes() {
    let mut vgic = vgic((0..2).collect());
    let _ = route(&mut vgic, 40, 1);
    assert_eq!(vgic.inject_hw(V0, Intid::new(40), Intid::new(77), Trigger::Edge), Some(set(&[1])));
    let interface = vgic.flush(V1).unwrap().clone();
    assert_eq!(ListRegister(interface.lr[0]).physical(), Some(Intid::new(77)));
    let _ = vgic.sync(V1, &interface);
    assert_eq!(vgic.write_distributor(0x284, Width::Word, 1 << 8), set(&[1]));
    assert_eq!((vgic.take_hw_deactivate(V0), vgic.take_hw_deactivate(V1)), (Some(Intid::new(77)), None));
    // No such interrupt, here or in the hardware.
    assert_eq!(
        (
            vgic.inject_hw(V0, Intid::new(999), Intid::new(77), Trigger::Edge),
            vgic.inject_hw(V0, Intid::new(3), Intid::new(77), Trigger::Edge)
        ),
        (None, None)
    );
    assert_eq!(vgic.inject_hw(V0, Intid::new(40), Intid::new(1 << 13), Trigger::Edge), None);
}

#[test]
fn reset_forgets_everything_but_the_lines() {
    let mut vgic = vgic((0..4).collect());
    let fresh = Vgic::new(vgic.config().clone()).unwrap();
    let _ = route(&mut vgic, 40, 2);
    let _ = vgic.set_spi_level(Intid::new(40), LineLevel::High);
    let _ = vgic.pulse_spi(Intid::new(41));
    let _ = sgi(&mut vgic, V0, 1 << 40);
    let _ = vgic.flush(V0);
    let _ = vgic.flush(V2);
    vgic.reset();
    assert_eq!(vgic.read_distributor(0x204, Width::Word), 1 << 8);
    let _ = vgic.set_spi_level(Intid::new(40), LineLevel::Low);
    assert_eq!(vgic, fresh);
}

#[test]
fn a_configuration_that_cannot_be_is_refused() {
    use crate::ConfigError;
    let good = VgicConfig::new([0, 1].into());
    let broken = |change: fn(&mut VgicConfig)| {
        let mut config = good.clone();
        change(&mut config);
        Vgic::new(config).unwrap_err()
    };
    assert_eq!(broken(|c| c.affinities.clear()), ConfigError::VcpuCount(0));
    assert_eq!(broken(|c| c.affinities = (0..1025).collect()), ConfigError::VcpuCount(1025));
    assert_eq!(broken(|c| c.affinities[1] = 1 << 31), ConfigError::DuplicateAffinity);
    assert_eq!(broken(|c| c.region_ends[0] = VcpuId::new(2)), ConfigError::RegionEnd(VcpuId::new(2)));
    assert_eq!(broken(|c| c.spi_count = 989), ConfigError::SpiCount(989));
    assert_eq!(broken(|c| c.priority_bits = 4), ConfigError::PriorityBits);
    assert_eq!(broken(|c| c.preemption_bits = 6), ConfigError::PriorityBits);
    assert_eq!(broken(|c| c.list_registers = 0), ConfigError::ListRegisters(0));
    assert_eq!(broken(|c| c.list_registers = 17), ConfigError::ListRegisters(17));
}

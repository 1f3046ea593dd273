// SPDX-License-Identifier: MIT OR Apache-2.0
//! The redistributors' registers, one by one.

use std::vec;

use proptest::prelude::*;
use vambrace_ids::VcpuId;

use crate::{Intid, LineLevel, VcpuSet, Vgic, VgicConfig, Width};

const SGI: u64 = 0x1_0000;
const V0: VcpuId = VcpuId::new(0);
const V1: VcpuId = VcpuId::new(1);
const V2: VcpuId = VcpuId::new(2);
const V3: VcpuId = VcpuId::new(3);

fn vgic() -> Vgic {
    let mut config = VgicConfig::new(vec![0, 1, 0x100, 0x12_0034_5678]);
    config.region_ends = vec![V1, V3];
    Vgic::new(config).unwrap()
}

fn read(vgic: &mut Vgic, vcpu: VcpuId, offset: u64) -> u64 {
    vgic.read_redistributor(vcpu, offset, Width::Word)
}

fn write(vgic: &mut Vgic, vcpu: VcpuId, offset: u64, value: u64) -> VcpuSet {
    vgic.write_redistributor(vcpu, offset, Width::Word, value)
}

#[test]
fn typer_names_the_vcpu_and_ends_the_region() {
    let mut vgic = vgic();
    let expected = [0x20, 0x1_0000_0130, 0x100_0000_0220, 0x1234_5678_0000_0330];
    for (vcpu, value) in vgic.vcpu_ids().zip(expected) {
        assert_eq!(vgic.read_redistributor(vcpu, 8, Width::Double), value);
        assert_eq!(read(&mut vgic, vcpu, 8), value & 0xFFFF_FFFF);
        assert_eq!(read(&mut vgic, vcpu, 0xC), value >> 32);
    }
    assert_eq!(vgic.read_redistributor(VcpuId::new(4), 8, Width::Double), 0);
    assert!(vgic.write_redistributor(VcpuId::new(4), 0x14, Width::Word, 0).is_empty());
}

#[test]
fn waker_s_children_follow() {
    let mut vgic = vgic();
    assert_eq!(read(&mut vgic, V0, 0x14), 0b110);
    let _ = write(&mut vgic, V0, 0x14, 0b100);
    assert_eq!(read(&mut vgic, V0, 0x14), 0);
    assert_eq!(read(&mut vgic, V1, 0x14), 0b110);
    let _ = write(&mut vgic, V0, 0x14, 0b10);
    assert_eq!(read(&mut vgic, V0, 0x14), 0b110);
}

#[test]
fn ctlr_has_the_dpg_bits_only() {
    let mut vgic = vgic();
    assert_eq!(read(&mut vgic, V0, 0), 0);
    let _ = write(&mut vgic, V0, 0, !0);
    assert_eq!(read(&mut vgic, V0, 0), 0x0300_0000);
    assert_eq!((read(&mut vgic, V0, 4) & 0xFFF, read(&mut vgic, V0, 0xFFE0)), (0x43B, 0x93));
    assert_eq!((read(&mut vgic, V0, 0xFFE8), read(&mut vgic, V0, 0xFFFC)), (0x3B, 0xB1));
}

#[test]
fn lpis_are_not_there() {
    let mut vgic = vgic();
    for offset in [0x70, 0x78, 0x10, 0x40, 0xA0] {
        let _ = vgic.write_redistributor(V0, offset, Width::Double, !0);
        let _ = write(&mut vgic, V0, offset, !0);
        assert_eq!((vgic.read_redistributor(V0, offset, Width::Double), read(&mut vgic, V0, offset)), (0, 0));
    }
}

#[test]
fn private_interrupts_are_each_vcpu_s_own() {
    let mut vgic = vgic();
    for (set, clear) in [(0x100, 0x180), (0x200, 0x280), (0x300, 0x380)] {
        let _ = write(&mut vgic, V1, SGI + set, 0xFFFF_0001);
        let _ = write(&mut vgic, V1, SGI + clear, 0xFF00_0000);
        assert_eq!(read(&mut vgic, V1, SGI + set), 0x00FF_0001);
        assert_eq!(read(&mut vgic, V1, SGI + clear), 0x00FF_0001);
        assert_eq!(read(&mut vgic, V0, SGI + set), 0);
        assert_eq!(read(&mut vgic, V1, SGI + set + 4), 0);
    }
    let _ = write(&mut vgic, V1, SGI + 0x80, 0x1234_5678);
    assert_eq!(read(&mut vgic, V1, SGI + 0x80), 0x1234_5678);
    let _ = vgic.write_redistributor(V1, SGI + 0x41F, Width::Byte, 0xFF);
    assert_eq!(read(&mut vgic, V1, SGI + 0x41C), 0xF800_0000);
    let _ = vgic.write_redistributor(V1, SGI + 0x420, Width::Byte, 0xFF);
    assert_eq!(read(&mut vgic, V1, SGI + 0x420), 0);
}

#[test]
fn sgis_are_edges_for_ever() {
    let mut vgic = vgic();
    let _ = write(&mut vgic, V0, SGI + 0xC00, 0);
    assert_eq!(read(&mut vgic, V0, SGI + 0xC00), 0xAAAA_AAAA);
    let _ = write(&mut vgic, V0, SGI + 0xC04, !0);
    assert_eq!(read(&mut vgic, V0, SGI + 0xC04), 0xAAAA_AAAA);
    let _ = write(&mut vgic, V0, SGI + 0xC04, 0);
    assert_eq!(read(&mut vgic, V0, SGI + 0xC04), 0);
}

#[test]
fn ppi_lines_belong_to_one_vcpu() {
    let mut vgic = vgic();
    let _ = vgic.write_distributor(0, Width::Word, 1);
    let _ = write(&mut vgic, V2, SGI + 0x100, 1 << 30);
    assert_eq!(vgic.set_ppi_level(V2, Intid::new(30), LineLevel::High), VcpuSet::from_iter([V2]));
    assert!(vgic.set_ppi_level(V1, Intid::new(30), LineLevel::High).is_empty());
    assert_eq!(read(&mut vgic, V2, SGI + 0x200), 1 << 30);
    // SGIs and SPIs have no private line, and there is no such vCPU.
    for (vcpu, intid) in [(V0, 3), (V0, 32), (VcpuId::new(9), 30)] {
        assert!(vgic.set_ppi_level(vcpu, Intid::new(intid), LineLevel::High).is_empty());
    }
    assert_eq!(read(&mut vgic, V0, SGI + 0x200), 0);
}

#[test]
fn what_the_list_registers_have_no_part_of_is_synced() {
    let mut vgic = vgic();
    for (offset, value) in [(0x14, 0), (SGI + 0x80, !0), (SGI + 0x100, 0b1), (SGI + 0x200, 0b1)] {
        let _ = write(&mut vgic, V0, offset, value);
    }
    let _ = vgic.write_distributor(0, Width::Word, 2);
    assert!(vgic.is_redistributor_synced(V0, SGI + 0x400));
    let interface = vgic.flush(V0).unwrap().clone();
    for offset in [SGI + 0x100, SGI + 0x200, SGI + 0x400] {
        assert!(!vgic.is_redistributor_synced(V0, offset) && !vgic.reads_synced_redistributor(V0, offset));
        assert!(vgic.is_redistributor_synced(V1, offset) && vgic.reads_synced_redistributor(V1, offset));
    }
    // Who is awake decides who takes what any vCPU may take.
    assert!(vgic.reads_synced_redistributor(V0, 0x14) && !vgic.is_redistributor_synced(V1, 0x14));
    let _ = vgic.sync(V0, &interface);
    assert!(vgic.is_redistributor_synced(V0, SGI + 0x100));
    assert!(!vgic.is_redistributor_synced(VcpuId::new(99), SGI + 0x100));
}

/// The registers that are there: for all others, reads are zero.
fn is_register(offset: u64) -> bool {
    match offset {
        0..0x10 | 0x14..0x18 | 0xFFD0..0x1_0000 => true,
        0x1_0080..0x1_0400 => offset % 0x80 < 4,
        0x1_0400..0x1_0420 | 0x1_0C00..0x1_0C08 => true,
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_access_is_harmless_and_reserved_space_reads_zero(
        accesses in prop::collection::vec(
            (0_u16..5, prop_oneof![0_u64..0x2_0000, 0x1_0000_u64..0x1_1000, any::<u64>()], 0_u32..4, any::<u64>()),
            0..200,
        ),
    ) {
        let mut vgic = vgic();
        let _ = vgic.write_distributor(0, Width::Word, 3);
        for (vcpu, offset, width, value) in accesses {
            let vcpu = VcpuId::new(vcpu);
            let width = Width::from_bytes(1 << width).unwrap();
            let mut kicks = vgic.write_redistributor(vcpu, offset, width, value);
            let read = vgic.read_redistributor(vcpu, offset, width);
            prop_assert!(is_register(offset) || read == 0, "{:#x} reads {:#x}", offset, read);
            prop_assert!(width == Width::Double || read >> (8 * width.bytes()) == 0);
            while let Some(vcpu) = kicks.iter().next() {
            kicks.remove(vcpu);
                let interface = vgic.flush(vcpu).unwrap().clone();
                kicks.extend(&vgic.sync(vcpu, &interface));
            }
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The distributor's registers, one by one.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use vambrace_ids::VcpuId;

use crate::{Intid, LineLevel, VcpuSet, Vgic, VgicConfig, VirtualCpuInterface, Width};

const V0: VcpuId = VcpuId::new(0);
const V2: VcpuId = VcpuId::new(2);

/// Four vCPUs; the last bank of SPIs has eight.
fn vgic() -> Vgic {
    let mut config = VgicConfig::new(vec![0, 1, 0x100, 0x12_0034_5601]);
    config.spi_count = 40;
    Vgic::new(config).unwrap()
}

fn read(vgic: &mut Vgic, offset: u64) -> u64 {
    vgic.read_distributor(offset, Width::Word)
}

fn write(vgic: &mut Vgic, offset: u64, value: u64) -> VcpuSet {
    vgic.write_distributor(offset, Width::Word, value)
}

#[test]
fn ctlr_has_one_security_state_and_affinity_routing() {
    let mut vgic = vgic();
    assert_eq!(read(&mut vgic, 0), 0x50);
    assert_eq!(write(&mut vgic, 0, !0), (0..4).map(VcpuId::new).collect());
    assert_eq!(read(&mut vgic, 0), 0x53);
    assert_eq!(write(&mut vgic, 0, 0x50), (0..4).map(VcpuId::new).collect());
    assert_eq!(read(&mut vgic, 0), 0x50);
    assert!(write(&mut vgic, 0, 0).is_empty());
}

#[test]
fn typer_counts_the_lines() {
    let typer = |spi_count, affinities: Vec<u64>| {
        let config = VgicConfig { spi_count, ..VgicConfig::new(affinities) };
        Vgic::new(config).unwrap().read_distributor(4, Width::Word)
    };
    let fixed = 9 << 19 | 1 << 24;
    assert_eq!(typer(224, vec![0]), fixed | 7);
    assert_eq!(typer(0, vec![0]), fixed);
    assert_eq!(typer(1, vec![0]), fixed | 1);
    assert_eq!(typer(988, vec![0, 15]), fixed | 31);
    assert_eq!(typer(32, vec![0, 16]), fixed | 1 | 1 << 26);
}

#[test]
fn identification_is_an_arm_gicv3() {
    let mut vgic = vgic();
    assert_eq!(read(&mut vgic, 8), 0x43B, "as QEMU's");
    let expected = [4 << 4 | 4, 0, 0, 0, 0x92, 0xB4, 0x3B, 0, 0x0D, 0xF0, 0x05, 0xB1];
    for (index, value) in (0..).zip(expected) {
        assert_eq!(read(&mut vgic, 0xFFD0 + 4 * index), value);
    }
}

#[test]
fn bit_registers_set_and_clear_what_exists() {
    let mut vgic = vgic();
    assert_eq!(write(&mut vgic, 0x84, 0xF0F0_F0F0), VcpuSet::new());
    assert_eq!(read(&mut vgic, 0x84), 0xF0F0_F0F0);
    let _ = write(&mut vgic, 0x84, 0);
    assert_eq!(read(&mut vgic, 0x84), 0);
    for (set, clear) in [(0x104, 0x184), (0x204, 0x284), (0x304, 0x384)] {
        let _ = write(&mut vgic, set, 0b1110);
        assert_eq!(read(&mut vgic, set), 0b1110);
        let _ = write(&mut vgic, clear, 0b0110);
        assert_eq!(read(&mut vgic, set), 0b1000);
        assert_eq!(read(&mut vgic, clear), 0b1000);
    }
    // Eight SPIs in the last bank; none after it; none below INTID 32.
    for register in [0x80, 0x100, 0x200, 0x300] {
        for (word, exists) in [(0, 0), (2, 0xFF), (3, 0), (31, 0)] {
            let _ = write(&mut vgic, register + 4 * word, !0);
            assert_eq!(read(&mut vgic, register + 4 * word), exists, "{register:#x} word {word}");
        }
    }
}

#[test]
fn pending_shows_lines_and_latches() {
    let mut vgic = vgic();
    let _ = write(&mut vgic, 0xC08, 2 << 2);
    let _ = vgic.set_spi_level(Intid::new(32), LineLevel::High);
    let _ = vgic.set_spi_level(Intid::new(33), LineLevel::High);
    assert_eq!(read(&mut vgic, 0x204), 0b11);
    // A level stays pending as long as it is high, an edge until it is cleared.
    let _ = write(&mut vgic, 0x284, 0b11);
    assert_eq!(read(&mut vgic, 0x204), 0b01);
    let _ = write(&mut vgic, 0x204, 0b01);
    let _ = vgic.set_spi_level(Intid::new(32), LineLevel::Low);
    assert_eq!(read(&mut vgic, 0x204), 0b01);
    let _ = write(&mut vgic, 0x284, 0b01);
    assert_eq!(read(&mut vgic, 0x204), 0);
    // The line is still high: no new edge before it went low.
    let _ = vgic.set_spi_level(Intid::new(33), LineLevel::High);
    assert_eq!(read(&mut vgic, 0x204), 0);
    let _ = vgic.pulse_spi(Intid::new(33));
    assert_eq!(read(&mut vgic, 0x204), 0);
    let _ = vgic.pulse_spi(Intid::new(33));
    assert_eq!(read(&mut vgic, 0x204), 0b10);
    let _ = vgic.pulse_spi(Intid::new(34));
    assert_eq!(read(&mut vgic, 0x204), 0b10);
}

#[test]
fn priorities_are_bytes_with_the_machine_s_bits() {
    let mut vgic = vgic();
    let _ = vgic.write_distributor(0x400 + 33, Width::Byte, 0xFF);
    assert_eq!(read(&mut vgic, 0x420), 0xF800);
    assert_eq!(vgic.read_distributor(0x421, Width::Byte), 0xF8);
    let _ = write(&mut vgic, 0x424, 0x1122_3344);
    assert_eq!(read(&mut vgic, 0x424), 0x1020_3040);
    for (offset, width) in [(0x420, Width::Half), (0x420, Width::Double), (0x422, Width::Word)] {
        let _ = vgic.write_distributor(offset, width, 0);
        assert_eq!(vgic.read_distributor(offset, width), 0);
        assert_eq!(read(&mut vgic, 0x420), 0xF800);
    }
    // INTID 71 is the last.
    let _ = write(&mut vgic, 0x444, !0);
    let _ = write(&mut vgic, 0x448, !0);
    let _ = write(&mut vgic, 0x400, !0);
    assert_eq!(read(&mut vgic, 0x444), 0xF8F8_F8F8);
    assert_eq!((read(&mut vgic, 0x448), read(&mut vgic, 0x400)), (0, 0));
}

#[test]
fn config_has_the_upper_bit_of_each_pair() {
    let mut vgic = vgic();
    let _ = write(&mut vgic, 0xC08, !0);
    let _ = write(&mut vgic, 0xC0C, 0x8000_0000);
    let _ = write(&mut vgic, 0xC10, !0);
    let _ = write(&mut vgic, 0xC00, !0);
    assert_eq!(read(&mut vgic, 0xC08), 0xAAAA_AAAA);
    assert_eq!(read(&mut vgic, 0xC0C), 0x8000_0000);
    assert_eq!(read(&mut vgic, 0xC10), 0xAAAA);
    assert_eq!((read(&mut vgic, 0xC00), read(&mut vgic, 0xC04)), (0, 0));
}

#[test]
fn irouter_by_halves_and_whole() {
    let mut vgic = vgic();
    let router = 0x6000 + 8 * 40;
    let _ = vgic.write_distributor(router, Width::Double, !0);
    assert_eq!(vgic.read_distributor(router, Width::Double), 0xFF_80FF_FFFF);
    let _ = vgic.write_distributor(router, Width::Double, 0x12_0034_5601);
    assert_eq!((read(&mut vgic, router), read(&mut vgic, router + 4)), (0x34_5601, 0x12));
    let _ = write(&mut vgic, router + 4, 0x13);
    assert_eq!(vgic.read_distributor(router, Width::Double), 0x13_0034_5601);
    let _ = write(&mut vgic, router, 0x8000_0001);
    assert_eq!(vgic.read_distributor(router, Width::Double), 0x13_8000_0001);
    let _ = vgic.write_distributor(router, Width::Half, 5);
    assert_eq!(vgic.read_distributor(router, Width::Half), 0);
    // Below INTID 32, and past the last SPI.
    for router in [0x6000, 0x60F8, 0x6000 + 8 * 72, 0x7FD8] {
        let _ = vgic.write_distributor(router, Width::Double, 1);
        assert_eq!(vgic.read_distributor(router, Width::Double), 0);
    }
}

#[test]
fn group_enables_hold_interrupts_back() {
    let mut vgic = vgic();
    let _ = write(&mut vgic, 0x104, 0b11);
    let _ = write(&mut vgic, 0x84, 0b10);
    let _ = write(&mut vgic, 0x204, 0b11);
    let listed = |vgic: &mut Vgic| {
        let _ = vgic.sync(V0, &VirtualCpuInterface::default());
        let interface = vgic.flush(V0).unwrap().clone();
        let _ = vgic.sync(V0, &interface);
        interface.lr.iter().filter(|&&lr| lr != 0).map(|&lr| lr as u32).collect::<Vec<_>>()
    };
    assert_eq!(listed(&mut vgic), []);
    let _ = write(&mut vgic, 0, 1);
    assert_eq!(listed(&mut vgic), [32]);
    let _ = write(&mut vgic, 0, 2);
    assert_eq!(listed(&mut vgic), [33]);
    let _ = write(&mut vgic, 0x184, 0b10);
    assert_eq!(listed(&mut vgic), []);
    assert_eq!(read(&mut vgic, 0x204), 0b11);
}

#[test]
fn lr_owners_are_those_with_the_interrupt_in_a_list_register() {
    let mut vgic = vgic();
    let _ = write(&mut vgic, 0, 1);
    let _ = write(&mut vgic, 0x104, 0b11);
    let _ = vgic.write_distributor(0x6000 + 8 * 33, Width::Double, 0x100);
    let _ = write(&mut vgic, 0x204, 0b11);
    assert!(vgic.distributor_lr_owners(0x204).is_empty());
    let _ = vgic.flush(V0);
    let _ = vgic.flush(V2);
    assert_eq!(vgic.distributor_lr_owners(0x204), VcpuSet::from_iter([V0, V2]));
    assert_eq!(vgic.distributor_lr_owners(0x384), VcpuSet::from_iter([V0, V2]));
    for offset in [0x104, 0x208, 0x200, 0xC04] {
        assert!(vgic.distributor_lr_owners(offset).is_empty());
    }
}

#[test]
fn what_the_list_registers_have_no_part_of_is_synced() {
    let mut vgic = vgic();
    for (offset, value) in [(0x84, !0), (0x104, 0b1), (0x204, 0b1), (0, 2)] {
        let _ = write(&mut vgic, offset, value);
    }
    assert!([0x84, 0x420, 0xC08, 0x6100].iter().all(|offset| vgic.is_synced(*offset)));
    let interface = vgic.flush(V0).unwrap().clone();
    // The first bank of SPIs has one in a list register, the other has not. The rest is the redistributors', or not there.
    for offset in [0x84, 0x104, 0x384, 0x420, 0x43F, 0xC08, 0xC0C, 0x6100, 0x61F8] {
        assert!(!vgic.is_synced(offset), "{offset:#x}");
    }
    for offset in [0x88, 0x108, 0x388, 0x440, 0x45F, 0xC10, 0xC14, 0x6200] {
        assert!(vgic.is_synced(offset), "{offset:#x}");
    }
    for offset in [0, 0x80, 0x8C, 0x400, 0x460, 0xC00, 0xC18, 0x6000, 0x6300, 0xFFE8, u64::MAX] {
        assert!(!vgic.is_synced(offset), "{offset:#x}");
    }
    // What says nothing of interrupts can be read at any time.
    for offset in [0, 4, 8, 0x6100, 0xFFE8] {
        assert!(vgic.reads_synced(offset), "{offset:#x}");
    }
    assert!(!vgic.reads_synced(0x204) && vgic.reads_synced(0x208));
    // Made active in the list register, it may end there without being in one any more.
    let mut active = interface;
    active.lr.iter_mut().filter(|lr| **lr != 0).for_each(|lr| *lr = *lr & !(0b11 << 62) | 0b10 << 62);
    let _ = vgic.sync(V0, &active);
    assert!(!vgic.is_synced(0x104));
}

/// The registers that are there: for all others, reads are zero.
fn is_register(offset: u64) -> bool {
    match offset {
        0..0xC | 0xFFD0..0x1_0000 => true,
        0x80..0x400 => (4..12).contains(&(offset % 0x80)),
        0x420..0x448 | 0xC08..0xC14 | 0x6100..0x6240 => true,
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_synced_can_be_written_before_the_list_registers_are(
        before in prop::collection::vec((0x80_u64..0xD00, any::<u32>()), 0..40),
        router in 0_u64..4,
        (offset, value) in (prop_oneof![0x80_u64..0xD00, 0x6100_u64..0x6240], any::<u64>()),
    ) {
        let mut vgic = vgic();
        let _ = write(&mut vgic, 0, 0b11);
        for (offset, value) in before {
            let _ = write(&mut vgic, offset / 4 * 4, value.into());
        }
        let _ = vgic.write_distributor(0x6100 + 8 * router, Width::Double, 1 << 8);
        let interface = vgic.flush(V0).unwrap().clone();
        let offset = offset / 4 * 4;
        if !vgic.is_synced(offset) {
            return Ok(());
        }
        let mut early = vgic.clone();
        let mut kicks = early.write_distributor(offset, Width::Word, value);
        if kicks.is_empty() {
            // The list registers stay as they are: they must be what would be queued now.
            let queued = vgic.interface(V0).unwrap().clone();
            let _ = early.sync(V0, &interface);
            prop_assert_eq!(early.flush(V0).unwrap(), &queued);
            let _ = early.sync(V0, &interface);
        } else {
            kicks.extend(&early.sync(V0, &interface));
        }
        let mut late_kicks = vgic.sync(V0, &interface);
        late_kicks.extend(&vgic.write_distributor(offset, Width::Word, value));
        prop_assert!(kicks.is_empty() || kicks == late_kicks);
        prop_assert_eq!(early, vgic);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_access_is_harmless_and_reserved_space_reads_zero(
        accesses in prop::collection::vec(
            (prop_oneof![0_u64..0x1_0000, 0_u64..0x1000, any::<u64>()], 0_u32..4, any::<u64>()),
            0..200,
        ),
    ) {
        let mut vgic = vgic();
        for (offset, width, value) in accesses {
            let width = Width::from_bytes(1 << width).unwrap();
            let mut kicks = vgic.write_distributor(offset, width, value);
            let read = vgic.read_distributor(offset, width);
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

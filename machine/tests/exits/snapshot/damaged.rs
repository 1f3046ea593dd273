// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes that are no VM's, or another's, or made up.

use vambrace_cpu::id_registers::{HostIdRegisters, IdRegisters};
use vambrace_cpu::sysreg::SysReg;
use vambrace_ids::VcpuId;
use vambrace_interrupts::{HwLink, Intid, Trigger};
use vambrace_machine::Lifecycle;
use vambrace_machine::devices::{self, Device};
use vambrace_machine::lifecycle::WrongState;
use vambrace_machine::snapshot::{Mismatch, RestoreError, Unfit, WriteError, restore};
use vambrace_wire::bundle::io::VirtioDevice;

use super::*;
use crate::bench::platform;

/// Magic number and version.
const BEGINNING: usize = 6;
/// A record's kind and length.
const HEAD: usize = 5;

/// A VM that is paused after these steps.
fn paused(config: &VmConfig, steps: &[crate::world::Step]) -> World {
    let mut world = World::new(config);
    steps.iter().for_each(|step| world.step(step));
    if !world.pause() {
        world = World::new(config);
        assert!(world.pause());
    }
    world
}

/// Where the records' values are.
fn values(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut all = Vec::new();
    let mut at = BEGINNING;
    while let Some(len) = bytes.get(at + 1..at + HEAD) {
        let len = u32::from_le_bytes(len.try_into().expect("four bytes")) as usize;
        all.push(at + HEAD..at + HEAD + len);
        at += HEAD + len + 4;
    }
    all
}

/// Changes bytes of a record's value as somebody would who knows the format.
fn change(bytes: &mut [u8], value: &std::ops::Range<usize>, changes: &[(usize, u8)]) {
    for (place, byte) in changes.iter().filter(|_| !value.is_empty()) {
        bytes[value.start + place % value.len()] = *byte;
    }
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let crc = crc.checksum(&bytes[value.start - HEAD..value.end]);
    bytes[value.end..value.end + 4].copy_from_slice(&crc.to_le_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Bytes with a few changed are refused, or are a VM that does no harm: [`Bench`](crate::bench::Bench) checks all that it does.
    #[test]
    fn a_vm_that_was_made_up_does_no_harm(
        has_uart: bool,
        before in prop::collection::vec(step(), 0..40),
        record in 0usize..6,
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        after in prop::collection::vec(step(), 1..30),
    ) {
        let config = config(3, has_uart);
        let mut world = paused(&config, &before);
        let mut bytes = world.to_bytes();
        let values = values(&bytes);
        change(&mut bytes, &values[record], &changes);
        let mut made = Made::new(&config);
        if restore(&bytes, &mut made).is_ok() {
            world.take_over(made);
            world.resume();
            after.iter().for_each(|step| world.step(step));
            prop_assert!(world.bench.host.ram.is_confined());
        }
    }

    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), record in 0usize..6, cut in 0usize..300) {
        let config = config(2, true);
        let mut all = paused(&config, &[]).to_bytes();
        let value = values(&all)[record].clone();
        all.truncate(value.start + cut % (value.len() + 1));
        all.extend(bytes);
        prop_assert!(restore(&all, &mut Made::new(&config)).is_err());
    }

    /// Whatever the line does to them is found out.
    #[test]
    fn a_flipped_bit_is_found(place: usize, bit in 0u32..8) {
        let config = config(2, true);
        let mut bytes = paused(&config, &[]).to_bytes();
        let place = place % bytes.len();
        bytes[place] ^= 1 << bit;
        prop_assert!(restore(&bytes, &mut Made::new(&config)).is_err());
    }
}

#[test]
fn a_vm_that_is_cut_off_is_refused() {
    let config = config(2, true);
    let bytes = paused(&config, &[]).to_bytes();
    for len in (0..bytes.len()).step_by(97).chain(bytes.len() - 20..bytes.len()) {
        let refused = restore(&bytes[..len], &mut Made::new(&config));
        assert!(
            matches!(refused, Err(RestoreError::NotAVm | RestoreError::Damaged { .. })),
            "{len}: {refused:?}"
        );
    }
    assert_eq!(restore(&bytes, &mut Made::new(&config)), Ok(()));
}

#[test]
fn a_part_that_is_missing_or_doubled_is_missed() {
    let config = config(2, true);
    let bytes = paused(&config, &[]).to_bytes();
    // Shape, VM, two vCPUs.
    for value in &values(&bytes)[..4] {
        let record = value.start - HEAD..value.end + 4;
        let without = [&bytes[..record.start], &bytes[record.end..]].concat();
        let twice = [&bytes[..record.end], &bytes[record.start..]].concat();
        for wrong in [without, twice] {
            let refused = restore(&wrong, &mut Made::new(&config));
            let is_named = matches!(refused, Err(RestoreError::Order { .. } | RestoreError::Value { .. }));
            assert!(is_named, "{refused:?}");
        }
    }
}

#[test]
fn what_does_not_fit_is_told_by_name() {
    let bytes = paused(&config(2, true), &[]).to_bytes();
    let refused = |change: fn(&mut VmConfig)| {
        let mut config = config(2, true);
        change(&mut config);
        match restore(&bytes, &mut Made::new(&config)) {
            Err(RestoreError::Shape(mismatch)) => mismatch,
            other => panic!("{other:?}"),
        }
    };
    let slot = |slot| layout::VIRTIO.place(slot).start();
    assert_eq!(refused(|it| it.name = "other".into()), Mismatch::Name);
    assert_eq!(refused(|it| it.vcpus.truncate(1)), Mismatch::Vcpus { saved: 2, here: 1 });
    assert!(matches!(refused(|it| it.memory *= 2), Mismatch::Memory { .. }));
    assert!(matches!(refused(|it| it.flash = false), Mismatch::Memory { .. }));
    assert_eq!(
        refused(|it| it.devices = devices::set(&[Device::Pl031])),
        Mismatch::Device(Device::Pl011.base())
    );
    assert_eq!(
        refused(|it| it.devices = devices::set(&[Device::Pl011])),
        Mismatch::Device(Device::Pl031.base())
    );
    assert_eq!(refused(|it| it.channels.clear()), Mismatch::Device(layout::DOORBELLS.place(0).start()));
    assert_eq!(refused(|it| it.virtio.truncate(2)), Mismatch::Device(slot(2)));
    assert_eq!(refused(|it| it.virtio.swap(0, 1)), Mismatch::Device(slot(0)));
    let larger = |it: &mut VmConfig| {
        if let VirtioDevice::Disk(disk) = &mut it.virtio[2] {
            disk.sectors += 8;
        }
    };
    assert_eq!(refused(larger), Mismatch::Device(slot(2)));
    let renamed = |it: &mut VmConfig| {
        if let VirtioDevice::Network(card) = &mut it.virtio[3] {
            card.mac[5] += 1;
        }
    };
    assert_eq!(refused(renamed), Mismatch::Device(slot(3)));
}

#[test]
fn another_machine_is_told_by_name() {
    let config = config(1, true);
    let bytes = paused(&config, &[]).to_bytes();
    let mut made = Made::new(&config);
    let mut host = HostIdRegisters::default();
    host.set(SysReg::MIDR_EL1, 0x410F_D083);
    made.vm.id_registers = IdRegisters::for_vm(&host);
    let refused = restore(&bytes, &mut made).expect_err("another CPU");
    let is_named = matches!(
        refused,
        RestoreError::Shape(Mismatch::CpuFeatures { register: SysReg::MIDR_EL1, here: 0x410F_D083, .. })
    );
    assert!(is_named, "{refused}");
    let mut made = Made::new(&config);
    let mut platform = platform();
    platform.list_registers += 1;
    made.vm = Vm::new(&config, &platform, 0).expect("it can be built");
    assert_eq!(restore(&bytes, &mut made), Err(RestoreError::Shape(Mismatch::CpuInterface)));
}

#[test]
fn another_format_is_told_and_so_is_what_is_no_vm() {
    let config = config(1, true);
    let mut bytes = paused(&config, &[]).to_bytes();
    bytes[4] += 1;
    let refused = restore(&bytes, &mut Made::new(&config)).expect_err("another format");
    assert_eq!(refused, RestoreError::Format { found: vambrace_machine::snapshot::FORMAT + 1 });
    assert_eq!(
        refused.to_string(),
        "the VM was saved in format 2, and this is format 1: restore it where it was saved"
    );
    assert_eq!(restore(b"something else", &mut Made::new(&config)), Err(RestoreError::NotAVm));
}

#[test]
fn only_a_paused_vm_is_written_with_its_vcpus_in_their_order() {
    let config = config(2, true);
    let mut world = World::new(&config);
    let refused = Writer::begin(Bytes(Vec::new()), &world.bench.vm.lock()).err();
    assert_eq!(refused, Some(WriteError::NotPaused(WrongState(Lifecycle::Running))));
    assert!(world.pause());
    let vm = world.bench.vm.lock();
    let mut writer = Writer::begin(Bytes(Vec::new()), &vm).expect("it is paused");
    assert_eq!(writer.vcpu(&world.bench.vcpus[1]), Err(WriteError::Vcpu(0)));
    assert_eq!(writer.vcpu(&world.bench.vcpus[0]), Ok(()));
    assert_eq!(writer.finish().err(), Some(WriteError::Vcpu(1)));
}

/// What was changed so in the values of a VM that is written: why it is refused.
fn refused(change: impl FnOnce(&mut World)) -> Option<Unfit> {
    let config = config(2, true);
    let mut world = paused(&config, &[]);
    change(&mut world);
    match restore(&world.to_bytes(), &mut Made::new(&config)) {
        Ok(()) => None,
        Err(RestoreError::Unfit { unfit, .. }) => Some(unfit),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_would_reach_beyond_the_vm_is_refused() {
    assert_eq!(refused(|_| {}), None);
    for (pstate, is_refused) in [
        (0x3C0, false),
        (0x3C4, false),
        (0x3C5, false),
        (0x10, false),
        (0x3C9, true),
        (0x3C8, true),
        (0x3CD, true),
        (0x3C1, true),
        (0x1A, true),
        (0x13, true),
    ] {
        let unfit = refused(|it| it.bench.vcpus[0].registers.frame.pstate = pstate);
        assert_eq!(unfit, is_refused.then_some(Unfit::Pstate(pstate)));
    }
    let inject = |vcpu: u16, intid: u32, physical: u32| {
        refused(|it| {
            let mut vm = it.bench.vm.lock();
            let (intid, physical) = (Intid::new(intid), Intid::new(physical));
            let _ = vm.gic.inject_hw(VcpuId::new(vcpu), intid, physical, Trigger::Level);
        })
    };
    let link = |vcpu: Option<u16>, intid, physical| {
        let (vcpu, intid, physical) = (vcpu.map(VcpuId::new), Intid::new(intid), Intid::new(physical));
        Some(Unfit::HwLink(HwLink { vcpu, intid, physical }))
    };
    assert_eq!(inject(0, 27, 27), None, "the virtual timer's");
    assert_eq!(inject(1, 27, 33), link(Some(1), 27, 33));
    assert_eq!(inject(1, 26, 27), link(Some(1), 26, 27));
    assert_eq!(inject(0, 40, 40), link(None, 40, 40));
    let runs = refused(|it| it.bench.vcpus[1].mp_state = vambrace_machine::vcpu::MpState::Runnable);
    assert_eq!(runs, Some(Unfit::MpState));
}

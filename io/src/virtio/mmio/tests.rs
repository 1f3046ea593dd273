// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::registers::*;
use super::*;
use crate::virtio::mmio::registers::interrupt;
use crate::virtio::model::driver::{Driver, Part, get, negotiate, offered, set, set_up_queue};
use crate::virtio::model::hostile::{Bytes, touch};
use crate::virtio::model::ram::Ram;
use crate::virtio::quota::{After, Quota};
use crate::virtio::rng::Rng;

const UP_TO_FEATURES: u32 = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
const QUOTA: Quota = Quota { requests: 100, bytes: 10_000 };

fn device() -> Virtio<Rng> {
    Virtio::<Rng>::new()
}

fn serve(device: &mut Virtio<Rng>, ram: &Ram) -> After {
    device.serve(
        ram,
        &mut |to: &mut [u8]| {
            to.fill(7);
            to.len()
        },
        &mut QUOTA.clone(),
    )
}

#[test]
fn spec_4_2_2_registers_after_reset() {
    let mut device = device();
    let wanted = [
        (MAGIC_VALUE, 0x7472_6976),
        (super::registers::VERSION, 2),
        (DEVICE_ID, 4),
        (QUEUE_NUM_MAX, 128),
        (QUEUE_READY, 0),
        (INTERRUPT_STATUS, 0),
        (STATUS, 0),
        (CONFIG_GENERATION, 0),
        // 4.2.2: of a region of shared memory that is not there.
        (SHM_LEN_LOW, u32::MAX),
        (SHM_LEN_LOW + 4, u32::MAX),
        (SHM_BASE_HIGH - 4, u32::MAX),
        (SHM_BASE_HIGH, u32::MAX),
    ];
    for (register, value) in wanted {
        assert_eq!(get(&mut device, register), value, "{register:#x}");
    }
    assert_eq!(offered(&mut device), feature::INDIRECT_DESC | feature::EVENT_IDX | feature::VERSION_1);
    set(&mut device, DEVICE_FEATURES_SEL, 2);
    assert_eq!(get(&mut device, DEVICE_FEATURES), 0);
    set(&mut device, QUEUE_SEL, 1);
    assert_eq!(get(&mut device, QUEUE_NUM_MAX), 0, "there is one queue");
    assert!(!device.irq_asserted());
}

#[test]
fn spec_4_2_2_2_only_aligned_words_reach_a_register() {
    let mut device = device();
    for (offset, width) in [
        (MAGIC_VALUE, Width::Byte),
        (MAGIC_VALUE, Width::Halfword),
        (MAGIC_VALUE, Width::Doubleword),
        (MAGIC_VALUE + 2, Width::Word),
        (SHM_LEN_LOW + 1, Width::Word),
    ] {
        assert_eq!(device.read(offset, width), 0);
    }
    let before = device.clone();
    for width in [Width::Byte, Width::Halfword, Width::Doubleword] {
        device.write(STATUS, width, 1);
    }
    device.write(STATUS + 2, Width::Word, 1);
    assert_eq!(device, before);
}

/// 4.2.4: `GuestPageSize`, `QueueAlign`, `QueuePFN`, and what 1.2 leaves unused.
#[test]
fn legacy_and_reserved_registers_are_not_there() {
    let mut device = device();
    let before = device.clone();
    for register in [0x028, 0x03C, 0x040, 0x018, 0x01C, 0x02C, 0x048, 0x054, 0x0C0, 0x0F8] {
        set(&mut device, register, u32::MAX);
        assert_eq!(get(&mut device, register), 0, "{register:#x}");
    }
    assert_eq!(device, before);
}

#[test]
fn spec_2_2_2_features_are_agreed_on_only_as_offered() {
    let mut device = device();
    let all = offered(&mut device);
    assert!(negotiate(&mut device, all));
    assert!(negotiate(&mut device, feature::VERSION_1));
    assert!(!negotiate(&mut device, 0), "6.1: without VERSION_1");
    assert!(!negotiate(&mut device, all & !feature::VERSION_1));
    for bit in (0..64).filter(|bit| all & 1 << bit == 0) {
        assert!(!negotiate(&mut device, feature::VERSION_1 | 1 << bit), "{bit}");
    }
    assert!(negotiate(&mut device, all), "a driver may try again");
    set(&mut device, STATUS, 0);
    for select in [2, 1] {
        set(&mut device, DRIVER_FEATURES_SEL, select);
        set(&mut device, DRIVER_FEATURES, 1);
    }
    set(&mut device, STATUS, UP_TO_FEATURES);
    assert_eq!(get(&mut device, STATUS), UP_TO_FEATURES & !status::FEATURES_OK, "there is no third word");
}

#[test]
fn spec_3_1_1_features_stay_once_agreed_on() {
    let mut device = device();
    assert!(negotiate(&mut device, feature::VERSION_1));
    set(&mut device, DRIVER_FEATURES_SEL, 0);
    set(&mut device, DRIVER_FEATURES, u32::MAX);
    assert!(device.transport.has(feature::VERSION_1) && !device.transport.has(feature::EVENT_IDX));
}

#[test]
fn spec_2_1_status_bits_are_set_in_order_and_cleared_by_reset_only() {
    let mut device = device();
    set(&mut device, STATUS, status::ACKNOWLEDGE | status::DRIVER | status::DRIVER_OK);
    assert_eq!(get(&mut device, STATUS), 3, "no DRIVER_OK without FEATURES_OK");
    set(&mut device, STATUS, status::NEEDS_RESET | 0xFFFF_FF00);
    assert_eq!(get(&mut device, STATUS), 3, "the device's own bit, and none");
    assert!(negotiate(&mut device, feature::VERSION_1));
    set(&mut device, STATUS, status::DRIVER_OK);
    assert_eq!(get(&mut device, STATUS), UP_TO_FEATURES | status::DRIVER_OK);
    set(&mut device, STATUS, status::FAILED);
    assert_eq!(get(&mut device, STATUS), UP_TO_FEATURES | status::DRIVER_OK | status::FAILED);
    set(&mut device, STATUS, 0);
    assert_eq!(device, self::device());
}

#[test]
fn spec_4_2_2_2_a_queue_in_use_is_not_changed() {
    let mut device = device();
    set_up_queue(&mut device, 0, 8);
    assert_eq!(get(&mut device, QUEUE_READY), 1);
    let before = device.clone();
    for register in [QUEUE_NUM, QUEUE_DESC_LOW, QUEUE_DESC_HIGH, QUEUE_DRIVER_LOW, QUEUE_DEVICE_HIGH] {
        set(&mut device, register, 0x40);
    }
    assert_eq!(device, before);
    set(&mut device, QUEUE_READY, 0);
    assert_eq!(get(&mut device, QUEUE_READY), 0);
    set(&mut device, QUEUE_NUM, 16);
    assert_ne!(device, before);
}

#[test]
fn a_queue_that_cannot_be_one_is_refused() {
    for size in [0, 3, 256, 0x1_0008] {
        let mut device = device();
        set_up_queue(&mut device, 0, 8);
        set(&mut device, QUEUE_READY, 0);
        set(&mut device, QUEUE_NUM, size);
        set(&mut device, QUEUE_READY, 1);
        assert_eq!(get(&mut device, QUEUE_READY), 0, "{size}");
        assert_eq!(get(&mut device, STATUS), status::NEEDS_RESET);
        assert!(matches!(device.fault(), Some(Fault::Size { .. })));
        assert!(!device.irq_asserted(), "2.1.2: the driver is told only after DRIVER_OK");
    }
}

#[test]
fn spec_2_1_2_memory_is_left_alone_before_driver_ok() {
    let (mut device, ram) = (device(), Ram::new());
    assert!(negotiate(&mut device, feature::VERSION_1));
    set_up_queue(&mut device, 0, 8);
    set(&mut device, QUEUE_NOTIFY, 0);
    assert!(!device.is_notified());
    assert_eq!((serve(&mut device, &ram), ram.accesses()), (After::Idle, 0));
    set(&mut device, STATUS, UP_TO_FEATURES | status::DRIVER_OK);
    assert!(device.is_notified(), "what is there already is looked at");
    assert_eq!(serve(&mut device, &ram), After::Idle);
    assert!(ram.accesses() > 0 && !device.is_notified());
}

#[test]
fn spec_2_1_a_driver_that_has_given_up_is_left_alone() {
    let (mut device, ram) = (device(), Ram::new());
    let mut driver = Driver::start(&mut device, 0, 1, 8).unwrap();
    driver.offer(&ram, 0, &[Part::In(8)]);
    set(&mut device, STATUS, status::FAILED);
    set(&mut device, QUEUE_NOTIFY, 0);
    assert_eq!((serve(&mut device, &ram), ram.accesses()), (After::Idle, 0));
}

#[test]
fn spec_2_1_2_an_error_is_told_and_ends_the_device() {
    let (mut device, ram) = (device(), Ram::new());
    let mut driver = Driver::start(&mut device, 0, 1, 8).unwrap();
    driver.offer(&ram, 0, &[Part::In(0)]);
    set(&mut device, QUEUE_NOTIFY, 0);
    assert_eq!(serve(&mut device, &ram), After::Idle);
    assert!(matches!(device.fault(), Some(Fault::Length { len: 0, .. })));
    assert_eq!(get(&mut device, STATUS) & status::NEEDS_RESET, status::NEEDS_RESET);
    assert_eq!(get(&mut device, INTERRUPT_STATUS), interrupt::CONFIGURATION);
    assert!(device.irq_asserted());
    set(&mut device, INTERRUPT_ACK, interrupt::CONFIGURATION);
    ram.clear_log();
    driver.offer(&ram, 0, &[Part::In(8)]);
    set(&mut device, QUEUE_NOTIFY, 0);
    assert!(!device.is_notified());
    assert_eq!((serve(&mut device, &ram), ram.accesses()), (After::Idle, 0));
    let ram = Ram::new();
    let mut driver = Driver::start(&mut device, 0, 1, 8).unwrap();
    driver.offer(&ram, 0, &[Part::In(8)]);
    let _ = serve(&mut device, &ram);
    assert_eq!(driver.returned(&ram, 0).unwrap().bytes, [7; 8], "a reset mends it");
    assert_eq!(device.fault(), None);
}

#[test]
fn spec_4_2_2_the_line_is_high_until_all_reasons_are_acknowledged() {
    let mut device = device();
    Driver::start(&mut device, 0, 1, 8).unwrap();
    device.transport.interrupts = interrupt::USED_BUFFER;
    device.transport.configuration_changed();
    assert_eq!(get(&mut device, CONFIG_GENERATION), 1);
    assert_eq!(get(&mut device, INTERRUPT_STATUS), 3);
    set(&mut device, INTERRUPT_ACK, interrupt::USED_BUFFER | !3);
    assert_eq!((get(&mut device, INTERRUPT_STATUS), device.irq_asserted()), (2, true));
    set(&mut device, INTERRUPT_ACK, interrupt::CONFIGURATION);
    assert!(!device.irq_asserted());
}

proptest! {
    #[test]
    fn whatever_is_written_the_state_is_consistent(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let (mut device, ram) = (device(), Ram::new());
        let mut bytes = Bytes(&bytes);
        while !bytes.is_empty() {
            let before = get(&mut device, STATUS);
            touch(&mut device, &mut bytes);
            let after = get(&mut device, STATUS);
            prop_assert!(after == 0 || before & !after == 0, "{before:#x} to {after:#x}");
            prop_assert!(after & status::DRIVER_OK == 0 || after & status::FEATURES_OK != 0);
            prop_assert!(after & status::FEATURES_OK == 0 || device.transport.has(feature::VERSION_1));
            prop_assert_eq!(device.irq_asserted(), get(&mut device, INTERRUPT_STATUS) != 0);
            prop_assert_eq!(get(&mut device, INTERRUPT_STATUS) & !3, 0);
            let _ = serve(&mut device, &ram);
        }
        let saved = postcard::to_allocvec(&device).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Virtio<Rng>>(&saved).unwrap(), device);
    }
}

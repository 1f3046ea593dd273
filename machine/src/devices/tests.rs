// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;
use crate::layout;

#[test]
fn no_two_share_an_address_or_an_interrupt_with_each_other_or_the_rest() {
    let mut ranges: Vec<_> = Device::ALL.map(Device::range).into();
    ranges.extend(layout::OTHER_RANGES);
    for (index, one) in ranges.iter().enumerate() {
        assert!(!one.is_empty());
        for other in ranges.iter().skip(index + 1) {
            assert!(!one.overlaps(*other), "{one} and {other}");
        }
    }
    let mut spis: Vec<_> = Device::ALL.map(Device::spi).into();
    spis.extend(layout::OTHER_SPIS.into_iter().flatten());
    let count = spis.len();
    assert!(spis.iter().all(|spi| *spi < layout::SPI_COUNT));
    spis.sort_unstable();
    spis.dedup();
    assert_eq!(spis.len(), count, "an interrupt is of one device");
}

#[test]
fn a_set_has_what_it_was_made_of() {
    let set = set(&[Device::Pl031]);
    assert_eq!(Device::ALL.map(|device| device.is_in(set)), Device::ALL.map(|it| it == Device::Pl031));
    let (all, now) = (super::set(&Device::ALL), Time::default());
    assert_eq!(Devices::new(DeviceSet::EMPTY, now).deadlines().count(), 0);
    assert!(Device::ALL.iter().all(|device| device.is_in(all)));
}

#[test]
fn frames_lie_side_by_side_and_pages_are_whole() {
    for device in Device::ALL {
        let mut next = device.base();
        for frame in device.frames() {
            assert_eq!(frame.start(), next, "{}", device.word());
            assert!(frame.start().is_aligned(0x1000) && frame.len().is_multiple_of(0x1000));
            next = frame.end();
        }
        assert_eq!(device.range(), IpaRange::between(device.base(), next).unwrap());
    }
}

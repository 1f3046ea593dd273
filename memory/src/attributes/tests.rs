// SPDX-License-Identifier: MIT OR Apache-2.0
use super::Cacheability::{NonCacheable, WriteBack, WriteThrough};
use super::*;

const DEVICES: [DeviceKind; 4] = [DeviceKind::NGnRnE, DeviceKind::NGnRE, DeviceKind::NGRE, DeviceKind::GRE];

fn normal(inner: Cacheability, outer: Cacheability) -> MemoryType {
    MemoryType::Normal { inner, outer }
}

#[test]
fn mair_bytes_that_linux_uses() {
    assert_eq!(MemoryType::from_mair(0x00), MemoryType::Device(DeviceKind::NGnRnE));
    assert_eq!(MemoryType::from_mair(0x04), MemoryType::Device(DeviceKind::NGnRE));
    assert_eq!(MemoryType::from_mair(0x0c), MemoryType::Device(DeviceKind::GRE));
    assert_eq!(MemoryType::from_mair(0x44), MemoryType::NON_CACHEABLE);
    assert_eq!(MemoryType::from_mair(0xff), MemoryType::WRITE_BACK);
    assert_eq!(MemoryType::from_mair(0xf0), MemoryType::WRITE_BACK);
    assert_eq!(MemoryType::from_mair(0xbb), normal(WriteThrough, WriteThrough));
    assert_eq!(MemoryType::from_mair(0x4f), normal(WriteBack, NonCacheable));
    assert_eq!(MemoryType::from_mair(0x40), MemoryType::NON_CACHEABLE);
    assert_eq!(MemoryType::from_mair(0xa0), normal(WriteThrough, WriteThrough));
}

#[test]
fn mair_index_selects_its_byte() {
    let mair = 0x00ff_440c_0400_0000;
    assert_eq!(MemoryType::from_mair_index(mair, 6), MemoryType::WRITE_BACK);
    assert_eq!(MemoryType::from_mair_index(mair, 5), MemoryType::NON_CACHEABLE);
    assert_eq!(MemoryType::from_mair_index(mair, 3), MemoryType::Device(DeviceKind::NGnRE));
}

#[test]
fn mem_attr_without_fwb() {
    let decode = |bits| Stage2Type::from_mem_attr(bits, Stage2Encoding::Combining);
    for device in DEVICES {
        assert_eq!(decode(device.bits()), Some(Stage2Type::Device(device)));
    }
    assert_eq!(decode(0b1111), Some(Stage2Type::Normal { inner: WriteBack, outer: WriteBack }));
    assert_eq!(decode(0b0101), Some(Stage2Type::Normal { inner: NonCacheable, outer: NonCacheable }));
    assert_eq!(decode(0b0111), Some(Stage2Type::Normal { inner: WriteBack, outer: NonCacheable }));
    assert_eq!(decode(0b1110), Some(Stage2Type::Normal { inner: WriteThrough, outer: WriteBack }));
    for reserved in [0b0100, 0b1000, 0b1100] {
        assert_eq!(decode(reserved), None);
    }
}

#[test]
fn mem_attr_with_fwb() {
    let decode = |bits| Stage2Type::from_mem_attr(bits, Stage2Encoding::Forcing);
    for device in DEVICES {
        assert_eq!(decode(device.bits()), Some(Stage2Type::Device(device)));
    }
    assert_eq!(decode(0b0101), Some(Stage2Type::NonCacheable));
    assert_eq!(decode(0b0110), Some(Stage2Type::ForcedWriteBack));
    assert_eq!(decode(0b0111), Some(Stage2Type::Stage1));
    for reserved in [0b0100, 0b1000, 0b1111] {
        assert_eq!(decode(reserved), None);
    }
}

#[test]
fn the_more_restrictive_device_type_wins() {
    for ours in DEVICES {
        for theirs in DEVICES {
            let both = Stage2Type::Device(ours).combine(MemoryType::Device(theirs));
            assert_eq!(both, MemoryType::Device(ours.min(theirs)));
        }
        assert_eq!(Stage2Type::Device(ours).combine(MemoryType::WRITE_BACK), MemoryType::Device(ours));
    }
}

#[test]
fn without_fwb_the_weaker_cacheability_wins() {
    let ram = Stage2Type::Normal { inner: WriteBack, outer: WriteBack };
    assert_eq!(ram.combine(MemoryType::WRITE_BACK), MemoryType::WRITE_BACK);
    assert_eq!(ram.combine(MemoryType::NON_CACHEABLE), MemoryType::NON_CACHEABLE);
    assert_eq!(
        ram.combine(MemoryType::Device(DeviceKind::NGnRE)),
        MemoryType::Device(DeviceKind::NGnRE),
        "a guest may map its RAM as Device"
    );
    let mixed = Stage2Type::Normal { inner: WriteThrough, outer: NonCacheable };
    assert_eq!(mixed.combine(MemoryType::WRITE_BACK), normal(WriteThrough, NonCacheable));
    assert_eq!(mixed.combine(normal(NonCacheable, WriteBack)), MemoryType::NON_CACHEABLE);
}

#[test]
fn with_fwb_stage_2_overrides() {
    for theirs in [MemoryType::WRITE_BACK, MemoryType::NON_CACHEABLE, MemoryType::Device(DeviceKind::NGnRnE)]
    {
        assert_eq!(Stage2Type::ForcedWriteBack.combine(theirs), MemoryType::WRITE_BACK);
        assert_eq!(Stage2Type::Stage1.combine(theirs), theirs);
    }
    assert_eq!(Stage2Type::NonCacheable.combine(MemoryType::WRITE_BACK), MemoryType::NON_CACHEABLE);
    let device = MemoryType::Device(DeviceKind::GRE);
    assert_eq!(Stage2Type::NonCacheable.combine(device), device);
}

#[test]
fn shareability_widens() {
    use Shareability::{InnerShareable, NonShareable, OuterShareable};
    let combine = |kind, s1, s2| combine_shareability(kind, s1, s2);
    assert_eq!(combine(MemoryType::WRITE_BACK, NonShareable, InnerShareable), InnerShareable);
    assert_eq!(combine(MemoryType::WRITE_BACK, OuterShareable, InnerShareable), OuterShareable);
    assert_eq!(combine(MemoryType::NON_CACHEABLE, NonShareable, NonShareable), OuterShareable);
    let device = MemoryType::Device(DeviceKind::NGnRnE);
    assert_eq!(combine(device, NonShareable, InnerShareable), OuterShareable);
}

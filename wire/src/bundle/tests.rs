// SPDX-License-Identifier: MIT OR Apache-2.0
use proptest::prelude::*;

use super::*;

fn vm(name: &str) -> VmConfig {
    VmConfig {
        name: name.into(),
        memory: 64 << 20,
        vcpus: vec![VcpuConfig::default()],
        weight: 100,
        loads: vec![Load { blob: 0, ipa: 0x4020_0000 }],
        flash: false,
        entry: 0x4020_0000,
        boot_argument: 0x4000_0000,
        seeds: vec![],
        devices: DeviceSet::EMPTY.with(0).with(1),
        virtio: vec![],
        placement: RamPlacement::Anywhere,
        registers: vec![],
        slots: vec![],
        channels: vec![],
        interrupts: vec![],
        after: None,
    }
}

fn of(vms: Vec<VmConfig>) -> Directory {
    Directory { vms, ..Directory::default() }
}

#[test]
fn what_is_built_opens_with_the_same_blobs() {
    let bytes = build(of(vec![vm("a"), vm("b")]), &[b"kernel", b"initrd"]).unwrap();
    let bundle = Bundle::open(&bytes).unwrap();
    assert_eq!(bundle.directory.vms, [vm("a"), vm("b")]);
    assert_eq!((bundle.blob(0), bundle.blob(1)), (b"kernel".as_slice(), b"initrd".as_slice()));
    assert_eq!(Bundle::announced_len(&bytes), Ok(bytes.len() as u64));
    assert!(bundle.directory.blobs.iter().all(|blob| blob.offset % 4096 == 0));
}

#[test]
fn a_load_of_a_missing_blob_is_refused() {
    assert_eq!(build(of(vec![vm("a")]), &[]).unwrap_err(), BundleError::Malformed);
}

#[test]
fn a_channel_that_is_none_and_a_member_that_cannot_be_are_refused() {
    use channel::ChannelAccess;
    let channel = |size| Channel { name: "control".into(), size };
    let end = Membership { channel: 0, number: 1, members: 2, access: ChannelAccess::ReadWrite };
    let with = |size, ends: Vec<Membership>| {
        let vms = vec![VmConfig { channels: ends, ..vm("a") }];
        build(Directory { channels: vec![channel(size)], ..of(vms) }, &[b"image"]).map(|_| ())
    };
    assert_eq!(with(4096, vec![end; MAX_CHANNELS]), Ok(()));
    assert_eq!(with(MAX_SIZE, vec![end]), Ok(()));
    for size in [0, 4095, 4097, MAX_SIZE + 4096] {
        assert_eq!(with(size, vec![]), Err(BundleError::Malformed), "{size}");
    }
    for bad in [
        Membership { channel: 1, ..end },
        Membership { number: 2, ..end },
        Membership { members: MAX_MEMBERS as u8 + 1, ..end },
    ] {
        assert_eq!(with(4096, vec![bad]), Err(BundleError::Malformed), "{bad:?}");
    }
    assert_eq!(with(4096, vec![end; MAX_CHANNELS + 1]), Err(BundleError::Malformed));
}

#[test]
fn a_device_without_what_is_behind_it_is_refused() {
    let with = |device| of(vec![VmConfig { virtio: vec![device], ..vm("a") }]);
    let disk = |backing| {
        let (name, access) = ("root".into(), io::DiskAccess::ReadOnly);
        with(VirtioDevice::Disk(io::DiskConfig { name, sectors: 8, access, backing }))
    };
    let port =
        io::PortConfig { network: 0, mac: [2; 6], mtu: 1500, addresses: io::PortAddresses::Own, rate: None };
    assert!(build(disk(Backing::Image { blob: 0, room: 0 }), &[b"image"]).is_ok());
    for bad in [
        disk(Backing::Image { blob: 1, room: 0 }),
        disk(Backing::Board { disk: 0, first: 0 }),
        with(VirtioDevice::Network(port)),
        of(vec![VmConfig { virtio: vec![VirtioDevice::Entropy; MAX_VIRTIO + 1], ..vm("a") }]),
    ] {
        assert_eq!(build(bad, &[b"image"]).unwrap_err(), BundleError::Malformed);
    }
}

#[test]
fn crc32_matches_the_published_check_value() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
}

proptest! {
    #[test]
    fn a_damaged_bundle_never_panics_and_never_lies(at in 0usize..400, bit in 0u8..8, cut in 0usize..9000) {
        let good = build(of(vec![vm("a")]), &[b"kernel"]).unwrap();
        let mut bad = good.clone();
        let at = at % bad.len();
        bad[at] ^= 1 << bit;
        if let Ok(bundle) = Bundle::open(&bad) {
            prop_assert_eq!(bundle.directory.vms, vec![vm("a")]);
        }
        prop_assert!(Bundle::open(&good[..cut.min(good.len() - 1)]).is_err());
    }
}
